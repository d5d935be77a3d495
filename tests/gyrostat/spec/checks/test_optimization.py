from typing import Any

import pytest

from gyrostat.spec.optimizers import Optimizer
from gyrostat.spec.parse import parse
from tests.gyrostat.spec.documents import TEXT, document, problems

SCHEDULE_FREE = {"optimizer": "schedule_free"}
DECAY = {"regularization": {"weight_decay": "decoupled"}}


@pytest.mark.parametrize(
    ("changes", "path", "mend"),
    [
        ({"schedule": {"kind": "cosine", "warmup": "linear_warmup"}}, "schedule.warmup.steps", "fewer than 100"),
        ({"schedule": "linear_warmup"}, "schedule.steps", "fewer than 100"),
        (
            {"schedule": {"kind": "warmup_stable_decay", "warmup": {"kind": "linear_warmup", "steps": 100}}},
            "schedule.warmup.steps",
            "a tenth",
        ),
        (
            {"schedule": {"kind": "one_cycle", "warmup": {"kind": "linear_warmup", "steps": 5}}},
            "schedule.warmup",
            "leave schedule.warmup out",
        ),
        (SCHEDULE_FREE | {"schedule": "cosine"}, "schedule.kind", "'constant'"),
        (SCHEDULE_FREE | {"schedule": "one_cycle"}, "schedule.kind", "'linear_warmup'"),
        (SCHEDULE_FREE | {"lipschitz": {"weight_clip": "weight_clip"}}, "lipschitz.weight_clip", "gradient_penalty"),
        (
            DECAY | {"optimizer": {"kind": "sgd", "weight_decay": 0.1}},
            "optimizer.weight_decay",
            "leave optimizer.weight",
        ),
        (DECAY | {"optimizer": {"kind": "adamw", "weight_decay": 0.0}}, "optimizer.weight_decay", "replaces it"),
        (
            DECAY | {"optimizer": {"kind": "sam", "base": {"kind": "lion", "weight_decay": 0.1}}},
            "optimizer.base.weight_decay",
            "leave optimizer.base.weight_decay out",
        ),
    ],
)
def test_settings_that_contradict_one_another_are_a_problem_with_a_mend(
    changes: dict[str, Any], path: str, mend: str
) -> None:
    found = problems(**changes)
    assert list(found) == [path]
    assert mend in found[path].mend


@pytest.mark.parametrize(
    ("changes", "both"),
    [
        (SCHEDULE_FREE | {"schedule": "cosine"}, ("schedule_free", "cosine")),
        (DECAY | {"optimizer": {"kind": "sgd", "weight_decay": 0.1}}, ("optimizer.", "regularization.")),
    ],
)
def test_the_message_names_both_settings(changes: dict[str, Any], both: tuple[str, str]) -> None:
    (found,) = problems(**changes).values()
    assert all(name in found.message for name in both)


@pytest.mark.parametrize(
    "changes",
    [
        SCHEDULE_FREE,
        SCHEDULE_FREE | {"schedule": {"kind": "linear_warmup", "steps": 99}},
        SCHEDULE_FREE | {"schedule": {"kind": "constant", "warmup": {"kind": "linear_warmup", "steps": 5}}},
        {"schedule": "one_cycle"},
        DECAY | {"optimizer": "adamw"},
        DECAY | {"optimizer": "sam"},
        DECAY | SCHEDULE_FREE,
    ],
)
def test_what_fits_together_is_no_problem(changes: dict[str, Any]) -> None:
    assert parse(document(**changes)).warnings == []


@pytest.mark.parametrize(
    ("changes", "path", "mend"),
    [
        ({"optimizer": {"kind": "rmsprop", "learning_rate": 0.1}}, "optimizer.learning_rate", "smaller rate"),
        ({"optimizer": {"kind": "lion", "learning_rate": 0.01}}, "optimizer.learning_rate", "smaller rate"),
        (
            {"optimizer": {"kind": "sam", "base": {"kind": "adamw", "learning_rate": 0.1}}},
            "optimizer.base.learning_rate",
            "smaller rate",
        ),
        ({"task": TEXT, "model": "transformer", "optimizer": "muon"}, "schedule.warmup", "'steps': 10"),
        ({"schedule": "cosine_warm_restarts"}, "schedule.period", "'cosine'"),
        (SCHEDULE_FREE | {"model": {"kind": "mlp", "norm": "batch"}}, "model.norm.kind", "'layer'"),
    ],
)
def test_what_is_expected_to_go_wrong_is_a_warning(changes: dict[str, Any], path: str, mend: str) -> None:
    (warning,) = parse(document(**changes)).warnings
    assert warning.path == path
    assert mend in warning.mend


@pytest.mark.parametrize("schedule", ["one_cycle", {"kind": "linear_warmup", "steps": 9}])
def test_a_transformer_with_any_kind_of_warmup_is_not_warned_of(schedule: Any) -> None:
    given = document(task=TEXT, model="transformer", optimizer="adamw", schedule=schedule)
    assert parse(given).warnings == []


def test_rates_that_are_usual_for_schedule_free_sgd_are_not_warned_of() -> None:
    for base, rate in (("sgd", 5.0), ("adamw", 0.02)):
        optimizer = {"kind": "schedule_free", "base": base, "learning_rate": rate}
        assert parse(document(optimizer=optimizer)).warnings == []


def test_every_optimizer_has_a_rate_that_is_below_its_high_one() -> None:
    kinds = list(Optimizer.__origin__.__args__)  # type: ignore[attr-defined]
    assert len(kinds) == 8
    for kind in kinds:
        settings = kind()
        assert 0 < settings.learning_rate < settings.high_rate
        assert settings.weight_decay >= 0
