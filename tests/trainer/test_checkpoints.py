"""Checkpoints are whole, verified, bounded in number, and hold no code."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from torch import nn

from gyrostat.spec.systems import Checkpoints
from trainer import checkpoints
from trainer.checkpoints import CheckpointStore
from trainer.errors import CheckpointDamaged, CheckpointError, CheckpointMissing

KEEP_ALL = Checkpoints(keep=1000)


@pytest.fixture
def store(tmp_path):
    return CheckpointStore(tmp_path / "checkpoints")


def save(store, step, *, run="r1", loss=None, keep=KEEP_ALL, model=None, regular=True):
    model = model or {"weight": torch.full((3, 2), float(step)), "count": torch.tensor(step)}
    state = {"step": step, "rng": torch.get_rng_state(), "nested": {"list": [1, 2.5, None, "x"]}}
    return store.save(run, step, model=model, state=state, validation_loss=loss, keep=keep, regular=regular)


def test_what_is_written_is_read_back_bit_for_bit(store):
    values = torch.tensor([0.1, -0.0, float("nan"), float("inf"), 1e-45])
    rng = torch.get_rng_state()
    save(store, 5, model={"a": values, "b": torch.arange(6).reshape(2, 3).T, "empty": torch.zeros(0)})
    read = store.load("r1", 5)
    assert read.model["a"].numpy().tobytes() == values.numpy().tobytes()
    assert torch.equal(read.model["b"], torch.arange(6).reshape(2, 3).T)
    assert read.model["empty"].shape == (0,)
    assert torch.equal(read.state["rng"], rng)
    assert read.state["nested"] == {"list": [1, 2.5, None, "x"]}


def test_a_tied_weight_is_written_once_and_read_under_both_names(store):
    model = nn.ModuleDict({"embedding": nn.Embedding(100, 16), "head": nn.Linear(16, 100, bias=False)})
    model["head"].weight = model["embedding"].weight
    saved = save(store, 1, model=model.state_dict())
    read = store.load("r1", 1).model
    assert set(read) == {"embedding.weight", "head.weight"}
    assert torch.equal(read["head.weight"], model["embedding"].weight)
    assert (store.folder("r1") / "1" / checkpoints.MODEL).stat().st_size < 2 * 100 * 16 * 4 < saved.size_bytes * 2


def test_the_newest_and_the_best_are_kept(store):
    keep = Checkpoints(keep=2, best=True)
    for step, loss in ((10, 0.9), (20, 0.3), (30, 0.5), (40, float("nan")), (50, None)):
        save(store, step, loss=loss, keep=keep)
    assert [(one.step, one.validation_loss) for one in store.listed("r1")] == [(20, 0.3), (40, None), (50, None)]
    save(store, 60, keep=Checkpoints(keep=2, best=False))
    assert [one.step for one in store.listed("r1")] == [50, 60]


def test_what_others_start_from_is_kept_until_they_have(store):
    keep = Checkpoints(keep=1, best=False)
    for step in (10, 20, 30):
        save(store, step, keep=keep)
        store.protect("r1", [10])
    assert [one.step for one in store.listed("r1")] == [10, 30]
    store.protect("other", [10])
    save(store, 40, keep=keep)
    assert [one.step for one in store.listed("r1")] == [10, 40]
    store.protect("r1", [])
    save(store, 50, keep=keep)
    assert [one.step for one in store.listed("r1")] == [50]


def test_one_written_only_for_its_loss_takes_no_regular_ones_place_and_goes_when_it_is_beaten(store):
    keep = Checkpoints(keep=2)
    save(store, 40, keep=keep)
    save(store, 50, loss=0.5, keep=keep, regular=False)
    save(store, 80, keep=keep)
    assert [one.step for one in store.listed("r1")] == [40, 50, 80]
    save(store, 100, loss=0.4, keep=keep, regular=False)
    assert [one.step for one in store.listed("r1")] == [40, 80, 100]


def test_the_same_step_can_be_written_twice(store):
    save(store, 5)
    save(store, 5, model={"weight": torch.ones(1)})
    assert torch.equal(store.load("r1", 5).model["weight"], torch.ones(1))
    assert sorted(path.name for path in store.folder("r1").iterdir()) == ["5"]


def test_a_writer_killed_at_any_moment_leaves_only_whole_checkpoints(tmp_path):
    code = f"""
import torch
from pathlib import Path
from gyrostat.spec.systems import Checkpoints
from trainer.checkpoints import CheckpointStore
torch.set_num_threads(1)
store = CheckpointStore(Path({str(tmp_path)!r}))
print("ready", flush=True)
for step in range(1, 100000):
    store.save("r1", step, model={{"w": torch.full((50_000,), float(step))}}, state={{"step": step}},
               validation_loss=None, keep=Checkpoints(keep=2))
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"ready\n"
    time.sleep(0.4)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    store = CheckpointStore(tmp_path)
    listed = store.listed("r1")
    assert 1 <= len(listed) <= 3
    for one in listed:
        read = store.load("r1", one.step)
        assert read.state["step"] == one.step
        assert torch.equal(read.model["w"], torch.full((50_000,), float(one.step)))
    store.take_over("r1", listed[0].step)
    assert [path.name for path in store.folder("r1").iterdir()] == [str(listed[0].step)]


@pytest.mark.parametrize("name", [checkpoints.MODEL, checkpoints.STATE, checkpoints.MANIFEST])
@pytest.mark.parametrize("harm", ["cut", "flipped", "gone"])
def test_a_damaged_file_is_noticed_and_the_one_before_is_found(store, name, harm):
    for step in (10, 20):
        save(store, step)
    path = store.folder("r1") / "20" / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    match harm:
        case "cut":
            path.write_bytes(path.read_bytes()[: len(content) // 2])
        case "flipped":
            path.write_bytes(content)
        case "gone":
            path.unlink()
    with pytest.raises(CheckpointDamaged):
        store.load("r1", 20)
    found, complaints = store.load_newest("r1")
    assert found is not None
    assert found.step == 10
    assert len(complaints) == 1
    assert "/20" in complaints[0]


def test_a_manifest_of_another_shape_is_damage(store):
    save(store, 10)
    manifest = store.folder("r1") / "10" / checkpoints.MANIFEST
    for content in ("[]", "{}", '{"format": 1, "files": []}', '{"format": 2}', "\x00"):
        manifest.write_text(content)
        with pytest.raises(CheckpointDamaged):
            store.load("r1", 10)
        assert store.listed("r1") == []


def test_a_pickle_that_runs_code_is_refused(store, tmp_path):
    class Hostile:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "harm"),))

    save(store, 10)
    folder = store.folder("r1") / "10"
    torch.save({"optimizer": Hostile()}, folder / checkpoints.STATE)
    checkpoints._write_manifest(
        folder, run="r1", step=10, validation_loss=None, regular=True
    )  # its hashes are in order
    with pytest.raises(CheckpointDamaged, match=r"(?i)weights.only"):
        store.load("r1", 10)
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize("run", ["", ".", "..", "../r1", "a/b", "/etc", "a\\b", "a\x00b", "-x", "ü", "a" * 200, "r1\n"])
def test_no_name_leads_out_of_the_folder(store, run):
    for act in (store.listed, store.load_newest, store.folder, lambda name: save(store, 1, run=name)):
        with pytest.raises(CheckpointError, match="id"):
            act(run)


def test_a_missing_one_is_missed_by_name(store):
    assert store.listed("r1") == []
    assert store.load_newest("r1") == (None, [])
    with pytest.raises(CheckpointMissing, match="none"):
        store.load("r1", 10)
    save(store, 10)
    save(store, 30)
    with pytest.raises(CheckpointMissing, match="10, 30"):
        store.load("r1", 20)
    found, _ = store.load_newest("r1", at_most=29)
    assert found is not None
    assert found.step == 10


def test_what_a_failed_write_found_stays(store):
    save(store, 10)
    with pytest.raises(AttributeError):
        store.save("r1", 10, model={"w": torch.ones(2)}, state={"x": lambda: 0}, validation_loss=None, keep=KEEP_ALL)
    assert store.load("r1", 10).state["step"] == 10
    assert [path.name for path in store.folder("r1").iterdir()] == ["10"]


def test_the_manifest_is_plain_json(store):
    save(store, 7, loss=0.25)
    manifest = json.loads((store.folder("r1") / "7" / checkpoints.MANIFEST).read_text())
    assert manifest["run"] == "r1"
    assert manifest["step"] == 7
    assert manifest["validation_loss"] == 0.25
    assert set(manifest["files"]) == {checkpoints.MODEL, checkpoints.STATE}
