from typing import Any

import numpy
import pytest
import torch

from gyrostat.spec.parse import parse
from trainer import tasks
from trainer.data.samples import DataError

DRAW = numpy.random.default_rng(0)


def built(root, *, x, y, kind="classification", model="mlp", **changes: Any) -> tasks.Task:
    numpy.savez(root / "a.npz", x=x, y=y)
    document = {
        "task": {"kind": kind, "dataset": {"kind": "npz", "path": "a.npz"}},
        "model": model,
        "optimizer": "sgd",
        "steps": 10,
        "data": {"batch_size": 8},
    }
    return tasks.build(parse(document | changes).spec, data_root=root, device=torch.device("cpu"))


TABLE, IMAGES = DRAW.normal(size=(60, 4)), DRAW.normal(size=(60, 3, 8, 8))
CLASSES, NUMBERS, MASKS = numpy.arange(60) % 3, DRAW.normal(size=60), numpy.arange(60 * 64).reshape(60, 8, 8) % 3
UNET = {"kind": "unet", "width": 8, "stages": 2}


@pytest.mark.parametrize(
    ("x", "y", "kind", "model"),
    [
        (TABLE, CLASSES, "classification", "mlp"),
        (TABLE, CLASSES.astype(float), "classification", "mlp"),
        (IMAGES, CLASSES, "classification", "cnn"),
        (IMAGES[:, 0], CLASSES, "classification", "resnet"),
        (TABLE, NUMBERS, "regression", "mlp"),
        (TABLE, CLASSES, "regression", "mlp"),
        (IMAGES, DRAW.normal(size=(60, 2)), "regression", "cnn"),
        (IMAGES, MASKS, "segmentation", UNET),
        (IMAGES, NUMBERS, "denoising", UNET),
        (IMAGES, MASKS, "vae", "mlp"),
    ],
)
def test_what_a_file_holds_is_learnt_where_it_fits(tmp_path, x, y, kind, model):
    task = built(tmp_path, x=x, y=y, kind=kind, model=model)
    loss, _ = task.loss(task.model, task.batch(0))
    assert loss.isfinite()
    assert task.validate(task.model)["loss.validation"].isfinite()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"x": TABLE, "y": CLASSES, "model": "cnn"}, "model 'cnn' needs images, and 'npz' is a table"),
        ({"x": IMAGES[..., :2, :2], "y": CLASSES, "model": {"kind": "cnn", "stages": 4}}, "halve a 2 x 2 image"),
        ({"x": TABLE, "y": CLASSES, "data": {"augment": ["flip"]}}, "augmentation changes images"),
        ({"x": TABLE, "y": CLASSES, "data": {"mix": "cutmix"}}, "cutmix pastes a box of an image"),
        ({"x": TABLE, "y": CLASSES, "data": {"curriculum": "noise"}}, "a curriculum by noise measures images"),
        ({"x": IMAGES[:, :2], "y": CLASSES, "data": {"augment": [{"kind": "colour_jitter", "hue": 0.1}]}}, "have 2"),
        ({"x": TABLE, "y": CLASSES, "data": {"batch_size": 50}}, "a batch of 50 is more than the 48 training samples"),
        ({"x": TABLE, "y": NUMBERS}, "targets hold fractions"),
        ({"x": TABLE, "y": CLASSES - 1}, r"class number -1 \(entry 0 of the targets\) is out of range"),
        ({"x": TABLE, "y": CLASSES * 10**6}, "class number 2000000 .* is out of range"),
        ({"x": TABLE, "y": DRAW.normal(size=(60, 2))}, "wants one class number a sample"),
        ({"x": TABLE, "y": MASKS, "kind": "regression"}, r"regression wants \(N,\) or \(N, outputs\)"),
        ({"x": IMAGES, "y": MASKS[:, :4], "kind": "segmentation", "model": UNET}, "segmentation wants images"),
        ({"x": numpy.where(TABLE > 2, numpy.nan, TABLE), "y": CLASSES}, "hold NaN or infinity"),
        ({"x": TABLE, "y": numpy.full(60, numpy.inf), "kind": "regression"}, "targets of sample 0 .* NaN or infinity"),
    ],
)
def test_what_does_not_fit_is_told_with_the_reason_before_anything_is_trained(tmp_path, data, message):
    with pytest.raises(DataError, match=message):
        built(tmp_path, **data)


def test_wrong_labels_are_as_many_as_asked_for_all_wrong_and_only_where_trained(tmp_path):
    clean = built(tmp_path, x=TABLE, y=CLASSES, data={"batch_size": 48})
    noisy = built(tmp_path, x=TABLE, y=CLASSES, data={"batch_size": 48, "label_noise": 0.25})
    (x, y), (u, v) = clean.batch(0), noisy.batch(0)
    assert torch.equal(x, u)
    assert (y != v).sum() == 12
    assert set(v.tolist()) <= {0, 1, 2}
    assert torch.equal(next(clean.held_out())[1], next(noisy.held_out())[1])
