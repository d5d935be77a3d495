"""One step of a training, with all that a reference needs to know of it, in float64 where that loses nothing."""

import math
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from gyrostat.doctor.modes import Mode
from gyrostat.doctor.networks import loss_of

Array = npt.NDArray[np.float64]
Arrays = Mapping[str, Array]
Batch = tuple[Tensor, ...]
Outputs = Mapping[str, Sequence[Array]]
"""By module, call by call."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Moment:
    """Around one step.

    Attributes:
        initial, before, after: parameters by name when training began, before the step, after it.
        gradients: of the mean loss over all shares at `before`, made again without scaler, accumulation or ranks; names
            without one are missing. `last_gradients`: the same of the step before.
        history: what each module without children put out at every step until this one, call by call, in the passes of
            rank 0.
        attended: queries, keys and values that each attention layer was first called with there.
        joined: branches and trunks that each join was called with there.
        signals: gradients of the mean loss over all shares with respect to `outputs`; calls without one are missing.
        parts: at every step, the gradients of equal parts of `part_size` samples that have none in common: of rank 0's
            micro-batches where there are several, else of the probe batch.
        running: mean and variance of batch normalizations before the step.
        network: a float64 copy of the model after the step, in training mode; `previous`: one as it was
            before it; `start`: one as it was before training.
        probe_batch: in float64.
        state: of the optimizer after the step, by parameter; `group`: its settings.
        clip: the norm that gradients were clipped to.
        measured: what the probes found: for what an estimate states of itself.
    """

    initial: Arrays
    before: Arrays
    after: Arrays
    gradients: Arrays
    last_gradients: Arrays
    history: Sequence[Outputs]
    attended: Mapping[str, tuple[Tensor, ...]]
    joined: Mapping[str, Sequence[tuple[Array, Array]]]
    signals: Outputs
    parts: Sequence[Sequence[Arrays]]
    part_size: int
    running: Mapping[str, tuple[Array, Array]]
    network: nn.Module
    previous: nn.Module
    start: nn.Module
    probe_batch: Batch
    state: Mapping[str, Mapping[str, Any]]
    group: Mapping[str, Any]
    clip: float
    measured: Mapping[str, Mapping[str, float]]

    def found(self, metric: str, name: str = "") -> float:
        """What the probe measured; NaN where it did not."""
        return self.measured.get(metric, {}).get(name, math.nan)

    @property
    def outputs(self) -> Outputs:
        """Of this step."""
        return self.history[-1]


def parameters_of(network: nn.Module) -> dict[str, Array]:
    """Copies in float64, tied ones once."""
    return {name: as_array(parameter) for name, parameter in network.named_parameters()}


def as_array(tensor: Tensor) -> Array:
    """A copy in float64."""
    return tensor.detach().to(torch.float64, copy=True).numpy()


def gradients_of(network: nn.Module, shares: Sequence[Batch], mode: Mode) -> dict[str, Array]:
    """Of the mean of the shares' losses, one pass each; in float64 but where the mode has its own numbers."""
    copy = deepcopy(network)
    if mode.autocast is None:
        copy, shares = copy.double(), [(images.double(), targets) for images, targets in shares]
    names = {name: parameter for name, parameter in copy.named_parameters() if parameter.requires_grad}
    total: dict[str, Array] = {}
    for share in shares:
        with mode.numbers():
            loss = loss_of(copy, share)
        found = torch.autograd.grad(loss, list(names.values()), allow_unused=True)
        for name, gradient in zip(names, found, strict=True):
            if gradient is not None:
                total[name] = total.get(name, np.zeros(())) + as_array(gradient) / len(shares)
    return total


@dataclass(frozen=True, eq=False)
class Calls:
    """What happened in forward and backward passes; see `Moment`."""

    outputs: dict[str, list[Array]] = field(default_factory=dict)
    signals: dict[str, list[Array]] = field(default_factory=dict)
    attended: dict[str, tuple[Tensor, ...]] = field(default_factory=dict)
    joined: dict[str, list[tuple[Array, Array]]] = field(default_factory=dict)


def calls_of(network: nn.Module, shares: Sequence[Batch], mode: Mode, *, of: int) -> Calls:
    """Of the modules without children, in the mode's numbers; `shares` are some `of` so many that make the step."""
    copy, calls = deepcopy(network), Calls()
    found: list[tuple[str, Tensor]] = []

    def keep(name: str) -> Callable[[nn.Module, tuple[Any, ...], Tensor], Tensor]:
        def hook(module: nn.Module, arguments: tuple[Any, ...], output: Tensor) -> Tensor:
            calls.outputs.setdefault(name, []).append(as_array(output))
            if hasattr(module, "logits"):
                calls.attended.setdefault(name.rpartition(".")[0], tuple(each.detach().double() for each in arguments))
            if hasattr(module, "summands"):
                calls.joined.setdefault(name, []).append((as_array(arguments[0]), as_array(arguments[1])))
            found.append((name, output))
            return output.clone()  # what is done in place afterwards is done to the copy

        return hook

    for name, module in copy.named_modules():
        if not list(module.children()):
            module.register_forward_hook(keep(name))
    for share in shares:
        found.clear()
        with mode.numbers():
            loss = loss_of(copy, share)
        # a power of two, so that no number becomes too small for float16
        scale = 1024.0 if mode.scales else 1.0
        reached = [(name, output) for name, output in found if output.requires_grad]
        gradients = torch.autograd.grad(scale * loss / of, [output for _, output in reached])
        for (name, _), gradient in zip(reached, gradients, strict=True):
            calls.signals.setdefault(name, []).append(as_array(gradient) / scale)
    return calls
