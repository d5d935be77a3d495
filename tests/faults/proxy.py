"""The network between producers and backends, as bad as wanted: a proxy that knows where an HTTP message ends.

Each request meets a *fate*, drawn by the weights of the weather. What is cut, lost or sent twice here is what a
network, a reverse proxy or a power failure does between the two ends; bytes that arrive are never changed.
"""

import contextlib
import random
import re
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

UPSTREAM_SECONDS = 30.0
_LENGTH = re.compile(rb"\r\ncontent-length:\s*(\d+)", re.IGNORECASE)


class Message(NamedTuple):
    """A request or an answer; `head` ends with its blank line."""

    head: bytes
    body: bytes

    @property
    def raw(self) -> bytes:
        return self.head + self.body


def read_message(connection: socket.socket) -> Message | None:
    """The next whole message; None where the other side closed before it was one."""
    data = bytearray()
    while (end := data.find(b"\r\n\r\n")) < 0:
        if not (piece := connection.recv(65536)):
            return None
        data += piece
    head = bytes(data[: end + 4])
    length = int(found[1]) if (found := _LENGTH.search(head)) else 0
    while len(data) < len(head) + length:
        if not (piece := connection.recv(65536)):
            return None
        data += piece
    return Message(head, bytes(data[len(head) :]))


@dataclass(frozen=True)
class Held:
    due: float
    request: Message


class Proxy:
    """Listens on a port of its own and passes requests on to one of the backends.

    Attributes:
        weather: weight of each fate; what is left of 1 is the fate to pass.
        fates, statuses: how many requests met which fate, and how many answers had which status.
    """

    def __init__(self, ports: list[int], seed: int) -> None:
        self.weather: Mapping[str, float] = {}
        self.fates: Counter[str] = Counter()
        self.statuses: Counter[int] = Counter()
        self._ports, self._source = ports, random.Random(seed)
        self._fates: dict[str, Callable[[socket.socket, Message], bool]] = {
            "pass": self._pass, "refuse": self._refuse, "cut_request": self._cut_request,
            "lose_answer": self._lose_answer, "cut_answer": self._cut_answer, "duplicate": self._duplicate,
            "late": self._late, "replay": self._replay, "slow": self._slow, "delay": self._delay,
            "swallow": self._swallow,
        }  # fmt: skip
        self._down = False
        self._clients: set[socket.socket] = set()
        self._held: list[Held] = []
        self._changed = threading.Condition()
        self._forwarded = 0
        self._closed = False
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._accept, self._deliver)]
        for thread in self._threads:
            thread.start()

    def go_down(self) -> None:
        """Resets every connection, those to come as well, until `come_up`."""
        with self._changed:
            self._down = True
            clients = list(self._clients)
        for client in clients:
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)

    def come_up(self) -> None:
        with self._changed:
            self._down = False

    def wait_forwarded(self, timeout: float) -> bool:
        """Whether a batch of frames reached a backend in whole within `timeout` seconds; it is being stored now."""
        with self._changed:
            seen = self._forwarded
            return self._changed.wait_for(lambda: self._forwarded > seen, timeout)

    def clear(self) -> None:
        """Good weather from now on; what is still on its way arrives, out of order."""
        with self._changed:
            self.weather, self._down = {}, False
            held, self._held = self._held, []
        self._source.shuffle(held)
        for message in held:
            self._try_forward(message.request)

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        with contextlib.suppress(OSError):  # wakes `accept`
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.go_down()
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with self._changed:
            self._clients.add(client)
        try:
            while not self._down and (request := read_message(client)) is not None:
                fate = self._drawn()
                self.fates[fate] += 1
                if not self._fates[fate](client, request):
                    break
        except OSError:
            pass  # either end went away: the client sees its connection reset
        finally:
            with self._changed:
                self._clients.discard(client)
            _reset(client)

    def _drawn(self) -> str:
        weather = self.weather
        rest = 1.0 - sum(weather.values())
        return self._source.choices(["pass", *weather], [max(0.0, rest), *weather.values()])[0]

    def _pass(self, client: socket.socket, request: Message) -> bool:
        client.sendall(self._forward(request).raw)
        return True

    def _refuse(self, client: socket.socket, request: Message) -> bool:
        return False

    def _cut_request(self, client: socket.socket, request: Message) -> bool:
        with self._connected() as backend:
            backend.sendall(request.head + request.body[: self._source.randrange(len(request.body) + 1)])
            time.sleep(self._source.uniform(0, 0.05))
        return False

    def _lose_answer(self, client: socket.socket, request: Message) -> bool:
        self._forward(request)
        return False

    def _cut_answer(self, client: socket.socket, request: Message) -> bool:
        answer = self._forward(request).raw
        client.sendall(answer[: self._source.randrange(len(answer))])
        return False

    def _duplicate(self, client: socket.socket, request: Message) -> bool:
        twin = threading.Thread(target=self._try_forward, args=(request,), daemon=True)
        twin.start()
        answer = self._forward(request)
        twin.join()
        client.sendall(answer.raw)
        return True

    def _late(self, client: socket.socket, request: Message) -> bool:
        self._hold(request)
        return False

    def _replay(self, client: socket.socket, request: Message) -> bool:
        answer = self._forward(request)
        self._hold(request)
        client.sendall(answer.raw)
        return True

    def _slow(self, client: socket.socket, request: Message) -> bool:
        with self._connected() as backend:
            _drip(backend, request.raw)
            answer = self._answer(backend, request)
        _drip(client, answer.raw)
        return True

    def _delay(self, client: socket.socket, request: Message) -> bool:
        time.sleep(self._source.uniform(0, 0.5))
        return self._pass(client, request)

    def _swallow(self, client: socket.socket, request: Message) -> bool:
        client.recv(1)  # until the client has had enough
        if self._source.random() < 0.5:
            self._hold(request)
        return False

    def _forward(self, request: Message) -> Message:
        with self._connected() as backend:
            backend.sendall(request.raw)
            return self._answer(backend, request)

    def _answer(self, backend: socket.socket, request: Message) -> Message:
        if b"/frames " in request.head:
            with self._changed:
                self._forwarded += 1
                self._changed.notify_all()
        answer = read_message(backend)
        if answer is None:
            raise ConnectionResetError("the backend went away")
        self.statuses[int(answer.head.split(None, 2)[1])] += 1
        return answer

    def _try_forward(self, request: Message) -> None:
        with contextlib.suppress(OSError):  # a message that meets no backend is lost, as in any network
            self._forward(request)

    def _connected(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self._source.choice(self._ports)), timeout=UPSTREAM_SECONDS)

    def _hold(self, request: Message) -> None:
        with self._changed:
            self._held.append(Held(time.monotonic() + self._source.uniform(0.02, 2.0), request))
            self._changed.notify_all()

    def _deliver(self) -> None:
        while True:
            with self._changed:
                self._changed.wait(0.05)
                if self._closed:
                    return
                now = time.monotonic()
                due = [held for held in self._held if held.due <= now]
                self._held = [held for held in self._held if held.due > now]
            for held in due:
                self._try_forward(held.request)


def _drip(connection: socket.socket, data: bytes) -> None:
    size = max(64, len(data) // 20)
    for start in range(0, len(data), size):
        connection.sendall(data[start : start + size])
        time.sleep(0.01)


def _reset(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
