"""The worker that trains a run has fallen silent. Raised where leases are watched, not from frames."""

from typing import ClassVar

from app.alerts.base import Detector
from gyrostat.spec.run import Severity


class WorkerLost(Detector):
    """Not judged from frames: `services.alerting.raise_external` opens it."""

    kind: ClassVar[str] = "worker_lost"
    title: ClassVar[str] = "Worker lost"
    severity: ClassVar[Severity] = "warning"
    metrics: ClassVar[tuple[str, ...]] = ()
    explanation: ClassVar[str] = (
        "The worker that trains this run has not been heard of for longer than it may be silent: its process or "
        "machine died, or the network between is down. Nothing that was acknowledged is lost. If it is heard "
        "again, the alert resolves by itself; if its lease runs out, the run goes on from its last checkpoint on "
        "another worker. An attached training has no lease: its program sent nothing for long, and may send more later."
    )
    source: ClassVar[str] = (
        "Silence and lease times: GYROSTAT_UNREACHABLE_SECONDS and GYROSTAT_LEASE_SECONDS of the backend (8 s and "
        "20 s), GYROSTAT_ATTACHED_SILENCE_SECONDS (600 s); no tensor written: SageMaker Debugger StalledTrainingRule"
    )
