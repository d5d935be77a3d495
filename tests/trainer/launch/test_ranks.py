"""Several ranks train one run: together they compute what one process would, and they end together."""

import os
import signal
import socket
import time

import psutil
import pytest
import torch

from gyrostat.spec.measurements import SpectralDensity
from gyrostat.spec.probes import PROBES
from gyrostat.wire.measurements import Order, Report
from gyrostat.wire.messages import Assignment, CheckpointReference
from tests.trainer.recording import document, trained
from tests.trainer.small_backend import SmallBackend
from trainer.checkpoints import CheckpointStore
from trainer.control import Adjustment, Control
from trainer.launch.base import Job
from trainer.launch.elastic import Loss, first_lost
from trainer.launch.local import LocalLauncher

TWO = {"kind": "ddp", "ranks": 2, "digest_every": 5}
SMALL = {
    "model": {"depth": 3, "width": 4, "norm": "batch"},
    "schedule": "constant",
    "data": {"batch_size": 32},
    "validation": {"every": 10, "max_batches": 2},
}
CURVATURE = {name: {"enabled": False} for name in PROBES} | {
    "budget": None,
    "curvature": {"enabled": True, "batch_size": 8, "every": 5, "max_products": 4},
}
BATCH_NORM = document("digits-resnet", **SMALL, steps=1_000_000, checkpoints={"every": 1_000_000}) | {
    "probes": CURVATURE
}
SPECTRUM = Order(id="spectrum", settings=SpectralDensity(probes=2, steps=3))
DROPOUT = document(
    "digits-mlp",
    steps=1_000_000,
    regularization={"dropout": {"kind": "element", "rate": 0.3}},
    checkpoints={"every": 12, "keep": 1000},
    threads=2,
    precision="bf16",
)
RAISING = {
    **document("text-transformer", schedule="constant"),
    "task": {"kind": "language_model", "dataset": {"kind": "text_file", "path": "missing.txt"}},
}


def eventually(what, within=90.0):
    deadline = time.monotonic() + within
    while not (answer := what()):
        assert time.monotonic() < deadline, f"not within {within:g} s"
        time.sleep(0.01)
    return answer


def stepped(training, step):
    ended = training.poll()
    assert ended is None, ended
    return training.step >= step


def processes(training):
    """Of the training: its own, and those of its ranks."""
    return [psutil.Process(training.pid), *psutil.Process(training.pid).children(recursive=True)]


def all_gone(members):
    return not [one for one in members if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]


@pytest.fixture(scope="module")
def backend():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    small = SmallBackend(port)
    small.start()
    yield small
    small.stop()


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def start(backend, data):
    started = []

    def begin(run, spec, attempt=1, resume=None):
        reference = None if resume is None else CheckpointReference(run=run, step=resume)
        assignment = Assignment(
            run=run, attempt=attempt, spec={**spec, "distributed": TWO}, resume=reference, lease_seconds=5.0
        )
        job = Job.of(assignment, server=backend.url, data=data, data_root=data, device="cpu", threads=2)
        started.append(LocalLauncher().start(job))
        return started[-1]

    yield begin
    for training in started:
        training.kill()


@pytest.fixture(scope="module")
def trainings(start):
    """All started at once, since most of their time goes into loading torch."""
    specs = {"asked": BATCH_NORM, "dropout": DROPOUT, "raising": RAISING, "segfault": BATCH_NORM}
    return {run: start(run, spec) for run, spec in specs.items()}


def test_two_ranks_compute_what_one_would_hear_what_is_asked_and_stop_in_order(trainings, backend, data, tmp_path):
    training = trainings["asked"]
    eventually(lambda: stepped(training, 12))
    training.ask("control", command=1, data={"learning_rate_factor": 0.5})
    eventually(lambda: training.poll() is None and 1 in training.carried_out())
    training.ask("measure", command=3, data=SPECTRUM.model_dump())
    eventually(lambda: training.poll() is None and "measurement" in backend.kinds("asked"))
    enough = training.step + 8
    eventually(lambda: stepped(training, enough))
    members = processes(training)
    training.ask("stop", command=2)
    assert eventually(training.poll).reported
    assert all_gone(members)
    eventually(lambda: "stopped" in backend.kinds("asked"))
    assert Report.model_validate(backend.event("asked", "measurement").data).error is None, "rank 0 measures alone"
    changed = backend.event("asked", "intervention").step
    (saved,) = CheckpointStore(data / "checkpoints").listed("asked")[-1:]

    control = Control()

    def alike(step):
        if step == changed - 1:
            control.adjust(Adjustment(learning_rate_factor=0.5))
        if step == saved.step:
            control.end("stopped")

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    alone = trained(BATCH_NORM, tmp_path, run="alone", control=control, progress=alike)
    torch.set_num_threads(before)
    losses = alone.scalars("loss.train")
    told = backend.losses["asked", 1]
    assert list(told) == list(range(1, saved.step + 1))
    # rounding differs from the first step on, and training amplifies it
    assert [told[step] for step in range(1, 11)] == pytest.approx([losses[step] for step in range(1, 11)], rel=1e-4)
    assert told[saved.step] == pytest.approx(losses[saved.step], rel=0.02)
    one = CheckpointStore(tmp_path).load("alone", saved.step).model
    two = CheckpointStore(data / "checkpoints").load("asked", saved.step).model
    for name, weights in one.items():
        torch.testing.assert_close(two[name], weights, rtol=0.02, atol=0.02, msg=name)


def test_a_rank_that_dies_ends_the_run_which_is_told_its_number_and_where_it_was(trainings, backend):
    training = trainings["segfault"]
    eventually(lambda: stepped(training, 3))
    members = processes(training)
    (second,) = [one for one in members[1:] if one.environ().get("RANK") == "1"]
    os.kill(second.pid, signal.SIGSEGV)
    assert eventually(training.poll).reported
    eventually(lambda: "failed" in backend.kinds("segfault"))
    told = backend.event("segfault", "failed").data
    assert told["error"].startswith("rank 1: the training process was ended by SIGSEGV")
    assert "Segmentation fault" in told["traceback"]
    assert backend.kinds("segfault").count("failed") == 1
    assert all_gone(members)


def test_what_a_rank_raises_is_told_with_its_traceback(trainings, backend):
    assert eventually(trainings["raising"].poll).reported
    eventually(lambda: "failed" in backend.kinds("raising"))
    told = backend.event("raising", "failed").data
    assert told["error"].startswith("rank ")
    assert "missing.txt" in told["error"]
    assert told["traceback"].startswith("Traceback")


def test_killed_ranks_are_gone_and_go_on_from_a_checkpoint_bit_for_bit(trainings, backend, data, start):
    training = trainings["dropout"]
    eventually(lambda: 30 in backend.losses["dropout", 1])
    members = processes(training)
    assert len(members) == 3
    training.kill()
    eventually(lambda: all_gone(members), within=2.0)
    saved = CheckpointStore(data / "checkpoints").load("dropout", 12).state
    (of_rank_1,) = saved["random_of_other_ranks"]
    assert not torch.equal(of_rank_1["cpu"], saved["random"]["cpu"]), "each rank drops other units"

    again = start("dropout", DROPOUT, attempt=2, resume=12)
    eventually(lambda: 30 in backend.losses["dropout", 2])
    again.kill()
    first, second = backend.losses["dropout", 1], backend.losses["dropout", 2]
    assert {step: second[step] for step in range(13, 31)} == {step: first[step] for step in range(13, 31)}


@pytest.mark.parametrize(
    ("losses", "exit_codes", "first"),
    [
        ([Loss(rank=1, time=5.0, said={}), Loss(rank=0, time=5.01, said={})], {0: 1, 1: 1}, 1),
        ([Loss(rank=0, time=5.0, said={}), Loss(rank=2, time=5.001, said=None)], {0: 1, 2: -9}, 2),
        ([Loss(rank=0, time=5.0, said={}), Loss(rank=2, time=15.0, said=None)], {0: 1, 2: -9}, 0),
        ([Loss(rank=0, time=9.0, said=None)], {1: 1, 0: -9}, 1),
        ([Loss(rank=0, time=1.0, said=None), Loss(rank=1, time=1.5, said={})], {1: 1}, 1),
    ],
    ids=["the first to complain", "a silent death", "one killed later", "one that never came", "one that ended well"],
)
def test_the_rank_that_was_lost_first_is_the_cause(losses, exit_codes, first):
    assert first_lost(losses, exit_codes).rank == first
