"""This project's backend as a process of its own, with a token, and what it takes to store what is sent to it."""

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import httpx
import psutil

from gyrostat.wire.layout import Layout
from gyrostat.wire.messages import LayoutMessage


@dataclass(frozen=True)
class Cost:
    """What storing something took: of the clock, and of the processors by those processes that store."""

    seconds: float
    cpu_seconds: float


class Backend:
    """`python -m app serve`, on a folder and a port of its own; `again`: the folder is there already.

    Attributes:
        headers: with the token, for clients.
    """

    def __init__(self, folder: Path, *, port: int, database_url: str = "", again: bool = False) -> None:
        folder.mkdir(parents=True, exist_ok=again)
        token = secrets.token_hex(24)
        command = [sys.executable, "-m", "app", "serve", "--port", str(port), "--data", str(folder)]
        environment = {**os.environ, "GYROSTAT_TOKEN": token, "GYROSTAT_DATABASE_URL": database_url}
        self._log = folder / "log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        self._watched = psutil.Process(self._process.pid)
        self._url, self.headers = f"http://127.0.0.1:{port}", {"Authorization": f"Bearer {token}"}
        self._http = self._client()
        self._wait_until_ready()

    def run(self, layout: Layout) -> str:
        """Id of a new run with the layout."""
        run = str(self._http.post("/v1/runs", json={"attached": True}).raise_for_status().json()["id"])
        message = LayoutMessage(producer="bench", sequence=1, attempt=1, layout=layout)
        self._http.post(f"/v1/runs/{run}/layout", json=message.model_dump()).raise_for_status()
        return run

    def store(self, bodies: Sequence[bytes], kind: str, layout: Layout, *, producers: int = 1) -> Cost:
        """Sends the bodies once for each producer, each to a run of its own, one after the other as clients do.

        The clock ends with the last answer; the CPU time holds all merging that follows.
        """
        runs = [self.run(layout) for _ in range(producers)]
        with ThreadPoolExecutor(producers) as threads:
            cpu, began = self.cpu_seconds(), time.perf_counter()
            for sent in [threads.submit(self.send, run, bodies, kind) for run in runs]:
                sent.result()
            took = time.perf_counter() - began
        return Cost(took, self.settled() - cpu)

    def cpu_seconds(self) -> float:
        """That its process has taken."""
        times = self._watched.cpu_times()
        return float(times.user + times.system)

    def memory(self) -> int:
        """Bytes that its process holds."""
        return int(self._watched.memory_info().rss)

    def get(self, path: str) -> str:
        """The answer to a path, as text."""
        return self._http.get(path).raise_for_status().text

    def settled(self, quiet_seconds: float = 1.5) -> float:
        """Waits until nothing is left to merge; answers its CPU time then."""
        return settled(self.cpu_seconds, quiet_seconds)

    def close(self) -> None:
        """Ends it; an SQLite database is one file then."""
        self._http.close()
        self._process.terminate()
        self._process.wait(30)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _client(self) -> httpx.Client:
        return httpx.Client(base_url=self._url, headers=self.headers, timeout=120, trust_env=False)

    def send(self, run: str, bodies: Iterable[bytes], kind: str) -> None:
        """Sends bodies to a run, one after the other, waiting where the backend asks to."""
        with self._client() as http:
            for body in bodies:
                while True:
                    answer = http.post(f"/v1/runs/{run}/frames", content=body, headers={"Content-Type": kind})
                    if answer.status_code != 429:
                        break
                    time.sleep(float(answer.headers["Retry-After"]))
                answer.raise_for_status()

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + 180
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                if self._http.get("/readyz").status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.1)
        raise RuntimeError(f"the backend did not start: {self._log.read_text()[-2000:]}")


def settled(cpu_seconds: Callable[[], float], quiet_seconds: float = 1.5) -> float:
    """Waits until a backend has nothing left to merge, as is seen by its CPU time standing still; answers that."""
    before, now = -1.0, cpu_seconds()
    while now - before > 0.05 * quiet_seconds:
        time.sleep(quiet_seconds)
        before, now = now, cpu_seconds()
    return now
