"""What is told, in words and as JSON."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from app.services.notify import messages, outbox, webhook
from app.services.notify.messages import MAX_NAMES, document, of_many, of_test, one_line, text, title
from app.storage.database import Database
from app.storage.tables import Alert, Run
from tests.app.alarmed import diverge, trained
from tests.app.control import START
from tests.app.services.notify.test_mail import MESSAGE

PAGE = (Path(__file__).parents[4] / "docs" / "channels.md").read_text()


def test_an_alert_s_message_is_described_key_by_key(sqlite_database: Database) -> None:
    sender = trained(sqlite_database)
    diverge(sender)
    with sqlite_database.read() as session:
        run = session.get_one(Run, sender.run_id)
        alert = session.query(Alert).one()
        message = messages.of_alert(run, alert, "opened", START)
        alert.names = [f"layer {number}" for number in range(10_000)]
        wide = messages.of_alert(run, alert, "opened", START)
        session.expunge_all()
    told = document(message, "d1", "")
    described = json.loads(re.findall(r"```json\n(.*?)```", PAGE, re.S)[0])
    assert list(told) == list(described)
    assert sorted(told["data"]) == sorted(described["data"])
    assert list(told["data"]["run"]) == list(described["data"]["run"])
    assert (told["type"], told["data"]["link"]) == ("alert.opened", None)
    assert len(wide["alert"]["names"]) == MAX_NAMES
    assert len(json.dumps(document(wide, "d1", ""))) < 64_000


@pytest.mark.parametrize(
    ("event", "subject"),
    [
        ("opened", "[critical] Loss diverges"),
        ("worsened", "[now critical] Loss diverges"),
        ("resolved", "[resolved] Loss diverges"),
    ],
)
def test_the_title_says_what_became_of_the_alert(event: str, subject: str) -> None:
    message = {**MESSAGE, "event": event, "run": {**MESSAGE["run"], "name": "my run"}}
    assert title(message) == f"{subject}: my run"
    assert document(message, "d", "")["type"] == f"alert.{event}"
    assert ("What may help" in text(message, "")) == (event != "resolved")
    assert ("It is over since step 40." in text(message, "")) == (event == "resolved")


def test_a_summary_counts_all_and_names_some() -> None:
    first = [{**MESSAGE, "alert": {**MESSAGE["alert"], "run": "r1", "kind": "divergence"}}]
    counts = {("opened", "info"): 3, ("resolved", "critical"): 2, ("opened", "critical"): 1, ("test", ""): 1}
    message = of_many(counts, first, START)
    assert title(message) == "Gyrostat: 7 more alerts"
    lines = text(message, "https://x.example").splitlines()
    assert lines[1:5] == ["- 1 critical opened", "- 2 critical resolved", "- 3 info opened", "- 1 test"]
    assert lines[-1] == "https://x.example/alerts"
    assert any(line.startswith("- [critical, opened] Loss diverges: digits") for line in lines)
    assert document(message, "d", "")["type"] == "alerts.summary"
    assert title(of_many({("opened", "info"): 1}, [], START)) == "Gyrostat: 1 more alert"


def test_a_test_says_that_nothing_is_wrong() -> None:
    message: dict[str, Any] = of_test("a\nb", START)
    assert title(message) == "Gyrostat: a test of a b"
    assert "Nothing is wrong" in text(message, "https://x.example")
    assert document(message, "d", "https://x.example")["data"]["link"] == "https://x.example/settings"


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("a\r\nb", "a  b"), ("a\u2028b\u2029c\x85d\x0be", "a b c d e"), ("\u202egnp.exe\u202c", "gnp.exe"),
        ("\ud800x", "x"), ("Ünïcode 日本 🙂\u200d", "Ünïcode 日本 🙂\u200d"), ("\x1b[31mred", "[31mred"), ("", ""),
    ],
)  # fmt: skip
def test_a_name_is_one_line_and_reads_in_its_own_direction(name: str, line: str) -> None:
    assert one_line(name) == line


def test_the_page_tells_the_numbers_that_hold() -> None:
    for said in (
        f"{'ten' if outbox.MAX_A_MINUTE == 10 else '?'} messages a minute",
        f"at most {messages.MAX_NAMES} layers",
        f"newest {outbox.KEPT} deliveries",
        f"within {webhook.SECONDS:g} s",
        f"for at most {outbox.HOLD.seconds} s",
        f"{'ten' if outbox.MAX_TRIES == 10 else '?'} times, after {outbox.FIRST_DELAY.seconds} s",
        f"to {outbox.LONGEST_DELAY.seconds // 60} minutes",
    ):
        assert said in PAGE
