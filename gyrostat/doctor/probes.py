"""The self-test of the probes: every value in every mode beside its reference, as rows of a table."""

import math
import multiprocessing
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Literal

import torch

from gyrostat.doctor.modes import MODES, Mode
from gyrostat.doctor.moment import Moment
from gyrostat.doctor.networks import NETWORKS
from gyrostat.doctor.references import REFERENCES, WITHOUT, Between, Reference, Values, Wanted
from gyrostat.doctor.training import Kept, watched
from gyrostat.spec.probes import PROBES

Verdict = Literal["right", "wrong", "no reference", "not measured"]

_SECONDS = 120.0
"""A rank that has not answered after so long never will."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A metric in a mode.

    Attributes:
        error: largest relative error over networks and names; None where nothing was compared.
        allowed: how large it may be.
        note: where the error is largest, or why nothing was compared.
    """

    metric: str
    mode: str
    error: float | None
    allowed: float
    verdict: Verdict
    note: str = ""


def examine(modes: Iterable[str] = tuple(MODES)) -> list[Row]:
    """Trains every network in each mode and compares; those of several ranks in processes of their own.

    Raises:
        ValueError: there is no such mode. RuntimeError: a rank failed.
    """
    chosen = []
    for name in modes:
        if name not in MODES:
            raise ValueError(f"there is no mode {name!r}; choose among {', '.join(MODES)}")
        chosen.append(MODES[name])
    alone = [mode for mode in chosen if mode.ranks == 1]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with tempfile.TemporaryDirectory() as folder:
            together = [(mode, _Ranks(mode, Path(folder))) for mode in chosen if mode.ranks > 1]
            rows = [row for mode in alone for row in compared(mode)]
            rows += [row for _, ranks in together for row in ranks.rows()]
    finally:
        torch.set_num_threads(threads)
    return sorted(rows, key=lambda row: (list(_measured_metrics()).index(row.metric), list(MODES).index(row.mode)))


def is_right(rows: Iterable[Row]) -> bool:
    """Whether nothing is wrong, and nothing that has a reference went unmeasured in every mode."""
    found = list(rows)
    seen = {row.metric for row in found if row.verdict in ("right", "no reference")}
    return all(row.verdict != "wrong" for row in found) and seen >= {row.metric for row in found}


def table(rows: Iterable[Row]) -> str:
    """In columns, a line a row."""
    cells = [("metric", "mode", "error", "allowed", "verdict", "")]
    cells += [
        (
            row.metric,
            row.mode,
            "" if row.error is None else f"{row.error:.1e}",
            f"{row.allowed:.0e}" if row.error is not None else "",
            row.verdict,
            row.note,
        )
        for row in rows
    ]
    widths = [max(len(line[column]) for line in cells) for column in range(5)]
    return "\n".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(line, widths, strict=False)), line[5]]).rstrip()
        for line in cells
    )


def as_json(rows: Iterable[Row]) -> list[dict[str, object]]:
    """Plain values; errors that are no numbers are text."""
    listed = [asdict(row) for row in rows]
    for row in listed:
        if row["error"] is not None and not math.isfinite(row["error"]):
            row["error"] = str(row["error"])
    return listed


def compared(mode: Mode, rank: int = 0) -> list[Row]:
    """Trains as this rank, and compares."""
    trained = {name: watched(name, mode, rank) for name in NETWORKS}
    return [_row(metric, mode, trained) for metric in _measured_metrics()] if rank == 0 else []


def _measured_metrics() -> Iterator[str]:
    for probe in PROBES.values():
        yield from (*probe.metrics, *probe.conditional)


def _row(metric: str, mode: Mode, trained: Mapping[str, tuple[Moment, Kept]]) -> Row:
    reference = REFERENCES.get(metric)
    if reference is None:
        note = WITHOUT.get(metric, "")
        return Row(metric=metric, mode=mode.name, error=None, allowed=0.0, verdict="no reference", note=note)
    allowed = mode.error + reference.error
    worst: tuple[float, str] | None = None
    for network, (moment, kept) in trained.items():
        found = kept.measured.get(metric)
        wanted = _by_name(reference.measure(moment))
        if not found and not wanted:
            continue
        error, name = _error(found or {}, wanted, reference)
        if worst is None or not error <= worst[0]:
            worst = error, f"{network} {name}".rstrip()
    if worst is None:
        return Row(metric=metric, mode=mode.name, error=None, allowed=allowed, verdict="not measured")
    verdict: Verdict = "right" if worst[0] <= allowed else "wrong"
    return Row(metric=metric, mode=mode.name, error=worst[0], allowed=allowed, verdict=verdict, note=worst[1])


def _by_name(values: Values) -> dict[str, Between]:
    """A number is what nothing lies between."""
    named: Mapping[str, Wanted] = {} if values is None else values if isinstance(values, Mapping) else {"": values}
    return {
        name: value if isinstance(value, Between) else Between(low=float(value), high=float(value))
        for name, value in named.items()
    }


def _error(found: Mapping[str, float], wanted: Mapping[str, Between], reference: Reference) -> tuple[float, str]:
    """The largest error and its name; infinite where one of both is absent."""
    largest = max((value.largest for value in wanted.values()), default=0.0)
    worst = (0.0, "")
    for name in {**wanted, **found}:
        if name not in found or name not in wanted:
            return math.inf, f"{name} ({'measured, and should be absent' if name in found else 'absent'})"
        scale = max(wanted[name].largest, reference.floor * largest, reference.least)
        error = wanted[name].distance(found[name]) / scale
        if not error <= worst[0]:
            worst = (error, name)
    return worst


class _Ranks:
    """The processes of one mode, from their start to the rows of rank 0."""

    def __init__(self, mode: Mode, folder: Path) -> None:
        context = multiprocessing.get_context("spawn")
        self._receiver, sender = context.Pipe(duplex=False)
        meeting = folder / mode.name
        self._processes = [
            context.Process(target=_rank, args=(mode.name, rank, str(meeting), sender), daemon=True)
            for rank in range(mode.ranks)
        ]
        for process in self._processes:
            process.start()
        sender.close()

    def rows(self) -> list[Row]:
        """Waits for them."""
        try:
            if not self._receiver.poll(_SECONDS):
                raise RuntimeError(f"the ranks have not answered within {_SECONDS:g} s")
            return [Row(**row) for row in self._receiver.recv()]
        except EOFError as error:
            raise RuntimeError("a rank failed; what it said is above") from error
        finally:
            for process in self._processes:
                process.join(5)
                process.kill()


def _rank(mode: str, rank: int, meeting: str, sender: Connection) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{meeting}", rank=rank, world_size=MODES[mode].ranks
    )
    try:
        rows = compared(MODES[mode], rank)
        if rank == 0:
            sender.send([asdict(row) for row in rows])
        torch.distributed.barrier()
    finally:
        torch.distributed.destroy_process_group()
