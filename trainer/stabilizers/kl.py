"""Divergences in the training loss (brief section 11)."""

from collections.abc import Callable

import torch
from torch import Tensor

from gyrostat.spec.kl import VaeKl
from trainer.stabilizers.registry import Registry

DIVERGENCES: Registry[Callable[[Tensor, Tensor], Tensor]] = Registry("divergence")
"""Each gives a function of (mean, log_variance), both (N, latent), to (N,), to add to the loss."""


def gaussian_kl(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(μ, σ²) ‖ N(0, I)) in nats: (N, latent) and (N, latent) to (N,).

    Source: Kingma and Welling 2013, arXiv 1312.6114, appendix B.
    """
    return (mean.square() + log_variance.exp() - 1 - log_variance).sum(1) / 2


def reparametrized(mean: Tensor, log_variance: Tensor, noise: Tensor) -> Tensor:
    """μ + σ·ε, all (N, latent): a draw from the posterior that gradients pass through.

    Source: Kingma and Welling 2013, arXiv 1312.6114, section 2.4.
    """
    return mean + torch.exp(log_variance / 2) * noise


@DIVERGENCES.implements(VaeKl)
def _vae(settings: VaeKl) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda mean, log_variance: settings.beta * gaussian_kl(mean, log_variance)
