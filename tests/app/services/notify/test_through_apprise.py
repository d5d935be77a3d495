"""Messages through the real library apprise, to a real web server."""

import json
import logging
import threading
from typing import Any

import pytest

from app.errors import Invalid
from app.services.notify import through_apprise
from app.services.notify.courier import Courier
from app.services.notify.outbox import Outcome, Task
from app.services.notify.targets import AppriseTarget
from app.settings import AppSettings
from tests.app.control import START
from tests.app.receivers import web_server
from tests.app.services.notify.test_mail import MESSAGE
from tests.end_to_end.service import eventually

ALLOWED = AppSettings(channel_apprise=True, public_url="https://gyrostat.example.org")


def send(*urls: str, settings: AppSettings = ALLOWED, message: dict[str, Any] = MESSAGE) -> Outcome:
    target = AppriseTarget.model_validate({"urls": list(urls)})
    return Courier(settings).send(Task(id="d1", channel="c1", target=target, message=message), START)


def test_a_message_arrives_as_text() -> None:
    with web_server() as hook:
        assert send(f"json://127.0.0.1:{hook.port}/x") == Outcome(passed=True)
        (got,) = hook.got
    document = json.loads(got.body)
    assert document["type"] == "failure"
    assert document["title"].startswith("[critical] Loss diverges: digits")
    assert "https://gyrostat.example.org/runs/r1" in document["message"]


def test_an_alert_that_is_over_is_good_news() -> None:
    with web_server() as hook:
        assert send(f"json://127.0.0.1:{hook.port}/", message={**MESSAGE, "event": "resolved"}).passed
        assert json.loads(hook.got[0].body)["type"] == "success"


def test_a_service_that_does_not_take_it_is_tried_again_and_its_address_is_not_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    with web_server() as hook, web_server() as good:
        hook.answers = [(500, {})]
        outcome = send(f"json://user:swordfish@127.0.0.1:{hook.port}/token-1", f"json://127.0.0.1:{good.port}/")
    assert outcome == Outcome(passed=False, again=True, error="apprise says that not every service took it")
    apprise_lines = [record.getMessage() for record in caplog.records if record.name.startswith("apprise")]
    assert apprise_lines == []


def test_one_that_does_not_end_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(through_apprise, "SECONDS", 0.2)
    free = threading.Event()
    with web_server() as hook:
        hook.before = lambda: (free.wait(60), None)[1]
        outcome = send(f"json://127.0.0.1:{hook.port}/")
        assert outcome == Outcome(passed=False, again=True, error="apprise has not ended within 0.2 s")
        free.set()
        eventually(lambda: "gyrostat-apprise" not in [thread.name for thread in threading.enumerate()], within=20)


def test_what_is_not_allowed_or_not_known_is_refused() -> None:
    with web_server() as hook:
        outcome = send(f"json://127.0.0.1:{hook.port}/", settings=AppSettings())
        assert (outcome.passed, outcome.again) == (False, False)
        assert "GYROSTAT_CHANNEL_APPRISE" in (outcome.error or "")
        assert hook.got == []
    with pytest.raises(Invalid, match="address 1"):
        Courier(ALLOWED).check(AppriseTarget.model_validate({"urls": ["json://127.0.0.1", "secret-service://x"]}))
