"""The loop's own scalars: which it may pass, and of how many elements."""

from collections.abc import Iterable, Mapping, Sequence

from torch import Tensor

from gyrostat.probes.base import Probe
from gyrostat.spec.metrics import METRICS
from gyrostat.wire.layout import MetricDeclaration


class Scalars:
    """The scalars that were announced, beside what the session's `probes` measure.

    Raises:
        ValueError: `names` holds one that the catalogue does not know as a scalar, or that a probe measures.
    """

    def __init__(self, names: Sequence[str], probes: Iterable[Probe], ranks: int) -> None:
        self._measured = {m for probe in probes for m in (*probe.settings.metrics, *probe.settings.conditional)}
        self._measured |= {name for name in METRICS if name.startswith("probe.")}
        for name in names:
            self._check(name)
        self._widths = {name: ranks if METRICS[name].axis == "rank" else 1 for name in names}

    def announce(self, name: str, description: str) -> MetricDeclaration | None:
        """One more; its declaration, where it is none of the catalogue's.

        Raises:
            ValueError: a probe measures it, it is no scalar, or no name of a metric (`family.quantity`).
        """
        own = None
        if name in METRICS:
            self._check(name)
        else:
            own = MetricDeclaration(name=name, unit="1", axis="run", description=description)
        self._widths[name] = 1
        return own

    def check(self, scalars: Mapping[str, float | Tensor]) -> None:
        """Looks at what the loop passes.

        Raises:
            ValueError: one was not announced, or has not one element (on axis `rank`, one a rank).
        """
        for name, value in scalars.items():
            if name not in self._widths:
                raise ValueError(f"the scalar {name!r} was not announced; add it to `scalars` of the session")
            wanted = self._widths[name]
            if (value.numel() if isinstance(value, Tensor) else 1) != wanted:
                shape = tuple(value.shape) if isinstance(value, Tensor) else ()
                elements = "one element" if wanted == 1 else f"{wanted} elements, one a rank"
                raise ValueError(f"the scalar {name!r} is a tensor of shape {shape}; pass {elements}")

    def _check(self, name: str) -> None:
        if name not in METRICS or METRICS[name].axis not in ("run", "rank"):
            known = ", ".join(sorted(m.name for m in METRICS.values() if m.axis in ("run", "rank")))
            raise ValueError(f"{name!r} is no scalar of the catalogue; use one of {known}")
        if name in self._measured:
            raise ValueError(f"{name!r} is measured by a probe; leave it to it")
