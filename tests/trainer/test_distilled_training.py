"""A mean teacher through the real loop: its weights are part of the checkpoint."""

import pytest
import torch
from torch.nn import functional

from gyrostat.spec.parse import parse
from tests.trainer.recording import document, trained
from trainer import tasks
from trainer.checkpoints import CheckpointStore

GIVEN = document(
    "digits-mlp",
    steps=12,
    checkpoints={"every": 5},
    model={"norm": "batch", "depth": 2, "width": 16},
    regularization={
        "dropout": {"kind": "element", "rate": 0.2},
        "label_smoothing": "uniform",
        "confidence_penalty": "entropy",
        "distillation": {"kind": "mean_teacher", "weight": 3.0, "temperature": 2.0},
    },
)


def losses(recording):
    return {step: loss.hex() for step, loss in recording.scalars("loss.train").items()}


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_a_training_goes_on_from_its_checkpoint_bit_for_bit(tmp_path):
    whole = trained(GIVEN, tmp_path / "whole")
    store = CheckpointStore(tmp_path / "whole")
    start = store.load("r1", 5)
    resumed = trained(GIVEN, tmp_path / "resumed", start=start)
    assert losses(resumed) == {step: loss for step, loss in losses(whole).items() if step > 5}
    assert {name.split(".")[0] for name in start.state["task"]["teacher"]} >= {"layers", "output"}


def test_a_resumed_training_without_its_teacher_would_differ(tmp_path):
    trained(GIVEN, tmp_path / "whole")
    start = CheckpointStore(tmp_path / "whole").load("r1", 5)
    exact = trained(GIVEN, tmp_path / "exact", start=start)
    for tensor in start.state["task"]["teacher"].values():
        if tensor.is_floating_point():
            tensor.mul_(1.01)
    assert losses(trained(GIVEN, tmp_path / "changed", start=start)) != losses(exact)


def test_a_fork_of_a_run_without_a_teacher_starts_one_from_its_student(tmp_path):
    plain = {**GIVEN, "regularization": {}}
    trained(plain, tmp_path / "parent")
    recording = trained(GIVEN, tmp_path / "fork", run="r2", start=CheckpointStore(tmp_path / "parent").load("r1", 5))
    (note,) = [data["message"] for kind, _, data in recording.events if kind == "log"]
    assert "the teacher starts as the student is" in note


def test_training_has_the_whole_loss_and_validation_the_plain_one():
    task = tasks.build(parse(GIVEN).spec, data_root=None, device=torch.device("cpu"))
    task.model.eval()
    inputs, targets = task.batch(0)
    with torch.no_grad():
        for parameter in task.teacher.network.parameters():
            parameter.mul_(1.5)
    outputs, wanted = task.model(inputs), (task.teacher.network(inputs) / 2).softmax(1)
    smoothed = functional.cross_entropy(outputs, targets, label_smoothing=0.1)
    entropy = torch.distributions.Categorical(logits=outputs).entropy().mean()
    divergence = (wanted * (wanted.log() - (outputs / 2).log_softmax(1))).sum(1).mean()
    expected = smoothed - 0.1 * entropy + 3 * 2**2 * divergence
    assert task.loss(task.model, (inputs, targets))[0].item() == pytest.approx(expected.item(), rel=1e-5)
    held_out, labels = (torch.cat(parts) for parts in zip(*task.held_out(), strict=True))
    plain = functional.cross_entropy(task.model(held_out), labels)
    assert task.validate(task.model)["loss.validation"].item() == pytest.approx(plain.item(), rel=1e-5)
