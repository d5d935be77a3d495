"""A finished run as a study sees it: what it streamed, and what it trained."""

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from gyrostat.client import Client
from gyrostat.spec.parse import parse
from gyrostat.spec.run import RunSpec
from trainer import tasks
from trainer.checkpoints import CheckpointStore

if TYPE_CHECKING:
    import pandas

CPU = torch.device("cpu")


@dataclass(frozen=True, eq=False)
class Run:
    """One run of a study.

    Attributes:
        id, state: the service's. document: its spec as it was posted. checkpoints: the worker's folder of them.
    """

    id: str
    state: str
    document: dict[str, Any]
    client: Client
    checkpoints: Path

    @property
    def spec(self) -> RunSpec:
        """The validated spec."""
        return parse(self.document).spec

    @functools.cached_property
    def metrics(self) -> set[str]:
        """Names of everything that it streamed."""
        return {metric["name"] for metric in self.client.metrics(self.id)}

    @functools.lru_cache(maxsize=64)  # noqa: B019 - runs are few, and live as long as the study
    def series(self, metric: str) -> "pandas.DataFrame":
        """A row for each step, a column for each name on the metric's axis."""
        return self.client.series(self.id, metric)

    def scalars(self, metric: str) -> "pandas.Series[float]":
        """A scalar metric by step."""
        return self.series(metric).iloc[:, 0]

    def last(self, metric: str) -> float:
        """A scalar metric's newest value."""
        return float(self.scalars(metric).iloc[-1])

    def alerts(self) -> list[dict[str, Any]]:
        """Everything that was raised."""
        return self.client.alerts(self.id)

    def samples(self) -> list[dict[str, Any]]:
        """Pictures of what it made."""
        return self.client.samples(self.id)

    def task(self, step: int | None = None) -> tasks.Task:
        """The run's task, its model as it was at a kept checkpoint: the last one, or that of `step`; 0 is untrained.

        Raises:
            CheckpointMissing: there is none of that step.
        """
        task = tasks.build(self.spec, data_root=None, device=CPU)
        if step != 0:
            store = CheckpointStore(self.checkpoints)
            at = store.listed(self.id)[-1].step if step is None else step
            task.model.load_state_dict(store.load(self.id, at).model)
        return task
