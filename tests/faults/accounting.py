"""Where every frame is: what producers wrote down, against the database, the spools and the export; bit for bit.

    produced = stored + rejected(reason) + dropped(reason) + spooled

A frame is stored where each of its rows is, once and as it was emitted. One that is nowhere must be explained by the
ledger of its producer, or by a kill: then only the newest may be gone, those that no disk had yet.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tests.faults.journal import Acknowledged, Closed, Declared, Emitted, Entry, Refused, Told
from tests.faults.stored import Rows, Spooled, Stored

KILLED = "killed"
ABSENT = 0x7FC01954
FORCED = {"spool_full", "disk_error", KILLED}
"""Reasons for which frames may be dropped here: their schedules ask for it."""
KEPT_BY_BACKEND = {"progress.seconds", "progress.epoch"}


@dataclass
class Account:
    """Frames of one producer, or of many together, and everything that is not as promised."""

    produced: int = 0
    stored: int = 0
    spooled: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    values: int = 0
    acknowledged: int = 0
    duplicates: int = 0
    wrong: list[str] = field(default_factory=list)

    @property
    def balanced(self) -> bool:
        gone = sum(self.rejected.values()) + sum(self.dropped.values())
        return self.produced == self.stored + self.spooled + gone

    def add(self, other: "Account") -> None:
        for name in ("produced", "stored", "spooled", "values", "acknowledged", "duplicates"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.rejected.update(other.rejected)
        self.dropped.update(other.dropped)
        self.wrong += other.wrong


def account(incarnations: Sequence[list[Entry]], stored: Stored, left: Spooled, *, forced: set[str]) -> Account:
    """The account of one producer, whose lives one after another wrote the journals.

    Args:
        stored: of its run. left: in its spool; frames that are both there and stored count as stored.
        forced: reasons for which its schedule lets frames be dropped.
    """
    made = Account()
    emitted = {entry.step: entry for life in incarnations for entry in _of(life, Emitted)}
    found = {step for step, frame in emitted.items() if _is_stored(frame, stored.rows)}
    made.produced, made.stored = len(emitted), len(found)
    made.values = sum(len(bits) // 4 for step in found for bits in emitted[step].values.values())
    made.spooled = len((left.steps & emitted.keys()) - found)
    made.wrong += [*_doubled(stored), *_changed(emitted, stored.rows), *_invented(emitted, stored.rows)]
    for number, life in enumerate(incarnations, 1):
        _explain(made, f"life {number}", life, found | left.steps, forced)
        answers = list(_of(life, Acknowledged))
        made.acknowledged += sum(len(answer.steps) for answer in answers if answer.status == "stored")
        made.duplicates += sum(answer.status == "duplicate" for answer in answers)
        made.wrong += _forgotten(answers, found, stored)
        for refused in _of(life, Refused):
            made.wrong.append(f"message {refused.sequence} was refused: {refused.reason}")
    made.wrong += _events(incarnations, stored, left)
    if not made.balanced:
        made.wrong.append(f"the books do not balance: {made.produced} produced, {made.stored} stored, "
                          f"{made.spooled} spooled, {dict(made.rejected)}, {dict(made.dropped)}")  # fmt: skip
    return made


def settled(stored: Stored) -> list[str]:
    """What must not be once everything has arrived: gaps in the numbers."""
    return [f"messages {gaps} of producer {name} never came" for name, gaps in stored.missing.items()]


def alerts(stored: Stored) -> list[str]:
    """Alerts that were raised twice."""
    standing = Counter(alert.rule for alert in stored.alerts if alert.state != "resolved")
    twice = [rule for rule, times in standing.items() if times > 1]
    return [f"{rule}: more than one alert stands" for rule in twice] + [
        f"{rule}: an alert was not opened exactly once" for rule in stored.reopened
    ]


def exported(incarnations: Iterable[list[Entry]], stored: Stored, table: Any) -> list[str]:
    """How the export (a pyarrow table of step, metric, name, value) differs from what was emitted and is stored."""
    expected: dict[str, dict[tuple[int, str], int]] = defaultdict(dict)
    for life in incarnations:
        names: dict[int, list[str]] = {entry.version: entry.names for entry in _of(life, Declared)}
        for frame in _of(life, Emitted):
            if _is_stored(frame, stored.rows):
                for metric, bits in frame.values.items():
                    words = np.frombuffer(bits, "<u4").tolist()
                    axis = [""] if metric.startswith("loss.") else names[frame.version]
                    pairs = zip(axis, words, strict=True)
                    expected[metric] |= {(frame.step, name): word for name, word in pairs if word != ABSENT}
    found: dict[str, dict[tuple[int, str], int]] = defaultdict(dict)
    words = np.asarray(table["value"]).astype("<f4", copy=False).view("<u4").tolist()
    rows = zip(table["metric"].to_pylist(), table["step"].to_pylist(), table["name"].to_pylist(), words, strict=True)
    doubled = 0
    for metric, step, name, word in rows:
        doubled += (step, name) in found[metric]
        found[metric][step, name] = word
    wrong = [f"the export has {doubled} values twice"] if doubled else []
    for metric, values in expected.items():
        if found[metric] != values:
            differing = [
                key for key in values.keys() | found[metric].keys() if values.get(key) != found[metric].get(key)
            ]
            wrong.append(f"the export of {metric} differs in {len(differing)} values, such as {sorted(differing)[:3]}")
    return wrong


def _explain(made: Account, who: str, life: list[Entry], safe: set[int], forced: set[str]) -> None:
    """Says why frames of one life are nowhere."""
    order = [entry.step for entry in _of(life, Emitted)]
    gone = [step for step in order if step not in safe]
    closed = next(_of(life, Closed), None)
    if closed is None:
        tail = _unsaved(order, safe)
        made.dropped[KILLED] += len(tail)
        if KILLED not in forced and tail:
            made.wrong.append(f"{who}: it was not killed, but did not end its journal")
        if lost := sorted(set(gone) - set(tail)):
            made.wrong.append(f"{who}: steps {lost[:10]} are lost though later ones of it are not")
        return
    made.dropped.update(closed.dropped)
    made.rejected.update(closed.rejected)
    told = sum(closed.dropped.values()) + sum(closed.rejected.values())
    if told != len(gone):
        made.wrong.append(f"{who}: {len(gone)} frames are nowhere, such as {gone[:5]}; its ledger says {told}")
    if not closed.balanced or closed.produced != len(order):
        made.wrong.append(
            f"{who}: its ledger says {closed.produced} of {len(order)} frames, balanced: {closed.balanced}"
        )
    if unasked := (closed.dropped.keys() | closed.rejected.keys()) - forced:
        made.wrong.append(f"{who}: frames were dropped or rejected for {sorted(unasked)}")


def _unsaved(order: list[int], safe: set[int]) -> list[int]:
    """The newest frames, as far as none of them is safe."""
    tail: list[int] = []
    for step in reversed(order):
        if step in safe:
            break
        tail.append(step)
    return tail


def _is_stored(frame: Emitted, rows: Rows) -> bool:
    return all(rows[metric].get(frame.step) for metric in frame.values)


def _doubled(stored: Stored) -> list[str]:
    wrong = []
    for metric, steps in stored.rows.items():
        if twice := [step for step, rows in steps.items() if len(rows) > 1]:
            wrong.append(f"{metric} has {len(twice)} steps more than once, such as {sorted(twice)[:5]}")
        if (count := sum(map(len, steps.values()))) != stored.counts.get(metric, 0):
            wrong.append(f"{metric} has {count} rows, its catalogue says {stored.counts.get(metric, 0)}")
    return wrong


def _changed(emitted: Mapping[int, Emitted], rows: Rows) -> list[str]:
    wrong = []
    for step, frame in emitted.items():
        expected = {**frame.values, "progress.epoch": np.float32(frame.epoch).tobytes()}
        for metric, bits in expected.items():
            if any(row != bits for row in rows[metric].get(step, [])):
                wrong.append(f"{metric} at step {step} is stored as other bits than it was emitted")
    return wrong[:10]


def _invented(emitted: Mapping[int, Emitted], rows: Rows) -> list[str]:
    wrong = []
    for metric, steps in rows.items():
        unknown = [
            step for step in steps
            if step not in emitted or metric not in emitted[step].values.keys() | KEPT_BY_BACKEND
        ]  # fmt: skip
        if unknown:
            wrong.append(f"{metric} has rows at steps {sorted(unknown)[:5]} that nobody emitted")
    kept = [set(rows[metric]) for metric in sorted(KEPT_BY_BACKEND)]
    whole = {step for step, frame in emitted.items() if _is_stored(frame, rows)}
    torn = {step for step, frame in emitted.items() if any(rows[metric].get(step) for metric in frame.values)} - whole
    if torn or any(steps != whole for steps in kept):
        wrong.append(f"frames are stored in part: {sorted(torn or (kept[0] | kept[1]) ^ whole)[:5]}")
    return wrong


def _forgotten(answers: list[Acknowledged], found: set[int], stored: Stored) -> list[str]:
    steps = {step for answer in answers for step in answer.steps} - found
    events = {number for answer in answers for number in answer.events} - set(stored.events)
    return [
        f"{len(what)} {kind} were acknowledged and are missing, such as {sorted(what)[:5]}"
        for kind, what in (("frames", steps), ("events", events))
        if what
    ]


def _events(incarnations: Sequence[list[Entry]], stored: Stored, left: Spooled) -> list[str]:
    """Events are as little lost or doubled as frames; those of a killed life may be, where no disk had them."""
    wrong = []
    if twice := [number for number, times in Counter(stored.events).items() if times > 1]:
        wrong.append(f"events {twice[:5]} are stored more than once")
    for number, life in enumerate(incarnations, 1):
        told = [entry.number for entry in _of(life, Told)]
        closed = next(_of(life, Closed), None)
        safe = set(stored.events) | left.events
        gone = {event for event in told if event not in safe}
        allowed = set(_unsaved(told, safe)) if closed is None else set()
        if gone - allowed and (closed is None or not closed.dropped_messages):
            wrong.append(f"life {number}: events {sorted(gone - allowed)[:5]} are lost")
    return wrong


def _of(life: list[Entry], kind: type[Any]) -> Iterator[Any]:
    return (entry for entry in life if isinstance(entry, kind))


def frames_stored(incarnations: Iterable[list[Entry]], stored: Stored) -> tuple[list[Emitted], dict[int, list[str]]]:
    """The frames that are stored, and the names of each version of their layout."""
    lives = list(incarnations)
    frames = [frame for life in lives for frame in _of(life, Emitted) if _is_stored(frame, stored.rows)]
    return frames, {entry.version: entry.names for life in lives for entry in _of(life, Declared)}
