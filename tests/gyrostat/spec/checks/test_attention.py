from typing import Any

import pytest

from gyrostat.spec.architectures import Transformer
from gyrostat.spec.checks.attention import LAYOUT_OF
from gyrostat.spec.parse import parse
from tests.gyrostat.spec.documents import TABLE, TEXT, document, problems

PAIRS = {"kind": "sequence_to_sequence", "dataset": "transduction"}
SLOW = {"kind": "adamw", "learning_rate": 5e-4}
BOTH = {"kind": "transformer", "layout": "encoder_decoder", "cross": "cross"}


@pytest.mark.parametrize(
    ("changes", "path", "mend"),
    [
        ({"model": "transformer"}, "model.layout", "layout 'encoder'"),
        ({"task": TEXT, "model": {"kind": "transformer", "layout": "encoder"}}, "model.layout", "layout 'decoder'"),
        ({"task": PAIRS, "model": "transformer"}, "model.layout", "layout 'encoder_decoder'"),
        ({"task": PAIRS}, "model.kind", "transformer"),
        ({"task": TEXT, "model": {**BOTH, "layout": "decoder"}}, "model.cross", "null"),
        ({"task": PAIRS, "model": {**BOTH, "cross": {"kind": "cross", "heads": 5}}}, "model.cross.heads", "4 heads"),
        (
            {"task": PAIRS, "model": {**BOTH, "attention": {"kind": "multi_head", "heads": 3}}},
            "model.attention.heads",
            "2 heads",
        ),
        ({"task": PAIRS, "model": {**BOTH, "norm": "batch"}}, "model.norm.kind", "'layer'"),
        (
            {"task": PAIRS, "model": BOTH, "data": {"batch_size": 64, "limit": 60}},
            "data.batch_size",
            "at most 48",
        ),
    ],
)
def test_what_a_transformer_cannot_be_is_a_problem_with_a_mend(changes: dict[str, Any], path: str, mend: str) -> None:
    found = problems(**changes)
    assert list(found) == [path]
    assert mend in found[path].mend


@pytest.mark.parametrize(
    "changes",
    [
        {"model": {"kind": "transformer", "layout": "encoder"}},
        {"task": TABLE, "model": {"kind": "transformer", "layout": "encoder", "attention": "self"}},
        {"task": TEXT, "model": {"kind": "transformer", "attention": {"kind": "multi_head", "qk_norm": "qk_norm"}}},
        {"task": PAIRS, "model": BOTH},
        {"task": PAIRS, "model": {**BOTH, "width": 63, "attention": "self", "cross": {"kind": "cross", "heads": 7}}},
    ],
)
def test_each_layout_with_its_task_is_no_problem(changes: dict[str, Any]) -> None:
    assert parse(document(optimizer=SLOW, **changes)).warnings == []


def test_a_decoder_that_never_sees_the_source_is_a_warning() -> None:
    (warning,) = parse(document(optimizer=SLOW, task=PAIRS, model={**BOTH, "cross": None})).warnings
    assert warning.path == "model.cross"


def test_every_task_of_a_transformer_has_its_layout() -> None:
    assert set(LAYOUT_OF) == set(Transformer.tasks)
