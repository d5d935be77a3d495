"""A backend with one worker, for the time of the studies, and the runs that pass through it."""

import hashlib
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.claims.results import Run
from gyrostat.client import Client, Unreachable

READY_SECONDS = 120
PROJECT = "claims"
LOST = ("failed", "stopped", "lost")


@contextmanager
def serving(folder: Path, *, slots: int) -> Iterator[Client]:
    """The service on a free port, its data in `folder`, training `slots` runs at once."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    command = [sys.executable, "-m", "app.supervisor", "--port", str(port), "--data", str(folder)]
    command += ["--slots", str(slots)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    client = Client(f"http://127.0.0.1:{port}")
    try:
        _wait_until_ready(client, process)
        yield client
    finally:
        client.close()
        process.send_signal(signal.SIGINT)
        process.wait(60)


def _wait_until_ready(client: Client, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the service ended with status {process.returncode} before it was ready")
        try:
            list(client.runs())
        except Unreachable:
            time.sleep(0.2)
        else:
            return
    raise RuntimeError(f"the service was not ready within {READY_SECONDS} s")


class Runs:
    """Starts each different spec once, and hands out its run when it has ended.

    What an earlier process has started in the same folder goes on, so that studies which were cut need not begin anew.
    """

    def __init__(self, client: Client, checkpoints: Path) -> None:
        self._client, self._checkpoints = client, checkpoints
        self._there = {run["name"]: run["id"] for run in client.runs(project=PROJECT) if run["state"] not in LOST}
        self._ids: dict[str, str] = {}

    def start(self, documents: Sequence[dict[str, Any]], study: str) -> None:
        """Queues those that no study before has queued."""
        for document in documents:
            key = _key(document)
            if key not in self._ids:
                there = self._there.get(key)
                started = there or self._client.start(document, name=key, project=PROJECT, tags=[study])["id"]
                self._ids[key] = started

    def ended(self, document: dict[str, Any]) -> Run:
        """The document's run, waited for. A run that failed or was lost is an error: a study needs every one.

        Raises:
            RuntimeError: it did not finish.
        """
        found = self._client.wait(self._ids[_key(document)])
        if found["state"] != "finished":
            raise RuntimeError(f"run {found['id']} is {found['state']}: {found.get('reason')} {found.get('failure')}")
        return Run(found["id"], found["state"], document, self._client, self._checkpoints)

    @property
    def count(self) -> int:
        """How many different runs were started."""
        return len(self._ids)


def _key(document: dict[str, Any]) -> str:
    """The name of the document's run, the same for equal documents."""
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:16]
