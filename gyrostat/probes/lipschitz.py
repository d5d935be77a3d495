"""How much a network can stretch differences of its inputs at most: a bound from its layers' own constants."""

import math
from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.modules.pooling import _MaxPoolNd

from gyrostat.probes.network import Network

LogOf = Callable[[nn.Module], Tensor]
"""A module to the natural logarithm of its Lipschitz constant, or of a bound: 0-dim, ∞ where none is known."""


@runtime_checkable
class TellsLipschitz(Protocol):
    """A module whose parts do not simply run one after another, and which knows how they do."""

    def log_lipschitz(self, of: LogOf) -> Tensor:
        """The logarithm of its own constant, from those `of` its parts."""
        ...


_AT_MOST_ONE = (
    nn.ReLU, nn.ReLU6, nn.Hardtanh, nn.Tanh, nn.LogSigmoid, nn.Softplus, nn.CELU, nn.Softsign, nn.Tanhshrink,
    nn.Softshrink, nn.Identity, nn.Flatten, nn.Unflatten, nn.PixelShuffle, nn.ChannelShuffle, _DropoutNd,
)  # fmt: skip
_STEEPEST: dict[type[nn.Module], float] = {
    nn.Sigmoid: 1 / 4, nn.Hardsigmoid: 0.1667, nn.Hardswish: 1.5, nn.GELU: 1.1291, nn.SiLU: 1.0999, nn.Mish: 1.0885,
    nn.SELU: 1.7581,
}  # fmt: skip
"""Largest slopes, rounded up."""


class LipschitzBound:
    """Π of the constants of a network's layers in eval mode, in the Euclidean norm.

    Operator norms of linear layers and convolutions, max|γ|/√(running variance + ε) of batch normalizations, largest
    slopes of activations, √(windows that a value is in, at most) of max pooling. Modules are taken to run one after
    another, each once, but for those that tell otherwise by a method `log_lipschitz`. What has no constant (attention:
    Kim et al. 2020, arXiv 2006.04710), one that is useless (layer, group and instance normalization: 1/√ε) or none that
    is known here makes the bound infinite; so does a module that has parameters beside those of its parts.

    Source: Szegedy et al. 2013, arXiv 1312.6199, section 4.3; Gouk et al. 2018, arXiv 1804.04368, section 3.
    """

    def __init__(self, network: Network) -> None:
        self._model = network.model
        places = {name: at for at, name in enumerate(network.matrices)}
        self._places = {layer: places[name] for layer, name in network.weights().items()}
        ones = torch.ones(len(places), device=network.device)
        self._known = self._of(self._model, ones.double().log()).item() < math.inf

    def log(self, norms: Tensor) -> Tensor | None:
        """Its natural logarithm, 0-dim, from the operator norms (matrices,); None where it is infinite."""
        return self._of(self._model, norms.double().log()) if self._known else None

    def _of(self, module: nn.Module, logs: Tensor) -> Tensor:
        nothing = logs.new_zeros(())
        if isinstance(module, TellsLipschitz):
            return module.log_lipschitz(lambda part: self._of(part, logs))
        if isinstance(module, nn.Linear | _ConvNd):
            return logs[self._places[module]] if module in self._places else nothing + math.inf
        if isinstance(module, _BatchNorm):
            return nothing + _log_of_normalization(module)
        if (steepest := _steepest(module)) is not None:
            return nothing + steepest.log() if isinstance(steepest, Tensor) else nothing + math.log(steepest)
        parts = list(module.children())
        if not parts and getattr(module, "stochastic", False):
            return nothing  # noise, which rests in eval
        if not parts or any(True for _ in module.parameters(recurse=False)):
            return nothing + math.inf
        return sum((self._of(part, logs) for part in parts), start=nothing)


def _log_of_normalization(layer: _BatchNorm) -> Tensor | float:
    if layer.running_var is None:
        return math.inf
    gains = 1 / (layer.running_var.double() + layer.eps).sqrt()
    if layer.weight is not None:
        gains = gains * layer.weight.detach().abs()
    return gains.max().log()


def _steepest(module: nn.Module) -> Tensor | float | None:
    """The largest slope of a module without weights; None where it is not known."""
    if isinstance(module, _AT_MOST_ONE):
        return 1.0
    if type(module) in _STEEPEST:
        return _STEEPEST[type(module)]
    if isinstance(module, nn.ELU):
        return max(1.0, abs(module.alpha))
    if isinstance(module, nn.LeakyReLU):
        return max(1.0, abs(module.negative_slope))
    if isinstance(module, nn.PReLU):
        return module.weight.detach().double().abs().max().clamp_min(1)
    if isinstance(module, _MaxPoolNd):
        return math.sqrt(_windows(module))
    if isinstance(module, nn.AvgPool1d | nn.AvgPool2d | nn.AvgPool3d):
        return 1.0 if getattr(module, "divisor_override", None) is None else None
    if isinstance(module, nn.AdaptiveAvgPool1d | nn.AdaptiveAvgPool2d | nn.AdaptiveAvgPool3d):
        return 1.0 if _all_one(module.output_size) else None
    return None


def _windows(pool: _MaxPoolNd) -> int:
    """How many windows a value can be in."""
    dims = 1 if isinstance(pool, nn.MaxPool1d) else 2 if isinstance(pool, nn.MaxPool2d) else 3
    lengths, steps, reach = (
        each if isinstance(each, tuple) else (each,) * dims for each in (pool.kernel_size, pool.stride, pool.dilation)
    )
    of_axes = zip(lengths, steps, reach, strict=True)
    return math.prod(math.ceil(length / step) if apart == 1 else length for length, step, apart in of_axes)


def _all_one(size: object) -> bool:
    return all(each == 1 for each in size) if isinstance(size, tuple) else size == 1
