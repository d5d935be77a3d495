"""Tokens that the service gives out: each with its scopes, shown once, kept as a digest.

A token is 256 random bits, so that a plain SHA-256 protects its text: nobody can try them all, and checking one costs
microseconds.
"""

import hashlib
import logging
import secrets
from datetime import datetime, timedelta
from typing import Annotated

from pydantic import ConfigDict, Field

from app.errors import AppError, Conflict, NotFound
from app.services.run_requests import Body, Word
from app.services.run_view import View
from app.storage import tokens as token_repository
from app.storage.database import Database, Session
from app.storage.tables import Token
from gyrostat.wire.scopes import SCOPES, Scope

PREFIX = "gyro_"
"""Begins every token, so that a scan for secrets knows one when it sees it."""
MAX_TOKENS = 500
USE_NOTED_EVERY = timedelta(minutes=1)

_log = logging.getLogger(__name__)


class TokenRequest(Body):
    """Makes a token."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"name": "worker in room 4", "scopes": ["ingest"], "days": 90}]}
    )

    name: Word
    """Whose it is, or what for."""
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=len(SCOPES))]
    """What it allows: `read` to look, `ingest` to train and send, `run` to start and steer, `admin` everything."""
    days: Annotated[int, Field(ge=1, le=3650)] | None = None
    """How long it is good; null is for ever."""


class TokenView(View):
    """A token without its text."""

    id: str
    """To revoke it by."""
    name: str
    """Whose it is, or what for."""
    scopes: list[Scope]
    """What it allows."""
    created_at: datetime
    """When it was made."""
    expires_at: datetime | None
    """From when on it is refused; null is never."""
    last_used_at: datetime | None
    """When it was last used, to the minute; null is never."""


class NewToken(TokenView):
    """A token that was just made."""

    token: str
    """Its text, which is told this once."""


class TokensView(View):
    """Every token."""

    items: list[TokenView]
    """Newest first."""
    next: None = None
    """There is no second page."""


def digest_of(text: str) -> str:
    """What is kept of a token's text."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def create(session: Session, request: TokenRequest, now: datetime) -> NewToken:
    """Makes a token.

    Raises:
        Conflict: there are too many.
    """
    if token_repository.num_tokens(session) >= MAX_TOKENS:
        raise Conflict(f"there are {MAX_TOKENS} tokens already; revoke some that nobody uses")
    text = PREFIX + secrets.token_urlsafe(32)
    row = Token(
        id=secrets.token_hex(8),
        name=request.name,
        digest=digest_of(text),
        scopes=[scope for scope in SCOPES if scope in request.scopes],
        created_at=now,
        expires_at=None if request.days is None else now + timedelta(days=request.days),
    )
    session.add(row)
    session.flush()
    return NewToken(token=text, **view(row).model_dump())


def list_tokens(session: Session) -> TokensView:
    """Every token, newest first."""
    return TokensView(items=[view(row) for row in token_repository.all_tokens(session)])


def revoke(session: Session, token_id: str) -> None:
    """Forgets a token, so that it is refused from now on, and ends the sessions that were opened with it.

    Raises:
        NotFound: there is no such token.
    """
    if not token_repository.delete(session, token_id):
        raise NotFound(f"there is no token {token_id!r}; GET /v1/tokens lists those there are")


def find(database: Database, *, digest: str | None = None, token_id: str | None = None) -> TokenView | None:
    """The token of this digest or id, also where it has expired."""
    with database.read() as session:
        row = (
            token_repository.by_digest(session, digest)
            if digest is not None
            else token_repository.by_id(session, token_id or "")
        )
        return None if row is None else view(row)


def note_use(database: Database, token: TokenView, now: datetime) -> None:
    """Writes down that it was used, unless that was done a moment ago; a database that cannot is not waited for."""
    if token.last_used_at is not None and now - token.last_used_at < USE_NOTED_EVERY:
        return
    try:
        database.write(lambda session: token_repository.mark_used(session, token.id, now))
    except AppError as error:
        _log.warning("the use of a token was not noted", extra={"token": token.id, "reason": error.detail})


def view(row: Token) -> TokenView:
    """The token as it is shown."""
    return TokenView(
        id=row.id,
        name=row.name,
        scopes=row.scopes,
        created_at=row.created_at,
        expires_at=row.expires_at,
        last_used_at=row.last_used_at,
    )
