"""Weight initialization (brief section 3)."""

import math
from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from gyrostat.probes.undisturbed import undisturbed
from gyrostat.spec.activations import Activation
from gyrostat.spec.initialization import (
    HeNormal,
    HeUniform,
    Initialization,
    Lsuv,
    Orthogonal,
    XavierNormal,
    XavierUniform,
    ZeroLast,
)
from trainer.stabilizers import activations
from trainer.stabilizers.registry import Registry

LAWS: Registry[Tensor] = Registry("init")
STARTS: Registry[None] = Registry("start of branches")


@torch.no_grad()
def initialize(
    model: nn.Module,
    settings: Initialization | None,
    activation: Activation,
    *,
    zero_last: ZeroLast | None = None,
    inputs: tuple[Tensor, ...] = (),
) -> None:
    """Draws the weights of all linear, convolution and embedding layers by the law, and sets their biases to 0.

    The output layer is included; normalization layers keep gain 1 and shift 0. Draws from torch's global generator, in
    the order of the model's modules. None leaves everything as torch made it. Then `zero_last` makes residual branches
    start at zero, and laws that look at data call the model with `inputs`, those of a batch, on any device.
    """
    if settings is not None:
        gain = getattr(settings, "gain", None) or activations.gain(activation)
        law = LAWS.of(settings)
        for layer in _drawn(model):
            law(layer.weight, settings, gain)
            if not isinstance(layer, nn.Embedding) and layer.bias is not None:
                nn.init.zeros_(layer.bias)
    if zero_last is not None:
        STARTS.of(zero_last)(zero_last, model)
    if isinstance(settings, Lsuv):
        scale_to_unit_variance(model, inputs, settings.tolerance, settings.max_iterations)


def _drawn(model: nn.Module) -> Iterator[nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Embedding]:
    """The layers whose weights a law draws."""
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Embedding):
            yield module


def fan(weight: Tensor, mode: Literal["fan_in", "fan_out"]) -> int:
    """Connections into (or out of) one unit of a weight (out, in, *kernel)."""
    units = weight.shape[1] if mode == "fan_in" else weight.shape[0]
    return units * math.prod(weight.shape[2:])


@LAWS.implements(XavierUniform)
def _xavier_uniform(weight: Tensor, settings: XavierUniform, gain: float) -> Tensor:
    return nn.init.xavier_uniform_(weight, gain)


@LAWS.implements(XavierNormal)
def _xavier_normal(weight: Tensor, settings: XavierNormal, gain: float) -> Tensor:
    return nn.init.xavier_normal_(weight, gain)


@LAWS.implements(HeUniform)
def _he_uniform(weight: Tensor, settings: HeUniform, gain: float) -> Tensor:
    bound = gain * math.sqrt(3 / fan(weight, settings.mode))
    return nn.init.uniform_(weight, -bound, bound)


@LAWS.implements(HeNormal)
def _he_normal(weight: Tensor, settings: HeNormal, gain: float) -> Tensor:
    return nn.init.normal_(weight, 0.0, gain / math.sqrt(fan(weight, settings.mode)))


@LAWS.implements(Orthogonal)
def _orthogonal(weight: Tensor, settings: Orthogonal, gain: float) -> Tensor:
    return nn.init.orthogonal_(weight, gain)


@LAWS.implements(Lsuv)
def _orthonormal(weight: Tensor, settings: Lsuv, gain: float) -> Tensor:
    return nn.init.orthogonal_(weight)  # the gain is what the data will say


@torch.no_grad()
def scale_to_unit_variance(model: nn.Module, inputs: tuple[Tensor, ...], tolerance: float, max_iterations: int) -> None:
    """Divides each layer's weight by the standard deviation of its output, layer after layer in order of execution.

    One forward pass does it for all layers, since what a layer puts out is divided too before the next one sees it.
    Passes are repeated until every variance is within `tolerance` of 1, at most `max_iterations` times: only where
    layers share weights, or are called several times, is more than one needed. Biases must be 0. Layers that are not
    called, or whose output does not vary, are left, and so are those with a condition beside their input, which add to
    what they are given. The model is in train mode without dropout; its buffers, its mode and the random states are
    left as they are.

    Source: Mishkin and Matas 2015, arXiv 1511.06422, algorithm 1.
    """
    device = next(model.parameters()).device
    inputs = tuple(tensor.to(device) for tensor in inputs)
    settled = False

    def scale(layer: nn.Module, _: object, output: Tensor) -> Tensor:
        nonlocal settled
        variance = output.double().var(correction=0)
        if abs(variance - 1) <= tolerance or not variance.isfinite() or variance == 0:
            return output
        settled = False
        layer.get_parameter("weight").div_(variance.sqrt())
        return output / variance.sqrt().to(output.dtype)

    layers = [layer for layer in _drawn(model) if not getattr(layer, "conditional", False)]
    handles = [layer.register_forward_hook(scale) for layer in layers]
    try:
        for _ in range(max_iterations):
            if settled:
                break
            settled = True
            with undisturbed(model), torch.no_grad():
                model(*inputs)
    finally:
        for handle in handles:
            handle.remove()


@STARTS.implements(ZeroLast)
@torch.no_grad()
def _zero_last(settings: ZeroLast, model: nn.Module) -> None:
    for end in branch_ends(model):
        for parameter in end.parameters(recurse=False):
            nn.init.zeros_(parameter)


def branch_ends(model: nn.Module) -> Iterator[nn.Module]:
    """Of each branch, the last linear layer, convolution or norm with a gain: with zeros for parameters it puts out 0.

    A module that joins branches has a method `branches` that gives, for each join, the parts of its branch in the order
    in which they run. Within a part modules lie in that order too (`trainer.models`).
    """
    for module in model.modules():
        for branch in getattr(module, "branches", tuple)():
            ends = [layer for part in branch for layer in part.modules() if _ends_branches(layer)]
            yield from ends[-1:]


_ENDS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, _NormBase)


def _ends_branches(layer: nn.Module) -> bool:
    return isinstance(layer, _ENDS) and not getattr(layer, "conditional", False)
