"""Real receivers of notifications on loopback: a web server and a mail server, which keep what they get."""

import base64
import socket
import socketserver
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

CERTIFICATE = Path(__file__).parent / "hooks_test.pem"
"""Of hooks.test and mail.test, with its key; for tests alone."""


@dataclass
class Got:
    """A request."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Hook:
    """A web server. `answers` are given one after the other, the last one from then on: status and headers."""

    port: int = 0
    got: list[Got] = field(default_factory=list)
    answers: list[tuple[int, dict[str, str]]] = field(default_factory=lambda: [(204, {})])
    before: Callable[[], None] = lambda: None
    """Called before a request is answered."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?token=not-to-be-told"


@contextmanager
def _serving(server: socketserver.TCPServer, tls: bool) -> Iterator[int]:
    """The port at which the server answers until the end of the block."""
    if tls:
        server.socket = server_tls().wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


@contextmanager
def web_server(*, tls: bool = False, address: str = "127.0.0.1") -> Iterator[Hook]:
    """A web server until the end of the block."""
    hook = Hook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            hook.got.append(Got(self.path, {name.lower(): value for name, value in self.headers.items()}, body))
            hook.before()
            status, headers = hook.answers.pop(0) if len(hook.answers) > 1 else hook.answers[0]
            self.send_response(status)
            for name, value in {"content-length": "0", **headers}.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        address_family = socket.AF_INET6 if ":" in address else socket.AF_INET

        def handle_error(self, *_: object) -> None:
            """Says nothing of clients that went away."""

    with _serving(Server((address, 0), Handler), tls) as hook.port:
        yield hook


def server_tls() -> ssl.SSLContext:
    """What a server named hooks.test or mail.test shows."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    return context


def client_tls() -> ssl.SSLContext:
    """Trusts the certificate of the tests, and nothing else."""
    return ssl.create_default_context(cafile=str(CERTIFICATE))


@dataclass
class Mailbox:
    """A mail server, whose user is gyrostat with the password `swordfish`."""

    port: int = 0
    mails: list[tuple[EmailMessage, str, list[str]]] = field(default_factory=list)
    """What was taken: the mail, its sender and its recipients as the server was told them."""
    users: list[str] = field(default_factory=list)
    """Who signed in for each mail."""
    encrypted: list[bool] = field(default_factory=list)
    greets_after: float = 0.0
    """Seconds."""
    refuse: dict[str, bytes] = field(default_factory=dict)
    """Answers in place of its own: command, or recipient, to line."""


@contextmanager
def mail_server(*, tls: bool = False, starttls: bool = False) -> Iterator[Mailbox]:
    """A mail server until the end of the block: RFC 5321 with AUTH PLAIN and STARTTLS, as far as clients ask for it."""
    box = Mailbox()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            encrypted, user, sender, recipients = tls, "", "", list[str]()
            time.sleep(box.greets_after)
            self.say(b"220 mail.test")
            while line := self.rfile.readline():
                command, _, rest = line.strip().decode().partition(" ")
                command = command.upper()
                recipient = rest.partition("<")[2].partition(">")[0]
                if (answer := box.refuse.get(recipient) or box.refuse.get(command)) is not None:
                    self.say(answer)
                elif command == "EHLO":
                    offered = [b"STARTTLS"] if starttls and not encrypted else [b"AUTH PLAIN"]
                    self.say(b"250-mail.test\r\n250 " + offered[0])
                elif command == "STARTTLS":
                    self.say(b"220 go on")
                    self.request = server_tls().wrap_socket(self.request, server_side=True)
                    self.rfile, encrypted = self.request.makefile("rb"), True
                elif command == "AUTH":
                    _, user, password = base64.b64decode(rest.split(" ")[1]).decode().split("\0")
                    self.say(b"235 welcome" if (user, password) == ("gyrostat", "swordfish") else b"535 no")
                elif command == "MAIL":
                    sender, recipients = recipient, []
                    self.say(b"250 ok")
                elif command == "RCPT":
                    recipients.append(recipient)
                    self.say(b"250 ok")
                elif command == "DATA":
                    self.say(b"354 go on")
                    lines = list(iter(self.rfile.readline, b".\r\n"))
                    text = b"".join(each.removeprefix(b".") for each in lines)
                    mail = BytesParser(policy=policy.default).parsebytes(text)
                    assert isinstance(mail, EmailMessage)
                    box.users.append(user)
                    box.encrypted.append(encrypted)
                    box.mails.append((mail, sender, recipients))
                    self.say(b"250 taken")
                elif command == "QUIT":
                    self.say(b"221 bye")
                    return
                else:
                    self.say(b"250 ok")

        def finish(self) -> None:
            """Closes what is open now: encryption replaces it on the way."""
            self.rfile.close()
            self.request.close()

        def say(self, line: bytes) -> None:
            self.request.sendall(line + b"\r\n")

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        allow_reuse_address = True

        def handle_error(self, *_: object) -> None:
            """Says nothing of clients that went away."""

    with _serving(Server(("127.0.0.1", 0), Handler), tls) as box.port:
        yield box
