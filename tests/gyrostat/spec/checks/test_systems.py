from typing import Any

import pytest

from gyrostat.spec.parse import parse
from tests.gyrostat.spec.documents import document, problems


def ddp(ranks: int, **more: Any) -> dict[str, Any]:
    return {"distributed": {"kind": "ddp", "ranks": ranks, **more}}


@pytest.mark.parametrize(
    ("changes", "words", "mend"),
    [
        ({**ddp(3), "data": {"batch_size": 64}}, "3 ranks do not share equally the 64 samples", "2 is nearest"),
        (
            {**ddp(8), "data": {"batch_size": 36}, "accumulation": {"steps": 3}},
            "8 ranks do not share equally the 12 samples of a micro-batch",
            "6 is nearest",
        ),
        (
            {**ddp(8), "data": {"batch_size": 16}, "accumulation": {"steps": 2}},
            "each rank has 1 sample of a micro-batch",
            "at least 32",
        ),
    ],
)
def test_ranks_that_cannot_share_the_batch_are_refused_with_both_settings(
    changes: dict[str, Any], words: str, mend: str
) -> None:
    found = problems(**changes)
    assert list(found) == ["distributed.ranks"]
    assert words in found["distributed.ranks"].message
    assert "data.batch_size" in found["distributed.ranks"].message
    assert "accumulation.steps" in found["distributed.ranks"].message
    assert mend in found["distributed.ranks"].mend


def test_micro_batches_that_do_not_divide_the_batch_are_told_once() -> None:
    found = problems(**ddp(2), data={"batch_size": 10}, accumulation={"steps": 3})
    assert list(found) == ["accumulation.steps"]


def test_one_rank_takes_any_batch() -> None:
    spec = parse(document(**ddp(1), data={"batch_size": 1})).spec
    assert spec.distributed is not None
    assert spec.distributed.ranks == 1


def test_batch_statistics_of_few_samples_of_each_rank_are_warned_of_unless_joined() -> None:
    few = {"model": {"kind": "cnn", "norm": "batch"}, "data": {"batch_size": 16}}
    alone = parse(document(**few, **ddp(4, sync_batch_norm=False))).warnings
    joined = parse(document(**few, **ddp(4))).warnings
    assert "distributed.sync_batch_norm" in {warning.path for warning in alone}
    assert "distributed.sync_batch_norm" not in {warning.path for warning in joined}


@pytest.mark.parametrize("name", ["bf16", "fp16", "fp32"])
def test_a_precision_may_be_its_bare_name(name: str) -> None:
    assert parse(document(precision=name)).spec.precision.kind == name
