"""Adversarial training: a critic tells data from samples, a generator makes samples that it cannot tell."""

import math

import torch
from torch import Tensor, nn

from gyrostat.spec.lipschitz import Lipschitz
from gyrostat.spec.tasks import Gan
from trainer.data.batches import Batch
from trainer.data.generators import generator
from trainer.models.adversarial import Adversarial
from trainer.models.build import initialized
from trainer.stabilizers.lipschitz import gradient_penalty
from trainer.tasks.adversarial import critic_loss, energy_distance, generator_loss, modes_hit
from trainer.tasks.generative import Generative
from trainer.tasks.task import TASKS

EXAMINED = 1024
"""Held-out samples that a validation looks at, together, and as many of the generator's."""


@TASKS.implements(Gan)
class GanTask(Generative):
    """One backward pass gives both players their gradients: the critic's loss of detached samples, and at every n-th
    step the generator's, to which the critic is a given. One optimizer then moves both.

    A batch is (data, place between data and sample, latent noise), and at the generator's steps also (latent noise of
    its own): without it there is nothing to be differentiated for the generator, whose parameters then keep still.

    What is reported as the loss is no player's: it is the energy distance between data and samples, which falls as the
    generator learns, and no change of the critic can move.
    """

    scalars = (
        "loss.validation", "gan.critic", "gan.generator", "gan.wasserstein", "gan.lipschitz", "gan.modes",
    )  # fmt: skip

    @property
    def settings(self) -> Gan:
        """The spec's task."""
        assert isinstance(self.spec.task, Gan)
        return self.spec.task

    def built(self) -> nn.Module:
        """The spec's model as the critic, with all of the spec's Lipschitz control; the generator has none of it."""
        samples, _, latent, _ = self.probe_batch(self.spec.data.batch_size)
        critic = initialized(self.spec, self.shape, 1, samples=(samples,), device=self.device)
        free = self.spec.model_copy(update={"parametrization": None, "lipschitz": Lipschitz()})
        made = initialized(
            free,
            (self.settings.latent,),
            math.prod(self.shape),
            samples=(latent,),
            device=self.device,
            model=self.settings.generator,
        )
        return Adversarial(made, critic, self.shape)

    @property
    def bounded(self) -> nn.Module:
        """The critic."""
        assert isinstance(self.model, Adversarial)
        return self.model.critic

    def enriched(self, samples: Tensor, source: torch.Generator, step: int | None) -> Batch:
        """Data (N, *shape), places (N,) between 0 (sample) and 1 (data), latent noise (N, latent), at most twice."""
        places = torch.rand(len(samples), generator=source).to(self.device)
        alone = step is not None and (step + 1) % self.settings.critic_steps > 0
        latents = [self.drawn(len(samples), self.settings.latent, source=source) for _ in range(1 if alone else 2)]
        return samples, places, *latents

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The sum of what is to be differentiated for each player, and what is measured of them."""
        assert isinstance(model, Adversarial)
        data, places, latent = batch[:3]
        with torch.no_grad():
            samples = model(latent).to(data.dtype)
        real, fake = model.scores(data), model.scores(samples)
        critic = critic_loss(self.settings.objective, real, fake)
        measured = {
            "loss.train": energy_distance(data, samples),
            "gan.critic": critic.detach(),
            "gan.wasserstein": (real.mean() - fake.mean()).detach(),
        }
        loss = critic
        if (penalty := self.spec.lipschitz.gradient_penalty) is not None:
            loss = loss + gradient_penalty(penalty, model.scores, between(data, samples, places))
        if len(batch) == 4:
            own = generator_loss(self.settings.objective, model.fixed_scores(model(batch[3])))
            loss, measured["gan.generator"] = loss + own, own.detach()
        return loss, measured

    def evaluate(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Nothing by batches: distances between sets have no mean over parts of them; see `examined`."""
        return {}

    def examined(self, model: nn.Module) -> dict[str, Tensor]:
        """How far samples are from held-out data, how steep the critic is between them, and how many modes are hit."""
        assert isinstance(model, Adversarial)
        data = self._held_out[:EXAMINED]
        source = generator(self.spec.seed, "held-out noise")
        data, places, latent = self.enriched(data, source, None)[:3]
        samples = model(latent).to(data.dtype)
        measured = {
            "loss.validation": energy_distance(data, samples),
            "gan.lipschitz": steepest(model, between(data, samples, places)),
        }
        return measured | self._modes(samples)

    def _modes(self, samples: Tensor) -> dict[str, Tensor]:
        """Of points whose training labels name the mode that they are of."""
        data, labels = self.batches.fixed(10 * EXAMINED)
        if data.ndim > 2 or labels.is_floating_point():
            return {}
        members = [data[labels == label] for label in torch.unique(labels)]
        centres = torch.stack([points.mean(0) for points in members])
        spreads = torch.stack([points.var(0, correction=0).mean().sqrt() for points in members])
        return {"gan.modes": modes_hit(samples, centres, spreads)}

    def generated(self, model: nn.Module, count: int) -> Tensor:
        """Samples of noise."""
        assert isinstance(model, Adversarial)
        return model.forward(self.drawn(count, self.settings.latent, source=generator(self.spec.seed, "samples")))


def between(data: Tensor, samples: Tensor, places: Tensor) -> Tensor:
    """Points (N, ...) on the lines from samples (place 0) to data (place 1).

    Source: Gulrajani et al. 2017, arXiv 1704.00028, algorithm 1.
    """
    return torch.lerp(samples, data, places.reshape(-1, *(1,) * (data.ndim - 1)).to(data.dtype))


def steepest(model: Adversarial, points: Tensor) -> Tensor:
    """The largest slope ‖∂D/∂x‖₂ of the critic at `points` (N, ...): from below, its Lipschitz constant."""
    with torch.enable_grad():
        points = points.detach().requires_grad_()
        (slopes,) = torch.autograd.grad(model.scores(points).sum(), points)
    norms: Tensor = torch.linalg.vector_norm(slopes.flatten(1).float(), dim=1)
    return norms.max()
