"""Linearized training (brief section 8)."""

import math
import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.func import functional_call
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from gyrostat.spec.linearized import Linearized
from trainer.stabilizers.registry import Registry

LINEARIZATIONS: Registry[nn.Module] = Registry("linearization")


def linearize(network: nn.Module, settings: Linearized | None) -> nn.Module:
    """The network's linearization around its present parameters, or for None the network itself."""
    return network if settings is None else LINEARIZATIONS.of(settings)(network, settings)


@LINEARIZATIONS.implements(Linearized)
class Linearization(nn.Module):
    """f(x; θ₀) + ∇f(x; θ₀)·(θ − θ₀) (Lee et al. 2019, arXiv 1902.06720, eq. 5).

    Its children and parameters θ are those of the network, under the network's names; θ₀ are buffers of the child
    `start`, whose names have `/` for the dots. At θ = θ₀ it is the network, bit for bit. Hooks on the children see the
    network at θ₀, whatever θ is.

    The product with the Jacobian is forward-mode differentiation: on plain dual tensors rather than in
    `torch.func.jvp`, which computes the same, because hooks may keep what they see. Forward mode has no rule for fused
    attention, so that is off inside.

    Args:
        network: one that, called with the same, answers the same (but for dropout), and moves no buffer.
    """

    def __init__(self, network: nn.Module, settings: Linearized) -> None:
        super().__init__()
        # not a child of its own: its parameters would be there twice, and renamed
        self._network = (network,)
        for name, child in network.named_children():
            self.add_module(name, child)
        for name, parameter in network.named_parameters(recurse=False):
            self.register_parameter(name, parameter)
        self.start = nn.Module()
        for name, parameter in network.named_parameters():
            self.start.register_buffer(_flat(name), parameter.detach().clone())
        self.train(network.training)
        _prepare_forward_mode()

    def train(self, mode: bool = True) -> "Linearization":
        """As of any module, and of the network, which is not a child."""
        self._network[0].training = mode
        return super().train(mode)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Whatever the network takes, to the shape of its answer."""
        (network,) = self._network
        in_steps = torch.is_grad_enabled() and any(each.requires_grad for each in inputs)
        with forward_ad.dual_level(), sdpa_kernel(SDPBackend.MATH), _InSteps() if in_steps else nullcontext():
            duals = {}
            for name, parameter in network.named_parameters():
                start = self.start.get_buffer(_flat(name))
                duals[name] = forward_ad.make_dual(start, parameter - start)  # type: ignore[no-untyped-call]
            answer = functional_call(network, duals, inputs)
            value, change = forward_ad.unpack_dual(answer)  # type: ignore[no-untyped-call]
            expanded: Tensor = value if change is None else value + change
            return expanded


class _InSteps(TorchFunctionMode):
    """Computes in single steps what torch has one rule of forward mode for that has no right derivative of its own.

    A gradient with respect to the inputs differentiates those rules: that of softmax raises, and those of the
    normalizations take mean and deviation for constants, which is silently wrong.
    """

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return _STEPS.get(function, function)(*args, **(kwargs or {}))


def _standardized(x: Tensor, dims: tuple[int, ...], eps: float) -> Tensor:
    away = x - x.mean(dims, keepdim=True)
    return away / (away.square().mean(dims, keepdim=True) + eps).sqrt()


def _affine(x: Tensor, weight: Tensor | None, bias: Tensor | None, shape: tuple[int, ...]) -> Tensor:
    x = x if weight is None else x * weight.view(shape)
    return x if bias is None else x + bias.view(shape)


def _layer_norm(
    x: Tensor, shape: Sequence[int], weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    return _affine(_standardized(x, tuple(range(-len(shape), 0)), eps), weight, bias, tuple(shape))


def _group_norm(
    x: Tensor, groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    normed = _standardized(x.reshape(len(x), groups, -1), (2,), eps).view(x.shape)
    return _affine(normed, weight, bias, (1, -1, *[1] * (x.dim() - 2)))


def _instance_norm(
    x: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    if not use_input_stats:
        fixed: Tensor = functional.instance_norm(x, running_mean, running_var, weight, bias, False, momentum, eps)
        return fixed
    return _group_norm(x, x.shape[1], weight, bias, eps)


def _softmax(logits: Tensor, dim: int) -> Tensor:
    # softmax does not depend on what is taken away, so that may be a constant
    largest = forward_ad.unpack_dual(logits).primal.detach().amax(dim, keepdim=True)  # type: ignore[no-untyped-call]
    powers: Tensor = (logits - largest).exp()
    return powers / powers.sum(dim, keepdim=True)


def _attention(query: Tensor, key: Tensor, value: Tensor, *, is_causal: bool = False) -> Tensor:
    logits = query @ key.mT / math.sqrt(query.shape[-1])
    if is_causal:
        future = torch.ones(logits.shape[-2:], dtype=torch.bool, device=logits.device).triu(1)
        logits = logits.masked_fill(future, -math.inf)
    return _softmax(logits, -1) @ value


_STEPS: dict[Any, Callable[..., Tensor]] = {
    functional.layer_norm: _layer_norm,
    functional.group_norm: _group_norm,
    functional.instance_norm: _instance_norm,
    functional.scaled_dot_product_attention: _attention,
    Tensor.softmax: _softmax,
}


def _flat(name: str) -> str:
    return name.replace(".", "/")


def _prepare_forward_mode() -> None:
    """Lets torch load its rules of forward mode, which at their first use go through a deprecated part of its own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        with forward_ad.dual_level():
            forward_ad.make_dual(torch.zeros(()), torch.zeros(()))  # type: ignore[no-untyped-call]
