from typing import Any

import pytest

from gyrostat.spec.parse import parse
from tests.gyrostat.spec.documents import TEXT, document, problems


@pytest.mark.parametrize(
    ("model", "path", "message", "mend"),
    [
        (
            {"kind": "cnn", "width": 64, "norm": {"kind": "group", "groups": 7}},
            "model.norm.groups",
            "group norm with 7 groups on 64 channels: groups must divide channels",
            "8 is nearest",
        ),
        (
            {"kind": "mlp", "width": 10, "scaling": {"factor": 1.2}, "norm": {"kind": "group", "groups": 5}},
            "model.norm.groups",
            "5 groups on 12 channels",
            "4 is nearest",
        ),
        (
            {"kind": "densenet", "width": 16, "growth": 6, "norm": {"kind": "group", "groups": 8}},
            "model.norm.groups",
            "8 groups on 22 channels",
            "1 is nearest",
        ),
        ({"kind": "mlp", "norm": "instance"}, "model.norm.kind", "pixels of an image, and model 'mlp'", "'layer'"),
        (
            {"kind": "cnn", "stages": 4, "depth": 4, "norm": "instance"},
            "model.norm.kind",
            "of a single pixel each would be over one value",
            "fewer model.stages",
        ),
        ({"kind": "mlp", "width": 1, "norm": "layer"}, "model.norm.kind", "on 1 channels", "larger model.width"),
        ({"kind": "cnn", "width": 1, "norm": "rms"}, "model.norm.kind", "on 1 channels", "larger model.width"),
        (
            {"kind": "mlp", "width": 8, "norm": {"kind": "group", "groups": 8}},
            "model.norm.kind",
            "with 8 groups on 8 channels",
            "fewer groups",
        ),
    ],
)
def test_a_norm_that_has_no_place_or_would_erase_its_input_is_refused(
    model: dict[str, Any], path: str, message: str, mend: str
) -> None:
    found = problems(model=model)
    assert list(found) == [path]
    assert message in found[path].message
    assert mend in found[path].mend


@pytest.mark.parametrize("norm", ["batch", "group", "instance"])
def test_a_transformer_takes_no_norm_over_positions(norm: str) -> None:
    found = problems(task=TEXT, model={"kind": "transformer", "norm": norm}, schedule={"kind": "constant"})
    assert "use 'layer' or 'rms'" in found["model.norm.kind"].mend


@pytest.mark.parametrize(
    "model",
    [
        {"kind": "cnn", "stages": 3, "depth": 4, "norm": "instance"},
        {"kind": "cnn", "stages": 4, "depth": 4, "norm": "layer"},
        {"kind": "cnn", "stages": 4, "depth": 4, "norm": "rms"},
        {"kind": "cnn", "width": 12, "norm": {"kind": "group", "groups": 12}},
        {"kind": "densenet", "width": 16, "growth": 8, "compression": 1.0, "norm": {"kind": "group", "groups": 8}},
        {"kind": "mlp", "width": 1, "norm": "batch"},
        {"kind": "mlp", "norm": "rms"},
    ],
)
def test_norms_that_fit_are_no_problem(model: dict[str, Any]) -> None:
    parse(document(model=model))
