from typing import Any

import pytest

from tests.gyrostat.spec.documents import TABLE, TEXT, problems, spec

SHAPES = {"kind": "segmentation", "dataset": "shapes"}
UNET: dict[str, Any] = {"model": {"kind": "unet", "width": 8, "stages": 2}}
TRANSFORMER: dict[str, Any] = {"model": {"kind": "transformer", "width": 8}}
OWN = {"kind": "classification", "dataset": {"kind": "npz", "path": "a.npz"}}


@pytest.mark.parametrize(
    ("changes", "path", "message", "mend"),
    [
        ({"task": TABLE, "data": {"augment": ["flip"]}}, "data.augment.0.kind", "'diabetes' is a table", "noise.input"),
        ({"task": TEXT, **TRANSFORMER, "data": {"augment": ["crop"]}}, "data.augment.0.kind", "is a text", "leave"),
        (
            {"data": {"augment": ["flip", {"kind": "colour_jitter", "hue": 0.1}]}},
            "data.augment.1.hue",
            "needs three channels",
            "set hue to 0",
        ),
        ({"task": TABLE, "data": {"mix": "cutmix"}}, "data.mix.kind", "pastes a box", "'mixup'"),
        ({"task": TEXT, **TRANSFORMER, "data": {"mix": "mixup"}}, "data.mix.kind", "task.kind", "leave data.mix out"),
        ({"task": SHAPES, **UNET, "data": {"mix": "cutmix"}}, "data.mix.kind", "'segmentation'", "leave data.mix out"),
        ({"data": {"curriculum": "length"}}, "data.curriculum.kind", "no score", "'loss' or 'noise'"),
        ({"task": TABLE, "data": {"curriculum": "noise"}}, "data.curriculum.kind", "measures images", "'loss'"),
        ({"task": SHAPES, **UNET, "data": {"curriculum": "loss"}}, "data.curriculum.kind", "no score", "'noise'"),
        (
            {"data": {"curriculum": {"kind": "loss", "steps": 100}}},
            "data.curriculum.steps",
            "does not reach all data within the run's 100",
            "fewer than 100",
        ),
        ({"task": TEXT, **TRANSFORMER, "noise": {"input": "input"}}, "noise.input", "tokens", "leave noise.input out"),
        ({"task": TABLE, "data": {"label_noise": 0.1}}, "data.label_noise", "replaces classes", "to 0"),
        (
            {"task": {"kind": "segmentation", "dataset": {"kind": "shapes", "rows": 100_000, "size": 512}}, **UNET},
            "task.dataset.rows",
            "values, more than",
            "at most 512",
        ),
        (
            {"task": {"kind": "classification", "dataset": {"kind": "hugging_face", "name": "a/b", "text": "words"}}},
            "task.dataset.text",
            "does not learn from text",
            "leave it out",
        ),
        (
            {"task": {"kind": "language_model", "dataset": {"kind": "hugging_face", "name": "a/b"}}, **TRANSFORMER},
            "task.dataset.text",
            "needs the name of a column",
            "name the column",
        ),
    ],
)
def test_what_does_not_fit_the_data_is_told_with_both_settings_and_the_mend(changes, path, message, mend):
    found = problems(**changes)[path]
    assert message in found.message
    assert mend in found.mend


@pytest.mark.parametrize(
    "changes",
    [
        {"data": {"augment": ["affine", "flip", "crop", "colour_jitter", "noise"], "mix": "cutmix"}},
        {"data": {"curriculum": {"kind": "noise", "steps": 99}, "label_noise": 1.0}, "noise": {"input": "input"}},
        {"task": TABLE, "data": {"mix": "mixup", "curriculum": "loss"}, "noise": {"multiplicative": "multiplicative"}},
        {"task": TEXT, **TRANSFORMER, "data": {"curriculum": "length"}},
        {"task": SHAPES, **UNET, "data": {"augment": ["affine"], "curriculum": "noise"}},
        {"task": OWN, "data": {"augment": ["flip"], "mix": "cutmix", "curriculum": "noise"}},
        {"task": OWN, "model": "cnn"},
    ],
)
def test_what_fits_or_may_fit_is_let_through(changes):
    assert spec(**changes)


@pytest.mark.parametrize("path", ["../a", "/a", "~/a", "a\\b", "a/../b", "a\nb", ""])
@pytest.mark.parametrize("kind", ["npz", "csv", "parquet", "image_folder", "mask_folder", "text_file"])
def test_paths_that_could_lead_out_of_the_data_root_are_refused(kind, path):
    assert "task.dataset.path" in problems(task={"kind": "classification", "dataset": {"kind": kind, "path": path}})
