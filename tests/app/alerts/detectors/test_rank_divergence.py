import numpy as np
import pytest

from app.alerts.remedies import remedies_for
from gyrostat.spec import presets
from tests.app.alerts.streams import frame, judge

WEIGHTS, GRADIENTS = "rank.parameter_digest_gap", "rank.gradient_digest_gap"


def gaps(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float32)


def test_ranks_in_step_are_no_finding() -> None:
    assert judge("rank_divergence", [frame(step, {WEIGHTS: 0.0, GRADIENTS: 1e-8}) for step in range(10, 200, 10)]) == []


@pytest.mark.parametrize("gap", [0.02, np.inf])
def test_the_rank_that_differs_is_named_at_once_and_critical(gap: float) -> None:
    stream = [frame(10, {WEIGHTS: 0.0}), frame(20, {WEIGHTS: gaps(0, 0, gap, 0), GRADIENTS: 0.0})]
    (change,) = judge("rank_divergence", stream)
    assert (change.severity, change.names, change.onset_step) == ("critical", ("rank 2",), 20)
    assert "rank 2 differs from the others in its weights" in change.summary
    assert change.evidence[0].metric == WEIGHTS


def test_the_worst_rank_is_named_first() -> None:
    (change,) = judge("rank_divergence", [frame(10, {WEIGHTS: gaps(0, 0.1, 0, 0.4)})])
    assert change.names == ("rank 3", "rank 1")


def test_rank_0_is_named_where_all_others_differ_from_it_alike() -> None:
    (change,) = judge("rank_divergence", [frame(10, {WEIGHTS: gaps(0, 0.1, 0.1, 0.1)})])
    assert change.names == ("rank 0",)
    assert change.evidence[0].value == pytest.approx(0.1)


def test_it_resolves_after_three_comparisons_in_step() -> None:
    stream = [frame(10, {WEIGHTS: gaps(0, 1, 0, 0)}), *(frame(step, {WEIGHTS: 0.0}) for step in (20, 30, 40, 50))]
    assert [(change.change, change.step) for change in judge("rank_divergence", stream)] == [
        ("opened", 10),
        ("resolved", 40),
    ]


def test_its_remedy_is_the_same_batch_in_one_process() -> None:
    (change,) = judge("rank_divergence", [frame(10, {WEIGHTS: gaps(0, 1, 0, 0)})])
    document = presets.PRESETS["digits-mlp"].document
    spec = document | {"distributed": {"kind": "ddp", "ranks": 4}, "accumulation": {"steps": 2}}
    (remedy,) = remedies_for(change, spec)
    assert remedy.patch == {"distributed": None, "accumulation": {"kind": "micro_batches", "steps": 8}}
    assert remedies_for(change, document) == (), "one process has no ranks"
