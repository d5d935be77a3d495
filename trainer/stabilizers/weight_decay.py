"""Weight decay as a choice of its own (brief section 4): carried out just before the optimizer's step.

It is a hook of the optimizer's step, so that a step that is skipped, as with an overflowing loss scale, decays nothing.
What decays is named in the optimizer's param groups, `coupled_decay` or `decoupled_decay`, where the probe of the
stability limit reads it.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from gyrostat.spec.weight_decay import CoupledDecay, DecoupledDecay, WeightDecay
from trainer.stabilizers.registry import Registry

DECAYS: Registry[None] = Registry("weight_decay")


def install(settings: WeightDecay, optimizer: Optimizer) -> None:
    """From now on decays, before each step, the parameters of `optimizer` that `settings` is for.

    A group must hold only parameters that are decayed or only such that are not.
    """
    key, law = f"{settings.kind}_decay", DECAYS.of(settings)
    for group in optimizer.param_groups:
        group[key] = settings.rate if all(is_decayed(settings, p) for p in group["params"]) else 0.0

    def hook(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        for group in optimizer.param_groups:
            moved = [p for p in group["params"] if p.grad is not None]
            if moved and group[key]:
                law(moved, group[key], group["lr"])

    optimizer.register_step_pre_hook(hook)


def is_decayed(settings: WeightDecay, parameter: Tensor) -> bool:
    """Whether it is for this parameter: matrices, kernels and embeddings, and, if asked for, biases and norm gains."""
    return settings.vectors or parameter.ndim > 1


@DECAYS.implements(CoupledDecay)
@torch.no_grad()
def coupled(parameters: Sequence[Tensor], decay: float, learning_rate: float) -> None:
    """Gradients g ← g + λ·θ (Loshchilov and Hutter 2017, arXiv 1711.05101, algorithm 1)."""
    torch._foreach_add_([p.grad for p in parameters if p.grad is not None], list(parameters), alpha=decay)


@DECAYS.implements(DecoupledDecay)
@torch.no_grad()
def decoupled(parameters: Sequence[Tensor], decay: float, learning_rate: float) -> None:
    """Weights θ ← (1 − η·λ)·θ (Loshchilov and Hutter 2017, arXiv 1711.05101, algorithm 2)."""
    torch._foreach_mul_(list(parameters), 1 - learning_rate * decay)
