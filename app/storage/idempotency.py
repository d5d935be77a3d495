"""Rows of answers that were given to creates with an Idempotency-Key."""

from datetime import datetime
from typing import Any

from sqlalchemy import delete, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from app.storage.tables import IdempotencyKey


def forget(session: Session, *, before: datetime) -> None:
    """Deletes old answers."""
    session.execute(delete(IdempotencyKey).where(IdempotencyKey.at < before))


def reserve(session: Session, key: str, route: str, digest: str, status: int, now: datetime) -> IdempotencyKey | None:
    """Takes the key, or returns what was answered under it; waits for a transaction that is about to answer."""
    is_postgresql = session.get_bind().dialect.name == "postgresql"
    insert = postgresql.insert if is_postgresql else sqlite.insert
    # not the row count: the driver of PostgreSQL does not tell it for an ORM insert
    added = session.scalar(
        insert(IdempotencyKey)
        .values(key=key, route=route, request_digest=digest, status=status, response={}, at=now)
        .on_conflict_do_nothing()
        .returning(IdempotencyKey.key)
    )
    return session.get(IdempotencyKey, (key, route)) if added is None else None


def answer(session: Session, key: str, route: str, response: dict[str, Any]) -> None:
    """Keeps the answer with the reserved key."""
    where = (IdempotencyKey.key == key, IdempotencyKey.route == route)
    session.execute(update(IdempotencyKey).where(*where).values(response=response))
