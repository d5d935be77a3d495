import datetime
import socket
import threading
from collections.abc import Iterator
from email.utils import format_datetime

import pytest

from gyrostat.stream.segments import Kind, Record
from gyrostat.stream.transport import HttpTransport, Permanent, RunUnknown, Superseded, Transient
from gyrostat.wire.messages import LayoutMessage
from tests.gyrostat.backend import Backend
from tests.gyrostat.stream.frames import layout


def record(sequence: int = 1) -> Record:
    message = LayoutMessage(producer="1-ab", sequence=sequence, attempt=1, layout=layout())
    return Record(Kind.LAYOUT, sequence, message.model_dump_json().encode())


@pytest.fixture
def transport(backend: Backend) -> Iterator[HttpTransport]:
    with HttpTransport(backend.url + "/") as transport:
        yield transport


def test_a_message_is_stored_once_and_its_repeat_is_a_duplicate(backend: Backend, transport: HttpTransport) -> None:
    assert transport.send("twice", record()).status == "stored"
    assert transport.send("twice", record()).status == "duplicate"
    assert transport.send("twice", record(4)).missing == [(2, 3)]
    assert backend.store.of("twice").layouts() == [layout(), layout()]


def test_a_closed_transport_opens_again(transport: HttpTransport) -> None:
    transport.send("again", record())
    transport.close()
    assert transport.send("again", record()).status == "duplicate"


@pytest.mark.parametrize("status", [401, 403, 405, 408, 421, 425, 429, 500, 502, 503, 504, 507])
def test_what_may_pass_is_transient(backend: Backend, transport: HttpTransport, status: int) -> None:
    backend.answers({"status": status, "detail": "not now"})
    with pytest.raises(Transient, match="not now"):
        transport.send("run", record())


@pytest.mark.parametrize("status", [400, 409, 413, 415, 422])
def test_what_is_wrong_stays_wrong(backend: Backend, transport: HttpTransport, status: int) -> None:
    backend.answers({"status": status, "detail": "steps must rise"})
    with pytest.raises(Permanent, match="steps must rise") as refusal:
        transport.send("run", record())
    assert not isinstance(refusal.value, Superseded)


@pytest.mark.parametrize(
    "answer",
    [{"status": 404}, {"status": 410}, {"status": 409, "type": "urn:gyrostat:problem:attempt-superseded"}],
)
def test_a_run_that_is_gone_or_taken_over_ends_the_stream(
    backend: Backend, transport: HttpTransport, answer: dict[str, object]
) -> None:
    backend.answers(answer)
    with pytest.raises(Superseded) as refusal:
        transport.send("run", record())
    assert isinstance(refusal.value, RunUnknown) == (answer["status"] == 404)


@pytest.mark.parametrize(
    "answer",
    [
        {"status": 404, "body": "<h1>nginx</h1>", "media_type": "text/html"},
        {"status": 404, "type": "about:blank"},
        {"status": 400, "body": "<h1>Bad Request</h1>", "media_type": "text/html"},
        {"status": 413, "body": "<h1>nginx</h1>", "media_type": "text/html"},
        {"status": 422, "media_type": "application/json"},
        {"status": 409, "type": None},
        {"status": 410, "type": "https://proxy.example/urn:gyrostat:problem:gone"},
        {"status": 302, "headers": {"Location": "/login"}},
        {"status": 200, "body": "<h1>log in</h1>", "media_type": "text/html"},
        {"status": 200, "body": "{}"},
        {"status": 503, "body": "[" * 100_000},
        {"status": 503, "body": "[1]"},
    ],
)
def test_an_answer_that_no_gyrostat_backend_gives_loses_nothing(
    backend: Backend, transport: HttpTransport, answer: dict[str, object]
) -> None:
    backend.answers(answer)
    with pytest.raises(Transient):
        transport.send("run", record())


@pytest.mark.parametrize(("value", "least", "most"), [("3", 3, 3), ("soon", None, None), ("-1", None, None)])
def test_the_wish_of_the_server_is_read(
    backend: Backend, transport: HttpTransport, value: str, least: float | None, most: float | None
) -> None:
    backend.answers({"status": 503, "headers": {"Retry-After": value}})
    with pytest.raises(Transient) as told:
        transport.send("run", record())
    assert told.value.retry_after == least == most


def test_the_wish_of_the_server_may_be_a_date(backend: Backend, transport: HttpTransport) -> None:
    later = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=30)
    backend.answers({"status": 429, "headers": {"Retry-After": format_datetime(later, usegmt=True)}})
    with pytest.raises(Transient) as told:
        transport.send("run", record())
    assert told.value.retry_after is not None
    assert 25 < told.value.retry_after <= 30


def test_no_connection_is_transient_and_names_the_server(absent_backend: Backend) -> None:
    with HttpTransport(absent_backend.url) as transport, pytest.raises(Transient, match=str(absent_backend.port)):
        transport.send("run", record())


def test_a_server_that_never_answers_is_left_after_the_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with HttpTransport(url, timeout=0.2) as transport, pytest.raises(Transient, match="timed out"):
            transport.send("run", record())


def test_a_server_that_hangs_up_half_way_is_transient() -> None:
    with socket.create_server(("127.0.0.1", 0)) as rude:

        def hang_up() -> None:
            connection, _ = rude.accept()
            connection.recv(100)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
            connection.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        with HttpTransport(f"http://127.0.0.1:{rude.getsockname()[1]}") as transport, pytest.raises(Transient):
            transport.send("run", record())
        thread.join()


@pytest.mark.parametrize("server", ["127.0.0.1:8000", "localhost", "", "ftp://host", "http://", "http://[::1"])
def test_what_is_no_http_address_is_refused_at_once(server: str) -> None:
    with pytest.raises(ValueError, match="such as http"):
        HttpTransport(server)


def test_a_proxy_of_the_environment_is_not_asked_for_this_machine(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    with HttpTransport(backend.url) as transport:
        assert transport.send("proxied", record()).status == "stored"


def test_the_name_of_a_run_cannot_change_the_route(backend: Backend, transport: HttpTransport) -> None:
    backend.answers()
    with pytest.raises((Superseded, Transient)):
        transport.send("../../_answers?", record())
    assert transport.send("unharmed", record()).status == "stored"
