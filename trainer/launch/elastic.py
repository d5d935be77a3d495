"""A training of several ranks: their processes, started by torch's elastic launcher, and the one that supervises them.

The agent sees one child, as ever. The supervisor passes its requests on to rank 0 and rank 0's reports back, and tells
the run's stream of a rank that died, by its number, with its traceback. Nothing listens on the network but gloo's own
connections on the loopback interface: the ranks meet through a file, and hear the supervisor by a socket in a folder
that only this user may enter.
"""

import json
import os
import socket
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from trainer.device import choose
from trainer.launch.base import Job
from trainer.launch.death import cause_of_death, last_of
from trainer.launch.delivery import open_stream
from trainer.launch.process import orphaned
from trainer.launch.rank import SOCKET
from trainer.launch.training import DELIVERY_SECONDS, Reports, failure
from trainer.ranks import check_devices

SHUTDOWN_SECONDS = 10
"""How long the other ranks may take to notice that one is gone, or to write the last checkpoint when told to end."""
AT_ONCE_SECONDS = 1.0
"""A rank that dies without a word and one that complains of its loss are this close together."""


@dataclass(frozen=True, kw_only=True)
class Loss:
    """A rank that is gone: when, and what it said of it (None: nothing)."""

    rank: int
    time: float
    said: dict[str, Any] | None


class Supervisor:
    """Runs the ranks of one training to their end."""

    def __init__(self, job: Job, ranks: int, requests: BinaryIO, reports: Reports) -> None:
        self._job, self._size, self._requests, self._reports = job, ranks, requests, reports
        self._leader: socket.socket | None = None
        self._leader_is_there = threading.Event()
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._losses: list[Loss] = []
        self._hearing: list[threading.Thread] = []

    def run(self) -> None:
        """Starts the ranks, waits for them, and makes sure that the run's stream knows how it ended."""
        told = self._failure()
        if told is None or self._ended.is_set():
            return
        # rank 0 has let go of the spool: all ranks are gone
        stream = open_stream(self._job, token=os.environ.get("GYROSTAT_TOKEN", ""))
        stream.event("failed", self._reports.step, told)
        stream.close(timeout=DELIVERY_SECONDS)

    def _failure(self) -> dict[str, Any] | None:
        """Runs the ranks; what the run is to be told, or None where rank 0 has told it."""
        try:
            check_devices(choose(self._job.device), self._size)
            with tempfile.TemporaryDirectory(prefix="gyrostat-ranks-") as folder:
                self._listen(Path(folder))
                try:
                    self._launch(Path(folder))
                finally:
                    for thread in self._hearing:  # the ranks are gone, and what they said last is being read
                        thread.join(AT_ONCE_SECONDS)
        except ChildFailedError as error:
            return self._first_loss({rank: failed.exitcode for rank, failed in error.failures.items()})
        except SignalException as error:
            return {"error": f"the training was ended from outside, by {error.sigval.name}", "traceback": ""}
        except Exception as error:
            traceback.print_exc()
            return failure(error)
        return {"error": "all ranks ended, and none said how", "traceback": last_of(self._job.log)}

    def _launch(self, folder: Path) -> None:
        os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"  # the ranks need no server of the launcher's
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo0" if sys.platform == "darwin" else "lo")
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=self._size,
            run_id=self._job.run,
            rdzv_backend="c10d",
            rdzv_endpoint=str(folder / "launcher"),
            rdzv_configs={"store_type": "file"},
            local_addr="127.0.0.1",
            max_restarts=0,  # another attempt is the backend's to make
            shutdown_timeout=SHUTDOWN_SECONDS,
            signals_to_handle="SIGTERM,SIGINT",
            logs_specs=DefaultLogsSpecs(log_dir=str(folder)),
        )
        elastic_launch(config, sys.executable)("-m", "trainer.launch.rank", str(os.getpid()), str(folder))

    def _listen(self, folder: Path) -> None:
        server = socket.socket(socket.AF_UNIX)
        server.bind(str(folder / SOCKET))
        server.listen(self._size)
        threading.Thread(target=self._welcome, args=(server,), daemon=True).start()
        threading.Thread(target=self._pass_requests_on, daemon=True).start()

    def _welcome(self, server: socket.socket) -> None:
        for _ in range(self._size):
            connection, _ = server.accept()
            self._hearing.append(threading.Thread(target=self._hear, args=(connection,), daemon=True))
            self._hearing[-1].start()

    def _hear(self, connection: socket.socket) -> None:
        """All that one rank says until it is gone."""
        lines = connection.makefile("rb")
        rank = json.loads(lines.readline())["rank"]
        said = None
        with suppress(OSError):  # it is dead already: the end of its lines tells
            connection.sendall(self._job.model_dump_json().encode() + b"\n")
            if rank == 0:
                self._leader = connection
                self._leader_is_there.set()
            for line in lines:
                report = json.loads(line)
                if "failed" in report:
                    said = report["failed"]
                    break
                self._pass_report_on(report)
        with self._lock:
            self._losses.append(Loss(rank=rank, time=time.monotonic(), said=said))

    def _pass_report_on(self, report: dict[str, Any]) -> None:
        self._reports.at(report.get("step", self._reports.step))
        if report.get("ended"):
            self._ended.set()  # told to the agent when the ranks are gone
        else:
            self._reports.send(report)

    def _pass_requests_on(self) -> None:
        self._leader_is_there.wait()
        assert self._leader is not None
        for line in self._requests:
            with suppress(OSError):  # rank 0 is dead; who waits for an answer hears of the run's end
                self._leader.sendall(line)
        orphaned()

    def _first_loss(self, exit_codes: dict[int, int]) -> dict[str, Any]:
        with self._lock:
            first = first_lost(self._losses, exit_codes)
        if first.said is not None:
            return {"error": f"rank {first.rank}: {first.said['error']}", "traceback": first.said["traceback"]}
        died = cause_of_death(exit_codes.get(first.rank, 0))
        return {"error": f"rank {first.rank}: {died}", "traceback": last_of(self._job.log)}


def first_lost(losses: Sequence[Loss], exit_codes: Mapping[int, int]) -> Loss:
    """The rank whose loss the others suffer from: all but one of those in `exit_codes` (rank -> status, not 0).

    One that never came; one that died without a word at about the time at which another complains; else the first.
    """
    heard = {loss.rank for loss in losses}
    failed = sorted((loss for loss in losses if loss.rank in exit_codes), key=lambda loss: loss.time)
    absent = [Loss(rank=rank, time=0.0, said=None) for rank in exit_codes if rank not in heard]
    silent = [loss for loss in failed if loss.said is None and loss.time - failed[0].time < AT_ONCE_SECONDS]
    return (absent + silent + failed)[0]
