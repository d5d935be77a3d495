from typing import Any

import pytest

from gyrostat.spec.parse import parse
from tests.gyrostat.spec.documents import TABLE, TEXT, document, problems

RESNET = {"kind": "resnet"}
GAN = {"kind": "gan", "dataset": "digits"}
DIFFUSION = {"kind": "denoising", "dataset": "digits"}


@pytest.mark.parametrize(
    ("changes", "path", "message", "mend"),
    [
        ({"zero_last": "zero_last"}, "zero_last", "model.connection has none", "'residual' or 'layer_scale'"),
        ({"zero_last": {}, "model": "cnn"}, "zero_last", "model.connection has none", "zero_last null"),
        (
            {"zero_last": {}, "model": {"kind": "mlp", "connection": "highway"}},
            "zero_last",
            "model.connection has 'highway'",
            "'residual'",
        ),
        (
            {"zero_last": {}, "model": RESNET, "parametrization": "spectral_norm"},
            "zero_last",
            "parametrization 'spectral_norm'",
            "'weight_norm'",
        ),
        (
            {"parametrization": "spectral_norm", "lipschitz": {"weight_clip": "weight_clip"}},
            "lipschitz.weight_clip",
            "parametrization 'spectral_norm'",
            "one of the two",
        ),
        (
            {"optimizer": "schedule_free", "lipschitz": {"weight_clip": "weight_clip"}},
            "lipschitz.weight_clip",
            "optimizer 'schedule_free'",
            "another optimizer",
        ),
        (
            {"lipschitz": {"gradient_penalty": "one_centred"}},
            "lipschitz.gradient_penalty.kind",
            "task 'classification' has no critic",
            "'inputs'",
        ),
        (
            {"task": TEXT, "model": "transformer", "lipschitz": {"gradient_penalty": "inputs"}},
            "lipschitz.gradient_penalty.kind",
            "that of task 'language_model' is not",
            "'spectral_norm'",
        ),
        (
            {"task": GAN, "lipschitz": {"gradient_penalty": "inputs"}},
            "lipschitz.gradient_penalty.kind",
            "that of task 'gan' is not",
            "'one_centred'",
        ),
    ],
)
def test_what_excludes_one_another_is_a_problem_that_names_both(
    changes: dict[str, Any], path: str, message: str, mend: str
) -> None:
    found = problems(**changes)
    assert list(found) == [path]
    assert message in found[path].message
    assert mend in found[path].mend


def test_a_generator_whose_branches_could_never_leave_zero_is_refused() -> None:
    generator = {"kind": "mlp", "connection": "rezero"}
    model = {"kind": "mlp", "connection": "residual"}
    found = problems(task=GAN | {"generator": generator}, model=model, zero_last={})
    assert "task.generator.connection 'rezero'" in found["zero_last"].message


@pytest.mark.parametrize(
    "changes",
    [
        {"zero_last": "zero_last", "model": RESNET},
        {"zero_last": {}, "model": {"kind": "mlp", "connection": "layer_scale"}, "parametrization": "weight_norm"},
        {"parametrization": "weight_norm", "lipschitz": {"weight_clip": {"limit": 0.1}}},
        {"parametrization": {"kind": "spectral_norm", "norm": "operator"}, "model": RESNET},
        {"lipschitz": {"gradient_penalty": "inputs"}},
        {"task": TABLE, "lipschitz": {"gradient_penalty": {"kind": "inputs", "weight": 0.01}}},
        {"init": {"kind": "lsuv", "tolerance": 0.05}},
        {"init": "orthogonal", "parametrization": "spectral_norm"},
    ],
)
def test_what_goes_together_is_no_problem(changes: dict[str, Any]) -> None:
    assert parse(document(**changes)).warnings == []


def test_a_scale_that_is_normalized_away_is_warned_of() -> None:
    (warning,) = parse(document(init="lsuv", parametrization="spectral_norm")).warnings
    assert warning.path == "init.kind"
    assert "spectral_norm" in warning.message
