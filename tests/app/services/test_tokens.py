"""Tokens: made, listed, found, revoked, and never kept."""

import re
from datetime import timedelta

import pytest
from pydantic import ValidationError
from sqlalchemy import text

from app.errors import Conflict, NotFound
from app.services import tokens as token_service
from app.services.tokens import NewToken, TokenRequest
from app.storage.database import Database
from tests.app.control import START, at


def create(
    database: Database, name: str = "worker", *scopes: str, days: int | None = None, second: int = 0
) -> NewToken:
    request = TokenRequest.model_validate({"name": name, "scopes": list(scopes or ("ingest",)), "days": days})
    return database.write(lambda session: token_service.create(session, request, at(second)))


def test_a_token_is_random_and_its_text_is_kept_nowhere(database: Database) -> None:
    one, two = create(database), create(database)
    assert one.token != two.token
    assert re.fullmatch(r"gyro_[A-Za-z0-9_-]{43}", one.token)
    with database.read() as session:
        rows = [tuple(map(str, row)) for row in session.execute(text("SELECT * FROM token"))]
    assert len(rows) == 2
    assert one.token[5:] not in str(rows)
    assert token_service.digest_of(one.token) in str(rows)


def test_they_are_listed_newest_first_with_their_scopes_in_order(database: Database) -> None:
    create(database, "a", "run", "read", "run")
    create(database, "b", "admin", days=30, second=1)
    with database.read() as session:
        listed = token_service.list_tokens(session).items
    assert [(item.name, item.scopes) for item in listed] == [("b", ["admin"]), ("a", ["read", "run"])]
    assert listed[0].expires_at == at(1) + timedelta(days=30)
    assert listed[1].expires_at is None
    assert listed[1].created_at == START
    assert listed[1].last_used_at is None


def test_one_is_found_by_its_digest_or_its_id(database: Database) -> None:
    made = create(database)
    found = token_service.find(database, digest=token_service.digest_of(made.token))
    assert found == token_service.find(database, token_id=made.id)
    assert found is not None
    assert found.id == made.id
    assert token_service.find(database, digest=token_service.digest_of(made.token + "x")) is None
    assert token_service.find(database, token_id="") is None


def test_a_revoked_one_is_gone(database: Database) -> None:
    made, other = create(database), create(database)
    database.write(lambda session: token_service.revoke(session, made.id))
    assert token_service.find(database, token_id=made.id) is None
    assert token_service.find(database, token_id=other.id) is not None
    with pytest.raises(NotFound, match=made.id):
        database.write(lambda session: token_service.revoke(session, made.id))


def test_their_number_is_bounded(sqlite_database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_service, "MAX_TOKENS", 2)
    for _ in range(2):
        create(sqlite_database)
    with pytest.raises(Conflict, match="revoke"):
        create(sqlite_database)


@pytest.mark.parametrize(
    "wrong",
    [{"name": ""}, {"name": "a\nb"}, {"scopes": []}, {"scopes": ["root"]}, {"days": 0}, {"days": 4000}, {"more": 1}],
)
def test_what_cannot_be_a_token_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        TokenRequest.model_validate({"name": "x", "scopes": ["read"], **wrong})
