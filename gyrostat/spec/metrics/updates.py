"""How far the optimizer moves the weights."""

from gyrostat.spec.metrics.base import UPDATED, Metric

METRICS = (
    Metric(name="update.ratio", unit="1", axis="parameter", stage=UPDATED, log=True,
           description="‖w_after − w_before‖₂ / ‖w_before‖₂ of each parameter, as the optimizer really moved it: with "
                       "clipping, momentum, preconditioning, weight decay and bounds on weights, and 0 where the step "
                       "was left out; absent where w_before is zero. Of a float32 parameter of 65,536 "
                       "elements or more on a CPU, ‖w_after − w_before‖₂ is estimated from 32 of every 2,048 of them, "
                       "at least 16,384, in evenly spread runs: a standard error of 0.6 % or less where it is about "
                       "normal, and more where few rows are moved."),
    Metric(name="update.second_moment_lag", unit="1", axis="parameter", stage=UPDATED, log=True,
           description="RMS_t = √mean(g²/max(v̂, ε²)) of each parameter, g the gradient that the optimizer was given "
                       "(after clipping, with weight decay that it adds to it) and v̂ the second moment that the step "
                       "divides by the root of, this gradient in it: bias-corrected of Adam, AdamW, NAdam and "
                       "schedule-free AdamW, as it is of RMSprop. About 1 while v̂ keeps up; well above it a step is "
                       "too long, and a loss spike often follows within 8 steps. Absent for other optimizers.",
           source="Wortsman et al. 2023, arXiv 2304.13013, section 3.4"),
)  # fmt: skip
