"""Rows of the tokens that were given out."""

from datetime import datetime

from sqlalchemy import delete as delete_from
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from app.storage.tables import Token


def all_tokens(session: Session) -> list[Token]:
    """Every token, newest first."""
    return list(session.scalars(select(Token).order_by(Token.created_at.desc(), Token.id)))


def num_tokens(session: Session) -> int:
    """How many there are."""
    return session.scalar(select(func.count()).select_from(Token)) or 0


def by_digest(session: Session, digest: str) -> Token | None:
    """The token whose text has this SHA-256."""
    return session.scalar(select(Token).where(Token.digest == digest))


def by_id(session: Session, token_id: str) -> Token | None:
    """The token of this id."""
    return session.get(Token, token_id)


def delete(session: Session, token_id: str) -> bool:
    """Forgets the token; whether it was there."""
    return session.scalar(delete_from(Token).where(Token.id == token_id).returning(Token.id)) is not None


def mark_used(session: Session, token_id: str, at: datetime) -> None:
    """Writes down when it was last used."""
    session.execute(update(Token).where(Token.id == token_id).values(last_used_at=at))
