"""A worker process trains what a backend queues, over real HTTP, through everything that can be killed."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time

import psutil
import pytest
import torch

from gyrostat.spec.probes import PROBES
from gyrostat.wire.messages import Assignment, CheckpointReference, Command, Registration, RunAttempt
from tests.trainer.recording import document
from tests.trainer.small_backend import SmallBackend
from trainer.backend import Backend
from trainer.checkpoints import CheckpointStore
from trainer.contact import Contact
from trainer.launch.delivery import Delivery
from trainer.launch.local import LocalLauncher
from trainer.launch.machine import described
from trainer.worker import REFUSED, Agent, Options

QUICK = document(
    "digits-mlp",
    model={"width": 64},
    schedule="constant",
    steps=150,
    checkpoints={"every": 50},
    validation={"every": 75},
    probes={name: {"enabled": False} for name in PROBES},
)
ENDLESS = {**QUICK, "steps": 1_000_000, "checkpoints": {"every": 200}, "validation": {"every": 1_000_000}}


def eventually(what, within=90.0):
    deadline = time.monotonic() + within
    while not (answer := what()):
        assert time.monotonic() < deadline, f"not within {within:g} s"
        time.sleep(0.01)
    return answer


@pytest.fixture
def backend():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    small = SmallBackend(port)
    small.start()
    yield small
    small.stop()


@pytest.fixture
def start_worker(tmp_path, backend):
    started = []

    def start(slots):
        command = [sys.executable, "-m", "trainer.worker", "--server", backend.url, "--data", str(tmp_path / "work")]
        with (tmp_path / "worker.log").open("ab") as log:
            process = subprocess.Popen(
                [*command, "--name", "one", "--slots", str(slots), "--device", "cpu"], stdout=log, stderr=log
            )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def assignment(run, spec, attempt=1, resume=None):
    reference = None if resume is None else CheckpointReference(run=run, step=resume)
    return Assignment(run=run, attempt=attempt, spec=spec, resume=reference, lease_seconds=5.0)


def children(process):
    return psutil.Process(process.pid).children()


def test_runs_are_trained_stopped_abandoned_and_interrupted_while_the_backend_comes_and_goes(
    backend, start_worker, tmp_path
):
    backend.queue = [assignment("quick", QUICK), assignment("endless", ENDLESS)]
    backend.keep = [CheckpointReference(run="endless", step=200)]
    worker = start_worker(slots=2)

    # Two at once; the backend dies, comes back and has forgotten its workers: every frame is there, once.
    eventually(lambda: len(backend.losses["endless", 1]) > 5)
    backend.stop()
    time.sleep(0.5)
    backend.forget_workers()
    backend.start()
    eventually(lambda: "finished" in backend.kinds("quick"))
    assert list(backend.losses["quick", 1]) == list(range(1, 151))
    eventually(lambda: backend.registrations == 2)
    reported = {report.run for heartbeat in backend.heartbeats for report in heartbeat.running}
    assert reported == {"quick", "endless"}

    # What another run has to start from is kept, however old it becomes.
    eventually(lambda: len(backend.losses["endless", 1]) > 5 * 200)
    kept = [saved.step for saved in CheckpointStore(tmp_path / "work" / "checkpoints").listed("endless")]
    assert kept[0] == 200
    assert kept[1] > 400

    # A command is carried out, and reported so; one for another attempt is not.
    backend.commands[8] = Command(id=8, run="endless", attempt=2, kind="pause")
    backend.commands[9] = Command(id=9, run="endless", attempt=1, kind="stop")
    eventually(lambda: "stopped" in backend.kinds("endless"))
    eventually(lambda: backend.done)
    assert backend.done == [9]
    assert 8 in backend.commands
    stopped_at = backend.event("endless", "stopped").step
    assert list(backend.losses["endless", 1]) == list(range(1, stopped_at + 1))

    # A run that is another worker's now ends here at once, and unheard.
    backend.queue = [assignment("taken", ENDLESS), assignment("last", ENDLESS)]
    eventually(lambda: len(children(worker)) == 2 and backend.losses["taken", 1] and backend.losses["last", 1])
    backend.abandon = [RunAttempt(run="last", attempt=2), RunAttempt(run="taken", attempt=1)]
    eventually(lambda: len(children(worker)) == 1)
    assert set(backend.kinds("taken")) <= {"started", "checkpoint"}
    after = max(backend.losses["last", 1])
    eventually(lambda: max(backend.losses["last", 1]) > after)

    # Told to go, it leaves nothing behind but checkpoints.
    worker.terminate()
    assert worker.wait(30) == 0
    assert backend.kinds("last")[-2:] == ["checkpoint", "interrupted"]
    last = backend.event("last", "interrupted").step
    assert CheckpointStore(tmp_path / "work" / "checkpoints").listed("last")[-1].step == last
    assert [path for path in (tmp_path / "work" / "spool").rglob("*") if path.is_file()] == []


def test_what_a_killed_worker_left_is_sent_by_the_next_and_its_run_goes_on_bit_for_bit(backend, start_worker, tmp_path):
    backend.queue = [assignment("run", {**ENDLESS, "checkpoints": {"every": 20}})]
    worker = start_worker(slots=1)
    eventually(lambda: backend.losses["run", 1])
    backend.stop()
    time.sleep(1.5)
    (child,) = children(worker)
    os.kill(worker.pid, signal.SIGKILL)
    worker.wait()
    eventually(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, within=1)
    known = max(backend.losses["run", 1])
    assert list((tmp_path / "work" / "spool" / "run" / "1").glob("*"))

    step = CheckpointStore(tmp_path / "work" / "checkpoints").listed("run")[0].step
    backend.start()
    backend.queue = [assignment("run", {**ENDLESS, "steps": step + 60}, attempt=2, resume=step)]
    worker = start_worker(slots=1)
    eventually(lambda: "finished" in backend.kinds("run", 2))
    first, second = backend.losses["run", 1], backend.losses["run", 2]
    assert max(first) > known
    assert list(first) == list(range(1, max(first) + 1))
    assert list(second) == list(range(step + 1, step + 61))
    both = set(first) & set(second)
    assert both
    assert {s: first[s] for s in both} == {s: second[s] for s in both}
    assert not (tmp_path / "work" / "spool" / "run" / "1").exists()


def test_a_worker_that_the_backend_refuses_says_so_and_ends(backend, tmp_path):
    backend.token = "secret"
    options = Options(
        server=backend.url, data=tmp_path, name="one", slots=1, device="cpu", data_root=tmp_path, token="wrong"
    )
    leaving = threading.Event()
    client = Backend(options.server, options.token)
    registration = Registration(name="one", host="h", pid=1, device="cpu", version="0")
    delivery = Delivery(tmp_path / "spool", server=options.server, token=options.token)
    contact = Contact(client, registration, leaving)
    assert Agent(options, LocalLauncher(), contact, delivery, leaving).run() == REFUSED
    client.close()


def test_a_machine_tells_its_device_and_data(tmp_path):
    found = described("cpu", tmp_path)
    assert found["device"] == "cpu"
    assert {"digits", "diabetes", "text_file"} <= set(found["datasets"])
    if not torch.cuda.is_available():
        assert "--device" in described("cuda", tmp_path)["error"]


def test_the_agent_holds_no_torch():
    code = "import sys, trainer.worker; sys.exit('torch' in sys.modules or 'sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
