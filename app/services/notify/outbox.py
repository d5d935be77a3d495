"""What waits to be told, and who tells it: decisions on rows, each in its caller's transaction."""

import random
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from app.services.notify import messages
from app.services.notify.messages import Event, rank
from app.services.notify.targets import Target, restored
from app.storage import channels as channel_repository
from app.storage.channel_tables import Channel, Delivery
from app.storage.database import Session
from app.storage.tables import Alert, Run

MAX_A_MINUTE = 10
"""Messages that a channel is told in a minute; the last of them sums up what else waits."""
MAX_TRIES = 10
FIRST_DELAY, LONGEST_DELAY = timedelta(seconds=5), timedelta(minutes=10)
"""Before the second try, and before any: each waits twice as long as the one before, more or less by chance."""
MAX_AGE = timedelta(days=1)
"""What could not be told by then is news no more."""
KEPT = 200
"""Deliveries of a channel that are kept to look at, besides those that wait."""
HOLD = timedelta(seconds=60)
"""Longer than any sending takes; after it the channel is free again, whoever held it."""
_MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a try. `passed` is whether it was told, `again` whether trying again may help."""

    passed: bool
    again: bool = False
    status: int | None = None
    """What the receiver answered: of HTTP or of SMTP."""
    error: str | None = None
    """Why it failed, or what of it did."""
    retry_after: float | None = None
    """Seconds that the receiver asks to be left alone."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """Something to be sent now, by whoever holds the channel. A test has no number, and nobody holds the channel."""

    id: str
    channel: str
    target: Target
    message: Mapping[str, Any]
    number: int | None = None
    held_until: datetime | None = None


def announce(session: Session, run: Run, alert: Alert, change: str, now: datetime, *, before: str | None) -> None:
    """Writes down, with the change of the alert, who shall be told of it. Muted alerts are not told.

    `before` is the alert's severity until now, None where it opens.
    """
    event = _event(change, alert.severity, before)
    if event is None or alert.muted:
        return
    told = [channel.id for channel in channel_repository.enabled(session) if _wants(channel, event, alert, run)]
    if not told:
        return
    message = messages.of_alert(run, alert, event, now)
    for channel_id in told:
        session.add(_delivery(channel_id, event, message, now, alert=alert))


def _event(change: str, severity: str, before: str | None) -> Event | None:
    if change == "resolved":
        return "resolved"
    if before is None:
        return "opened"
    return "worsened" if rank(severity) > rank(before) else None


def _wants(channel: Any, event: Event, alert: Alert, run: Run) -> bool:
    return (
        rank(alert.severity) >= rank(channel.severity)
        and ("resolved" if event == "resolved" else "opened") in channel.events
        and (not channel.projects or run.project in channel.projects)
        and (not channel.rules or alert.rule in channel.rules)
    )


def take(session: Session, channel_id: str, now: datetime) -> Task | None:
    """Holds the channel and counts a try of its oldest message; None where nothing is to be sent through it now.

    Where the minute's last message is due and several wait, one that sums them up takes their place.
    """
    until = now + HOLD
    channel = channel_repository.hold(session, channel_id, now, until)
    if channel is None:
        return None
    recent = channel_repository.tried_between(session, channel_id, now - _MINUTE, now)
    waiting = channel_repository.waiting(session, channel_id, messages.MAX_TOLD)
    while waiting and (hopeless := _why_hopeless(waiting[0], now)) is not None:
        waiting[0].state, waiting[0].error = "failed", hopeless
        session.flush()
        waiting = channel_repository.waiting(session, channel_id, messages.MAX_TOLD)
    if not waiting:
        channel.next_at = now
        return None
    first = waiting[0]
    again = first.tried_at is not None and first.tried_at in recent
    room = MAX_A_MINUTE - len(recent) + again
    if room <= 0:
        channel.next_at = recent[0] + _MINUTE
        return None
    if room == 1 and len(waiting) > 1 and first.tries == 0:
        first = _summary(session, channel, list(waiting), now)
    first.tries, first.tried_at = first.tries + 1, now
    session.flush()
    return Task(
        number=first.number,
        id=first.id,
        channel=channel_id,
        target=restored(channel.target),
        message=first.message,
        held_until=until,
    )


def _why_hopeless(row: Delivery, now: datetime) -> str | None:
    if now - row.created_at > MAX_AGE:
        return f"it has waited for more than {MAX_AGE.days} day; {row.error or ''}".rstrip("; ")
    # each try ended with the process that made it, and it may be what ended them
    return f"{row.tries} tries ended without a result" if row.tries >= MAX_TRIES else None


def _summary(session: Session, channel: Channel, first: list[Delivery], now: datetime) -> Delivery:
    told: list[Mapping[str, Any]] = [each.message for each in first]
    summary = _delivery(channel.id, "summary", {}, now)
    # counted as they are summed up: others may be written meanwhile
    summary.message = messages.of_many(channel_repository.sum_up(session, channel.id, summary), told, now)
    return summary


def record(session: Session, task: Task, outcome: Outcome, now: datetime) -> Literal["sent", "failed", "waiting"]:
    """Writes down what came of a try and when the channel's next one is; answers the message's state."""
    assert task.number is not None
    assert task.held_until is not None
    row = channel_repository.delivery(session, task.number)
    tries = 0 if row is None else row.tries
    state = _state(outcome, tries)
    next_at = now + _delay(tries, outcome.retry_after) if state == "waiting" else now
    # the channel first, as in `take`: two that lock both never wait for each other
    channel_repository.let_go(session, task.channel, task.held_until, next_at)
    if row is not None and (row.state == channel_repository.WAITING or outcome.passed):
        row.state, row.status, row.error = state, outcome.status, outcome.error
        session.flush()
    channel_repository.prune(session, task.channel, KEPT, now - _MINUTE, now)
    return state


def tested(session: Session, task: Task, outcome: Outcome, now: datetime) -> Delivery:
    """Writes down a message that was sent by itself, to try the channel."""
    row = _delivery(task.channel, "test", dict(task.message), now)
    row.id, row.tries, row.tried_at = task.id, 1, now
    row.state = "sent" if outcome.passed else "failed"
    row.status, row.error = outcome.status, outcome.error
    session.add(row)
    session.flush()
    channel_repository.prune(session, task.channel, KEPT, now - _MINUTE, now)
    return row


def new_id() -> str:
    """What a receiver knows a message by, however often it is sent."""
    return secrets.token_hex(16)


def _state(outcome: Outcome, tries: int) -> Literal["sent", "failed", "waiting"]:
    if outcome.passed:
        return "sent"
    return "waiting" if outcome.again and tries < MAX_TRIES else "failed"


def _delay(tries: int, retry_after: float | None) -> timedelta:
    grown = min(FIRST_DELAY * float(2 ** (tries - 1)), LONGEST_DELAY)
    asked = timedelta(seconds=min(max(retry_after or 0.0, 0.0), LONGEST_DELAY.total_seconds()))
    return max(grown * random.uniform(0.75, 1.25), asked)  # noqa: S311 - no secret, only jitter


def _delivery(
    channel_id: str, event: Event, message: dict[str, Any], now: datetime, *, alert: Alert | None = None
) -> Delivery:
    return Delivery(
        id=new_id(),
        channel_id=channel_id,
        alert_id=None if alert is None else alert.id,
        run_id=None if alert is None else alert.run_id,
        event=event,
        severity=None if alert is None else alert.severity,
        message=message,
        state=channel_repository.WAITING,
        tries=0,
        created_at=now,
    )
