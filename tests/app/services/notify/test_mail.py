"""Mail on a real mail server: what arrives, encrypted as asked, and what no name of a run can do to it."""

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from email import message_from_bytes, policy
from typing import Any

import pytest

from app.errors import Invalid
from app.services.notify import mail
from app.services.notify.courier import Courier
from app.services.notify.outbox import Outcome, Task
from app.services.notify.targets import EmailTarget
from app.settings import AppSettings
from tests.app.control import START
from tests.app.receivers import Mailbox, client_tls, mail_server

NASTY = "digits\r\nBcc: everybody@example.org\r\n\r\n<script>alert(1)</script>\u202egnp.exe"
MESSAGE: dict[str, Any] = {
    "event": "opened",
    "at": START.isoformat(),
    "alert": {
        "id": "a1", "title": "Loss diverges", "severity": "critical", "summary": "The loss rose\r\nSubject: x",
        "names": ["0.weight", "a\r\n.\r\nQUIT"], "onset_step": 11, "resolved_step": 40,
        "remedies": [{"title": "Warm up\n"}],
        "evidence": [{"text": "loss.train is 90"}],
    },
    "run": {"id": "r1", "name": NASTY, "project": "p\r\nX-Evil: 1", "state": "running", "step": 20, "steps": 100},
}  # fmt: skip


@pytest.fixture
def box() -> Iterator[Mailbox]:
    with mail_server() as box:
        yield box


def target(port: int, **more: Any) -> EmailTarget:
    given = {
        "kind": "email", "host": "mail.test", "port": port, "security": "none", "sender": "gyrostat@example.org",
        "recipients": ["one@example.org", "two@example.org"],
    }  # fmt: skip
    return EmailTarget.model_validate({**given, **more})


def courier(*, tls: ssl.SSLContext | None = None, **settings: Any) -> Courier:
    allowed = {"channel_allow": ["127.0.0.0/8"], "public_url": "https://gyrostat.example.org/", **settings}
    return Courier(AppSettings(**allowed), resolve=lambda host, port: ["127.0.0.1"], tls=tls or client_tls())


def send(to: EmailTarget, by: Courier | None = None, message: dict[str, Any] = MESSAGE) -> Outcome:
    return (by or courier()).send(Task(id="d1", channel="c1", target=to, message=message), START)


def test_a_mail_arrives_with_the_alert_and_its_page(box: Mailbox) -> None:
    assert send(target(box.port)) == Outcome(passed=True, status=250)
    ((got, sender, recipients),) = box.mails
    assert (sender, recipients) == ("gyrostat@example.org", ["one@example.org", "two@example.org"])
    assert got["From"] == "gyrostat@example.org"
    assert got["To"] == "one@example.org, two@example.org"
    assert got["Message-ID"] == "<d1@example.org>"
    assert got["References"] == "<alert-a1@example.org>"
    assert got["Auto-Submitted"] == "auto-generated"
    assert got["Date"].datetime == START
    assert got["Subject"].startswith("[critical] Loss diverges: digits")
    text = got.get_content()
    assert "https://gyrostat.example.org/runs/r1" in text
    assert "Step: 20 of 100, began at 11" in text
    assert "- loss.train is 90" in text
    assert "1. Warm up" in text


def test_no_name_adds_a_header_or_markup_or_ends_the_mail(box: Mailbox) -> None:
    assert send(target(box.port)).passed
    ((got, _, recipients),) = box.mails
    assert sorted(got.keys()) == sorted(
        ["Subject", "From", "To", "Date", "Message-ID", "Auto-Submitted", "References", "Content-Type",
         "Content-Transfer-Encoding", "MIME-Version"]
    )  # fmt: skip
    assert recipients == ["one@example.org", "two@example.org"]
    assert got.get_content_type() == "text/plain"
    assert not got.is_multipart()
    assert "\u202e" not in got["Subject"] + got.get_content()
    lines = got.get_content().splitlines()
    assert not [line for line in lines if line.startswith(("Bcc:", "X-Evil", "Subject:", ".", "QUIT"))]
    assert any("<script>alert(1)</script>" in line for line in lines), "plain text shows it as it is"


@pytest.mark.parametrize(
    "name", ["=?utf-8?q?=0d=0aBcc:_x@example.org?=", "x" * 5000, "ü" * 300, "😀" * 99, "\x00\x1b[31m", " "]
)
def test_a_subject_is_one_short_line_whatever_the_name(name: str) -> None:
    message = {**MESSAGE, "run": {**MESSAGE["run"], "name": name}}
    composed = mail.composed(target(1), message, delivery="d", now=START, public_url="")
    parsed = message_from_bytes(composed.as_bytes(policy=policy.SMTP), policy=policy.default)
    assert parsed["Bcc"] is None
    assert len(parsed["Subject"]) <= 180
    assert all(len(line) < 999 for line in composed.as_bytes(policy=policy.SMTP).split(b"\r\n"))


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_who_signs_in_does_so_encrypted_and_the_certificate_must_be_the_server_s(security: str) -> None:
    with mail_server(tls=security == "tls", starttls=security == "starttls") as box:
        to = target(box.port, security=security, username="gyrostat", password="swordfish")
        assert send(to).passed
        assert (box.users, box.encrypted) == (["gyrostat"], [True])
        other = send(to.model_copy(update={"host": "other.test"}))
        assert (other.passed, other.again) == (False, True)
        assert not send(to, courier(tls=ssl.create_default_context())).passed
        assert len(box.mails) == 1


@pytest.mark.parametrize("leave", [b"221 bye", b"421 too many errors"])
def test_a_wrong_password_is_told_and_not_tried_again(leave: bytes) -> None:
    with mail_server(tls=True) as box:
        box.refuse = {"QUIT": leave}
        outcome = send(target(box.port, security="tls", username="gyrostat", password="marlin"))
    assert (outcome.passed, outcome.again, outcome.status) == (False, False, 535)
    assert outcome.error == "the server refuses the user name or the password (SMTP 535)"


def test_a_server_that_repeats_what_it_was_sent_does_not_make_us_tell_the_password() -> None:
    with mail_server(tls=True) as box:
        box.refuse = {"AUTH": b"500 what is AUTH PLAIN AGd5cm9zdGF0AG1hcmxpbg== marlin"}
        outcome = send(target(box.port, security="tls", username="gyrostat", password="marlin"))
    assert "marlin" not in repr(outcome)
    assert "AGd5" not in repr(outcome)
    assert outcome.status == 500


def test_a_server_that_offers_no_encryption_gets_nothing(box: Mailbox) -> None:
    outcome = send(target(box.port, security="starttls"))
    assert (outcome.passed, outcome.again) == (False, False)
    assert "does not offer" in (outcome.error or "")
    assert box.mails == []


@pytest.mark.parametrize(
    ("command", "answer", "again"),
    [("MAIL", b"451 later", True), ("MAIL", b"550 no", False), ("DATA", b"452 full", True), ("DATA", b"554 no", False)],
)
def test_what_the_server_s_refusal_means(box: Mailbox, command: str, answer: bytes, again: bool) -> None:
    box.refuse = {command: answer}
    outcome = send(target(box.port))
    assert (outcome.passed, outcome.again, outcome.status) == (False, again, int(answer[:3]))


def test_one_of_two_recipients_is_told_and_not_tried_again(box: Mailbox) -> None:
    box.refuse = {"two@example.org": b"550 unknown"}
    assert send(target(box.port)) == Outcome(passed=True, status=250, error="the server refused 1 of 2 recipients")
    box.refuse["one@example.org"] = b"450 later"
    outcome = send(target(box.port))
    assert (outcome.passed, outcome.again) == (False, False)
    box.refuse["two@example.org"] = b"450 later"
    assert send(target(box.port)).again


def test_what_was_taken_is_sent_however_the_server_takes_leave(box: Mailbox) -> None:
    box.refuse = {"QUIT": b"421 not in the mood"}
    assert send(target(box.port)) == Outcome(passed=True, status=250)
    assert len(box.mails) == 1


def test_a_server_that_lets_strangers_wait_is_waited_for(box: Mailbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mail, "CONNECT_SECONDS", 0.2)
    box.greets_after = 0.6
    assert send(target(box.port)).passed


def test_where_nobody_listens_it_may_be_tried_again() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        outcome = send(target(taken.getsockname()[1]))
    assert (outcome.passed, outcome.again) == (False, True)
    assert "refused" in (outcome.error or "")


@pytest.mark.parametrize("security", ["none", "tls"])
def test_a_server_that_sends_a_byte_now_and_then_is_cut_off(security: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mail, "SECONDS", 0.6)
    stop = threading.Event()
    # a record of TLS that says it has 16 KiB, and comes byte by byte; in the clear, a line that does not end
    first, then = (b"\x16\x03\x03\x40\x00", b"\x02") if security == "tls" else (b"220-", b"a")
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                try:
                    connection.sendall(first)
                    while not stop.wait(0.05):
                        connection.sendall(then)
                except OSError:
                    return  # the client is gone

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        began = time.monotonic()
        outcome = send(target(server.getsockname()[1], security=security))
        took = time.monotonic() - began
        stop.set()
        thread.join(10)
    assert (outcome.passed, outcome.again) == (False, True)
    assert "no answer" in (outcome.error or "")
    assert took < 4


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"host": "169.254.169.254"}, "link-local"),
        ({"host": "localhost"}, "leads to"),
        ({"host": "::1"}, "no public IPv6"),
        ({"host": "0x7f.1"}, "IPv4"),
        ({"host": "8.8.8.8", "port": 22}, "port 22"),
        ({"host": "8.8.8.8", "security": "none"}, "without encryption"),
    ],
)
def test_a_server_that_must_not_be_connected_to_is_refused(more: dict[str, Any], told: str) -> None:
    to = target(587, security="tls").model_copy(update=more)
    with pytest.raises(Invalid, match=told) as refusal:
        Courier(AppSettings()).check(to)
    assert [problem.path for problem in refusal.value.problems] == ["target.host"]
    outcome = send(to, Courier(AppSettings()))
    assert (outcome.passed, outcome.again) == (False, False)


def test_a_password_needs_encryption_also_where_the_server_is_allowed() -> None:
    with pytest.raises(Invalid, match="password is not sent"):
        courier().check(target(25, username="gyrostat", password="swordfish"))


@pytest.mark.parametrize(
    "address",
    [
        "a",
        "a@b@c",
        "a@b\r\nRCPT TO:<x@y>",
        "<a@b>",
        "a b@c",
        "Name <a@b.org>",
        "a@b,c@d",
        "a@",
        "@b",
        "ü@b.org",
        'a"@b.org',
        "a@b.",
    ],
)
def test_what_is_no_mailbox_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="recipients"):
        target(25, recipients=[address])
    with pytest.raises(ValueError, match="sender"):
        target(25, sender=address)
