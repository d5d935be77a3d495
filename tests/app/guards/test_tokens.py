"""The token, and the session opened with it."""

import pytest
from starlette.requests import Request

from app.guards.tokens import COOKIE, SESSION_SECONDS, Tokens
from app.settings import AppSettings

TOKEN = "a token of more than sixteen characters, ünïcode"


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tokens(clock: Clock) -> Tokens:
    return Tokens(AppSettings(token=TOKEN), clock)  # type: ignore[arg-type]


def admitted(tokens: Tokens, **headers: str) -> bool:
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    return tokens.admits(Request({"type": "http", "headers": raw}))


def test_without_a_token_everybody_is_admitted() -> None:
    assert admitted(Tokens(AppSettings()))


def test_only_the_whole_token_is_the_token(tokens: Tokens) -> None:
    assert tokens.is_token(TOKEN)
    for wrong in ("", TOKEN[:-1], TOKEN + "x", TOKEN.upper(), "\udcff"):
        assert not tokens.is_token(wrong)


@pytest.mark.parametrize("value", ["", "Bearer", "Bearer ", "Basic abc", "Bearer wrong", "abc"])
def test_a_wrong_authorization_is_not_admitted(tokens: Tokens, value: str) -> None:
    assert not admitted(tokens, authorization=value)


def test_the_bearer_is_admitted_whatever_the_case_of_the_scheme() -> None:
    tokens = Tokens(AppSettings(token="plain-0123456789abcdef"))  # type: ignore[arg-type]
    assert admitted(tokens, authorization="Bearer plain-0123456789abcdef")
    assert admitted(tokens, authorization="bearer  plain-0123456789abcdef")


def test_a_session_lasts_its_time_and_not_longer(tokens: Tokens, clock: Clock) -> None:
    cookie = tokens.open_session()
    assert admitted(tokens, cookie=f"{COOKIE}={cookie}")
    clock.now += SESSION_SECONDS - 1
    assert tokens.is_session(cookie)
    clock.now += 2
    assert not tokens.is_session(cookie)


def test_a_made_up_session_is_none(tokens: Tokens) -> None:
    given_at, _, signature = tokens.open_session().partition(".")
    later = str(int(given_at) + 1)
    for wrong in ("", ".", f"{later}.{signature}", f"{given_at}.{signature[:-1]}0", f"{given_at}.", "é.é", given_at):
        assert not tokens.is_session(wrong) or wrong == f"{given_at}.{signature}"


def test_a_session_ends_with_the_token_it_was_opened_with(tokens: Tokens, clock: Clock) -> None:
    other = Tokens(AppSettings(token="another token of enough length"), clock)  # type: ignore[arg-type]
    assert not other.is_session(tokens.open_session())
