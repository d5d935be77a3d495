"""Denoising diffusion: predict the noise in data of any share of noise; take it away step by step to make samples."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from gyrostat.spec.architectures import Mlp
from gyrostat.spec.tasks import Denoising
from trainer.data.batches import Batch
from trainer.data.generators import generator
from trainer.models.build import initialized
from trainer.models.conditioned import FEATURES, StepConditioned
from trainer.stabilizers import diffusion
from trainer.tasks.generative import Generative
from trainer.tasks.task import GAP, TASKS

SAMPLING_STEPS = 50
"""Of the sampler, at most: what is shown shall not cost more than what is trained."""


@TASKS.implements(Denoising)
class DenoisingTask(Generative):
    """A batch is (x_t, t, ε): data with noise, the diffusion step from 0 to T − 1, and the noise to be predicted.

    The loss is that of Ho et al. 2020, arXiv 2006.11239, eq. 14: t is drawn evenly, and every t weighs the same.
    """

    scalars = ("loss.validation", GAP)

    def built(self) -> nn.Module:
        """The spec's model; one that takes vectors is given the diffusion step as further inputs."""
        assert isinstance(self.spec.task, Denoising)
        self._shares = diffusion.kept(self.spec.task.noise_schedule).float().to(self.device)
        noisy, t, _ = self.probe_batch(self.spec.data.batch_size)
        if isinstance(self.spec.model, Mlp):
            values = math.prod(self.shape)
            return initialized(
                self.spec,
                (values + FEATURES,),
                values,
                samples=(noisy, t),
                device=self.device,
                around=StepConditioned,
            )
        return initialized(self.spec, self.shape, self.shape[0], samples=(noisy, t), device=self.device)

    def enriched(self, samples: Tensor, source: torch.Generator, step: int | None) -> Batch:
        """Samples with noise (N, *shape), diffusion steps (N,), noise (N, *shape)."""
        t = torch.randint(len(self._shares), (len(samples),), generator=source).to(self.device)
        noise = self.drawn(*samples.shape, source=source)
        return diffusion.noised(samples, noise, self._shares[t]), t, noise

    def generated(self, model: Callable[[Tensor, Tensor], Tensor], count: int) -> Tensor:
        """What the sampler makes of noise; the data's range is -1 to 1."""
        steps = min(SAMPLING_STEPS, len(self._shares))
        noise = self.drawn(steps, count, *self.shape, source=generator(self.spec.seed, "samples"))
        return diffusion.denoised(model, noise, self._shares, limit=1.0)
