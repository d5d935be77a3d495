"""A variational autoencoder (Kingma and Welling 2013, arXiv 1312.6114)."""

import math

import torch
from torch import Tensor, nn

from gyrostat.probes.lipschitz import LogOf
from trainer.stabilizers import kl


class VariationalAutoencoder(nn.Module):
    """A Gaussian posterior over a latent code, and a decoder from codes to samples.

    Args:
        encoder: takes samples (N, *shape), answers (N, 2·latent): means and logarithms of variances.
        decoder: takes codes (N, latent), answers (N, values of a sample).
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        self._shape = shape

    def log_lipschitz(self, of: LogOf) -> Tensor:
        """Not known: the exponential in between has no bound."""
        return torch.tensor(math.inf)

    def forward(self, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Samples (N, *shape) and noise (N, latent) to reconstructions (N, *shape), means and log variances."""
        answer = self.encoder(x)
        # exponentials of what has eight bits would be coarse
        answer = answer.to(torch.promote_types(answer.dtype, torch.float32))
        mean, log_variance = answer.chunk(2, 1)
        return self.decode(kl.reparametrized(mean, log_variance, noise)), mean, log_variance

    def decode(self, code: Tensor) -> Tensor:
        """Codes (N, latent) to samples (N, *shape)."""
        samples: Tensor = self.decoder(code)
        return samples.reshape(-1, *self._shape)
