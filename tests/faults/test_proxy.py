"""That each fate of a request is what it is called."""

import contextlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from tests.faults.proxy import Proxy
from tests.faults.schedule import FATES

BODY = b"x" * 5000


class Counting(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    bodies: list[bytes] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if len(body) == int(self.headers["Content-Length"]):
            self.bodies.append(body)
        self.send_response(200)
        self.send_header("Content-Length", "500")
        self.end_headers()
        self.wfile.write(b"y" * 500)

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):  # cut by the proxy, as it should be
            super().handle()

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    Counting.bodies = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Counting)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    made = Proxy([server.server_port], seed=1)
    yield made
    made.close()
    server.shutdown()
    thread.join()
    server.server_close()


def sent(proxy: Proxy, fate: str) -> bytes | None:
    """The answer to one request of that fate; None where there was none."""
    proxy.weather = {fate: 1.0}
    try:
        return httpx.post(proxy.url + "/v1/runs/r/frames", content=BODY, timeout=2.0, trust_env=False).content
    except httpx.TransportError:
        return None


# how many requests arrive in whole by the time of the answer, how many in the end, and whether an answer comes
EXPECTED = {
    "refuse": (0, (0,), False), "cut_request": (0, (0,), False), "lose_answer": (1, (1,), False),
    "cut_answer": (1, (1,), False), "duplicate": (2, (2,), True), "late": (0, (1,), False), "replay": (1, (2,), True),
    "slow": (1, (1,), True), "delay": (1, (1,), True), "swallow": (0, (0, 1), False),
}  # fmt: skip


@pytest.mark.parametrize("fate", FATES)
def test_a_fate_is_what_it_is_called(proxy: Proxy, fate: str) -> None:
    at_once, in_the_end, answered = EXPECTED[fate]
    answer = sent(proxy, fate)
    assert (answer == b"y" * 500) is answered
    assert len(Counting.bodies) >= at_once
    proxy.clear()
    assert len(Counting.bodies) in in_the_end
    assert set(Counting.bodies) <= {BODY}
    assert proxy.fates == {fate: 1}
    assert sent(proxy, "pass") == b"y" * 500


def test_a_network_that_is_down_resets_everything_and_comes_up_again(proxy: Proxy) -> None:
    with httpx.Client(timeout=5.0, trust_env=False) as client:
        assert client.post(proxy.url, content=BODY).status_code == 200
        proxy.go_down()
        for _ in range(2):
            with pytest.raises(httpx.TransportError):
                client.post(proxy.url, content=BODY)
        proxy.come_up()
        assert client.post(proxy.url, content=BODY).status_code == 200


def test_it_tells_when_a_batch_has_reached_the_backend(proxy: Proxy) -> None:
    assert not proxy.wait_forwarded(0.01)
    told = threading.Event()
    waiting = threading.Thread(target=lambda: proxy.wait_forwarded(30) and told.set())
    waiting.start()
    while not told.wait(0.05):
        sent(proxy, "pass")
    waiting.join()
