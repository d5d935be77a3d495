"""How far the optimizer moves the weights."""

from gyrostat.spec.metrics.base import UPDATED, Metric

METRICS = (
    Metric(name="update.ratio", unit="1", axis="parameter", stage=UPDATED, log=True,
           description="‖w_after − w_before‖₂ / ‖w_before‖₂ of each parameter, as the optimizer really moved it; "
                       "absent where w_before is zero."),
)  # fmt: skip
