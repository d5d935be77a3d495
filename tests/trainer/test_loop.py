"""A training is a function of its spec: cut anywhere, watched or not, it computes the same numbers."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from gyrostat.probes.session import ProbeSession
from gyrostat.spec.parse import parse
from gyrostat.spec.probes import PROBES
from tests.trainer.recording import document, trained
from tests.trainer.train_in_process import read
from trainer import loop, tasks
from trainer.checkpoints import CheckpointStore
from trainer.control import Adjustment, Control
from trainer.data.batches import Batches
from trainer.errors import CheckpointError
from trainer.stabilizers import schedules

DROPOUT = {"regularization": {"dropout": {"kind": "element", "rate": 0.2}}}
OWN_PASSES = {
    "probes": {
        "budget": None,
        "curvature": {"batch_size": 8, "every": 10, "max_products": 4},
        "representation": {"every": 10},
        "kernel": {"every": 10, "samples": 4},
    }
}
MLP = document("digits-mlp", **DROPOUT) | OWN_PASSES
RESNET = document("digits-resnet", model={"depth": 3, "width": 4}, schedule="constant") | OWN_PASSES
TRANSFORMER = (
    document("text-transformer", data={"batch_size": 4, "sequence_length": 16}, schedule="constant", **DROPOUT)
    | OWN_PASSES
)
NO_PROBES = {"probes": {name: {"enabled": False} for name in PROBES}}


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def losses(recording):
    return {step: loss.hex() for step, loss in recording.scalars("loss.train").items()}


def process(jobs):
    started = subprocess.Popen([sys.executable, "-m", "tests.trainer.train_in_process"], stdin=subprocess.PIPE)
    started.stdin.write(json.dumps(jobs).encode())
    started.stdin.close()
    return started


def ask_at(step, act):
    """Something that happens once the step is done."""
    return lambda done: act() if done == step else None


def test_another_process_goes_on_from_a_checkpoint_or_after_a_kill_bit_for_bit(tmp_path):
    long = document("digits-mlp", steps=80, checkpoints={"every": 15}, **DROPOUT, **OWN_PASSES)
    specs = {"mlp": MLP, "resnet": RESNET, "transformer": TRANSFORMER, "killed": long}
    jobs = {
        name: {"document": given, "folder": str(tmp_path / name), "out": str(tmp_path / f"{name}.txt"), "at_most": 10}
        for name, given in specs.items()
    }
    told = tmp_path / "killed.txt"
    doomed = process([jobs["killed"] | {"at_most": None}])
    while len(read(told)) < 40:  # nothing else in between, or it comes to its end
        assert doomed.poll() is None
        time.sleep(0.002)
    os.kill(doomed.pid, signal.SIGKILL)
    doomed.wait()
    assert max(read(told)) < 80
    uncut = {name: trained(specs[name], tmp_path / name) for name in ("mlp", "resnet", "transformer")}
    resumed = process([jobs["mlp"], jobs["resnet"], jobs["transformer"], jobs["killed"] | {"at_most": 80}])
    uncut["killed"] = trained(long, tmp_path / "uncut")
    assert resumed.wait(120) == 0

    assert read(told) == losses(uncut.pop("killed"))
    for name, recording in uncut.items():
        assert read(tmp_path / f"{name}.txt") == {s: loss for s, loss in losses(recording).items() if s > 10}, name


@pytest.mark.parametrize("given", [MLP, RESNET, TRANSFORMER], ids=["mlp", "resnet", "transformer"])
def test_measuring_changes_nothing(given, tmp_path):
    watched, unwatched = trained(given, tmp_path / "a"), trained(given | NO_PROBES, tmp_path / "b")
    assert losses(watched) == losses(unwatched)
    assert watched.scalars("loss.validation") == unwatched.scalars("loss.validation")
    measured = {metric for values in watched.frames.values() for metric in values}
    assert {"gradient.norm", "weight.norm", "activation.rms", "weight.spectral_norm", "curvature.sharpness"} <= measured
    assert {"representation.cka_initial", "kernel.drift"} <= measured


def test_what_features_and_kernels_are_compared_with_is_in_the_checkpoint(tmp_path):
    probes = {"budget": None, "representation": {"every": 4}, "kernel": {"every": 4, "samples": 4}}
    given = document("digits-mlp", steps=8, checkpoints={"every": 4}) | {"probes": probes}
    whole = trained(given, tmp_path).frames[8]
    rest = trained(given, tmp_path, start=CheckpointStore(tmp_path).load("r1", 4)).frames[8]
    compared = {name for name in whole if name.startswith(("representation.", "kernel."))}
    assert compared > {"representation.cka_initial", "kernel.drift", "kernel.last_distance"}
    for name in compared:
        assert whole[name].tobytes() == rest[name].tobytes(), name


def test_the_probes_decide_whether_the_probe_batch_is_used(tmp_path, monkeypatch):
    given = []

    class Noting(ProbeSession):
        def __init__(self, *args, probe_batch=None, **options):
            given.append(probe_batch)
            super().__init__(*args, probe_batch=probe_batch, **options)

    monkeypatch.setattr(loop, "ProbeSession", Noting)
    trained(document("digits-mlp", steps=2, **NO_PROBES), tmp_path)
    (batch,) = given
    assert torch.isfinite(batch.loss())
    assert torch.equal(batch.loss(), batch.loss()), "the batch is the same at every call"
    half = batch.size // 2
    halves = [batch.loss_of(batch.part(*ends)) for ends in ((0, half), (half, 2 * half))]
    torch.testing.assert_close(sum(halves) / 2, batch.loss_of(batch.part(0, 2 * half)))


def test_validating_and_checkpointing_change_nothing(tmp_path):
    given = {**RESNET, **NO_PROBES, **DROPOUT, "steps": 10}
    often = trained(given | {"validation": {"every": 1, "max_batches": 2}, "checkpoints": {"every": 1}}, tmp_path / "a")
    rarely = trained(given | {"validation": {"every": 99, "max_batches": 2}}, tmp_path / "b")
    assert losses(often) == losses(rarely)
    assert list(often.scalars("loss.validation")) == list(range(1, 11))
    assert list(rarely.scalars("loss.validation")) == [10], "the last step is always validated"
    assert often.scalars("loss.validation")[10] == rarely.scalars("loss.validation")[10]


class InDouble(Batches):
    def __init__(self, batches):
        self._batches = batches

    def batch(self, step):
        inputs, targets = self._batches.batch(step)
        return inputs.double(), targets

    def epoch(self, step):
        return self._batches.epoch(step)

    def fixed(self, size):
        return self._batches.fixed(size)


def test_micro_batches_add_up_to_the_whole_batch(tmp_path):
    def final_weights(parts):
        given = document("digits-mlp", steps=8, accumulation={"steps": parts}, validation={"every": 1000}, **NO_PROBES)
        task = tasks.build(parse(given).spec, data_root=None, device=torch.device("cpu"))
        task.model.double()
        task.batches = InDouble(task.batches)
        task.validate = lambda model, most: {"loss.validation": torch.tensor(0.0)}  # its data is not in float64
        recording = trained(given, tmp_path / str(parts), task=task)
        return recording, torch.cat([p.detach().flatten() for p in task.model.parameters()])

    whole, weights = final_weights(1)
    pieces, same_weights = final_weights(4)
    torch.testing.assert_close(same_weights, weights, rtol=1e-10, atol=1e-13)
    for metric in ("loss.train", "accuracy.train"):
        assert pieces.scalars(metric) == pytest.approx(whole.scalars(metric), rel=1e-6)


def test_every_step_has_its_frame_rate_and_epoch(tmp_path):
    given = document("digits-mlp", schedule={"kind": "cosine", "warmup": {"kind": "linear_warmup", "steps": 5}})
    spec = parse(given).spec
    recording = trained(given, tmp_path)
    assert list(recording.frames) == list(range(1, 25))
    expected = {t: 0.05 * schedules.factor(spec.schedule, t - 1, 24) for t in range(1, 25)}
    assert recording.scalars("optimizer.learning_rate") == pytest.approx(expected, rel=1e-6)
    batches_per_epoch = int(1797 * 0.8) // 64
    assert recording.epochs[24] == pytest.approx(24 / batches_per_epoch)
    assert recording.scalars("memory.resident_bytes")[24] > 1e7
    assert set(recording.scalars("accuracy.train")) == set(range(1, 25))
    assert recording.kinds() == ["started", *["checkpoint"] * (len(recording.events) - 2), "finished"]
    declared = {metric.name for layout in recording.layouts for metric in layout.metrics}
    assert {metric for values in recording.frames.values() for metric in values} <= declared


def test_a_live_change_holds_from_the_next_step_and_survives_resuming(tmp_path):
    given = document("digits-mlp", schedule="constant", steps=40, checkpoints={"every": 20})
    control = Control()
    change = Adjustment(learning_rate_factor=0.1, clip_norm=1e-6)
    recording = trained(given, tmp_path, control=control, progress=ask_at(10, lambda: control.adjust(change)))
    rates = recording.scalars("optimizer.learning_rate")
    assert rates[10] == pytest.approx(0.05)
    assert [rates[step] for step in (11, 40)] == pytest.approx([0.005, 0.005])
    assert ("intervention", 11, {"by": "control", "learning_rate_factor": 0.1, "clip_norm": 1e-6}) in recording.events
    assert "gradient.clipped_norm" not in recording.frames[10]
    clipped = [values["gradient.clipped_norm"][0] for step, values in recording.frames.items()
               if step > 10 and "gradient.clipped_norm" in values]  # fmt: skip
    assert clipped == pytest.approx([1e-6] * len(clipped), rel=1e-4)
    start = CheckpointStore(tmp_path).load("r1", 20)
    again = trained(given, tmp_path, start=start)
    assert losses(again) == {step: loss for step, loss in losses(recording).items() if step > 20}
    assert again.scalars("optimizer.learning_rate")[40] == pytest.approx(0.005)


def test_a_live_change_of_null_goes_back_to_the_spec(tmp_path):
    control = Control()
    control.adjust(Adjustment(learning_rate_factor=0.5, clip_norm=1e12, tighten_probes=True))
    back = ask_at(5, lambda: control.adjust(Adjustment(learning_rate_factor=None)))
    recording = trained(document("digits-mlp", schedule="constant"), tmp_path, control=control, progress=back)
    rates = recording.scalars("optimizer.learning_rate")
    assert [rates[5], rates[6]] == pytest.approx([0.025, 0.05])


@pytest.mark.parametrize("ending", ["stopped", "paused", "interrupted"])
def test_an_end_asked_for_leaves_a_checkpoint_of_the_last_step(ending, tmp_path):
    control = Control()
    recording = trained(MLP, tmp_path, control=control, progress=ask_at(7, lambda: control.end(ending)))
    assert recording.events[-2][:2] == ("checkpoint", 7)
    assert recording.events[-1][:2] == (ending, 7)
    assert CheckpointStore(tmp_path).listed("r1")[-1].step == 7
    resumed = trained(MLP, tmp_path, start=CheckpointStore(tmp_path).load("r1", 7))
    assert list(resumed.frames) == list(range(8, 25))
    assert losses(resumed) == {s: loss for s, loss in losses(trained(MLP, tmp_path / "uncut")).items() if s > 7}


def test_a_stop_is_not_overruled_by_an_interruption():
    control = Control()
    control.end("interrupted")
    control.end("stopped")
    control.end("interrupted")
    assert control.ending == "stopped"


def test_a_run_resumed_at_its_last_step_only_says_so(tmp_path):
    trained(MLP, tmp_path)
    again = trained(MLP, tmp_path, start=CheckpointStore(tmp_path).load("r1", 24))
    assert again.frames == {}
    assert again.kinds() == ["started", "finished"]


def test_a_loss_that_is_not_finite_ends_nothing(tmp_path):
    given = document("digits-mlp", optimizer={"learning_rate": 1000.0}, schedule="constant") | OWN_PASSES
    recording = trained(given, tmp_path)
    assert recording.scalars("loss.train")[24] != recording.scalars("loss.train")[24]
    assert recording.kinds()[-1] == "finished"
    assert recording.events[-2][2]["metric"] is None


def test_the_best_loss_is_remembered_over_a_resumption(tmp_path):
    given = document("digits-mlp", validation={"every": 5}, checkpoints={"every": 10, "keep": 1})
    uncut = trained(given, tmp_path)
    best = min(uncut.scalars("loss.validation"), key=uncut.scalars("loss.validation").get)
    kept = [one.step for one in CheckpointStore(tmp_path).listed("r1")]
    assert kept == sorted({best, 24})
    start = CheckpointStore(tmp_path).load("r1", 24)
    assert start.state["progress"]["best"] == pytest.approx(uncut.scalars("loss.validation")[best])


def test_a_disk_that_takes_no_checkpoint_is_reported_and_training_goes_on(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    recording = trained(MLP, blocked)
    assert recording.kinds()[-1] == "finished"
    failures = [data["message"] for kind, _, data in recording.events if kind == "log"]
    assert any("no checkpoint of step 10" in message for message in failures)


def test_a_fork_takes_over_what_fits_and_names_what_does_not(tmp_path):
    trained(MLP, tmp_path, run="parent")
    start = CheckpointStore(tmp_path).load("parent", 10)
    with_norm = document("digits-mlp", model={"norm": "batch"}, steps=15)
    fork = trained(with_norm, tmp_path, run="fork", start=start)
    assert list(fork.frames) == list(range(11, 16))
    (message,) = [data["message"] for kind, _, data in fork.events if kind == "log"]
    assert "norm" in message
    assert "optimizer starts anew" in message
    assert "linear.weight" not in message, "what fits is taken over silently"
    started = next(data for kind, _, data in fork.events if kind == "started")
    assert started["from"] == {"run": "parent", "step": 10}


def test_a_fork_that_fits_goes_on_with_its_own_settings(tmp_path):
    trained(MLP, tmp_path, run="parent")
    start = CheckpointStore(tmp_path).load("parent", 10)
    gentle = {**MLP, "optimizer": {**MLP["optimizer"], "learning_rate": 1e-9, "momentum": 0.0}}
    fork = trained(gentle, tmp_path, run="fork", start=start)
    assert [kind for kind in fork.kinds() if kind == "log"] == []
    weights = CheckpointStore(tmp_path).load("fork", 24)
    for name, before in start.model.items():
        torch.testing.assert_close(weights.model[name], before, rtol=0, atol=1e-6)
    assert weights.state["optimizer"]["param_groups"][0]["momentum"] == 0.0
    same = trained(MLP, tmp_path, run="same", start=start)
    assert losses(same) == {s: loss for s, loss in losses(trained(MLP, tmp_path / "b")).items() if s > 10}


def test_a_run_whose_checkpoint_does_not_fit_its_spec_refuses_to_go_on(tmp_path):
    trained(MLP, tmp_path)
    start = CheckpointStore(tmp_path).load("r1", 10)
    wider = {**MLP, "model": {**MLP["model"], "width": 64}}
    with pytest.raises(CheckpointError, match=r"has shape .* here"):
        trained(wider, tmp_path, start=start)
    other = {**MLP, "optimizer": {"kind": "adamw"}}
    with pytest.raises(CheckpointError, match="optimizer"):
        trained(other, tmp_path, start=start)
