"""Optimizers (brief section 9)."""

from torch import Tensor, nn, optim

from gyrostat.spec.optimizers import AdamW, Optimizer, Sgd
from trainer.stabilizers.registry import Registry

OPTIMIZERS: Registry[optim.Optimizer] = Registry("optimizer")


def build(settings: Optimizer, model: nn.Module) -> optim.Optimizer:
    """An optimizer of all the model's parameters, at the settings' own learning rate."""
    return OPTIMIZERS.of(settings)(settings, model)


def decayed(parameter: Tensor) -> bool:
    """Whether decoupled weight decay applies: to matrices, kernels and embeddings, not to biases and norm gains."""
    return parameter.ndim > 1


@OPTIMIZERS.implements(Sgd)
def _sgd(settings: Sgd, model: nn.Module) -> optim.Optimizer:
    return optim.SGD(
        model.parameters(),
        lr=settings.learning_rate,
        momentum=settings.momentum,
        nesterov=settings.nesterov,
        weight_decay=settings.weight_decay,
        foreach=True,
    )


@OPTIMIZERS.implements(AdamW)
def _adamw(settings: AdamW, model: nn.Module) -> optim.Optimizer:
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if decayed(p)], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if not decayed(p)], "weight_decay": 0.0},
    ]
    return optim.AdamW(
        [group for group in groups if group["params"]],
        lr=settings.learning_rate,
        betas=(settings.beta1, settings.beta2),
        eps=settings.eps,
        foreach=True,
    )
