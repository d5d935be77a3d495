"""Whose token or session a request carries."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from starlette.requests import Request

from app.errors import AppError, MissingScope, TooMany, Unauthorized
from app.guards import tokens as guard
from app.guards.attempts import AT_ONCE, FailedAttempts
from app.guards.tokens import COOKIE, EVERYBODY, REMEMBERED_SECONDS, SESSION_SECONDS, SETTING, Caller, Tokens
from app.services import tokens as token_service
from app.services.tokens import NewToken, TokenRequest
from app.settings import AppSettings
from app.storage import tokens as token_repository
from app.storage.database import Database

TOKEN = "a token of more than sixteen characters, ünïcode"
START = 1_700_000_000.0


class Clock:
    now = START

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def made(settings: AppSettings, database: Database, clock: Clock) -> Tokens:
    return Tokens(settings, lambda: database, clock=clock, attempts=FailedAttempts(clock))


@pytest.fixture
def tokens(sqlite_database: Database, clock: Clock) -> Tokens:
    return made(AppSettings(token=TOKEN), sqlite_database, clock)  # type: ignore[arg-type]


def create(database: Database, *scopes: Any, days: int | None = None) -> NewToken:
    request = TokenRequest(name="somebody", scopes=list(scopes), days=days)
    return database.write(lambda s: token_service.create(s, request, datetime.fromtimestamp(START, UTC)))


def caller(tokens: Tokens, address: str = "192.0.2.1", **headers: str) -> Caller | type[AppError]:
    """Who sent a request with these headers, or the kind of refusal."""
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    request = Request({"type": "http", "headers": raw, "client": (address, 1)})
    try:
        return asyncio.run(tokens.caller(request))
    except AppError as refusal:
        return type(refusal)


def bearer(tokens: Tokens, text: str, address: str = "192.0.2.1") -> Caller | type[AppError]:
    try:
        return asyncio.run(tokens.owner(text, address))
    except AppError as refusal:
        return type(refusal)


def test_without_a_token_everybody_may_do_everything(sqlite_database: Database, clock: Clock) -> None:
    found = caller(made(AppSettings(), sqlite_database, clock))
    assert found == EVERYBODY
    for scope in ("read", "ingest", "run", "admin"):
        EVERYBODY.check(scope)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", ["", TOKEN[:-1], TOKEN + "x", TOKEN.upper(), "\udcff"])
def test_only_the_whole_token_is_the_token(tokens: Tokens, wrong: str) -> None:
    assert bearer(tokens, TOKEN) == SETTING
    assert bearer(tokens, wrong) is Unauthorized


@pytest.mark.parametrize("value", ["", "Bearer", "Bearer ", "Basic abc", "Bearer wrong", "abc"])
def test_a_wrong_authorization_is_not_admitted(tokens: Tokens, value: str) -> None:
    assert caller(tokens, authorization=value) is Unauthorized


def test_the_bearer_is_admitted_whatever_the_case_of_the_scheme(sqlite_database: Database, clock: Clock) -> None:
    tokens = made(AppSettings(token="plain-0123456789abcdef"), sqlite_database, clock)  # type: ignore[arg-type]
    assert caller(tokens, authorization="Bearer plain-0123456789abcdef") == SETTING
    assert caller(tokens, authorization="bearer  plain-0123456789abcdef") == SETTING


def test_a_token_that_was_given_out_has_its_scopes_and_no_more(tokens: Tokens, sqlite_database: Database) -> None:
    made = create(sqlite_database, "run", "read")
    found = bearer(tokens, made.token)
    assert found == Caller("somebody", frozenset({"read", "run"}), made.id)
    assert isinstance(found, Caller)
    found.check("read")
    found.check("run")
    with pytest.raises(MissingScope, match=r"`ingest`.*'somebody' has `read`, `run`"):
        found.check("ingest")


def test_admin_may_do_everything(tokens: Tokens, sqlite_database: Database) -> None:
    found = bearer(tokens, create(sqlite_database, "admin").token)
    assert isinstance(found, Caller)
    for scope in ("read", "ingest", "run", "admin"):
        found.check(scope)  # type: ignore[arg-type]


def test_an_expired_token_is_refused_to_the_second(tokens: Tokens, sqlite_database: Database, clock: Clock) -> None:
    made = create(sqlite_database, "read", days=1)
    clock.now = START + 24 * 3600 - 1
    assert isinstance(bearer(tokens, made.token), Caller)
    clock.now += 1  # it is remembered, and refused all the same
    assert bearer(tokens, made.token) is Unauthorized
    assert bearer(made_again(tokens), made.token) is Unauthorized


def made_again(tokens: Tokens) -> Tokens:
    tokens.forget()
    return tokens


def test_a_revoked_token_is_refused_at_once_here_and_soon_elsewhere(
    tokens: Tokens, sqlite_database: Database, clock: Clock
) -> None:
    made, elsewhere = create(sqlite_database, "read"), made_again(tokens)
    assert isinstance(bearer(elsewhere, made.token), Caller)
    sqlite_database.write(lambda s: token_service.revoke(s, made.id))
    clock.now += REMEMBERED_SECONDS
    assert bearer(elsewhere, made.token) is Unauthorized


def test_a_use_is_noted_to_the_minute(tokens: Tokens, sqlite_database: Database, clock: Clock) -> None:
    made = create(sqlite_database, "read")

    def last_used() -> float | None:
        found = token_service.find(sqlite_database, token_id=made.id)
        assert found is not None
        return None if found.last_used_at is None else found.last_used_at.timestamp()

    assert last_used() is None
    bearer(tokens, made.token)
    assert last_used() == START
    clock.now = START + 30
    bearer(tokens, made.token)
    assert last_used() == START
    clock.now = START + 66
    bearer(tokens, made.token)
    assert last_used() == START + 66


def test_what_is_remembered_is_bounded(
    tokens: Tokens, sqlite_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "MAX_REMEMBERED", 2)
    texts = [create(sqlite_database, "read").token for _ in range(4)]
    assert all(isinstance(bearer(tokens, text), Caller) for text in texts)
    assert len(tokens._remembered) == 2


def test_a_session_lasts_its_time_and_not_longer(tokens: Tokens, clock: Clock) -> None:
    cookie = f"{COOKIE}={tokens.open_session(SETTING)}"
    assert caller(tokens, cookie=cookie) == SETTING
    clock.now += SESSION_SECONDS - 1
    assert caller(tokens, cookie=cookie) == SETTING
    clock.now += 2
    assert caller(tokens, cookie=cookie) is Unauthorized


def test_a_session_may_what_its_token_may_and_ends_with_it(
    tokens: Tokens, sqlite_database: Database, clock: Clock
) -> None:
    made = create(sqlite_database, "read", days=1)
    owner = bearer(tokens, made.token)
    assert isinstance(owner, Caller)
    cookie = f"{COOKIE}={tokens.open_session(owner)}"
    assert caller(tokens, cookie=cookie) == owner
    sqlite_database.write(lambda s: token_service.revoke(s, made.id))
    tokens.forget()
    assert caller(tokens, cookie=cookie) is Unauthorized


def test_a_made_up_session_is_none(tokens: Tokens, sqlite_database: Database) -> None:
    admin = create(sqlite_database, "admin")
    given_at, token_id, signature = tokens.open_session(SETTING).split(".")
    later = str(int(given_at) + 1)
    for wrong in (
        "", ".", "..", f"{later}.{token_id}.{signature}", f"{given_at}.{admin.id}.{signature}", given_at,
        f"{given_at}.{token_id}.", f"{given_at}.{signature}", "é.é.é",
    ):  # fmt: skip
        assert caller(tokens, cookie=f"{COOKIE}={wrong}") is Unauthorized, wrong


def test_a_session_ends_with_the_setting_it_was_opened_under(
    tokens: Tokens, sqlite_database: Database, clock: Clock
) -> None:
    other = made(AppSettings(token="another token of enough length"), sqlite_database, clock)  # type: ignore[arg-type]
    assert caller(other, cookie=f"{COOKIE}={tokens.open_session(SETTING)}") is Unauthorized


def test_who_tries_many_has_to_wait_even_with_the_right_one(tokens: Tokens) -> None:
    for number in range(AT_ONCE):
        assert bearer(tokens, f"guess {number}") is Unauthorized
    assert bearer(tokens, "guess") is TooMany
    assert bearer(tokens, TOKEN) is TooMany, "else the wait would not slow the guessing down"
    assert bearer(tokens, TOKEN, "192.0.2.2") == SETTING


def test_whoever_guesses_shuts_nobody_out(tokens: Tokens, sqlite_database: Database) -> None:
    given_out, session = create(sqlite_database, "read"), tokens.open_session(SETTING)
    assert bearer(tokens, TOKEN) == SETTING
    for number in range(AT_ONCE + 1):
        bearer(tokens, f"guess {number}")
    assert bearer(tokens, "guess") is TooMany
    assert bearer(tokens, TOKEN) == SETTING, "it came from there before"
    assert isinstance(bearer(tokens, given_out.token), Caller), "it cannot be guessed"
    assert caller(tokens, cookie=f"{COOKIE}={session}") == SETTING


def test_a_database_that_is_full_is_no_reason_to_refuse(
    tokens: Tokens, sqlite_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = create(sqlite_database, "read")

    def full(*_: object) -> None:
        raise AppError("the disk is full")

    monkeypatch.setattr(token_repository, "mark_used", full)
    assert isinstance(bearer(tokens, made.token), Caller)


def test_times_are_compared_as_they_are() -> None:
    assert timedelta(seconds=REMEMBERED_SECONDS) < token_service.USE_NOTED_EVERY
