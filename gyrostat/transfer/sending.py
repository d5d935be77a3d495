"""Makes a run of a recording: an attached one, by the routes that every training sends to."""

import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from itertools import count

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gyrostat.client import ApiError, Client, Unreachable
from gyrostat.stream.segments import Kind, Record
from gyrostat.stream.transport import Transient
from gyrostat.transfer import recording
from gyrostat.transfer.recording import EPOCH, SECONDS, Recording
from gyrostat.wire import codec
from gyrostat.wire.frame import Batch, Column
from gyrostat.wire.layout import Axis, Layout, MetricDeclaration
from gyrostat.wire.messages import Event, EventsMessage, LayoutMessage
from gyrostat.wire.values import ABSENT

POINTS_AT_ONCE = 500_000
VALUES_A_BATCH = 1 << 20
"""Of a batch's columns, absent ones included: four bytes each."""
PRODUCER = "import"
PATIENCE_SECONDS = 600.0


def send(source: Recording, client: Client, *, patience: float = PATIENCE_SECONDS) -> str:
    """Stores the recording as a new run, lets the backend's detectors judge it as it judges others, and ends it.

    Answers the run's id. A backend that is away, or asks to wait, is tried again for `patience` seconds each time;
    where the import fails, what was stored is deleted again, as far as the backend is there.

    Raises:
        ValueError: the points cannot be a run's.
        ApiError, Permanent: the backend refuses. Transient: it stayed away.
    """
    layout, span = layout_of(source), recording.span(source.points)
    run = client.attach(name=source.name, project=source.project, tags=source.tags, notes=source.notes)
    try:
        created = datetime.fromisoformat(run["created_at"]).timestamp()
        with client.transport() as transport:
            for record in _records(source, layout, span, created):
                _patiently(lambda record=record: transport.send(run["id"], record), patience)  # type: ignore[misc]
    except BaseException as error:
        try:
            client.stop(run["id"])
            client.delete(run["id"])
        except (ApiError, Unreachable) as beside:
            error.add_note(f"run {run['id']} holds what had been sent, and could not be deleted: {beside}")
        raise
    return str(run["id"])


def layout_of(source: Recording) -> Layout:
    """The names along each axis: in the order that is known, then as they come in the points.

    Raises:
        ValueError: a metric is a scalar at some points and not at others, or there are too many names.
    """
    found = recording.columns(source.points)
    declared = []
    axes: dict[Axis, dict[str, None]] = {}
    for metric, names in found.items():
        if metric in (SECONDS, EPOCH):
            continue
        known = source.declared.get(metric)
        axis: Axis = known.axis if known else "run" if names == [""] else "module"
        if (axis == "run") != (names == [""]) or (axis != "run" and "" in names):
            raise ValueError(
                f"{metric} has the names {names[:3]}; a scalar's points have an empty name, all others one: rename one"
            )
        if axis != "run":
            axes.setdefault(axis, dict.fromkeys(source.names.get(axis, ()))).update(dict.fromkeys(names))
        declared.append(known or MetricDeclaration(name=metric, unit="1", axis=axis, description="Imported."))
    return Layout(version=1, axes={axis: list(names) for axis, names in axes.items()}, metrics=declared)


def _records(source: Recording, layout: Layout, span: tuple[int, int], created: float) -> Iterator[Record]:
    numbers = count(1)
    sequence = next(numbers)
    first = LayoutMessage(producer=PRODUCER, sequence=sequence, attempt=1, layout=layout)
    yield Record(Kind.LAYOUT, sequence, first.model_dump_json().encode())
    clock = _Clock(created)
    for window in recording.windows(source.points, span, POINTS_AT_ONCE):
        for batch in _batches(window, layout, clock, numbers):
            yield Record(Kind.FRAMES, batch.sequence, codec.encode_msgpack(batch))
    sequence = next(numbers)
    data = {"error": "the run that was imported had failed", "traceback": ""} if source.state == "failed" else {}
    end = Event(kind=source.state, at=time.time(), step=clock.step, data=data)  # type: ignore[arg-type]
    message = EventsMessage(producer=PRODUCER, sequence=sequence, attempt=1, events=[end])
    yield Record(Kind.EVENTS, sequence, message.model_dump_json().encode())


class _Clock:
    """Times and epochs of frames: those that were recorded; between them as if steps were equally long."""

    def __init__(self, created: float) -> None:
        self._created = created
        self._seconds = self._epoch = 0.0
        self.step = 0

    def at(
        self, steps: npt.NDArray[np.int64], known: Mapping[str, tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]]
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Seconds since 1970 and epochs at the steps of one window, which come after those asked for before."""
        seconds = self._filled(steps, known.get(SECONDS), self._seconds)
        epochs = self._filled(steps, known.get(EPOCH), self._epoch)
        self.step, self._seconds, self._epoch = int(steps[-1]), float(seconds[-1]), float(epochs[-1])
        return np.maximum(self._created + seconds, 0.0), epochs

    @staticmethod
    def _filled(
        steps: npt.NDArray[np.int64],
        known: tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]] | None,
        before: float,
    ) -> npt.NDArray[np.float64]:
        if known is None:
            return np.full(len(steps), before)
        finite = np.isfinite(known[1])
        if not finite.any():
            return np.full(len(steps), before)
        return np.interp(steps, known[0][finite], known[1][finite].astype(np.float64))


def _batches(window: pa.Table, layout: Layout, clock: _Clock, numbers: "count[int]") -> Iterator[Batch]:
    by_metric = _by_metric(window)
    clocks = {name: by_metric.pop(name) for name in (SECONDS, EPOCH) if name in by_metric}
    known = {name: (steps, values) for name, (steps, _, values) in clocks.items()}
    if not by_metric:
        return
    steps = np.unique(np.concatenate([rows for rows, _, _ in by_metric.values()]))
    times, epochs = clock.at(steps, known)
    matrices = {name: _matrix(layout, name, *points) for name, points in by_metric.items()}
    a_step = max(1, sum(values.size for _, values in matrices.values()) // len(steps))
    for start in range(0, len(steps), max(1, VALUES_A_BATCH // a_step)):
        inside = slice(start, start + max(1, VALUES_A_BATCH // a_step))
        chosen = steps[inside]
        columns = []
        for name, (rows, values) in matrices.items():
            low, high = np.searchsorted(rows, [chosen[0], chosen[-1] + 1])
            if high > low:
                places = np.searchsorted(chosen, rows[low:high]).astype(np.uint32)
                columns.append(Column(metric=name, rows=places, values=values[low:high]))
        yield Batch(
            producer=PRODUCER,
            sequence=next(numbers),
            attempt=1,
            layout=1,
            steps=chosen,
            times=times[inside],
            epochs=epochs[inside],
            columns=tuple(columns),
        )


_Points = tuple[npt.NDArray[np.int64], pa.ChunkedArray, npt.NDArray[np.float32]]


def _by_metric(window: pa.Table) -> dict[str, _Points]:
    """Steps (rising), names and values of each metric; points of one step stay in their order."""
    metrics = window["metric"].unique().to_pylist()
    codes = recording.place_of(window["metric"], metrics)
    order = np.lexsort((window["step"].to_numpy(), codes))
    ordered = window.select(["step", "name", "value"]).take(pa.array(order))
    bounds = np.searchsorted(codes[order], np.arange(len(metrics) + 1))
    steps, values = ordered["step"].to_numpy(), ordered["value"].cast(pa.float32()).to_numpy()
    return {
        metric: (steps[low:high], ordered["name"].slice(low, high - low), values[low:high])
        for metric, low, high in zip(metrics, bounds, bounds[1:], strict=False)
    }


def _matrix(
    layout: Layout, metric: str, steps: npt.NDArray[np.int64], names: pa.ChunkedArray, values: npt.NDArray[np.float32]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """The metric's steps, once each, and a row of all its columns for each; of two values at one place the later."""
    rows, place = np.unique(steps, return_inverse=True)
    axis = next(each.axis for each in layout.metrics if each.name == metric)
    width = 1 if axis == "run" else len(layout.axes[axis])
    full = np.full((len(rows), width), ABSENT, dtype=np.float32)
    column = 0 if axis == "run" else recording.place_of(names, layout.axes[axis])
    full[place, column] = values
    return rows, full


def _patiently(post: Callable[[], object], patience: float) -> None:
    deadline, wait = time.monotonic() + patience, 0.2
    while True:
        try:
            post()
            return
        except Transient as error:
            if error.status in (401, 403):  # a training waits for its token to be mended; whoever imports looks on
                raise
            pause = max(wait, error.retry_after or 0.0)
            if time.monotonic() + pause > deadline:
                raise
            time.sleep(pause)
            wait = min(2 * wait, 10.0)
