"""Variational autoencoding: a smooth code of each sample, and samples of a random code."""

import math

import torch
from torch import Tensor, nn

from gyrostat.spec.tasks import Vae
from trainer.data.batches import Batch
from trainer.data.generators import generator
from trainer.models.autoencoder import VariationalAutoencoder
from trainer.models.build import initialized
from trainer.stabilizers.kl import DIVERGENCES, gaussian_kl
from trainer.tasks.generative import Generative
from trainer.tasks.task import GAP, TASKS


@TASKS.implements(Vae)
class VaeTask(Generative):
    """The loss is ½·‖x − x̂‖² + β·KL, sums over a sample, mean over samples: -ELBO + constant at β = 1.

    A batch is (samples, noise of the posterior's draw).
    """

    scalars = (
        "reconstruction.train", "kl.train", "loss.validation", "reconstruction.validation", "kl.validation",
        GAP,
    )  # fmt: skip

    def built(self) -> nn.Module:
        """Encoder and decoder, each initialized as the spec says."""
        assert isinstance(self.spec.task, Vae)
        spec, settings, size = self.spec, self.spec.task, self.spec.data.batch_size
        samples, noise = self.probe_batch(size)
        encoder = initialized(spec, self.shape, 2 * settings.latent, samples=(samples,), device=self.device)
        decoder = initialized(
            spec,
            (settings.latent,),
            math.prod(self.shape),
            samples=(noise,),
            device=self.device,
            model=settings.decoder,
        )
        return VariationalAutoencoder(encoder, decoder, self.shape)

    def enriched(self, samples: Tensor, source: torch.Generator, step: int | None) -> Batch:
        """Samples (N, *shape), noise (N, latent)."""
        assert isinstance(self.spec.task, Vae)
        return samples, self.drawn(len(samples), self.spec.task.latent, source=source)

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The batch's mean loss, and its two parts, the divergence without β."""
        loss, parts = self._parts(model, batch)
        return loss, {f"{name}.train": value.detach() for name, value in parts.items()}

    def evaluate(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Loss and parts of a held-out batch, means over its samples."""
        loss, parts = self._parts(model, batch)
        return {"loss": loss, **parts}

    def _parts(self, model: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        assert isinstance(self.spec.task, Vae)
        samples, noise = batch
        reconstructed, mean, log_variance = model(samples, noise)
        reconstruction = ((reconstructed - samples).square().flatten(1).sum(1) / 2).mean()
        divergence = DIVERGENCES.of(self.spec.task.kl)(self.spec.task.kl)(mean, log_variance).mean()
        parts = {"reconstruction": reconstruction, "kl": gaussian_kl(mean, log_variance).mean()}
        return reconstruction + divergence, parts

    def generated(self, model: nn.Module, count: int) -> Tensor:
        """Decoded draws from the prior."""
        assert isinstance(self.spec.task, Vae)
        assert isinstance(model, VariationalAutoencoder)
        return model.decode(self.drawn(count, self.spec.task.latent, source=generator(self.spec.seed, "samples")))
