"""One step of a training, with all that a reference needs to know of it, in float64 where that loses nothing."""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
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


@dataclass(frozen=True, eq=False, kw_only=True)
class Moment:
    """Around one step.

    Attributes:
        initial, before, after: parameters by name when training began, before the step, after it.
        gradients: of the mean loss over all shares at `before`, made again without scaler, accumulation or ranks; names
            without one are missing. `last_gradients`: the same of the step before.
        outputs: what each module without children put out, call by call, in the passes of rank 0.
        attended: queries, keys and values that each attention layer was first called with there.
        running: mean and variance of batch normalizations before the step.
        network: a float64 copy of the model after the step, in training mode; `previous`: one as it was
            before it; `start`: one as it was before training.
        probe_batch: in float64.
        state: of the optimizer after the step, by parameter; `group`: its settings.
        clip: the norm that gradients were clipped to.
    """

    initial: Arrays
    before: Arrays
    after: Arrays
    gradients: Arrays
    last_gradients: Arrays
    outputs: Mapping[str, Sequence[Array]]
    attended: Mapping[str, tuple[Tensor, ...]]
    running: Mapping[str, tuple[Array, Array]]
    network: nn.Module
    previous: nn.Module
    start: nn.Module
    probe_batch: Batch
    state: Mapping[str, Mapping[str, Any]]
    group: Mapping[str, Any]
    clip: float


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


def outputs_of(
    network: nn.Module, shares: Sequence[Batch], mode: Mode
) -> tuple[dict[str, list[Array]], dict[str, tuple[Tensor, ...]]]:
    """What modules without children put out, and what attention cores were first called with, in the mode's numbers."""
    copy = deepcopy(network)
    outputs: dict[str, list[Array]] = {}
    attended: dict[str, tuple[Tensor, ...]] = {}

    def keep(name: str) -> Callable[[nn.Module, tuple[Any, ...], Tensor], None]:
        def hook(module: nn.Module, arguments: tuple[Any, ...], output: Tensor) -> None:
            outputs.setdefault(name, []).append(as_array(output))
            if hasattr(module, "logits"):
                attended.setdefault(name.rpartition(".")[0], tuple(each.detach().double() for each in arguments))

        return hook

    for name, module in copy.named_modules():
        if not list(module.children()):
            module.register_forward_hook(keep(name))
    with torch.no_grad(), mode.numbers():
        for share in shares:
            loss_of(copy, share)
    return outputs, attended
