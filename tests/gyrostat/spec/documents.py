"""Specs for the tests, as a user would write them."""

from typing import Any

import pytest

from gyrostat.spec.checks import Problem
from gyrostat.spec.parse import SpecError, parse
from gyrostat.spec.run import RunSpec

Document = dict[str, Any]


def document(**changes: Any) -> Document:
    """A small valid spec, changed."""
    plain: Document = {
        "task": {"kind": "classification", "dataset": "digits"},
        "model": {"kind": "mlp"},
        "optimizer": "sgd",
        "steps": 100,
    }
    return plain | changes


def spec(**changes: Any) -> RunSpec:
    return parse(document(**changes)).spec


def problems(**changes: Any) -> dict[str, Problem]:
    """What is wrong with the small spec after the changes, by path."""
    with pytest.raises(SpecError) as refused:
        parse(document(**changes))
    return {problem.path: problem for problem in refused.value.problems}


TEXT = {"kind": "language_model", "dataset": "python_topics"}
TABLE = {"kind": "regression", "dataset": "diabetes"}
