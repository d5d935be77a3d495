"""What the session's frames mean: names of the axes and declared metrics, as they become known, in versions."""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor

from gyrostat.probes.base import Value
from gyrostat.probes.network import Network, index
from gyrostat.spec.metrics import METRICS
from gyrostat.wire.layout import MAX_NAME_BYTES, MAX_NAMES, Axis, Layout, MetricDeclaration
from gyrostat.wire.values import Float32Array


class LayoutBook:
    """Keeps the layout of a session, and cuts full vectors down to it.

    Axis `module` holds the leaf modules that were seen to put out a floating tensor, so it is known after the first
    probed forward pass, and grows; `axes` are those that probes have for themselves. Of an axis longer than
    `wire.layout.MAX_NAMES` the first so many names are kept.
    """

    def __init__(
        self,
        network: Network,
        scalars: Sequence[str],
        ranks: int = 1,
        axes: Mapping[Axis, Sequence[str]] = MappingProxyType({}),
    ) -> None:
        self._network, self._ranks, self._of_probes = network, ranks, axes
        self._declared = dict.fromkeys(scalars)
        self._own: dict[str, MetricDeclaration] = {}
        self._version, self._seen = 0, 0
        self._axes: dict[Axis, list[str]] = {}
        self._selected: Tensor | None = None
        self._whole = False

    def announce(self, scalar: MetricDeclaration) -> None:
        """A scalar of the loop's own, which the catalogue does not have."""
        self._own[scalar.name] = scalar

    def see(self, leaf: int) -> None:
        """The leaf module at this position has put out a floating tensor."""
        self._network.called.add(leaf)

    def renewed(self, metrics: Iterable[str]) -> Layout | None:
        """A new version, where `metrics` or modules are in it that the last one does not know."""
        new = [name for name in metrics if name not in self._declared]
        if self._version and not new and len(self._network.called) == self._seen:
            return None
        self._declared |= dict.fromkeys(new)
        self._seen = len(self._network.called)
        self._version += 1
        return self._layout()

    @property
    def version(self) -> int:
        """Of the newest layout; 0 before there is one."""
        return self._version

    def cut(self, readings: Mapping[str, Value]) -> Mapping[str, Value]:
        """The readings, their vectors cut down to the names of the newest layout."""
        if self._whole:
            return readings
        return {
            name: self._cut_one(name, value) if isinstance(value, Tensor | np.ndarray) and value.ndim else value
            for name, value in readings.items()
        }

    def _cut_one(self, name: str, value: Tensor | Float32Array) -> Tensor | Float32Array:
        axis = self._axis(name)
        if axis == "run":
            return value
        if axis == "module":
            return value if self._selected is None else value[self._selected]
        return value if len(value) <= MAX_NAMES else value[:MAX_NAMES]

    def _layout(self) -> Layout:
        network, seen = self._network, sorted(self._network.called)[:MAX_NAMES]
        leaves = list(network.leaves)
        used = {self._axis(name) for name in self._declared}
        every: dict[Axis, list[str]] = {
            "module": wire_names([leaves[leaf] for leaf in seen]),
            "parameter": wire_names(list(network.parameters)[:MAX_NAMES]),
            "matrix": wire_names(list(network.matrices)[:MAX_NAMES]),
            "head": wire_names(network.heads[:MAX_NAMES]),
            "rank": [f"rank {rank}" for rank in range(self._ranks)],
            **{axis: wire_names(names) for axis, names in self._of_probes.items()},
        }
        self._selected = None if len(seen) == len(leaves) else index(seen, network.device).to(torch.long)
        longest = max(map(len, (leaves, network.parameters, network.heads, *self._of_probes.values())))
        self._whole = self._selected is None and longest <= MAX_NAMES
        return Layout(
            version=self._version,
            axes={axis: names for axis, names in every.items() if axis in used},
            metrics=[self._declaration(name) for name in self._declared],
        )

    def _axis(self, name: str) -> Axis:
        return self._own[name].axis if name in self._own else METRICS[name].axis

    def _declaration(self, name: str) -> MetricDeclaration:
        if name in self._own:
            return self._own[name]
        known = METRICS[name]
        return MetricDeclaration(name=name, unit=known.unit, axis=known.axis, description=known.description)


def wire_names(names: Sequence[str]) -> list[str]:
    """The names as the wire takes them: not empty, printable, short, no two the same.

    A model that is itself a leaf module has the empty name and is called `(model)`.
    """
    taken: set[str] = set()
    result: list[str] = []
    for name in names:
        plain = _shortened("".join(c if c.isprintable() else "?" for c in name) or "(model)", MAX_NAME_BYTES)
        unique, number = plain, 2
        while unique in taken:
            suffix = f"#{number}"
            unique, number = _shortened(plain, MAX_NAME_BYTES - len(suffix)) + suffix, number + 1
        taken.add(unique)
        result.append(unique)
    return result


def _shortened(name: str, most: int) -> str:
    """The end of a name that is too long, since it says more than its beginning."""
    encoded = name.encode()
    if len(encoded) <= most:
        return name
    return "…" + encoded[-(most - 3) :].decode(errors="ignore")
