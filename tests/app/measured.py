"""A run that measures: rows of attempts, layouts and batches for tests of the data path."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np

from app.services import ingest
from app.storage.database import Database, Session
from app.storage.tables import Attempt, Run
from gyrostat.wire.frame import Batch, Column
from gyrostat.wire.layout import Layout, MetricDeclaration
from gyrostat.wire.messages import Acknowledgement, LayoutMessage

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
VECTOR, SCALAR = "test.vector", "test.scalar"


def make_run(database: Database, run_id: str = "r1", *, starts: Sequence[int] = (0,)) -> None:
    """A running run with an attempt for each starting step."""

    def work(session: Session) -> None:
        run = Run(id=run_id, name=run_id, project="p", tags=[], state="running", attempt=len(starts))
        run.created_at = run.updated_at = NOW
        session.add(run)
        session.flush()
        for number, start in enumerate(starts, 1):
            session.add(Attempt(run_id=run_id, number=number, start_step=start, started_at=NOW))

    database.write(work)


def add_attempt(database: Database, run_id: str, number: int, start_step: int) -> None:
    """Hands the run out once more."""

    def work(session: Session) -> None:
        session.add(Attempt(run_id=run_id, number=number, start_step=start_step, started_at=NOW))
        session.get_one(Run, run_id).attempt = number

    database.write(work)


def make_layout(version: int = 1, names: Sequence[str] = ("a", "b", "c")) -> Layout:
    """A vector over modules and a scalar."""
    vector = MetricDeclaration(name=VECTOR, unit="V", axis="module", description="A vector.")
    scalar = MetricDeclaration(name=SCALAR, unit="1", axis="run", description="A scalar.")
    return Layout(version=version, axes={"module": list(names)}, metrics=[vector, scalar])


class Sender:
    """Numbers and sends the messages of one attempt, as the stream of a training process does."""

    def __init__(self, database: Database, run_id: str = "r1", *, attempt: int = 1, producer: str = "main") -> None:
        self.database, self.run_id, self.attempt, self.producer = database, run_id, attempt, producer
        self.sequence = 0
        self.version = 0

    def layout(self, layout: Layout) -> Acknowledgement:
        """Sends a layout; the batches that follow have it."""
        self.sequence += 1
        self.version = layout.version
        message = LayoutMessage(producer=self.producer, sequence=self.sequence, attempt=self.attempt, layout=layout)
        return self.database.write(lambda session: ingest.store_layout(session, self.run_id, message, NOW))

    def batch(self, steps: Sequence[int] | np.ndarray, values: Mapping[str, np.ndarray]) -> Batch:
        """The next batch, not sent: every metric at every step."""
        self.sequence += 1
        steps = np.asarray(steps, dtype=np.int64)
        rows = np.arange(len(steps), dtype=np.uint32)
        return Batch(
            producer=self.producer,
            sequence=self.sequence,
            attempt=self.attempt,
            layout=self.version,
            steps=steps,
            times=NOW.timestamp() + steps * 0.5,
            epochs=steps / 100,
            columns=tuple(
                Column(metric=name, rows=rows, values=np.asarray(column, dtype=np.float32).reshape(len(steps), -1))
                for name, column in values.items()
            ),
        )

    def recalled(self, steps: Sequence[int] | np.ndarray, values: Mapping[str, np.ndarray]) -> Acknowledgement:
        """Makes and sends the next batch, of steps that are past, as a flight recorder does."""
        return self.send(replace(self.batch(steps, values), recalled=True))

    def send(self, batch: Batch) -> Acknowledgement:
        """Sends a batch made by `batch`."""
        return self.database.write(lambda session: ingest.store_frames(session, self.run_id, batch, NOW))

    def frames(self, steps: Sequence[int] | np.ndarray, values: Mapping[str, np.ndarray]) -> Acknowledgement:
        """Makes and sends the next batch."""
        return self.send(self.batch(steps, values))


def start(
    database: Database, run_id: str = "r1", *, starts: Sequence[int] = (0,), names: Sequence[str] = ("a", "b", "c")
) -> Sender:
    """A run whose newest attempt has sent its layout."""
    make_run(database, run_id, starts=starts)
    sender = Sender(database, run_id, attempt=len(starts))
    sender.layout(make_layout(names=names))
    return sender
