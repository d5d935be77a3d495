"""The real thing in processes: a backend that can be killed, workers that can be killed, and an HTTP client."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import httpx

T = TypeVar("T")
ENDED = ("finished", "failed", "stopped", "lost")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def eventually(what: Callable[[], T], *, within: float, every: float = 0.1) -> T:
    """The first truthy answer of `what`; fails with the last one after `within` seconds."""
    deadline = time.monotonic() + within
    while True:
        answer = what()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within:g} s; the last answer was {answer!r}")
        time.sleep(every)


class Service:
    """One backend and any number of workers, each a process of its own, under one folder."""

    def __init__(self, folder: Path, database_url: str = "", **settings: str) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = {**os.environ, "PYTHONUNBUFFERED": "1", "GYROSTAT_DATABASE_URL": database_url, **settings}
        self.backend: subprocess.Popen[bytes] | None = None
        self.workers: dict[str, subprocess.Popen[bytes]] = {}
        self.http = httpx.Client(base_url=self.url, timeout=20.0)
        self.program: tuple[str, ...] = ("app", "serve")

    def start_backend(self, within: float = 40) -> None:
        self.launch_backend()
        eventually(self.is_ready, within=within)

    def launch_backend(self) -> None:
        """Starts it and waits for nothing."""
        self.backend = self._start(
            "backend", *self.program, "--host", "127.0.0.1", "--port", str(self.port), "--data", str(self.folder)
        )

    def start_worker(self, name: str = "one", *, slots: int = 1, data: Path | None = None) -> None:
        self.workers[name] = self._start(
            f"worker-{name}", "trainer.worker", "--server", self.url, "--data", str(data or self.folder / "work"),
            "--name", name, "--slots", str(slots), "--device", "cpu",
        )  # fmt: skip

    def kill_backend(self) -> None:
        assert self.backend is not None
        self.backend.kill()
        self.backend.wait()

    def kill_worker(self, name: str) -> None:
        self.workers[name].kill()
        self.workers[name].wait()

    def end_worker(self, name: str, within: float = 20) -> int:
        self.workers[name].terminate()
        return self.workers[name].wait(within)

    def close(self) -> None:
        self.http.close()
        for process in [*self.workers.values(), *([self.backend] if self.backend else [])]:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
        for process in [*self.workers.values(), *([self.backend] if self.backend else [])]:
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def start_run(self, document: dict[str, Any], **more: Any) -> str:
        answer = self.http.post("/v1/runs", json={"spec": document, **more})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def run(self, run: str) -> dict[str, Any]:
        return self._get(f"/v1/runs/{run}")

    def wait_for_state(self, run: str, *states: str, within: float = 90) -> dict[str, Any]:
        def reached() -> dict[str, Any] | None:
            found = self.run(run)
            if found["state"] in ENDED and found["state"] not in states:
                why = f"{found['state']}: {found['reason']} {found.get('failure')}"
                raise AssertionError(f"the run ended as {why}\n{self.logs()}")
            return found if found["state"] in states else None

        return eventually(reached, within=within)

    def wait_for_step(self, run: str, step: int, within: float = 60) -> None:
        eventually(lambda: self.run(run)["step"] >= step, within=within, every=0.05)

    def series(self, run: str, metric: str, **query: Any) -> dict[str, Any]:
        return self._get(f"/v1/runs/{run}/metrics/{metric}", **query)

    def scalars(self, run: str, metric: str) -> dict[int, Any]:
        found = self.series(run, metric)
        return {step: row[0] for step, row in zip(found["steps"], found["values"], strict=True)}

    def catalogue(self, run: str) -> dict[str, Any]:
        return {item["name"]: item for item in self._get(f"/v1/runs/{run}/metrics")["items"]}

    def transitions(self, run: str) -> list[dict[str, Any]]:
        return list(self._get(f"/v1/runs/{run}/history")["transitions"])

    def alerts(self, run: str) -> list[dict[str, Any]]:
        return list(self._get("/v1/alerts", run=run)["items"])

    def logs(self) -> str:
        parts = []
        for path in sorted(self.folder.rglob("*.log")):
            parts.append(f"--- {path.name}\n" + "\n".join(path.read_text(errors="replace").splitlines()[-30:]))
        return "\n".join(parts)

    def _get(self, path: str, **query: Any) -> Any:
        answer = self.http.get(path, params=query)
        assert answer.status_code == 200, f"{path}: {answer.status_code} {answer.text}"
        return answer.json()

    def is_ready(self) -> bool:
        assert self.backend is not None
        assert self.backend.poll() is None, f"the backend ended:\n{self.logs()}"
        try:
            return self.http.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def _start(self, name: str, *module: str) -> subprocess.Popen[bytes]:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", *module], stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=self.environment
            )


@contextlib.contextmanager
def running(folder: Path, database_url: str = "", **settings: str) -> Iterator[Service]:
    """A service with its backend up; everything is ended on leaving."""
    service = Service(folder, database_url, **settings)
    try:
        service.start_backend()
        yield service
    finally:
        service.close()
