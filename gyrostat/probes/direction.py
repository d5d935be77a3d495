"""How far the gradients turn from one step to the next."""

import math
from typing import Any

import torch
from torch import Tensor

from gyrostat.probes.base import Need, Probe, Readings
from gyrostat.probes.copies import Copies
from gyrostat.probes.network import Network, absent
from gyrostat.probes.norms import norms
from gyrostat.spec.probes import DirectionProbe

_CHUNK = 131_072
"""Elements looked at together on a CPU: they stay in its cache between the operations."""

_SMALLEST, _LARGEST = 1e-30, 1e30
"""Norms that float32 can divide by without losing anything; beyond, it is done in float64."""


class Direction(Probe):
    """1 − cos of each parameter's final gradients at a due step and at the one right after it, measured at the latter.

    Absent where one of the two is missing, zero, or sparse while the other is not.
    """

    settings_type = DirectionProbe
    needs = frozenset({Need.NEXT_GRADIENT})

    def __init__(self, settings: Any, network: Network) -> None:
        super().__init__(settings, network)
        self._copies = Copies()
        self._before: dict[str, Tensor] = {}
        self._waiting = False

    def after_backward(self) -> Readings:
        """Copies the gradients."""
        self._before = self._copies.of(self.network.gradients())
        self._waiting = True
        return {}

    def after_next_backward(self) -> Readings:
        """Against the copies."""
        network, now, waiting = self.network, self.network.gradients(), self._waiting
        self._waiting = False
        pairs = {
            name: (copy.to(now[name].device), now[name])
            for name, copy in self._before.items()
            if name in now and _alike(copy, now[name])
        }
        if not (waiting and pairs):
            return {}
        before, after = (norms(column, network.device) for column in zip(*pairs.values(), strict=True))
        turns = [turn(*pair, *sizes) for pair, *sizes in zip(pairs.values(), before, after, strict=True)]
        values = torch.stack([value.to(network.device, torch.float32, non_blocking=True) for value in turns])
        values = torch.where((before == 0) | (after == 0), absent(len(pairs), network.device), values)
        places = {name: at for at, name in enumerate(network.parameters)}
        vector = network.spread(values, [places[name] for name in pairs], len(places))
        return {"gradient.direction_change": vector}

    def state_dict(self) -> dict[str, Any]:
        """The gradients that the next step's are to be compared with, where it is the next step's turn."""
        return {"copies": dict(self._before) if self._waiting else {}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes up `state_dict`; a parameter that has another shape by now is passed over when its turn comes."""
        self._before, self._waiting = dict(state["copies"]), bool(state["copies"])


def turn(before: Tensor, after: Tensor, size_before: Tensor, size_after: Tensor) -> Tensor:
    """1 − cos of two tensors of one shape, layout and device, whose norms are given as 0-dim tensors; 0-dim.

    Formed as ½·‖a/‖a‖ − b/‖b‖‖², which keeps its relative precision where the two are nearly parallel.
    """
    if before.is_sparse:
        return (before.double() / size_before - after.double() / size_after).coalesce().values().square().sum() / 2
    if before.device.type != "cpu":
        return fused_turn(before, after, size_before, size_after)
    return torch.tensor(chunked_turn(before, after, size_before.item(), size_after.item()))


def fused_turn(before: Tensor, after: Tensor, size_before: Tensor, size_after: Tensor) -> Tensor:
    """For accelerators, which are not waited for."""
    kind = torch.promote_types(before.dtype, torch.float32)
    return (before.to(kind) / size_before - after.to(kind) / size_after).square().sum() / 2


def chunked_turn(before: Tensor, after: Tensor, size_before: float, size_after: float) -> float:
    """For a CPU: chunk by chunk."""
    if size_before == 0 or size_after == 0:
        return math.nan
    usual = all(_SMALLEST < size < _LARGEST for size in (size_before, size_after)) and before.dtype != torch.float64
    wide, total = torch.float32 if usual else torch.float64, 0.0
    for a, b in zip(*(torch.split(tensor.reshape(-1), _CHUNK) for tensor in (before, after)), strict=True):
        difference = a.to(wide) * (1 / size_before)
        difference -= b.to(wide) * (1 / size_after)
        total += torch.dot(difference, difference).item()
    return total / 2


def _alike(copy: Tensor, gradient: Tensor) -> bool:
    return copy.shape == gradient.shape and copy.layout == gradient.layout and copy.dtype == gradient.dtype
