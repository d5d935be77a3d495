"""Channels: where alerts are told, and which; trying one; what came of what was told."""

import secrets
from collections.abc import Callable
from datetime import datetime
from typing import Any

from pydantic import SecretStr

from app.alerts.base import DETECTORS
from app.errors import Conflict, Invalid, NotFound
from app.services.channel_view import ChannelPatch, ChannelRequest, ChannelView, DeliveryView, NewChannel
from app.services.cursors import cursor_of, place_of
from app.services.notify import messages, outbox
from app.services.notify.courier import Courier
from app.services.notify.notifier import Notifier
from app.services.notify.outbox import Task
from app.services.notify.targets import (
    EmailTarget,
    Target,
    WebhookTarget,
    key_of,
    new_secret,
    restored,
    shown,
    stored,
)
from app.services.run_view import Page
from app.storage import channels as channel_repository
from app.storage.channel_tables import Channel, Delivery
from app.storage.database import Database, Session
from gyrostat.spec.checks import Problem

MAX_CHANNELS = 32
"""Each has a thread of its own while something is sent through it."""
MAX_PAGE = outbox.KEPT


def prepared(request: ChannelRequest, courier: Courier) -> Target:
    """The new channel's target, checked and with a secret; it asks for addresses, so no transaction may wait for it.

    Raises:
        Invalid: it may not be sent to, or a rule is none. Conflict: what it needs is not installed.
    """
    _check_rules(request.rules)
    return _checked(_with_secret(request.target, None), courier)


def create(session: Session, request: ChannelRequest, target: Target, now: datetime) -> NewChannel:
    """Makes a channel of what was `prepared`.

    Raises:
        Conflict: there are too many.
    """
    if channel_repository.num_channels(session) >= MAX_CHANNELS:
        raise Conflict(f"there are {MAX_CHANNELS} channels already; delete one that nobody reads")
    row = Channel(
        id=secrets.token_hex(8),
        name=request.name,
        kind=target.kind,
        target=stored(target),
        enabled=request.enabled,
        severity=request.severity,
        projects=list(request.projects),
        rules=list(request.rules),
        events=sorted(set(request.events)),
        next_at=now,
        created_at=now,
        updated_at=now,
    )
    session.add(row)
    session.flush()
    secret = target.secret if isinstance(target, WebhookTarget) else None
    return NewChannel(**_fields(row, 0, None), secret=None if secret is None else secret.get_secret_value())


def list_channels(session: Session) -> list[ChannelView]:
    """Every channel, in the order they were made."""
    rows = channel_repository.all_channels(session)
    waiting = channel_repository.num_waiting(session)
    last = channel_repository.newest_tried(session, [row.id for row in rows])
    return [ChannelView(**_fields(row, waiting.get(row.id, 0), last.get(row.id))) for row in rows]


def get(session: Session, channel_id: str) -> ChannelView:
    """One channel.

    Raises:
        NotFound: there is none.
    """
    row = _found(session, channel_id)
    waiting = channel_repository.num_waiting(session).get(row.id, 0)
    last = channel_repository.newest_tried(session, [row.id]).get(row.id)
    return ChannelView(**_fields(row, waiting, last))


def prepared_change(
    database: Database, channel_id: str, request: ChannelPatch, courier: Courier
) -> Callable[[Session, datetime], ChannelView]:
    """What changes the channel, in a transaction; a new target is checked here, outside of it.

    Raises:
        NotFound: there is no such channel. Conflict: it is of another kind, or what it needs is not installed.
        Invalid: the target may not be sent to, or lacks its password, or a rule is none.
    """
    _check_rules(request.rules or [])
    with database.read() as session:
        row = _found(session, channel_id)
        before = restored(row.target)
    target = None if request.target is None else _checked(_with_secret(request.target, before), courier)

    def change(session: Session, now: datetime) -> ChannelView:
        row = _found(session, channel_id)
        if request.enabled and not row.enabled:
            row.next_at = now  # nothing waits any more that somebody may be at
        for name in ("name", "enabled", "severity", "projects", "rules"):
            if (value := getattr(request, name)) is not None:
                setattr(row, name, value)
        if request.events is not None:
            row.events = sorted(set(request.events))
        if target is not None:
            row.target = stored(target)
        if request.enabled is False:
            channel_repository.give_up(session, row.id, "the channel was switched off before it was sent")
        row.updated_at = now
        session.flush()
        return get(session, channel_id)

    return change


def delete(session: Session, channel_id: str) -> None:
    """Forgets a channel, with all that was told through it.

    Raises:
        NotFound: there is none.
    """
    if not channel_repository.remove(session, channel_id):
        raise _missing(channel_id)


def test(database: Database, notifier: Notifier, channel_id: str, clock: Callable[[], datetime]) -> DeliveryView:
    """Sends a message through a channel now, also where it is switched off, and writes down what came of it.

    Raises:
        NotFound: there is no such channel. Unavailable: the service ends meanwhile.
    """
    with database.read() as session:
        row = _found(session, channel_id)
        message = messages.of_test(row.name, clock())
        task = Task(id=outbox.new_id(), channel=row.id, target=restored(row.target), message=message)
    outcome = notifier.send_now(task)
    return database.write(lambda session: _delivery(outbox.tested(session, task, outcome, clock())))


def deliveries(session: Session, channel_id: str, *, cursor: str | None, limit: int) -> Page[DeliveryView]:
    """What was told through a channel, newest first.

    Raises:
        NotFound: there is no such channel. Invalid: the cursor is none.
    """
    _found(session, channel_id)
    before = None if cursor is None else place_of(cursor, _number)
    rows = channel_repository.newest(session, channel_id, before=before, limit=limit + 1)
    following = None
    if len(rows) > limit:
        following = cursor_of(rows[limit - 1].number)
    return Page[DeliveryView](items=[_delivery(row) for row in rows[:limit]], next=following)


def _with_secret(target: Target, before: Target | None) -> Target:
    """The target with the secrets that it does not give itself."""
    if before is not None and before.kind != target.kind:
        raise Conflict(f"the channel is of the kind {before.kind} and stays so; make another for {target.kind}")
    if isinstance(target, WebhookTarget):
        if target.secret is None:
            kept = before.secret if isinstance(before, WebhookTarget) else None
            return target.model_copy(update={"secret": kept or SecretStr(new_secret())})
        if key_of(target.secret.get_secret_value()) is None:
            raise _invalid(
                "target.secret",
                "is no secret",
                "send `whsec_` and 24 to 64 bytes in base64, or leave it out to have one made",
            )
    if isinstance(target, EmailTarget) and target.username is not None and target.password is None:
        server = ("host", "port", "username")
        same = isinstance(before, EmailTarget) and all(
            getattr(before, each) == getattr(target, each) for each in server
        )
        # a password that goes to another server than the one it was given for is given away
        if not same or not isinstance(before, EmailTarget) or before.password is None:
            raise _invalid("target.password", "is missing", "send the password, or leave the user name out")
        return target.model_copy(update={"password": before.password})
    if isinstance(target, EmailTarget) and target.username is None and target.password is not None:
        raise _invalid("target.username", "is missing", "send the user name, or leave the password out")
    if isinstance(target, EmailTarget) and target.username is not None and target.password is not None:
        for path, given in (("username", target.username), ("password", target.password.get_secret_value())):
            if not given.isascii():
                raise _invalid(f"target.{path}", "has characters that servers read differently", "use ASCII alone")
    return target


def _checked(target: Target, courier: Courier) -> Target:
    courier.check(target)
    return target


def _check_rules(rules: list[str]) -> None:
    for place, rule in enumerate(rules):
        if rule not in DETECTORS:
            known = ", ".join(DETECTORS)
            raise _invalid(f"rules.{place}", f"{rule!r} is no rule", f"use one of {known}")


def _invalid(path: str, message: str, mend: str) -> Invalid:
    return Invalid(f"{path} {message}", problems=[Problem(path=path, value=None, message=message, mend=mend)])


def _found(session: Session, channel_id: str) -> Channel:
    row = channel_repository.get(session, channel_id)
    if row is None:
        raise _missing(channel_id)
    return row


def _missing(channel_id: str) -> NotFound:
    return NotFound(f"there is no channel {channel_id!r}; GET /v1/channels lists those there are")


def _fields(row: Channel, waiting: int, last: Delivery | None) -> dict[str, Any]:
    own = ("id", "name", "kind", "enabled", "severity", "projects", "rules", "events", "created_at", "updated_at")
    return {
        **{name: getattr(row, name) for name in own},
        "target": shown(restored(row.target)),
        "waiting": waiting,
        "last": None if last is None else _delivery(last),
    }


def _delivery(row: Delivery) -> DeliveryView:
    own = ("id", "event", "state", "tries", "status", "error", "created_at", "tried_at")
    return DeliveryView(
        **{name: getattr(row, name) for name in own},
        alert=row.alert_id,
        run=row.run_id,
        title=messages.title(row.message),
    )


def _number(place: Any) -> int:
    # as many as the databases count to
    if type(place) is not int or not 0 <= place < 2**63:
        raise ValueError("it belongs to another list")
    return place
