"""The form of a new run follows the spec's schema."""

import pytest

from app.dashboard.spec_form import bounds, groups
from gyrostat.spec.catalogue import STABILIZERS

FIELDS = {field.path: field for group in groups() for field in group.fields}


def test_every_field_has_a_label_and_most_a_hint_from_the_spec():
    assert all(field.label for field in FIELDS.values())
    assert FIELDS["steps"].hint.startswith("Optimizer steps to train. At least 1")
    assert FIELDS["seed"].default == "0"


@pytest.mark.parametrize(("path", "family"), [("optimizer.kind", "optimizer"), ("model.norm.kind", "norm")])
def test_choices_are_all_techniques_of_the_family(path, family):
    offered = {value for value, _ in FIELDS[path].choices} - {"", "none"}
    assert offered == {name.partition(".")[2] for name in STABILIZERS if name.startswith(family + ".")}


def test_only_what_may_be_null_can_be_none():
    assert "none" in dict(FIELDS["model.norm.kind"].choices)
    assert "none" not in dict(FIELDS["optimizer.kind"].choices)


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({"exclusiveMinimum": 0, "maximum": 1000}, "above 0 and at most 1,000"),
        ({"minimum": 1}, "at least 1"),
        ({"anyOf": [{"exclusiveMaximum": 0.5, "type": "number"}, {"type": "null"}]}, "below 0.5"),
        ({"enum": ["byte", "character"]}, "byte or character"),
        ({"type": "string"}, ""),
    ],
)
def test_ranges_are_told_in_words(schema, text):
    assert bounds(schema) == text
