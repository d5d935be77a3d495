"""What a run's alerts are where nothing comes in the way: its frames in one piece, in the order of their steps."""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from sqlalchemy import select

from app.services import ingest
from app.storage.database import Database
from app.storage.tables import Alert
from gyrostat.wire.frame import Batch, Column
from gyrostat.wire.messages import LayoutMessage
from tests.app.measured import NOW, make_run
from tests.faults import measured
from tests.faults.journal import Emitted
from tests.faults.stored import Raised


class Undisturbed:
    """A database of its own, into which runs are written without any fault."""

    def __init__(self, folder: Path) -> None:
        self._database = Database(f"sqlite:///{folder / 'undisturbed.sqlite'}")
        self._database.migrate()
        self._runs = itertools.count(1)

    def alerts(self, frames: Sequence[Emitted], names: Mapping[int, list[str]]) -> list[Raised]:
        """Of a run that emitted these frames; `names` are those of each version of its layout."""
        run, sequence = f"run-{next(self._runs)}", itertools.count(1)
        make_run(self._database, run)
        for version, of in itertools.groupby(sorted(frames, key=lambda frame: frame.step), lambda frame: frame.version):
            layout = measured.layout(len(names[version]), version)
            declared = LayoutMessage(producer="clean", sequence=next(sequence), attempt=1, layout=layout)
            self._database.write(lambda session, told=declared: ingest.store_layout(session, run, told, NOW))  # type: ignore[misc]
            batch = _batch(list(of), next(sequence), version)
            self._database.write(lambda session, sent=batch: ingest.store_frames(session, run, sent, NOW))  # type: ignore[misc]
        with self._database.read() as session:
            found = session.scalars(select(Alert).where(Alert.run_id == run)).all()
            raised = [Raised(a.rule, a.state, a.onset_step, a.opened_step, a.resolved_step) for a in found]
            return sorted(raised, key=str)

    def close(self) -> None:
        self._database.close()


def _batch(frames: list[Emitted], sequence: int, version: int) -> Batch:
    columns = []
    for metric in sorted({metric for frame in frames for metric in frame.values}):
        rows = [place for place, frame in enumerate(frames) if metric in frame.values]
        values = np.stack([np.frombuffer(frames[row].values[metric], "<f4") for row in rows])
        columns.append(Column(metric=metric, rows=np.array(rows, dtype=np.uint32), values=values))
    return Batch(
        producer="clean", sequence=sequence, attempt=1, layout=version,
        steps=np.array([frame.step for frame in frames]), times=np.full(len(frames), NOW.timestamp()),
        epochs=np.zeros(len(frames)), columns=tuple(columns),
    )  # fmt: skip
