"""What a launcher offers to the agent, and the job that it is given."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

from gyrostat.wire.messages import Assignment, CheckpointReference

Ask = Literal["stop", "pause", "control", "interrupt", "measure", "keep"]
"""What can be asked of a training; `interrupt` comes from the agent, `keep` tells which checkpoints others need."""


class Job(BaseModel):
    """A training to start: the assignment, and where on this machine it works.

    Attributes:
        server: the backend's address. Its token stays in the environment, GYROSTAT_TOKEN.
        data: the worker's folder. data_root: the user's own files, which specs may name.
        device: auto, cpu or cuda.
        threads: CPU threads of a training whose spec does not say; a resumed one keeps those it began with.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    run: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,127}$")
    attempt: int = Field(ge=1)
    spec: dict[str, Any]
    resume: CheckpointReference | None
    server: str
    data: Path
    data_root: Path | None
    device: Literal["auto", "cpu", "cuda"]
    threads: int | None = Field(None, ge=1)

    @classmethod
    def of(
        cls,
        assignment: Assignment,
        *,
        server: str,
        data: Path,
        data_root: Path | None,
        device: str,
        threads: int | None = None,
    ) -> "Job":
        """The job of an assignment.

        Raises:
            ValueError: the run's id or the device is none.
        """
        return cls.model_validate(
            {
                **assignment.model_dump(exclude={"lease_seconds"}),
                "server": server,
                "data": data,
                "data_root": data_root,
                "device": device,
                "threads": threads,
            }
        )

    @property
    def spool(self) -> Path:
        """Where the attempt's stream keeps what is not yet acknowledged."""
        return self.data / "spool" / self.run / str(self.attempt)

    @property
    def checkpoints(self) -> Path:
        """Where the checkpoints of all runs are."""
        return self.data / "checkpoints"

    @property
    def log(self) -> Path:
        """What the training process prints."""
        return self.data / "logs" / f"{self.run}-{self.attempt}.log"


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a training's processes ended.

    Attributes:
        reported: the training itself told the run's stream of its end; then nobody else has to.
        error: otherwise, what became of it, in one sentence. output: the last of what it printed.
    """

    reported: bool
    error: str = ""
    output: str = ""


class Training(Protocol):
    """A training that was started."""

    job: Job

    @property
    def step(self) -> int:
        """The step it reported last."""

    def ask(self, kind: Ask, *, command: int | None = None, data: dict[str, Any] | None = None) -> None:
        """Passes a request on; nothing happens where the training has ended. May be repeated."""

    def carried_out(self) -> list[int]:
        """Ids of the commands that the training has taken since the last call."""

    def poll(self) -> Ended | None:
        """How it ended; None while it runs. Never waits."""

    def kill(self) -> None:
        """Ends its processes at once and waits for them; without a report."""


class Launcher(Protocol):
    """Starts trainings. Called from the agent's main thread only, since Linux ties a child's life to the thread."""

    def start(self, job: Job) -> Training:
        """Starts a training.

        Raises:
            OSError: no process could be started.
        """
