"""A training's process may end in any way: the agent learns which, and the run is told."""

import os
import signal
import socket
import subprocess
import sys
import time

import psutil
import pytest

from gyrostat.spec.measurements import Landscape
from gyrostat.spec.probes import PROBES
from gyrostat.wire.measurements import Order, Report
from gyrostat.wire.messages import Assignment
from tests.trainer.recording import document
from tests.trainer.small_backend import SmallBackend
from trainer.launch.base import Job
from trainer.launch.death import cause_of_death, last_of
from trainer.launch.delivery import Delivery
from trainer.launch.local import LocalLauncher

ENDLESS = document(
    "digits-mlp",
    steps=1_000_000,
    model={"width": 16},
    checkpoints={"every": 1_000_000},
    validation={"every": 1_000_000},
    probes={name: {"enabled": False} for name in PROBES},
)
PLANE = Order(id="plane", settings=Landscape(dimensions=2, points=5))
RAISING = {
    **document("text-transformer", schedule="constant"),
    "task": {"kind": "language_model", "dataset": {"kind": "text_file", "path": "missing.txt"}},
}


def eventually(what, within=60.0):
    deadline = time.monotonic() + within
    while not (answer := what()):
        assert time.monotonic() < deadline, f"not within {within:g} s"
        time.sleep(0.01)
    return answer


def stepped(training, step):
    ended = training.poll()
    assert ended is None, ended
    return training.step >= step


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
def trainings(backend, data):
    """One for each test, all started at once, since most of their time goes into loading torch."""

    def job(run, spec):
        assignment = Assignment(run=run, attempt=1, spec=spec, lease_seconds=5.0)
        return Job.of(assignment, server=backend.url, data=data, data_root=data, device="cpu")

    specs = {"segfault": ENDLESS, "killed": ENDLESS, "asked": ENDLESS, "raising": RAISING}
    started = {run: LocalLauncher().start(job(run, spec)) for run, spec in specs.items()}
    yield started
    for training in started.values():
        training.kill()


@pytest.fixture
def delivery(backend, data):
    return Delivery(data / "spool", server=backend.url, token="")


@pytest.mark.parametrize(
    ("run", "number", "words"),
    [("segfault", signal.SIGSEGV, "SIGSEGV: native code"), ("killed", signal.SIGKILL, "out of memory")],
)
def test_a_training_that_dies_is_reported_with_what_killed_it(run, number, words, trainings, backend, data, delivery):
    training = trainings[run]
    eventually(lambda: stepped(training, 20) and backend.losses[run, 1])
    os.kill(training.pid, number)
    ended = eventually(training.poll)
    assert not ended.reported
    assert words in ended.error
    if number == signal.SIGSEGV:
        assert "Segmentation fault" in ended.output
        assert "loop.py" in ended.output, "where it was, in Python"
    delivery.report(training.job, "failed", training.step, {"error": ended.error, "traceback": ended.output})
    delivery.start()
    eventually(lambda: "failed" in backend.kinds(run))
    assert backend.kinds(run) == ["started", "failed"]
    told = backend.losses[run, 1]
    assert list(told) == list(range(1, len(told) + 1)), "what was measured before its death has arrived, in order"
    assert len(told) >= 1
    eventually(lambda: not training.job.spool.exists())


def test_a_training_that_raises_tells_its_traceback_itself(trainings, backend):
    ended = eventually(trainings["raising"].poll)
    assert ended.reported
    failed = eventually(lambda: backend.kinds("raising")) and backend.event("raising", "failed")
    assert "missing.txt" in failed.data["error"]
    assert failed.data["traceback"].startswith("Traceback")


def test_what_is_asked_of_a_training_is_done_and_confirmed(trainings, backend):
    training = trainings["asked"]
    eventually(lambda: stepped(training, 1))
    training.ask("control", command=1, data={"learning_rate_factor": 0.5})
    training.ask("control", command=2, data={"learning_rate_factor": -1})
    training.ask("measure", command=3, data={"what": "landscape"})
    training.ask("control", command=4, data={"x": "y" * 10_000})
    for _ in range(2):  # commands are told until they are done
        training.ask("measure", command=5, data=PLANE.model_dump())
    confirmed = []
    eventually(lambda: training.poll() is None and (confirmed.extend(training.carried_out()) or len(confirmed) == 6))
    assert confirmed == [1, 2, 3, 4, 5, 5]
    eventually(lambda: training.poll() is None and "measurement" in backend.kinds("asked"))
    training.ask("stop", command=6)
    ended = eventually(training.poll)
    assert ended.reported
    assert training.carried_out() == [6]
    training.ask("stop", command=6)  # again, of one that has ended: nothing happens
    eventually(lambda: "stopped" in backend.kinds("asked"))
    assert backend.kinds("asked")[-2:] == ["checkpoint", "stopped"]
    assert backend.event("asked", "intervention").data["learning_rate_factor"] == 0.5
    refusals = [event.data["message"] for _, event in backend.events["asked"] if event.kind == "log"]
    assert len(refusals) == 3
    assert "learning_rate_factor" in refusals[0]
    assert "measurement refused" in refusals[1]
    assert "too_long" in refusals[2]
    assert backend.kinds("asked").count("measurement") == 1, "asked twice, measured once"
    report = Report.model_validate(backend.event("asked", "measurement").data)
    assert (report.id, report.settings, report.error) == (PLANE.id, PLANE.settings, None)


def test_a_training_ends_with_its_agent(tmp_path, backend):
    code = f"""
import sys, time
from pathlib import Path
from gyrostat.wire.messages import Assignment
from tests.trainer.launch.test_local import ENDLESS
from trainer.launch.base import Job
from trainer.launch.local import LocalLauncher
assignment = Assignment(run="orphan", attempt=1, spec=ENDLESS, lease_seconds=5.0)
job = Job.of(assignment, server={backend.url!r}, data=Path({str(tmp_path)!r}), data_root=None, device="cpu")
training = LocalLauncher().start(job)
while training.step < 5:
    assert training.poll() is None
    time.sleep(0.01)
print(training.pid, flush=True)
time.sleep(60)
"""
    agent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    child = psutil.Process(int(agent.stdout.readline()))
    agent.kill()
    agent.wait()
    agent.stdout.close()
    killed_at = time.monotonic()
    eventually(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)
    assert time.monotonic() - killed_at < 1


def test_every_exit_status_has_words():
    assert "exit code 3" in cause_of_death(3)
    assert "SIGTERM" in cause_of_death(-signal.SIGTERM)
    assert "signal 99" in cause_of_death(-99)


def test_the_last_of_a_log_is_whole_lines_of_text(tmp_path):
    path = tmp_path / "log"
    assert last_of(path) == ""
    path.write_bytes(b"one\ntwo\n\xff three\n")
    assert last_of(path) == "one\ntwo\n\ufffd three\n"
    assert last_of(path, 10) == "\ufffd three\n"
    path.write_bytes(b"x" * 100)
    assert last_of(path, 10) == "x" * 10


@pytest.mark.parametrize("run", ["", "../x", "a/b", "x" * 200])
def test_a_job_of_a_run_that_is_no_name_is_refused(run, tmp_path):
    assignment = Assignment(run=run, attempt=1, spec={}, lease_seconds=5.0)
    with pytest.raises(ValueError, match="run"):
        Job.of(assignment, server="http://127.0.0.1:1", data=tmp_path, data_root=None, device="cpu")
