"""Webhooks on a real web server: what arrives, what is refused, and that only what was checked is connected to."""

import base64
import hashlib
import json
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from app.errors import Invalid
from app.services.notify import webhook
from app.services.notify.courier import Courier
from app.services.notify.outbox import Outcome, Task
from app.services.notify.targets import WebhookTarget, new_secret
from app.settings import AppSettings
from tests.app.control import START
from tests.app.receivers import CERTIFICATE, Hook, client_tls, web_server

ALLOWED = AppSettings(channel_allow=["127.0.0.0/8"])
SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
MESSAGE = {"event": "test", "at": START.isoformat(), "channel": "tränen\r\n</script>"}


@pytest.fixture
def hook() -> Iterator[Hook]:
    with web_server() as hook:
        yield hook


def send(url: str, courier: Courier | None = None, message: dict[str, Any] = MESSAGE) -> Outcome:
    target = WebhookTarget.model_validate({"kind": "webhook", "url": url, "secret": SECRET})
    task = Task(id="d1", channel="c1", target=target, message=message)
    return (courier or Courier(ALLOWED)).send(task, START)


def hmac_sha256(key: bytes, message: bytes) -> bytes:
    """RFC 2104, by its definition."""
    key = hashlib.sha256(key).digest() if len(key) > 64 else key
    inner, outer = (bytes(byte ^ pad for byte in key.ljust(64, b"\0")) for pad in (0x36, 0x5C))
    return hashlib.sha256(outer + hashlib.sha256(inner + message).digest()).digest()


def test_a_message_arrives_signed_under_its_id(hook: Hook) -> None:
    assert send(hook.url) == Outcome(passed=True, status=204)
    (got,) = hook.got
    assert got.path == "/hook?token=not-to-be-told"
    assert got.headers["host"] == f"127.0.0.1:{hook.port}"
    assert got.headers["content-type"] == "application/json"
    assert got.headers["user-agent"].startswith("gyrostat/")
    assert got.headers["webhook-id"] == "d1"
    assert got.headers["webhook-timestamp"] == str(int(START.timestamp()))
    signed = b"d1." + got.headers["webhook-timestamp"].encode() + b"." + got.body
    expected = base64.b64encode(hmac_sha256(bytes(range(32)), signed)).decode()
    assert got.headers["webhook-signature"] == f"v1,{expected}"
    document = json.loads(got.body)
    assert (document["type"], document["id"]) == ("channel.test", "d1")


def test_the_signature_is_that_of_the_specification_s_own_example() -> None:
    # https://github.com/standard-webhooks/standard-webhooks, spec, "Signature scheme": symmetric
    target = WebhookTarget.model_validate(
        {"url": "https://x.example", "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}
    )
    now = datetime.fromtimestamp(1614265330, UTC)
    headers = webhook.signed(target, b'{"test": 2432232314}', delivery="msg_p5jXN8AQM9LWM0D4loKWxJek", now=now)
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_new_secret_is_random_and_a_key() -> None:
    one, two = new_secret(), new_secret()
    assert one != two
    assert len(base64.b64decode(one.removeprefix("whsec_"))) == 32
    WebhookTarget.model_validate({"url": "https://x.example", "secret": one})


@pytest.mark.parametrize(
    ("status", "again"),
    [(200, None), (202, None), (400, False), (401, False), (404, False), (410, False), (408, True), (425, True),
     (429, True), (500, True), (502, True), (503, True)],
)  # fmt: skip
def test_what_the_answer_means(hook: Hook, status: int, again: bool | None) -> None:
    hook.answers = [(status, {})]
    outcome = send(hook.url)
    assert (outcome.passed, outcome.status) == (again is None, status)
    assert outcome.again == bool(again)
    assert (outcome.error is None) == (again is None)


@pytest.mark.parametrize(
    ("asked", "wait"), [("30", 30.0), ("soon", None), ("-1", None), ("9999999", None), ("1.5", None), ("٣", None)]
)
def test_a_receiver_may_ask_to_be_left_alone(hook: Hook, asked: str, wait: float | None) -> None:
    hook.answers = [(429, {"retry-after": asked} if asked.isascii() else {})]
    assert send(hook.url).retry_after == wait


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(hook: Hook, status: int) -> None:
    with web_server() as inside:
        hook.answers = [(status, {"location": f"http://127.0.0.1:{inside.port}/admin"})]
        outcome = send(hook.url)
        assert inside.got == []
    assert (outcome.passed, outcome.again, outcome.status) == (False, False, status)
    assert "redirect" in (outcome.error or "")
    assert len(hook.got) == 1


def test_where_nobody_listens_it_may_be_tried_again() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        outcome = send(f"http://127.0.0.1:{taken.getsockname()[1]}/")
    assert (outcome.passed, outcome.again, outcome.status) == (False, True, None)
    assert "no connection to 127.0.0.1" in (outcome.error or "")


def trickle(connection: socket.socket, stop: threading.Event) -> None:
    try:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nx: ")
        while not stop.wait(0.05):
            connection.sendall(b"a")
    except OSError:
        return  # the client is gone


def test_a_receiver_that_sends_a_byte_now_and_then_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook, "SECONDS", 0.5)
    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                trickle(connection, stop)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        began = time.monotonic()
        outcome = send(f"http://127.0.0.1:{server.getsockname()[1]}/")
        took = time.monotonic() - began
        stop.set()
        thread.join(10)
    assert (outcome.passed, outcome.again) == (False, True)
    assert outcome.error == "no answer within 0.5 s"
    assert took < 5


def test_an_endless_answer_is_not_read(hook: Hook) -> None:
    hook.answers = [(200, {"content-length": str(1 << 40)})]
    assert send(hook.url).passed


def test_the_name_is_in_the_handshake_and_the_certificate_must_be_its() -> None:
    asked = []

    def resolve(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return ["127.0.0.1"]

    with web_server(tls=True) as hook:
        courier = Courier(ALLOWED, resolve=resolve, tls=client_tls())
        assert send(f"https://hooks.test:{hook.port}/x", courier).passed
        assert hook.got[0].headers["host"] == f"hooks.test:{hook.port}"
        other = send(f"https://other.test:{hook.port}/x", courier)
        assert not other.passed
        assert "certificate" in (other.error or "").lower()
        untrusted = send(f"https://hooks.test:{hook.port}/x", Courier(ALLOWED, resolve=resolve))
        assert not untrusted.passed
        assert "certificate" in (untrusted.error or "").lower()
    assert len(hook.got) == 1
    assert asked == ["hooks.test", "other.test", "hooks.test"], "a name is resolved once for each message"


def test_the_operator_s_own_authorities_are_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    with web_server(tls=True) as hook:
        courier = Courier(ALLOWED, resolve=lambda host, port: ["127.0.0.1"])
        assert send(f"https://hooks.test:{hook.port}/x", courier).passed


def test_what_was_checked_is_what_is_connected_to(hook: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that is public when it is checked, and leads inside from then on (DNS rebinding)."""
    answers = [["203.0.113.1"], ["127.0.0.1"]]
    real, asked = socket.getaddrinfo, []

    def rebound(host: Any, *more: Any, **others: Any) -> Any:
        asked.append(host)
        return real("127.0.0.1" if host == "rebinding.test" else host, *more, **others)

    monkeypatch.setattr(socket, "getaddrinfo", rebound)
    monkeypatch.setattr(webhook, "SECONDS", 1.0)
    settings = AppSettings(channel_allow=["203.0.113.0/24"])  # a network that leads nowhere, in place of a public one
    courier = Courier(settings, resolve=lambda host, port: answers.pop(0))
    first = send(f"http://rebinding.test:{hook.port}/", courier)
    assert not first.passed
    assert hook.got == [], "who resolves the name once more to connect comes out here"
    assert "rebinding.test" not in asked
    second = send(f"http://rebinding.test:{hook.port}/", courier)
    assert (second.passed, second.again) == (False, False)
    assert "rebinding.test leads to 127.0.0.1" in (second.error or "")
    assert hook.got == []


def test_the_next_address_is_tried_where_one_does_not_answer(hook: Hook) -> None:
    courier = Courier(ALLOWED, resolve=lambda host, port: ["127.0.0.2", "127.0.0.1"])
    assert send(f"http://two.test:{hook.port}/", courier).passed
    assert len(hook.got) == 1


def test_an_ipv6_address_is_written_in_brackets() -> None:
    try:
        with web_server(address="::1") as hook:
            url = f"http://[::1]:{hook.port}/hook"
            assert send(url, Courier(AppSettings(channel_allow=["::1"]))).passed
            assert hook.got[0].headers["host"] == f"[::1]:{hook.port}"
    except OSError as error:
        pytest.skip(f"no IPv6 here: {error}")


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_proxies_of_the_environment_are_not_used(hook: Hook, variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with web_server() as proxy:
        monkeypatch.setenv(variable, f"http://127.0.0.1:{proxy.port}")
        assert send(hook.url).passed
        assert proxy.got == []
    assert len(hook.got) == 1


def test_a_name_with_other_letters_is_asked_for_as_it_is_written(hook: Hook) -> None:
    asked: list[str] = []

    def resolve(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"]

    url = f"http://XN--bcher-kva.example:{hook.port}/"
    assert send(url, Courier(ALLOWED, resolve=resolve)).passed
    assert asked == ["xn--bcher-kva.example"]
    assert hook.got[0].headers["host"] == f"xn--bcher-kva.example:{hook.port}"


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://8.8.8.8/", "not encrypted"),
        ("ftp://8.8.8.8/", "no https address"),
        ("file:///etc/passwd", "no https address"),
        ("gopher://8.8.8.8:70/", "no https address"),
        ("//8.8.8.8/", "no https address"),
        ("/hook", "no https address"),
        ("https://", "no https address"),
        ("https:///hook", "no https address"),
        ("https://user@8.8.8.8/", "user name"),
        ("https://user:pass@8.8.8.8/", "user name"),
        ("https://@8.8.8.8/", "user name"),
        ("https://:@8.8.8.8/", "user name"),
        ("https://8.8.8.8/#x", "fragment"),
        ("https://8.8.8.8\\@127.0.0.1/", "character"),
        ("https://8.8.8.8/ x", "character"),
        ("https://8.8.8.8/\r\nHost: x", "character"),
        ("https://8.8.8.8/\u2028", "character"),
        ("https://ⓛocalhost/", "character"),
        ("https://8.8.8.8:22/", "port 22"),
        ("https://8.8.8.8:99999/", "no port"),
        ("https://8.8.8.8:0/", "no port"),
        ("https://8.8.8.8:x/", "read"),
        ("https://2130706433/", "IPv4"),
        ("https://0x7f.1/", "IPv4"),
        ("https://0177.0.0.1/", "IPv4"),
        ("https://127.0.0.1/", "this machine"),
        ("https://127%2e0%2e0%2e1/", "no name of a host"),
        ("https://169.254.169.254/latest/meta-data/", "link-local"),
        ("https://[::1]/", "no public IPv6"),
        ("https://[::ffff:169.254.169.254]/", "no public IPv6"),
        ("https://[::ffff:a9fe:a9fe]/", "no public IPv6"),
        ("https://[64:ff9b::a9fe:a9fe]/", "link-local"),
        ("https://[2002:a9fe:a9fe::]/", "6to4"),
        ("https://[fe80::1%25eth0]/", ""),
    ],
)
def test_an_address_that_must_not_be_sent_to_is_refused_when_made_and_when_sent(url: str, told: str) -> None:
    target = WebhookTarget.model_validate({"kind": "webhook", "url": url, "secret": SECRET})
    with pytest.raises(Invalid) as refusal:
        Courier(AppSettings()).check(target)
    assert told in refusal.value.detail
    assert [problem.path for problem in refusal.value.problems] == ["target.url"]
    outcome = send(url, Courier(AppSettings()))
    assert (outcome.passed, outcome.again) == (False, False)
    assert (outcome.error or "").startswith("refused: ")


def test_a_secret_that_is_none_sends_nothing() -> None:
    target = WebhookTarget.model_validate({"url": "https://x.example", "secret": "whsec_" + "!" * 40})
    with pytest.raises(ValueError, match="whsec_"):
        webhook.signed(target, b"{}", delivery="d", now=START)
