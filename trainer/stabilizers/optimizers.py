"""Optimizers (brief section 9)."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from torch import Tensor, nn, optim

from gyrostat.spec.optimizers import Adam, AdamW, Lion, Muon, Optimizer, RmsProp, Sam, ScheduleFree, Sgd
from gyrostat.spec.weight_decay import DecoupledDecay, WeightDecay
from trainer.stabilizers import own_optimizers, weight_decay
from trainer.stabilizers.registry import Registry

OPTIMIZERS: Registry[optim.Optimizer] = Registry("optimizer")

Decays = Callable[[Tensor], bool]
"""Whether a parameter is one of those that weight decay is for."""


def build(settings: Optimizer, model: nn.Module, decay: WeightDecay | None = None) -> optim.Optimizer:
    """An optimizer of all the model's parameters, at the settings' own learning rate.

    `decay` stands in for the optimizer's own weight decay, which is then 0. Schedule-free optimizers carry a decoupled
    one out themselves: it must act on their z, which no hook reaches.
    """
    if decay is None:
        return OPTIMIZERS.of(settings)(settings, model, None)
    inside = isinstance(settings, ScheduleFree) and isinstance(decay, DecoupledDecay)
    changed = _with_decay(settings, decay.rate if inside else 0.0)
    optimizer = OPTIMIZERS.of(changed)(changed, model, lambda p: weight_decay.is_decayed(decay, p))
    if not inside:
        weight_decay.install(decay, optimizer)
    return optimizer


def averaged(optimizer: optim.Optimizer) -> AbstractContextManager[None]:
    """Inside, the parameters are the result of the training so far, which schedule-free optimizers keep apart.

    Validation and checkpoints belong in here. For all other optimizers it does nothing.
    """
    return optimizer.averaged() if isinstance(optimizer, own_optimizers.ScheduleFree) else nullcontext()


def kind(optimizer: optim.Optimizer) -> str:
    """What must be equal for one optimizer to take up another's state."""
    return str(getattr(optimizer, "kind", type(optimizer).__name__))


def decayed(parameter: Tensor) -> bool:
    """Whether decoupled weight decay applies: to matrices, kernels and embeddings, not to biases and norm gains."""
    return parameter.ndim > 1


def _with_decay(settings: Optimizer, rate: float) -> Optimizer:
    if isinstance(settings, Sam):
        return settings.model_copy(update={"base": _with_decay(settings.base, rate)})
    return settings.model_copy(update={"weight_decay": rate})


def _groups(parameters: Iterable[Tensor], decay: float, decays: Decays | None) -> list[dict[str, Any]]:
    """Param groups of those that are decayed and of those that are not, as far as there are any; None decays all."""
    every = list(parameters)
    kept = [] if decays is None else [p for p in every if not decays(p)]
    left = {id(p) for p in kept}
    groups = [
        {"params": [p for p in every if id(p) not in left], "weight_decay": decay},
        {"params": kept, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


@OPTIMIZERS.implements(Sgd)
def _sgd(settings: Sgd, model: nn.Module, decays: Decays | None) -> optim.Optimizer:
    return optim.SGD(
        _groups(model.parameters(), settings.weight_decay, decays),
        lr=settings.learning_rate,
        momentum=settings.momentum,
        nesterov=settings.nesterov,
        foreach=True,
    )


@OPTIMIZERS.implements(RmsProp)
def _rmsprop(settings: RmsProp, model: nn.Module, decays: Decays | None) -> optim.Optimizer:
    return optim.RMSprop(
        _groups(model.parameters(), settings.weight_decay, decays),
        lr=settings.learning_rate,
        alpha=settings.alpha,
        eps=settings.eps,
        momentum=settings.momentum,
        foreach=True,
    )


@OPTIMIZERS.implements(Adam)
def _adam(settings: Adam, model: nn.Module, decays: Decays | None) -> optim.Optimizer:
    return optim.Adam(
        _groups(model.parameters(), settings.weight_decay, decays),
        lr=settings.learning_rate,
        betas=(settings.beta1, settings.beta2),
        eps=settings.eps,
        foreach=True,
    )


@OPTIMIZERS.implements(AdamW)
def _adamw(settings: AdamW, model: nn.Module, decays: Decays | None) -> optim.Optimizer:
    return optim.AdamW(
        _groups(model.parameters(), settings.weight_decay, decays or decayed),
        lr=settings.learning_rate,
        betas=(settings.beta1, settings.beta2),
        eps=settings.eps,
        foreach=True,
    )


@OPTIMIZERS.implements(Lion)
def _lion(settings: Lion, model: nn.Module, decays: Decays | None) -> optim.Optimizer:
    return own_optimizers.Lion(
        _groups(model.parameters(), settings.weight_decay, decays or decayed),
        lr=settings.learning_rate,
        betas=(settings.beta1, settings.beta2),
    )


@OPTIMIZERS.implements(Muon)
def _muon(settings: Muon, model: nn.Module, decays: Decays | None) -> optim.Optimizer:
    rate, decay, decays = settings.learning_rate, settings.weight_decay, decays or decayed
    matrices = own_optimizers.hidden_matrices(model)
    chosen = {id(p) for p in matrices}
    parts: list[optim.Optimizer] = []
    if matrices:
        groups = _groups(matrices, decay, decays)
        parts.append(own_optimizers.Matrices(groups, lr=rate, momentum=settings.momentum))
    if rest := _groups([p for p in model.parameters() if id(p) not in chosen], decay, decays):
        parts.append(optim.AdamW(rest, lr=rate, betas=(settings.beta1, settings.beta2), foreach=True))
    return own_optimizers.Together(parts)


@OPTIMIZERS.implements(ScheduleFree)
def _schedule_free(settings: ScheduleFree, model: nn.Module, decays: Decays | None) -> optim.Optimizer:
    return own_optimizers.ScheduleFree(
        _groups(model.parameters(), settings.weight_decay, decays or decayed),
        settings.base,
        lr=settings.learning_rate,
        beta=settings.beta,
        beta2=settings.beta2,
        eps=settings.eps,
    )


@OPTIMIZERS.implements(Sam)
def _sam(settings: Sam, model: nn.Module, decays: Decays | None) -> optim.Optimizer:
    base = OPTIMIZERS.of(settings.base)(settings.base, model, decays)
    return own_optimizers.Sam(base, rho=settings.rho, adaptive=settings.adaptive)
