"""A generator and the critic that it is trained against (Goodfellow et al. 2014, arXiv 1406.2661)."""

from torch import Tensor, nn
from torch.func import functional_call


class Adversarial(nn.Module):
    """Both players as one module, so that one optimizer, one checkpoint and one set of probes hold them.

    Args:
        generator: takes latent noise (N, latent), answers (N, values of a sample).
        critic: takes samples (N, *shape), answers (N, 1).
    """

    def __init__(self, generator: nn.Module, critic: nn.Module, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.generator, self.critic = generator, critic
        self._shape = shape

    def forward(self, latent: Tensor) -> Tensor:
        """Latent noise (N, latent) to samples (N, *shape)."""
        samples: Tensor = self.generator(latent)
        return samples.reshape(-1, *self._shape)

    def scores(self, samples: Tensor) -> Tensor:
        """The critic's score of each sample, (N,)."""
        answer: Tensor = self.critic(samples)
        return answer.squeeze(1)

    def fixed_scores(self, samples: Tensor) -> Tensor:
        """As `scores`, (N,), but gradients reach the samples only: to the generator the critic is a given."""
        given = {name: parameter.detach() for name, parameter in self.critic.named_parameters()}
        answer: Tensor = functional_call(self.critic, given, (samples,))
        return answer.squeeze(1)
