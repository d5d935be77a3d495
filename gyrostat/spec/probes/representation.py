"""Of what features hold."""

from typing import ClassVar

from pydantic import Field

from gyrostat.spec.probes.base import Cost, Probe


class RepresentationProbe(Probe):
    """Likeness of each module's features to the module's before and to the initial ones, linear probes over depth, and
    the spatial frequency of feature maps; one pass of the probe batch, and one before the first step.
    """

    name: ClassVar[str] = "representation"
    cost: ClassVar[Cost] = "dear"
    first: ClassVar[float | None] = 10.0
    at_start: ClassVar[bool] = False
    metrics: ClassVar[tuple[str, ...]] = (
        "representation.cka_previous",
        "representation.cka_initial",
        "representation.probe_accuracy",
        "representation.frequency_centroid",
    )
    every: int = Field(200, ge=1, le=1_000_000)
    """Optimizer steps between two measurements; the budget may stretch it."""
    samples: int = Field(128, ge=4, le=4096)
    """At most so many samples of the probe batch are passed."""
