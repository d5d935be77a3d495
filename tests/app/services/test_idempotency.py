"""A create with a key happens once."""

import threading
from typing import Any

import pytest

from app.errors import Invalid
from app.services import idempotency
from app.storage.database import Database, Session
from tests.app.control import at


def once(database: Database, key: str | None, body: Any, answer: Any, *, seconds: float = 0) -> dict[str, Any]:
    def work(session: Session) -> dict[str, Any]:
        return idempotency.once(session, key, "POST /things", body, at(seconds), lambda: {"made": answer})

    return database.write(work)


def test_the_first_answer_is_given_again(database: Database) -> None:
    assert once(database, "k", {"a": 1, "b": 2}, "first") == {"made": "first"}
    assert once(database, "k", {"b": 2, "a": 1}, "second") == {"made": "first"}
    assert once(database, "other", {"a": 1, "b": 2}, "third") == {"made": "third"}
    assert once(database, None, {"a": 1, "b": 2}, "fourth") == {"made": "fourth"}


def test_the_key_with_another_body_is_refused(database: Database) -> None:
    once(database, "k", {"a": 1}, "first")
    with pytest.raises(Invalid, match="another body"):
        once(database, "k", {"a": 2}, "second")


def test_a_create_that_failed_leaves_its_key_free(database: Database) -> None:
    def fail() -> dict[str, Any]:
        raise Invalid("no")

    with pytest.raises(Invalid):
        database.write(lambda session: idempotency.once(session, "k", "POST /things", {}, at(0), fail))
    assert once(database, "k", {}, "made") == {"made": "made"}


def test_keys_are_kept_over_an_absence_of_weeks_and_not_for_ever(database: Database) -> None:
    once(database, "k", {}, "first")
    assert once(database, "k", {}, "second", seconds=29 * 86_400) == {"made": "first"}
    assert once(database, "k", {}, "third", seconds=31 * 86_400) == {"made": "third"}


def test_the_same_key_at_the_same_moment_makes_one_thing(database: Database) -> None:
    answers: list[dict[str, Any]] = []
    barrier = threading.Barrier(6)

    def race(number: int) -> None:
        barrier.wait()
        answers.append(once(database, "k", {}, number))

    threads = [threading.Thread(target=race, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(answers) == 6
    assert len({answer["made"] for answer in answers}) == 1
