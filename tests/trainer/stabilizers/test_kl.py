"""The divergence of a variational posterior against torch.distributions and against its definition, by draws."""

import torch
from torch.distributions import Independent, Normal, kl_divergence

from gyrostat.spec.kl import VaeKl
from trainer.stabilizers import kl


def _parameters() -> tuple[torch.Tensor, torch.Tensor]:
    source = torch.Generator().manual_seed(0)
    mean, log_variance = torch.randn(2, 5, 3, dtype=torch.float64, generator=source)
    return mean, log_variance


def test_it_is_the_closed_form_of_torch_distributions() -> None:
    mean, log_variance = _parameters()
    posterior = Independent(Normal(mean, (log_variance / 2).exp()), 1)
    prior = Independent(Normal(torch.zeros_like(mean), torch.ones_like(mean)), 1)
    torch.testing.assert_close(kl.gaussian_kl(mean, log_variance), kl_divergence(posterior, prior))


def test_it_is_the_mean_of_log_ratios_over_draws_of_the_reparametrized_posterior() -> None:
    mean, log_variance = _parameters()
    noise = torch.randn(200_000, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    for mu, log_var in zip(mean, log_variance, strict=True):
        draws = kl.reparametrized(mu, log_var, noise)
        ratio = Normal(mu, (log_var / 2).exp()).log_prob(draws) - Normal(0.0, 1.0).log_prob(draws)
        exact = kl.gaussian_kl(mu[None], log_var[None])[0]
        total = ratio.sum(1)
        assert abs(total.mean() - exact) < 5 * total.std() / len(total) ** 0.5


def test_it_is_zero_for_the_prior_and_weighs_by_beta() -> None:
    assert kl.gaussian_kl(torch.zeros(2, 4), torch.zeros(2, 4)).tolist() == [0.0, 0.0]
    mean, log_variance = _parameters()
    settings = VaeKl(beta=0.25)
    weighted = kl.DIVERGENCES.of(settings)(settings)(mean, log_variance)
    torch.testing.assert_close(weighted, 0.25 * kl.gaussian_kl(mean, log_variance))


def test_its_gradient_is_that_of_finite_differences() -> None:
    mean, log_variance = (each.requires_grad_() for each in _parameters())
    assert torch.autograd.gradcheck(kl.gaussian_kl, (mean, log_variance))
    assert torch.autograd.gradgradcheck(kl.gaussian_kl, (mean, log_variance))
