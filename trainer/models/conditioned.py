"""A vector model that is told the diffusion step."""

import torch
from torch import Tensor, nn

from trainer.models.unet import sinusoids

FEATURES = 32
"""Numbers that tell a diffusion step."""


class StepConditioned(nn.Module):
    """Flattens a sample, adds the features of its diffusion step, and gives the network's answer the sample's shape.

    Args:
        network: takes (N, values of a sample + FEATURES), answers (N, values of a sample).
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """(N, ...) samples and (N,) diffusion steps to (N, ...)."""
        told = sinusoids(t, FEATURES // 2, torch.float32).to(x.dtype)
        answer: Tensor = self.network(torch.cat([x.flatten(1), told], 1))
        return answer.reshape(x.shape)
