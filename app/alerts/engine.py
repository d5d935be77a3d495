"""All rules of one run over its frames: memories, lives, and the changes that come out of them.

A rule that raises fails alone: it starts afresh, the failure is given out, and the others are judged as ever.

The state is bytes that its owner stores in the transaction that stores the frames. It names its version, and for each
rule the settings it was made with: a rule whose settings changed starts afresh, and an unknown version starts all.
"""

import traceback
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from app.alerts.base import Memory
from app.alerts.lifecycle import Life, advance
from app.alerts.model import AlertChange, FrameView, Remedy, RuleFailure, RunContext, Verdict
from app.alerts.remedies import remedies_for
from app.alerts.rules import Rule
from gyrostat.spec.run import Severity

VERSION = 1
MAX_CAUSES = 8
"""Causes of failure that are kept of a rule; those beyond are counted together."""


class _Watched(msgspec.Struct):
    """What is kept of one rule."""

    settings: str
    life: Life
    memory: msgspec.Raw
    failures: dict[str, int] = {}


class _State(msgspec.Struct):
    version: int
    last_step: int | None
    attempt: int
    layout: int
    rules: dict[str, _Watched]


class Engine:
    """Judges frames in the order of their steps. Not thread-safe: one run, one transaction, one engine.

    Args:
        rules: effective rules; disabled ones and those not judged from frames are passed over.
        context: of the run; its axes must be those of the frames' layout.
        state: what `dump` gave; None, or bytes of another version, to start afresh.
    """

    def __init__(self, rules: Sequence[Rule], context: RunContext, state: bytes | None) -> None:
        self._context = context
        self._layout = _fingerprint(context.axes)
        self._rules = {rule.kind: rule for rule in rules if rule.enabled and rule.detector.metrics}
        self._reads = {kind: frozenset(rule.detector.metrics) for kind, rule in self._rules.items()}
        self._lives: dict[str, Life] = {}
        self._memories: dict[str, Memory] = {kind: rule.detector.initial() for kind, rule in self._rules.items()}
        self._failed: dict[str, dict[str, int]] = {}
        self._failures: list[RuleFailure] = []
        self._orphans: list[tuple[str, Life]] = []
        self._last_step: int | None = None
        self._attempt = 0
        self._tighten = False
        loaded = _decoded(state)
        if loaded is not None:
            self._load(loaded)

    @property
    def tighten(self) -> bool:
        """Whether a rule became suspicious in the frames observed so far: the probes shall look closer for a while."""
        return self._tighten

    @property
    def last_step(self) -> int | None:
        """Step of the newest frame judged."""
        return self._last_step

    @property
    def failures(self) -> tuple[RuleFailure, ...]:
        """What rules raised since this engine was made; read it after `dump`, which may add to it."""
        return tuple(self._failures)

    def observe(self, frames: Iterable[FrameView], attempt: int = 0) -> list[AlertChange]:
        """What changes with these frames.

        A step that is not beyond the last one, or another `attempt`, means that the training began again from an
        earlier step: detectors then start anew, while open alerts stay open until they have been quiet. Within one
        numbered attempt, a frame that is not newer arrived late and is passed over: baselines are fed in order.
        """
        changes = list(self._closed_orphans())
        for frame in frames:
            if self._last_step is not None and (frame.step <= self._last_step or attempt != self._attempt):
                if attempt and attempt == self._attempt:
                    continue
                self._restart()
            self._last_step, self._attempt = frame.step, attempt
            for kind, rule in self._rules.items():
                if self._reads[kind].isdisjoint(frame.values):
                    continue
                changes += self._observed(rule, frame)
        return changes

    def dump(self) -> bytes:
        """The state to start from next time."""
        rules = {
            kind: _Watched(
                settings=rule.settings,
                life=self._lives.get(kind, Life()),
                memory=self._encoded(rule),
                failures=self._failed.get(kind, {}),
            )
            for kind, rule in self._rules.items()
        }
        # orphans that were not told yet, because no frame came, are told next time
        for kind, life in self._orphans:
            rules.setdefault(kind, _Watched(settings="", life=life, memory=msgspec.Raw(msgspec.msgpack.encode(None))))
        return msgspec.msgpack.encode(
            _State(
                version=VERSION,
                last_step=self._last_step,
                attempt=self._attempt,
                layout=self._layout,
                rules=rules,
            )
        )

    def _load(self, state: _State) -> None:
        self._last_step, self._attempt = state.last_step, state.attempt
        for kind, watched in state.rules.items():
            rule = self._rules.get(kind)
            if rule is None or watched.settings != rule.settings:
                if watched.life.phase == "open":
                    self._orphans.append((kind, watched.life))
                continue
            self._lives[kind], self._failed[kind] = watched.life, watched.failures
            self._memories[kind] = _memory(rule, watched.memory)
            if state.layout != self._layout:
                self._restart_memory(rule)

    def _restart(self) -> None:
        for rule in self._rules.values():
            self._restart_memory(rule)
            self._drop_pending(rule.kind)

    def _restart_memory(self, rule: Rule) -> None:
        try:
            self._memories[rule.kind] = rule.detector.restarted(self._memories[rule.kind])
        except Exception as error:
            self._fail(rule, error)

    def _drop_pending(self, kind: str) -> None:
        life = self._lives.get(kind)
        if life is not None and life.phase == "pending":
            del self._lives[kind]

    def _observed(self, rule: Rule, frame: FrameView) -> list[AlertChange]:
        try:
            verdict = rule.detector.observe(self._memories[rule.kind], frame, self._context)
            return [] if verdict is None else list(self._judged(rule, verdict, frame.step))
        except Exception as error:  # whatever it is: the frames must be stored, and the other rules heard
            self._fail(rule, error, frame.step)
            return []

    def _offered(self, rule: Rule, told: AlertChange) -> tuple[Remedy, ...]:
        try:
            return remedies_for(told, self._context.spec)
        except Exception as error:  # an alert without remedies is better than none
            self._note(rule, error, told.step)
            return ()

    def _encoded(self, rule: Rule) -> msgspec.Raw:
        try:
            return msgspec.Raw(msgspec.msgpack.encode(self._memories[rule.kind]))
        except Exception as error:  # it holds what cannot be stored
            self._fail(rule, error)
            return msgspec.Raw(msgspec.msgpack.encode(self._memories[rule.kind]))

    def _fail(self, rule: Rule, error: Exception, step: int | None = None) -> None:
        """Starts the rule afresh, as its memory may be half changed; an open alert stays until it has been quiet."""
        self._memories[rule.kind] = rule.detector.initial()
        self._drop_pending(rule.kind)
        self._note(rule, error, step)

    def _note(self, rule: Rule, error: Exception, step: int | None) -> None:
        counts = self._failed.setdefault(rule.kind, {})
        cause = _cause(error)
        if cause not in counts and len(counts) >= MAX_CAUSES:
            cause = "others"
        counts[cause] = counts.get(cause, 0) + 1
        failure = RuleFailure(
            rule=rule.kind,
            step=step if step is not None else self._last_step or 0,
            error=f"{type(error).__name__}: {error}",
            traceback="".join(traceback.format_exception(error)),
            times=counts[cause],
        )
        self._failures.append(failure)

    def _closed_orphans(self) -> Iterator[AlertChange]:
        for kind, life in self._orphans:
            yield AlertChange(
                change="resolved",
                rule=kind,
                kind=kind,
                severity=life.severity,
                step=self._last_step or 0,
                names=life.names,
                onset_step=life.onset_step,
                summary="The rule was switched off or its settings were changed; it starts afresh.",
            )
        self._orphans = []

    def _judged(self, rule: Rule, verdict: Verdict, step: int) -> Iterator[AlertChange]:
        self._tighten = self._tighten or verdict.suspicious
        before = self._lives.get(rule.kind, _INACTIVE)
        if not verdict.breached and before.phase == "inactive":
            return
        detector = rule.detector
        severity: Severity = rule.severity or verdict.severity or detector.severity
        after, change = advance(before, verdict, step, severity=severity, hold=detector.hold, quiet=detector.quiet)
        self._lives[rule.kind] = after
        self._tighten = self._tighten or after.phase == "pending" or change == "opened"
        if change is None:
            return
        shown = before if change == "resolved" else after
        told = AlertChange(
            change=change,
            rule=rule.kind,
            kind=rule.kind,
            severity=shown.severity,
            step=step,
            names=shown.names,
            onset_step=shown.onset_step,
            summary=verdict.summary,
            evidence=verdict.evidence,
        )
        offered = () if change == "resolved" else self._offered(rule, told)
        yield replace(told, remedies=offered) if offered else told


_INACTIVE = Life()


def forgetting(state: bytes, kind: str) -> bytes:
    """The state with the rule's alert taken for closed, since somebody resolved it: it opens again if found again."""
    decoded = _decoded(state)
    if decoded is None or kind not in decoded.rules:
        return state
    decoded.rules[kind].life = _INACTIVE
    return msgspec.msgpack.encode(decoded)


def _decoded(state: bytes | None) -> _State | None:
    if state is None:
        return None
    try:
        decoded = msgspec.msgpack.decode(state, type=_State)
    except msgspec.DecodeError:
        return None
    return decoded if decoded.version == VERSION else None


def _memory(rule: Rule, stored: msgspec.Raw) -> Memory:
    try:
        return msgspec.msgpack.decode(stored, type=rule.detector.memory)
    except msgspec.DecodeError:
        return rule.detector.initial()


def _cause(error: Exception) -> str:
    """Tells causes apart by type and place: what an exception says may hold numbers that differ each time."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" in {frames[-1].name}, line {frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{place}"


def _fingerprint(axes: Mapping[str, Sequence[str]]) -> int:
    """Tells layouts apart: memories hold counts by position, which mean nothing on other axes."""
    sums: dict[str, Any] = {axis: zlib.crc32("\n".join(names).encode()) for axis, names in sorted(axes.items())}
    return zlib.crc32(repr(sums).encode())
