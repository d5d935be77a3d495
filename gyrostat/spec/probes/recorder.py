"""The flight recorder: cheap probes at every step, in memory, sent when something goes wrong."""

from pydantic import Field

from gyrostat.spec.catalogue import Settings


class Recorder(Settings):
    """Keeps what cheap probes measured at the last steps, and sends it in full when something goes wrong after them."""

    enabled: bool = True
    """Whether cheap probes are measured between their cadences too, as often as the budget lets them."""
    steps: int = Field(64, ge=1, le=4096)
    """How many of the last steps are kept, in at most 32 MiB of the host's memory."""
