"""`make run`: the backend and one worker as child processes, kept alive, and stopped in the right order.

The worker is stopped first, so that it can write its checkpoints and say that its runs are to be continued.
"""

import argparse
import contextlib
import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO, Any

HOST = "127.0.0.1"
READY_SECONDS = 60.0
STOP_SECONDS = {"worker": 20.0, "backend": 8.0}
RESTART_SECONDS, MAX_RESTART_SECONDS = 1.0, 30.0
"""First pause before a dead process is started again, and the longest; it doubles each time."""
HEALTHY_SECONDS = 60.0
"""A process that has run for so long begins with the first pause again."""
DEMO_PRESETS = ("digits-resnet", "sick-deep-sigmoid")


@dataclass
class Child:
    """One supervised process and the log that it writes into."""

    name: str
    command: list[str]
    log_path: Path
    log: IO[bytes] | None = None
    process: subprocess.Popen[bytes] | None = None
    restarts: int = 0
    started_at: float = 0.0
    due_at: float | None = None
    """When a dead one is to be started again, in monotonic seconds."""

    def start(self) -> None:
        """Starts it, in a session of its own: Ctrl-C reaches only the supervisor, which then stops things in order."""
        if self.log is None:
            self.log_path.parent.mkdir(parents=True, exist_ok=True)
            self.log = self.log_path.open("ab")
        self.started_at, self.due_at = time.monotonic(), None
        self.process = subprocess.Popen(  # noqa: S603 - our own module, no shell, no input from the network
            self.command,
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
            start_new_session=True,
            preexec_fn=_end_with_parent if sys.platform == "linux" else None,
        )

    def died(self) -> int | None:
        """Its exit status, or None while it runs."""
        return self.process.poll() if self.process else None

    def stop(self) -> None:
        """Asks it to end; insists when it does not."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_SECONDS[self.name])
            except subprocess.TimeoutExpired:
                print(f"{self.name} did not end within {STOP_SECONDS[self.name]:g} s; killing it", file=sys.stderr)
                self.process.kill()
                self.process.wait()
        if self.log is not None:
            self.log.close()
            self.log = None

    def tail(self, lines: int = 15) -> str:
        """The end of its log."""
        with contextlib.suppress(OSError):
            return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-lines:])
        return ""


def _end_with_parent() -> None:
    # PR_SET_PDEATHSIG: should the supervisor be killed outright, its children are asked to end
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def main(argv: list[str] | None = None) -> int:
    """Runs until Ctrl-C or SIGTERM; the exit status is 0 then, and 1 when the service could not be started."""
    options = _options(argv)
    url = f"http://{HOST}:{options.port}"
    if not _port_is_free(options.port):
        print(f"Port {options.port} is in use; choose another one: make run PORT={options.port + 1}", file=sys.stderr)
        return 1
    options.data.mkdir(parents=True, exist_ok=True)
    backend, worker = _children(options, url)
    with _stop_requested() as requested:
        try:
            backend.start()
            if not _wait_until_ready(url, backend, requested):
                return 0 if requested else _report_failed_start(backend)
            worker.start()
            _welcome(url, options.data)
            if options.demo:
                _start_demo(url)
            _watch([backend, worker], requested)
        finally:
            print("\nStopping: a running training writes a checkpoint and goes on at the next start", flush=True)
            worker.stop()
            backend.stop()
    return 0


def _options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m app.supervisor", description=__doc__)
    parser.add_argument("--port", type=int, default=8000, help="port on 127.0.0.1")
    parser.add_argument("--data", type=Path, default=Path("var"), help="folder of everything that is written")
    parser.add_argument("--slots", type=int, default=2, help="trainings at once")
    parser.add_argument("--demo", action="store_true", help="start one healthy and one sick training")
    return parser.parse_args(argv)


def _children(options: argparse.Namespace, url: str) -> tuple[Child, Child]:
    data = options.data
    serve = ["-m", "app", "serve", "--host", HOST, "--port", str(options.port), "--data", str(data)]
    work = [
        "-m",
        "trainer.worker",
        "--server",
        url,
        "--data",
        str(data),
        "--name",
        "local",
        "--slots",
        str(options.slots),
    ]
    return (
        Child("backend", [sys.executable, *serve], data / "logs" / "backend.log"),
        Child("worker", [sys.executable, *work], data / "logs" / "worker.log"),
    )


@contextlib.contextmanager
def _stop_requested() -> Iterator[list[int]]:
    """A list that holds the signal once one asked us to stop."""
    received: list[int] = []

    def remember(number: int, _: FrameType | None) -> None:
        received.append(number)

    before = {number: signal.signal(number, remember) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _port_is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def _wait_until_ready(url: str, backend: Child, requested: list[int]) -> bool:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline and backend.died() is None and not requested:
        try:
            with urllib.request.urlopen(_request(f"{url}/readyz"), timeout=2):  # noqa: S310 - our own loopback address
                return True
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    return False


def _request(url: str, body: dict[str, Any] | None = None) -> urllib.request.Request:
    token = os.environ.get("GYROSTAT_TOKEN")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    data = None if body is None else json.dumps(body).encode()
    return urllib.request.Request(url, data, {"Content-Type": "application/json", **headers})  # noqa: S310


def _report_failed_start(backend: Child) -> int:
    print(f"The backend did not start. The end of {backend.log_path}:\n{backend.tail()}", file=sys.stderr)
    return 1


def _welcome(url: str, data: Path) -> None:
    token = " -H 'Authorization: Bearer '\"$GYROSTAT_TOKEN\"" if os.environ.get("GYROSTAT_TOKEN") else ""
    print(
        f"\nGyrostat is running.\n\n"
        f"  dashboard   {url}/\n"
        f"  API docs    {url}/docs\n"
        f"  data, logs  {data}/\n\n"
        f"Start a training:\n\n"
        f"  curl -s {url}/v1/runs{token} -H 'Content-Type: application/json' -d '{{\"preset\": \"digits-resnet\"}}'\n\n"
        f"Ctrl-C stops everything; running trainings go on at the next start.",
        flush=True,
    )


def _start_demo(url: str) -> None:
    for preset in DEMO_PRESETS:
        request = _request(f"{url}/v1/runs", {"preset": preset, "project": "demo", "tags": ["demo"]})
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            run = json.load(answer)
        print(f"  demo        {run['name']} ({preset}): {url}/runs/{run['id']}", flush=True)


def _watch(children: list[Child], requested: list[int]) -> None:
    while not requested:
        now = time.monotonic()
        for child in children:
            status = child.died()
            if status is None:
                child.due_at = None
                if now - child.started_at > HEALTHY_SECONDS:
                    child.restarts = 0
            elif child.due_at is None:
                child.restarts += 1
                child.due_at = now + min(RESTART_SECONDS * 2 ** (child.restarts - 1), MAX_RESTART_SECONDS)
                print(
                    f"{child.name} ended with status {status}; starting it again, see {child.log_path}", file=sys.stderr
                )
            elif now >= child.due_at:
                child.start()
        time.sleep(0.2)


if __name__ == "__main__":
    sys.exit(main())
