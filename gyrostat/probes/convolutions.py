"""Convolutions whose second derivative costs what it should."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.forward_ad import unpack_dual
from torch.autograd.function import once_differentiable
from torch.overrides import TorchFunctionMode

_Sizes = tuple[int, ...]
_How = tuple[_Sizes, _Sizes, _Sizes, int]
"""Stride, padding, dilation and the number of groups."""


class TwiceDifferentiable(TorchFunctionMode):
    """Inside, plain convolutions of one to three dimensions can be differentiated twice at the cost of the arithmetic.

    A Hessian-vector product needs six convolutions a layer where forward and backward pass need three. Torch's own
    double backward forms one of them, that with the kernel's cotangent, as a convolution with a kernel as large as the
    image, which on a CPU takes some three times as long; here all six are such as forward and backward passes are made
    of. Values are the same but for rounding. What is not plain is left to torch: transposed convolutions, padding by
    name, samples without a batch, other kinds of tensors, autocast, forward mode, transforms of `torch.func`, what is
    compiled. A third derivative is refused.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Replaces the functions that modules call."""
        kwargs = kwargs or {}
        if func in _DIMENSIONS and not torch.compiler.is_compiling():
            plain = _plain(_DIMENSIONS[func], *args, **kwargs)
            if plain is not None:
                return _Convolution.apply(*plain)  # type: ignore[no-untyped-call]
        return func(*args, **kwargs)


_DIMENSIONS = {F.conv1d: 1, F.conv2d: 2, F.conv3d: 3}


def _plain(
    dimensions: int,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | _Sizes = 1,
    padding: int | _Sizes | str = 0,
    dilation: int | _Sizes = 1,
    groups: int = 1,
) -> tuple[Tensor, Tensor, Tensor | None, _How] | None:
    """What `_Convolution` is called with; None where it is not for this one."""
    if isinstance(padding, str) or input.ndim != dimensions + 2 or torch.is_autocast_enabled(input.device.type):
        return None
    given = [tensor for tensor in (input, weight, bias) if tensor is not None]
    dual = any(unpack_dual(tensor).tangent is not None for tensor in given)  # type: ignore[no-untyped-call]
    other = any(type(tensor) not in (Tensor, nn.Parameter) for tensor in given)
    if dual or other or torch._C._are_functorch_transforms_active():
        return None
    sizes = [(size,) * dimensions if isinstance(size, int) else tuple(size) for size in (stride, padding, dilation)]
    return input, weight, bias, (sizes[0], sizes[1], sizes[2], groups)


def _convolved(x: Tensor, weight: Tensor, bias: Tensor | None, how: _How) -> Tensor:
    stride, padding, dilation, groups = how
    return torch.convolution(x, weight, bias, stride, padding, dilation, False, (0,) * len(stride), groups)


def _backward(
    cotangent: Tensor,
    x: Tensor,
    weight: Tensor,
    how: _How,
    wanted: tuple[bool, bool, bool],
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    stride, padding, dilation, groups = how
    found: tuple[Tensor | None, Tensor | None, Tensor | None] = torch.ops.aten.convolution_backward(
        cotangent,
        x,
        weight,
        [weight.shape[0]],
        stride,
        padding,
        dilation,
        False,
        (0,) * len(stride),
        groups,
        wanted,
    )
    return found


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, how: Any) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.how = how
        return _convolved(x, weight, bias, how)

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> Any:
        wanted = ctx.needs_input_grad[:3]
        return (*_Backward.apply(cotangent, *ctx.saved_tensors, ctx.how, wanted), None)  # type: ignore[no-untyped-call]


class _Backward(torch.autograd.Function):
    """Of y = x*w + b with the cotangent ȳ: the cotangents of x, w and b. Linear in ȳ, and in w and x one at a time."""

    @staticmethod
    def forward(ctx: Any, cotangent: Tensor, x: Tensor, weight: Tensor, how: Any, wanted: Any) -> Any:
        ctx.save_for_backward(cotangent, x, weight)
        ctx.how = how
        ctx.set_materialize_grads(False)
        return _backward(cotangent, x, weight, how, wanted)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, along_x: Tensor | None, along_weight: Tensor | None, along_bias: Tensor | None) -> Any:
        cotangent, x, weight = ctx.saved_tensors
        of_cotangent, of_x, of_weight = None, None, None
        if along_x is not None:
            of_cotangent = _convolved(along_x, weight, along_bias, ctx.how)
            if ctx.needs_input_grad[2]:
                _, of_weight, _ = _backward(cotangent, along_x, weight, ctx.how, (False, True, False))
        if along_weight is not None:
            bias = along_bias if along_x is None else None
            with_weight = _convolved(x, along_weight, bias, ctx.how)
            of_cotangent = with_weight if of_cotangent is None else of_cotangent.add_(with_weight)
            if ctx.needs_input_grad[1]:
                of_x, _, _ = _backward(cotangent, x, along_weight, ctx.how, (True, False, False))
        if of_cotangent is None and along_bias is not None:
            of_cotangent = along_bias.view(1, -1, *(1,) * (cotangent.ndim - 2)).expand_as(cotangent)
        return of_cotangent, of_x, of_weight, None, None
