"""Lipschitz control, diffusion and self-supervision (brief sections 11 to 14)."""

from collections.abc import Sequence

from benchmarks.claims.bases import Document, changed
from benchmarks.claims.results import Run
from benchmarks.claims.studies.structure import AT_THE_END
from benchmarks.claims.study import Measure, Statement, Study, last, study

RING: Document = {
    "task": {
        "kind": "gan",
        "dataset": "gaussians",
        "latent": 4,
        "critic_steps": 3,
        "generator": {"depth": 2, "width": 64},
    },
    "model": {"kind": "mlp", "depth": 2, "width": 64},
    "data": {"batch_size": 64},
    "optimizer": {"kind": "adam", "learning_rate": 0.001, "beta1": 0.5},
    "steps": 400,
    **AT_THE_END,
}


@study
def a_controlled_critic_keeps_its_lipschitz_bound() -> Study:
    """Empirical Lipschitz constant of a Wasserstein critic."""
    controlled: dict[str, Document] = {
        "gradient penalty": {"lipschitz": {"gradient_penalty": {"kind": "one_centred", "weight": 10.0}}},
        "spectral norm": {"parametrization": {"kind": "spectral_norm"}},
    }
    return Study(
        section="12",
        shows=("gradient_penalty.one_centred", "parametrization.spectral_norm", "lipschitz.weight_clip"),
        claim="A critic under Lipschitz control keeps its empirical Lipschitz constant near or below its bound",
        setting="Wasserstein GAN on a ring of 8 Gaussians, critic and generator MLPs 2 x 64, Adam, 400 steps, 3 critic "
        "steps for one of the generator; largest ‖∇ₓ critic‖ over interpolates at the last validation. Bound 1 for the "
        "penalty and for spectral normalization; weight clipping at 0.05 bounds it by what its layers allow. "
        "Three seeds, tried first, did not decide.",
        arms={
            **{name: changed(RING, **patch) for name, patch in controlled.items()},
            "weight clip": changed(RING, lipschitz={"weight_clip": {"kind": "weight_clip", "limit": 0.05}}),
            "none": RING,
        },
        statements=(
            Statement(
                text="gradient penalty: at most 1.5",
                on="gradient penalty",
                effect="value",
                log=True,
                measure=last("gan.lipschitz"),
                quantity="largest ‖∇ₓ critic‖",
                at_most=1.5,
            ),
            Statement(
                text="spectral norm: at most 1.05",
                on="spectral norm",
                effect="value",
                log=True,
                measure=last("gan.lipschitz"),
                quantity="largest ‖∇ₓ critic‖",
                at_most=1.05,
            ),
            Statement(
                text="weight clipping: at most a fifth of that without control",
                on="weight clip",
                off="none",
                measure=last("gan.lipschitz"),
                quantity="largest ‖∇ₓ critic‖",
                at_most=0.2,
            ),
        ),
        seeds=6,
    )


DIFFUSION: Document = {
    "task": {"kind": "denoising", "dataset": "digits", "noise_schedule": {"kind": "cosine", "timesteps": 100}},
    "model": {"kind": "unet", "width": 8, "stages": 2, "depth": 2, "norm": {"kind": "group", "groups": 4}},
    "data": {"batch_size": 32},
    "optimizer": {"kind": "adamw", "learning_rate": 0.003},
    "steps": 250,
    **AT_THE_END,
}


def fall(runs: Sequence[Run]) -> float:
    """Mean training loss of the last 20 steps over that of the first 5."""
    (run,) = runs
    loss = run.scalars("loss.train")
    return float(loss.iloc[-20:].mean() / loss.iloc[:5].mean())


def samples_shown(runs: Sequence[Run]) -> float:
    """1 where the run keeps pictures of its samples, else 0."""
    (run,) = runs
    return float(bool(run.samples()))


@study
def diffusion_learns_and_shows_its_samples() -> Study:
    """Loss falls, samples are there."""
    return Study(
        section="13",
        shows=("diffusion_noise.cosine", "diffusion_noise.linear"),
        claim="A diffusion run's loss falls, and its samples are shown",
        setting="U-Net of 2 stages from 8 channels on digits, 100 noise levels, 250 steps of AdamW at 0.003; the "
        "loss of "
        "guessing no noise is 1.",
        arms={
            "cosine": DIFFUSION,
            "linear": changed(DIFFUSION, task={"noise_schedule": {"kind": "linear", "timesteps": 100}}),
        },
        statements=(
            *(
                Statement(
                    text=f"{name}: the loss of the last 20 steps is at most half that of the first 5",
                    on=name,
                    effect="value",
                    log=True,
                    measure=fall,
                    quantity="training loss, last 20 over first 5 steps",
                    at_most=0.5,
                )
                for name in ("cosine", "linear")
            ),
            Statement(
                text="cosine: every run keeps pictures of its samples",
                on="cosine",
                effect="value",
                measure=samples_shown,
                quantity="1: there are pictures",
                at_least=1,
            ),
        ),
    )


VIEWS: Document = {
    "task": {"kind": "contrastive", "dataset": "digits", "projection": 32},
    "model": {"kind": "cnn", "depth": 4, "width": 16, "norm": "batch"},
    "init": "he_normal",
    "data": {"batch_size": 128},
    "optimizer": {"kind": "adamw", "learning_rate": 0.002},
    "steps": 120,
    **AT_THE_END,
}
LOSSES: dict[str, Document] = {
    "infonce": {"kind": "infonce", "temperature": 0.2},
    "triplet": {"kind": "triplet"},
    "pair": {"kind": "pair_contrastive"},
}


def gained(runs: Sequence[Run]) -> float:
    """Linear-probe accuracy of the trained less that of the random features."""
    (run,) = runs
    return run.last("representation.linear_probe_accuracy") - run.last("representation.initial_probe_accuracy")


def measured(*metrics: str) -> Measure:
    """1 where the run streamed all of these, else 0."""
    return lambda runs: float(set(metrics) <= runs[0].metrics)


@study
def contrastive_features_beat_random_ones() -> Study:
    """Linear probe on frozen features."""
    return Study(
        section="11, 14",
        shows=("loss.infonce", "loss.triplet", "loss.pair_contrastive"),
        claim="Features learnt without labels separate classes better than random ones; alignment and uniformity are "
        "streamed",
        setting="4-layer CNN of 16 channels on digits, two views of each image, 120 steps; ridge regression on frozen "
        "features, accuracy on held-out images, after less before training.",
        arms={name: changed(VIEWS, loss=loss) for name, loss in LOSSES.items()},
        statements=(
            *(
                Statement(
                    text=f"{name}: the linear probe gains accuracy over random features",
                    on=name,
                    effect="value",
                    measure=gained,
                    quantity="linear-probe accuracy, trained − random",
                    at_least=0,
                )
                for name in LOSSES
            ),
            Statement(
                text="infonce: alignment and uniformity are streamed in every run",
                on="infonce",
                effect="value",
                measure=measured("representation.alignment", "representation.uniformity"),
                quantity="1: streamed",
                at_least=1,
            ),
        ),
    )


VAE: Document = {
    "task": {"kind": "vae", "dataset": "digits", "latent": 8, "decoder": {"depth": 2, "width": 64}},
    "model": {"kind": "mlp", "depth": 2, "width": 64},
    "data": {"batch_size": 64},
    "optimizer": {"kind": "adam", "learning_rate": 0.002},
    "steps": 300,
    **AT_THE_END,
}


@study
def a_heavier_kl_term_binds_the_latent() -> Study:
    """β of a VAE."""
    return Study(
        section="11",
        shows=("kl.vae",),
        claim="A heavier KL term moves the latent closer to its prior, at the cost of reconstruction",
        setting="VAE, MLPs of 2 x 64, 8 latents, digits, 300 steps; β 4 against β 0.25.",
        arms={
            "β 4": changed(VAE, task={"kl": {"kind": "vae", "beta": 4.0}}),
            "β 0.25": changed(VAE, task={"kl": {"kind": "vae", "beta": 0.25}}),
        },
        statements=(
            Statement(
                text="KL at β 4 over that at β 0.25 is at most 0.5",
                on="β 4",
                off="β 0.25",
                measure=last("kl.validation"),
                quantity="KL(q ‖ prior), nats, held out",
                at_most=0.5,
            ),
            Statement(
                text="reconstruction error at β 4 over that at β 0.25 is at least 1",
                on="β 4",
                off="β 0.25",
                measure=last("reconstruction.validation"),
                quantity="reconstruction error, held out",
                at_least=1,
            ),
        ),
    )
