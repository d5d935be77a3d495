"""What the settings of every probe have in common, and the registry that they enter by being defined."""

from typing import ClassVar, Literal

from pydantic import Field

from gyrostat.spec.catalogue import Settings

Cost = Literal["cheap", "moderate", "dear"]
"""Of one measurement, in units of a training step.

- cheap: reads what the step computes anyway; a few hundredths.
- moderate: products with the weights, or copies of them; a tenth, more for small batches.
- dear: passes of its own through the network; as much as a step, or many.
"""

PROBES: dict[str, type["Probe"]] = {}
"""Every probe's settings by its name, in the order of the spec."""


class Probe(Settings):
    """Settings of one probe; subclasses name it and the metrics it measures. Defining one registers it."""

    name: ClassVar[str]
    metrics: ClassVar[tuple[str, ...]]
    conditional: ClassVar[tuple[str, ...]] = ()
    """Metrics of its that only some trainings have, whatever its settings."""
    cost: ClassVar[Cost]
    first: ClassVar[float | None] = None
    """What a first measurement is expected to cost, in training steps, where that is less than its class takes."""
    at_start: ClassVar[bool] = True
    """Whether it measures at step 1 too. What makes passes of its own waits for its cadence: a first measurement is the
    dearest, and a short training has no time to pay for it. Under a budget all dear ones wait."""
    recorded: ClassVar[bool] = True
    """Whether the flight recorder may have it measured at any step between; it takes only cheap ones."""
    enabled: bool = True
    """Whether it measures at all."""
    every: int = Field(10, ge=1, le=1_000_000)
    """Optimizer steps between two measurements; the budget may stretch it."""

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: object) -> None:
        if cls.name in PROBES:
            raise TypeError(f"two probes are named {cls.name!r}")
        PROBES[cls.name] = cls
