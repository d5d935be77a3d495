from typing import Any

import pytest

from gyrostat.spec.parse import parse
from tests.gyrostat.spec.documents import TABLE, TEXT, document, problems

CONTRASTIVE = {"kind": "contrastive", "dataset": "digits"}
SEGMENTATION = {"kind": "segmentation", "dataset": "shapes"}


@pytest.mark.parametrize(
    ("changes", "path", "mend"),
    [
        ({"loss": "mse"}, "loss.kind", "'cross_entropy' or 'focal'"),
        ({"loss": "infonce"}, "loss.kind", "'cross_entropy' or 'focal'"),
        ({"task": TABLE, "loss": "focal"}, "loss.kind", "'mse'"),
        ({"task": TEXT, "model": "transformer", "loss": "triplet"}, "loss.kind", "'cross_entropy' or 'focal'"),
        ({"task": SEGMENTATION, "model": "unet", "loss": "mse"}, "loss.kind", "'cross_entropy' or 'focal'"),
        ({"task": CONTRASTIVE, "loss": "cross_entropy"}, "loss.kind", "'pair_contrastive' or 'triplet' or 'infonce'"),
        ({"loss": {"kind": "focal", "class_weights": [1, 2, 3]}}, "loss.class_weights", "give 10 weights"),
        (
            {"task": {"kind": "classification", "dataset": {"kind": "gaussians", "modes": 5}},
             "loss": {"kind": "cross_entropy", "class_weights": [1] * 8}},
            "loss.class_weights",
            "give 5 weights",
        ),
        (
            {"task": TEXT, "model": "transformer", "loss": {"kind": "cross_entropy", "class_weights": [1, 2]}},
            "loss.class_weights",
            "'balanced'",
        ),
        ({"task": TABLE, "regularization": {"label_smoothing": "uniform"}}, "regularization.label_smoothing", "out"),
        (
            {"task": CONTRASTIVE, "regularization": {"confidence_penalty": "entropy"}},
            "regularization.confidence_penalty",
            "classification",
        ),
        ({"task": TABLE, "regularization": {"distillation": "mean_teacher"}}, "regularization.distillation", "out"),
        ({"task": CONTRASTIVE, "data": {"batch_size": 1}}, "data.batch_size", "at least 2"),
        (
            {"task": CONTRASTIVE, "accumulation": {"kind": "micro_batches", "steps": 64}},
            "data.batch_size",
            "at least 128",
        ),
    ],
)  # fmt: skip
def test_a_loss_that_does_not_fit_is_a_problem_with_a_mend(changes: dict[str, Any], path: str, mend: str) -> None:
    found = problems(**changes)
    assert list(found) == [path]
    assert mend in found[path].mend


@pytest.mark.parametrize(
    "changes",
    [
        {"loss": {"kind": "cross_entropy", "class_weights": "balanced"}},
        {"loss": {"kind": "focal", "gamma": 0, "class_weights": [1] * 10}},
        {"task": TEXT, "model": "transformer", "loss": {"kind": "focal", "class_weights": "balanced"}},
        {"task": SEGMENTATION, "model": "unet", "loss": "focal"},
        {
            "regularization": {
                "label_smoothing": "uniform",
                "confidence_penalty": "entropy",
                "distillation": "mean_teacher",
            }
        },
        {"task": CONTRASTIVE, "loss": "triplet"},
        {"task": CONTRASTIVE | {"supervised": True}, "data": {"batch_size": 2}},
    ],
)
def test_a_loss_that_fits_is_fine(changes: dict[str, Any]) -> None:
    parse(document(**changes))


def test_fewer_negatives_are_warned_of() -> None:
    (warning,) = parse(document(task=CONTRASTIVE, accumulation={"kind": "micro_batches", "steps": 8})).warnings
    assert warning.path == "accumulation.steps"
    assert "8 samples to tell apart instead of 64" in warning.message


@pytest.mark.parametrize("weights", ["equal", [], [0.0], [-1.0], ["1"], [1e9], 3])
def test_class_weights_are_positive_numbers_or_balanced(weights: Any) -> None:
    found = problems(loss={"kind": "cross_entropy", "class_weights": weights})
    assert all(path.startswith("loss.class_weights") for path in found)
