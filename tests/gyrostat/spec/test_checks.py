from typing import Any

import pytest

from gyrostat.spec.checks import nearest_divisor
from gyrostat.spec.parse import parse
from tests.gyrostat.spec.documents import TABLE, TEXT, document, problems

RESNET = {"kind": "resnet"}


@pytest.mark.parametrize(
    ("changes", "path", "mend"),
    [
        ({"task": {"kind": "regression", "dataset": "digits"}}, "task.dataset.kind", "choose one of diabetes"),
        ({"task": TEXT}, "model.kind", "model.kind 'transformer'"),
        ({"model": "transformer"}, "model.layout", "layout 'encoder'"),
        ({"task": TABLE, "model": RESNET}, "model.kind", "'mlp'"),
        ({"loss": "mse"}, "loss.kind", "'cross_entropy'"),
        ({"task": TABLE, "loss": "cross_entropy"}, "loss.kind", "'mse'"),
        (
            {
                "task": TEXT,
                "model": {"kind": "transformer", "width": 60, "attention": {"kind": "multi_head", "heads": 8}},
            },
            "model.attention.heads",
            "6 heads is nearest",
        ),
        ({"task": TEXT, "model": {"kind": "transformer", "norm": "batch"}}, "model.norm.kind", "'layer'"),
        (
            {"model": {"kind": "cnn", "width": 32, "norm": {"kind": "group", "groups": 7}}},
            "model.norm.groups",
            "8 is nearest",
        ),
        ({"model": {"kind": "cnn", "stages": 5, "depth": 9}}, "model.stages", "at most 4"),
        ({"model": {"kind": "resnet", "stages": 3, "depth": 2}}, "model.depth", "at least 3"),
        ({"accumulation": {"kind": "micro_batches", "steps": 7}}, "accumulation.steps", "8 is nearest"),
        (
            {
                "model": {"kind": "mlp", "norm": "batch"},
                "accumulation": {"kind": "micro_batches", "steps": 64},
            },
            "data.batch_size",
            "'group' or 'layer'",
        ),
        ({"data": {"batch_size": 1438}}, "data.batch_size", "at most 1437"),
        ({"data": {"batch_size": 8, "limit": 8, "validation_fraction": 0.95}}, "data.batch_size", "larger data.limit"),
        ({"schedule": {"kind": "cosine", "warmup": "linear_warmup"}}, "schedule.warmup.steps", "fewer than 100"),
    ],
)  # fmt: skip
def test_parts_that_do_not_fit_together_are_a_problem_with_a_mend(
    changes: dict[str, Any], path: str, mend: str
) -> None:
    found = problems(**changes)
    assert list(found) == [path]
    assert mend in found[path].mend


def test_all_misfits_are_told_at_once() -> None:
    found = problems(
        loss="mse",
        model={"kind": "resnet", "stages": 6, "depth": 1},
        accumulation={"kind": "micro_batches", "steps": 3},
    )
    assert set(found) == {"loss.kind", "model.stages", "model.depth", "accumulation.steps"}


@pytest.mark.parametrize(
    "changes",
    [
        {"model": {"kind": "cnn", "stages": 4, "depth": 4}},
        {"data": {"batch_size": 1437}},
        {"schedule": {"kind": "cosine", "warmup": {"kind": "linear_warmup", "steps": 99}}},
        {"task": TABLE, "loss": "mse"},
        {"model": {"kind": "mlp", "norm": "batch"}, "accumulation": {"kind": "micro_batches", "steps": 8}},
    ],
)
def test_what_just_fits_is_no_problem(changes: dict[str, Any]) -> None:
    parse(document(**changes))


@pytest.mark.parametrize(
    ("changes", "path", "mend"),
    [
        ({"model": {"kind": "mlp", "depth": 60}}, "model.depth", "'residual'"),
        ({"model": {"kind": "mlp", "depth": 6, "activation": "sigmoid"}}, "model.depth", "model.norm"),
        (
            {"model": {"kind": "resnet", "depth": 10, "norm": None, "connection": None}},
            "model.depth",
            "'residual'",
        ),
        ({"model": {"kind": "mlp", "activation": "tanh"}, "init": "he_normal"}, "init.kind", "'xavier_normal'"),
        ({"model": {"kind": "mlp", "norm": "batch"}, "data": {"batch_size": 4}}, "model.norm.kind", "'group'"),
        ({"optimizer": {"kind": "sgd", "learning_rate": 3.0}}, "optimizer.learning_rate", "smaller rate"),
        ({"optimizer": {"kind": "adamw", "learning_rate": 0.1}}, "optimizer.learning_rate", "schedule.warmup"),
        ({"task": TEXT, "model": "transformer", "optimizer": "adamw"}, "schedule.warmup", "'steps': 10"),
    ],
)
def test_what_is_expected_to_go_wrong_is_a_warning(changes: dict[str, Any], path: str, mend: str) -> None:
    (warning,) = parse(document(**changes)).warnings
    assert warning.path == path
    assert mend in warning.mend


@pytest.mark.parametrize(
    "changes",
    [
        {"model": {"kind": "mlp", "depth": 60, "connection": "residual"}},
        {"model": {"kind": "mlp", "depth": 60, "norm": "layer"}},
        {"model": {"kind": "mlp", "depth": 19}},
        {"model": {"kind": "resnet", "depth": 30}},
    ],
)
def test_what_is_expected_to_go_well_is_not_warned_of(changes: dict[str, Any]) -> None:
    assert parse(document(**changes)).warnings == []


def test_the_nearest_divisor_is_that_of_a_slow_search() -> None:
    for number in range(1, 80):
        divisors = [d for d in range(1, number + 1) if number % d == 0]
        for to in range(1, 90):
            slow = min(divisors, key=lambda d: (abs(d - to), d))
            assert nearest_divisor(number, to) == slow
    assert nearest_divisor(1_000_000, 999_999) == 1_000_000
