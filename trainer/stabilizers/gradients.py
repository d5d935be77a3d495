"""Gradient flow regulators that act between backward and the optimizer (brief section 3)."""

from collections.abc import Iterable

import torch
from torch import Tensor

from gyrostat.spec.gradients import Clip, ClipNorm
from trainer.stabilizers.registry import Registry

CLIPS: Registry[Tensor] = Registry("clip")


def clip(parameters: Iterable[Tensor], settings: Clip | None) -> Tensor | None:
    """Clips the gradients in place; answers their global norm before that, as a 0-dim tensor that is not waited for.

    None clips nothing and answers None. Call it after unscaling and after all micro-batches. Parameters without a
    gradient are passed over.
    """
    if settings is None:
        return None
    return CLIPS.of(settings)([p.grad for p in parameters if p.grad is not None], settings)


@torch.no_grad()
def clip_norm(gradients: list[Tensor], max_norm: float) -> Tensor:
    """Clips in place to g / max(1, ‖g‖₂/τ), ‖g‖₂ over all `gradients` together; answers ‖g‖₂ before.

    Below τ the gradients stay bit for bit: unlike torch's `clip_grad_norm_`, no small constant is added to the norm.
    A gradient with an infinity or NaN is not hidden: with an infinity, what is infinite becomes NaN and the rest 0;
    with a NaN, everything becomes NaN.

    Source: Pascanu, Mikolov and Bengio 2012, arXiv 1211.5063, algorithm 1.
    """
    norm = torch.nn.utils.get_total_norm(gradients)
    if gradients:
        torch._foreach_mul_(gradients, 1 / torch.clamp(norm / max_norm, min=1))
    return norm


@CLIPS.implements(ClipNorm)
def _norm(gradients: list[Tensor], settings: ClipNorm) -> Tensor:
    return clip_norm(gradients, settings.max_norm)
