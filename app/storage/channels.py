"""Rows of channels and of their deliveries."""

from collections import Counter
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, CursorResult, Row, and_, delete, func, not_, or_, select, update
from sqlalchemy.orm import Session

from app.storage.channel_tables import Channel, Delivery

WAITING = "waiting"
FARTHEST = timedelta(minutes=15)
"""How far ahead a channel's next turn may be."""

_COLUMNS = Channel.__table__.c
_READ_ENABLED = (
    select(_COLUMNS.id, _COLUMNS.severity, _COLUMNS.projects, _COLUMNS.rules, _COLUMNS.events)
    .where(_COLUMNS.enabled)
    .order_by(_COLUMNS.created_at, _COLUMNS.id)
)


def get(session: Session, channel_id: str) -> Channel | None:
    """The channel of this id."""
    return session.get(Channel, channel_id)


def all_channels(session: Session) -> Sequence[Channel]:
    """Every channel, in the order they were made."""
    return session.scalars(select(Channel).order_by(Channel.created_at, Channel.id)).all()


def num_channels(session: Session) -> int:
    """How many there are."""
    return session.scalar(select(func.count()).select_from(Channel)) or 0


def enabled(session: Session) -> Sequence[Row[*tuple[Any, ...]]]:
    """Id and filters of those that are told anything."""
    # not through the session, which would write first what it holds: this is asked for while a batch is stored
    return session.connection().execute(_READ_ENABLED).all()


def remove(session: Session, channel_id: str) -> bool:
    """Forgets the channel with all that was told through it; whether it was there."""
    found = session.scalar(delete(Channel).where(Channel.id == channel_id).returning(Channel.id)) is not None
    session.execute(delete(Delivery).where(Delivery.channel_id == channel_id))
    return found


def due(session: Session, now: datetime) -> Sequence[str]:
    """Ids of the channels that something waits for and that nobody is at."""
    waits = select(Delivery.number).where(Delivery.channel_id == Channel.id, Delivery.state == WAITING)
    query = select(Channel.id).where(Channel.enabled, _is_free(now), waits.exists())
    return session.scalars(query.order_by(Channel.id)).all()


def hold(session: Session, channel_id: str, now: datetime, until: datetime) -> Channel | None:
    """Keeps everybody else from sending through the channel until then; None where somebody else does."""
    held = session.execute(
        update(Channel)
        .where(Channel.id == channel_id, Channel.enabled, _is_free(now))
        .values(next_at=until)
        .execution_options(synchronize_session=False)
    )
    assert isinstance(held, CursorResult)
    return session.get(Channel, channel_id, populate_existing=True) if held.rowcount == 1 else None


def _is_free(now: datetime) -> ColumnElement[bool]:
    # no turn is so far ahead, unless the clock was set back meanwhile
    return or_(Channel.next_at <= now, Channel.next_at > now + FARTHEST)


def let_go(session: Session, channel_id: str, held_until: datetime, next_at: datetime) -> None:
    """Sets the channel's next turn, unless the hold ran out and somebody else has it."""
    session.execute(
        update(Channel)
        .where(Channel.id == channel_id, Channel.next_at == held_until)
        .values(next_at=next_at)
        .execution_options(synchronize_session=False)
    )


def let_go_of_all(session: Session, now: datetime) -> None:
    """Ends every hold: of a process that is gone."""
    session.execute(update(Channel).where(Channel.next_at > now).values(next_at=now))


def delivery(session: Session, number: int) -> Delivery | None:
    """One delivery."""
    return session.get(Delivery, number)


def waiting(session: Session, channel_id: str, limit: int) -> Sequence[Delivery]:
    """What waits for the channel, oldest first."""
    query = select(Delivery).where(Delivery.channel_id == channel_id, Delivery.state == WAITING)
    return session.scalars(query.order_by(Delivery.number).limit(limit)).all()


def num_waiting(session: Session) -> dict[str, int]:
    """Channel -> how much waits for it."""
    query = select(Delivery.channel_id, func.count()).where(Delivery.state == WAITING).group_by(Delivery.channel_id)
    return dict(session.execute(query).all())


def sum_up(session: Session, channel_id: str, summary: Delivery) -> dict[tuple[str, str], int]:
    """Makes `summary` stand for everything else that waits for the channel; answers how many of which (event,
    severity) these are.
    """
    session.add(summary)
    session.flush()
    summed = session.execute(
        update(Delivery)
        .where(Delivery.channel_id == channel_id, Delivery.state == WAITING, Delivery.number != summary.number)
        .values(state="summed", summary=summary.number)
        .returning(Delivery.event, Delivery.severity)
        .execution_options(synchronize_session=False)
    )
    return Counter((event, severity or "") for event, severity in summed)


def tried_between(session: Session, channel_id: str, since: datetime, now: datetime) -> Sequence[datetime]:
    """When messages were last tried through the channel, since then and until now, oldest first."""
    query = select(Delivery.tried_at).where(Delivery.channel_id == channel_id, _counts(since, now))
    return [at for at in session.scalars(query.order_by(Delivery.tried_at)) if at is not None]


def _counts(since: datetime, now: datetime) -> ColumnElement[bool]:
    # until now: a clock that was set back meanwhile has left later times
    tried = Delivery.tried_at
    return and_(tried.is_not(None), tried > since, tried <= now, Delivery.event != "test")


def give_up(session: Session, channel_id: str, error: str) -> None:
    """Fails everything that waits for the channel."""
    session.execute(
        update(Delivery)
        .where(Delivery.channel_id == channel_id, Delivery.state == WAITING)
        .values(state="failed", error=error)
    )


def newest(session: Session, channel_id: str, *, before: int | None, limit: int) -> Sequence[Delivery]:
    """Deliveries of the channel, newest first, older than the one of the number `before`."""
    query = select(Delivery).where(Delivery.channel_id == channel_id)
    if before is not None:
        query = query.where(Delivery.number < before)
    return session.scalars(query.order_by(Delivery.number.desc()).limit(limit)).all()


def newest_tried(session: Session, channels: Collection[str]) -> dict[str, Delivery]:
    """Channel -> what was last tried through it."""
    last = (
        select(func.max(Delivery.number))
        .where(Delivery.channel_id.in_(sorted(channels)), Delivery.tried_at.is_not(None))
        .group_by(Delivery.channel_id)
    )
    return {row.channel_id: row for row in session.scalars(select(Delivery).where(Delivery.number.in_(last)))}


def prune(session: Session, channel_id: str, keep: int, since: datetime, now: datetime) -> None:
    """Forgets all but the newest deliveries of a channel that wait no more, and those that were tried since then."""
    oldest_kept = (
        select(Delivery.number)
        .where(Delivery.channel_id == channel_id, Delivery.state != WAITING)
        .order_by(Delivery.number.desc())
        .offset(keep)
        .limit(1)
        .scalar_subquery()
    )
    session.execute(
        delete(Delivery)
        .where(
            Delivery.channel_id == channel_id,
            Delivery.state != WAITING,
            Delivery.number <= oldest_kept,
            not_(_counts(since, now)),
        )
        .execution_options(synchronize_session=False)
    )


def forget_strays(session: Session) -> None:
    """Forgets what waits for channels that were deleted while it was written."""
    session.execute(
        delete(Delivery)
        .where(Delivery.channel_id.not_in(select(Channel.id)))
        .execution_options(synchronize_session=False)
    )
