"""What generative tasks are refused with, and warned of."""

import pytest

from gyrostat.spec.parse import parse
from tests.gyrostat.spec.documents import document, problems

GAN = {"kind": "gan", "dataset": "digits"}
VAE = {"kind": "vae", "dataset": "digits"}
DENOISING = {"kind": "denoising", "dataset": "digits"}


def warned(**changes: object) -> list[str]:
    return [warning.path for warning in parse(document(**changes)).warnings]


@pytest.mark.parametrize(
    ("task", "model"),
    [(GAN, "mlp"), (GAN, "resnet"), (VAE, "cnn"), (VAE, "mlp"), (DENOISING, "unet"), (DENOISING, "mlp")],
)
def test_models_that_fit_are_taken(task: dict[str, object], model: str) -> None:
    assert parse(document(task=task, model=model)).spec.task.kind == task["kind"]


@pytest.mark.parametrize(("task", "model"), [(GAN, "unet"), (VAE, "fpn"), (DENOISING, "cnn"), (DENOISING, "resnet")])
def test_models_that_do_not_fit_are_refused_with_those_that_do(task: dict[str, object], model: str) -> None:
    problem = problems(task=task, model=model)["model.kind"]
    assert str(task["kind"]) in problem.message
    assert "mlp" in problem.mend


@pytest.mark.parametrize("task", [GAN, VAE, DENOISING], ids=lambda task: str(task["kind"]))
@pytest.mark.parametrize(
    "changes",
    [
        {"data": {"mix": "mixup"}},
        {"data": {"label_noise": 0.1}},
        {"regularization": {"label_smoothing": "uniform"}},
        {"regularization": {"confidence_penalty": "entropy"}},
        {"loss": "cross_entropy"},
        {"noise": {"input": "input"}},
    ],
    ids=lambda changes: str(changes),
)
def test_what_needs_labels_or_draws_a_second_noise_is_refused(
    task: dict[str, object], changes: dict[str, object]
) -> None:
    (problem,) = problems(task=task, **changes).values()
    assert str(task["kind"]) in problem.message
    assert problem.mend


def test_a_generator_and_a_decoder_must_fit_their_own_settings() -> None:
    bad = {"kind": "mlp", "width": 30, "norm": {"kind": "group", "groups": 8}}
    assert set(problems(task=GAN | {"generator": bad})) == {"task.generator.norm.groups"}
    assert set(problems(task=VAE | {"decoder": bad})) == {"task.decoder.norm.groups"}
    one = {"data": {"batch_size": 8}, "accumulation": {"steps": 8}}
    assert set(problems(task=VAE | {"decoder": {"kind": "mlp", "norm": "batch"}}, **one)) == {"task.decoder.norm.kind"}


def test_a_penalized_critic_without_batch_normalization_and_a_generator_that_moves() -> None:
    penalty = {"gradient_penalty": "one_centred"}
    refused = problems(task=GAN, model={"kind": "mlp", "norm": "batch"}, lipschitz=penalty)
    assert "gradient_penalty" in refused["model.norm.kind"].message
    assert set(problems(task=GAN | {"critic_steps": 100}, steps=50)) == {"task.critic_steps"}


def test_a_wasserstein_critic_that_nothing_bounds_is_warned_of() -> None:
    assert warned(task=GAN) == ["task.objective"]
    for bounded in (
        {"parametrization": "spectral_norm"},
        {"lipschitz": {"weight_clip": "weight_clip"}},
        {"lipschitz": {"gradient_penalty": "one_centred"}},
        {"task": GAN | {"objective": "non_saturating"}},
    ):
        assert "task.objective" not in warned(**({"task": GAN} | bounded))


def test_an_autoencoder_whose_codes_nothing_holds_is_warned_of() -> None:
    assert warned(task=VAE | {"kl": {"kind": "vae", "beta": 0.0}}) == ["task.kl.beta"]
