"""Gradient flow regulators that act between backward and the optimizer (brief section 3)."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from gyrostat.spec.gradients import Clip, ClipAdaptive, ClipNorm, ClipValue
from trainer.stabilizers.registry import Registry


class Clipped(NamedTuple):
    """What clipping did, as 0-dim tensors that are not waited for.

    Attributes:
        factor: ‖g‖₂ after over before; 1 where nothing was clipped, or there was no gradient.
        fraction: share of the gradients' elements in what was scaled down: by norm all or none, by value the elements
            beyond the limit, adaptive those of the units beyond their bound.
    """

    factor: Tensor
    fraction: Tensor


CLIPS: Registry[Clipped] = Registry("clip")


def clip(parameters: Iterable[Tensor], settings: Clip | None) -> Clipped | None:
    """Clips the gradients in place, and tells what that did. None clips nothing and answers None.

    Call it after unscaling and after all micro-batches. Parameters without a gradient are passed over.
    """
    if settings is None:
        return None
    return CLIPS.of(settings)([p for p in parameters if p.grad is not None], settings)


@torch.no_grad()
def clip_norm(gradients: list[Tensor], max_norm: float) -> Clipped:
    """Clips in place to g / max(1, ‖g‖₂/τ), ‖g‖₂ over all `gradients` together.

    Below τ the gradients stay bit for bit: unlike torch's `clip_grad_norm_`, no small constant is added to the norm.
    A gradient with an infinity or NaN is not hidden: with an infinity, what is infinite becomes NaN and the rest 0;
    with a NaN, everything becomes NaN.

    Source: Pascanu, Mikolov and Bengio 2012, arXiv 1211.5063, algorithm 1.
    """
    factor = 1 / torch.clamp(torch.nn.utils.get_total_norm(gradients) / max_norm, min=1)
    if gradients:
        torch._foreach_mul_(gradients, factor)
    return Clipped(factor, (factor < 1).to(factor.dtype))


@torch.no_grad()
def clip_value(gradients: list[Tensor], max_value: float) -> Clipped:
    """Clips each element in place to [−τ, τ]. NaNs stay.

    Source: Mikolov 2012, Statistical Language Models Based on Neural Networks, PhD thesis, Brno.
    """
    before = torch.nn.utils.get_total_norm(gradients)
    beyond = [(gradient.abs() > max_value).sum() for gradient in gradients]
    if gradients:
        torch._foreach_clamp_min_(gradients, -max_value)
        torch._foreach_clamp_max_(gradients, max_value)
    return _compared(gradients, before, beyond)


@torch.no_grad()
def clip_adaptive(parameters: Sequence[Tensor], ratio: float, eps: float) -> Clipped:
    """Scales each unit's gradient in place to at most λ·max(‖wᵢ‖, ε).

    A unit is a row of a matrix, a kernel of a convolution, or a whole vector. A unit whose gradient is below the bound
    stays bit for bit. A unit's NaNs make all of it NaN, its infinities NaN and the rest of it 0.

    Source: Brock et al. 2021, arXiv 2102.06171, eq. 3; units as in the paper's code.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    before = torch.nn.utils.get_total_norm(gradients)
    beyond: list[Tensor] = []
    for weight, gradient in zip(parameters, gradients, strict=True):
        bound = ratio * _unit_norms(weight).clamp(min=eps)
        # at least 1, so that what stays below the bound is multiplied by 1 exactly
        excess = torch.clamp(_unit_norms(gradient) / bound, min=1)
        gradient.div_(excess)
        beyond.append((excess > 1).sum() * (gradient.numel() // max(1, excess.numel())))
    return _compared(gradients, before, beyond)


def _unit_norms(tensor: Tensor) -> Tensor:
    """‖·‖₂ of each slice along the first axis, shaped to divide `tensor`; of vectors, the whole one's."""
    over = tuple(range(1, tensor.ndim)) or None
    norms: Tensor = torch.linalg.vector_norm(tensor, dim=over, keepdim=True)
    return norms


def _compared(gradients: Sequence[Tensor], before: Tensor, beyond: Sequence[Tensor]) -> Clipped:
    """From ‖g‖₂ before and the number of clipped elements of each gradient."""
    after, one = torch.nn.utils.get_total_norm(gradients), torch.ones_like(before)
    count = sum(gradient.numel() for gradient in gradients)
    clipped = torch.stack([each.to(before) for each in beyond]).sum() if beyond else 0 * one
    return Clipped(torch.where(before == 0, one, after / before), clipped / max(1, count))


@CLIPS.implements(ClipNorm)
def _norm(parameters: list[Tensor], settings: ClipNorm) -> Clipped:
    return clip_norm([p.grad for p in parameters if p.grad is not None], settings.max_norm)


@CLIPS.implements(ClipValue)
def _value(parameters: list[Tensor], settings: ClipValue) -> Clipped:
    return clip_value([p.grad for p in parameters if p.grad is not None], settings.max_value)


@CLIPS.implements(ClipAdaptive)
def _adaptive(parameters: list[Tensor], settings: ClipAdaptive) -> Clipped:
    return clip_adaptive(parameters, settings.ratio, settings.eps)
