"""The newest value of every scalar of a run."""

from app.dashboard.vitals import Newest
from app.services import metrics as metric_service
from app.storage.database import Session
from gyrostat.wire.values import is_absent


def newest_scalars(session: Session, run_id: str) -> dict[str, Newest]:
    """Metric -> its newest step and value, NaN and infinities included; what was not measured there is left out.

    Raises:
        NotFound: no such run.
    """
    return {
        latest.name: Newest(latest.step, float(latest.values[0]))
        for latest in metric_service.latest(session, run_id, axis="run")
        if len(latest.values) == 1 and not is_absent(latest.values)[0]
    }
