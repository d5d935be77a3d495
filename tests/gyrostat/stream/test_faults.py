"""What the stream promises while things are killed, missing or full: real processes, sockets and file systems."""

import contextlib
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from gyrostat.stream.attached import Attached
from gyrostat.stream.ledger import Count
from gyrostat.stream.spool import Spool
from gyrostat.stream.stream import Stream, sync
from gyrostat.stream.transport import HttpTransport
from tests.gyrostat.backend import ROOT, Backend
from tests.gyrostat.stream.frames import frame, layout, points


def training(folder: Path, url: str, run: str, steps: int, pause: float) -> subprocess.Popen[str]:
    arguments = [str(folder), url, run, str(steps), str(pause)]
    return subprocess.Popen(
        [sys.executable, "-m", "tests.gyrostat.stream.training", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )


def reaches(process: subprocess.Popen[str], step: int) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip() == str(step):
            return
    raise AssertionError(f"the training ended before step {step}")


def stream_to(backend: Backend, folder: Path) -> Stream:
    return Stream(spool=Spool(folder), transport=HttpTransport(backend.url), run="run", attempt=1, flush_seconds=0.05)


def test_a_backend_that_appears_late_gets_everything_once_in_order(absent_backend: Backend, tmp_path: Path) -> None:
    stream = stream_to(absent_backend, tmp_path / "spool")
    stream.event("started", 0, {})
    stream.layout(layout())
    for step in range(1, 201):
        stream.emit(frame(step))
        if not step % 40:
            time.sleep(0.1)
    assert not stream.flush(0.2)
    assert stream.ledger.acknowledged == Count()
    absent_backend.start()
    up = time.monotonic()
    assert stream.flush(20)
    assert time.monotonic() - up < 4  # no wait is longer than 2 s in the first minute
    ledger = stream.close()
    assert absent_backend.store.steps() == list(range(1, 201))
    assert [kind for _, kind, _ in absent_backend.store.messages()][:2] == ["events", "layout"]
    assert ledger.acknowledged == ledger.produced == Count(200, points(range(1, 201)))
    assert ledger.balanced


def test_a_backend_killed_and_restarted_loses_and_doubles_nothing(absent_backend: Backend, tmp_path: Path) -> None:
    backend = absent_backend
    backend.start()
    stream = stream_to(backend, tmp_path / "spool")
    stream.layout(layout())
    emitting = threading.Event()

    def train() -> None:
        for step in range(1, 401):
            stream.emit(frame(step))
            time.sleep(0.008)
            if step == 50:
                emitting.set()

    trainer = threading.Thread(target=train)
    trainer.start()
    assert emitting.wait(20)
    backend.kill()
    time.sleep(0.3)
    backend.start()
    trainer.join()
    assert stream.flush(20)
    ledger = stream.close()
    assert ledger.balanced
    assert ledger.lost == Count()
    assert ledger.produced == Count(400, points(range(1, 401)))
    assert ledger.acknowledged + ledger.duplicate == ledger.produced
    assert backend.store.steps() == list(range(1, 401))
    assert sum(batch.num_points for batch in backend.store.batches()) == ledger.produced.points
    numbers = [sequence for sequence, _, _ in backend.store.messages()]
    assert numbers == list(range(1, len(numbers) + 1))


def test_a_message_stored_but_not_acknowledged_is_settled_as_a_duplicate(backend: Backend, tmp_path: Path) -> None:
    """The backend dies between its commit and its answer: here the answer is lost on purpose."""
    lost = HttpTransport(backend.url)

    class LosesAnswers:
        remaining = 2

        def send(self, run: str, record: object) -> object:
            answer = lost.send(run, record)  # type: ignore[arg-type]
            if self.remaining and answer.frames:
                self.remaining -= 1
                raise TimeoutError("the answer is lost")
            return answer

        def close(self) -> None:
            lost.close()

    stream = Stream(spool=Spool(tmp_path), transport=LosesAnswers(), run="lost-answers", attempt=1)  # type: ignore[arg-type]
    stream.layout(layout())
    for step in range(1, 4):
        stream.emit(frame(step))
    assert stream.flush(10)
    ledger = stream.close()
    assert ledger.duplicate == ledger.produced
    assert ledger.acknowledged == Count()
    assert backend.store.of("lost-answers").steps() == [1, 2, 3]


@pytest.mark.parametrize("with_backend", [True, False])
def test_what_a_killed_process_left_is_delivered_by_sync(backend: Backend, tmp_path: Path, with_backend: bool) -> None:
    run = f"killed-{with_backend}"
    process = training(tmp_path / "spool", backend.url if with_backend else "", run, 100_000, 0.002)
    reaches(process, 300)
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()
    before = backend.store.of(run).steps()
    ledger = sync(tmp_path / "spool", HttpTransport(backend.url), run, 1)
    steps = backend.store.of(run).steps()
    assert ledger.balanced
    assert steps == list(range(1, len(steps) + 1))
    assert len(steps) >= 200  # all but what the last flush interval held in memory
    assert len(before) + ledger.acknowledged.frames <= len(steps)  # the last request may outlive its process
    assert ledger.acknowledged + ledger.duplicate == ledger.inherited
    assert not list((tmp_path / "spool").glob("*.spool"))


def test_a_process_that_ends_without_closing_still_sends_its_last_frames(backend: Backend, tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from gyrostat.stream.spool import Spool\n"
        "from gyrostat.stream.stream import Stream\n"
        "from gyrostat.stream.transport import HttpTransport\n"
        "from tests.gyrostat.stream.frames import frame, layout\n"
        "transport = HttpTransport(sys.argv[2])\n"
        "stream = Stream(spool=Spool(Path(sys.argv[1])), transport=transport, run='crash', attempt=1)\n"
        "stream.layout(layout())\n"
        "stream.emit(frame(1)); stream.emit(frame(2))\n"
        "raise ValueError('the training failed')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), backend.url], cwd=ROOT, capture_output=True, text=True
    )
    assert "the training failed" in done.stderr
    assert backend.store.of("crash").steps() == [1, 2]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    mount = tmp_path / "small"
    mount.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(mount)]
    if os.geteuid() or not shutil.which("mount") or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("mounting a small tmpfs needs root; test_spool has the same with a limit on file size")
    yield mount
    subprocess.run(["umount", str(mount)], check=True)


def test_on_a_full_disk_training_goes_on_and_the_stream_recovers(
    backend: Backend, small_disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = small_disk / "spool"
    stream = Stream(spool=Spool(folder), transport=None, run="full-disk", attempt=1, flush_seconds=0.02)
    stream.layout(layout(width=500))
    filler = small_disk / "filler"
    filler.write_bytes(b"x" * 100_000)
    slowest = 0.0
    for step in range(1, 161):
        started = time.perf_counter()
        stream.emit(frame(step, width=500))
        slowest = max(slowest, time.perf_counter() - started)
        if step == 100:
            stream.event("checkpoint", step, {"note": "x" * 20_000})
        if not step % 20:
            stream.flush(5)
    assert slowest < 0.1
    full = stream.ledger
    assert full.balanced
    assert full.dropped.keys() == {"disk_error"}
    assert 0 < full.spooled.frames < 160
    filler.unlink()
    for step in range(161, 181):
        stream.emit(frame(step, width=500))
    stream.event("finished", 180, {})
    ledger = stream.close()
    assert ledger.balanced
    assert ledger.dropped_messages == 0
    assert ledger.spooled.frames == full.spooled.frames + 20
    assert "No space left" in caplog.text

    sent = sync(folder, HttpTransport(backend.url), "full-disk", 1)
    store = backend.store.of("full-disk")
    steps = store.steps()
    assert sent.acknowledged == ledger.spooled
    assert len(steps) == ledger.spooled.frames
    assert steps == sorted(set(steps))
    assert steps[-20:] == list(range(161, 181))
    kinds = [event.kind for event in store.events() if event.kind != "loss_ledger"]
    assert kinds == ["checkpoint", "finished"]
    told = [event.data for event in store.events() if event.kind == "loss_ledger"][-1]
    assert told["dropped"]["disk_error"]["frames"] == ledger.dropped["disk_error"].frames


def test_a_run_that_a_full_disk_cannot_note_is_sent_to_all_the_same(small_disk: Path) -> None:
    """Sending is what makes room on a disk that the spool itself has filled."""
    attached = Attached.made(small_disk / "training", {"attached": True}, server="http://127.0.0.1:9")
    filler = small_disk / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)
    assert attached.registered("run-1", 3).run == "run-1"
    assert Attached.read(attached.folder) == attached
    filler.unlink()
    assert Attached.read(attached.folder).registered("run-1", 3) == Attached.read(attached.folder)
    assert Attached.read(attached.folder).attempt == 3


def test_a_whole_training_in_its_own_process_balances_its_books(backend: Backend, tmp_path: Path) -> None:
    process = training(tmp_path / "spool", backend.url, "whole", 100, 0.001)
    output, _ = process.communicate(timeout=60)
    ledger = msgspec.json.decode(output.splitlines()[-1])
    assert ledger["produced"] == ledger["acknowledged"] == {"frames": 100, "points": points(range(1, 101))}
    assert backend.store.of("whole").steps() == list(range(1, 101))
    assert process.returncode == 0
