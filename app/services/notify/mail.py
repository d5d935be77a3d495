"""Sends a message as plain text by SMTP, to an address that was checked."""

import smtplib
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from datetime import datetime
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Any

from app.services.notify import messages
from app.services.notify.addresses import AddressGuard, Destination, NotAllowed, Refused
from app.services.notify.outbox import Outcome
from app.services.notify.targets import EmailTarget

SECONDS = 20.0
"""For all of it."""
CONNECT_SECONDS = 5.0
"""For one of the host's addresses."""
PORTS = frozenset({25, 465, 587})
_REASONS = {
    421: "the server is not available",
    454: "the server cannot check who signs in at the moment",
    530: "the server wants somebody to sign in, or encryption",
    534: "the server wants another way of signing in",
    535: "the server refuses the user name or the password",
    538: "the server wants encryption",
    550: "the server knows no such recipient, or refuses the sender",
    552: "the recipient's mailbox is full",
    553: "the server refuses an address",
    554: "the server refuses the mail",
}


def check(target: EmailTarget, guard: AddressGuard) -> Destination:
    """Where to connect to.

    Raises:
        Refused: it may not be sent to. Unresolved: it leads nowhere at the moment.
    """
    destination = guard.check(target.host, target.port, PORTS)
    if target.security == "none":
        if not destination.is_allowed:
            raise NotAllowed("without encryption it must be a server that the operator allows; use starttls or tls")
        if target.password is not None:
            raise Refused("a password is not sent without encryption; use starttls or tls")
    return destination


def send(
    target: EmailTarget,
    destination: Destination,
    message: Mapping[str, Any],
    *,
    delivery: str,
    now: datetime,
    public_url: str,
    tls: ssl.SSLContext,
) -> Outcome:
    """Hands the mail over and tells what came of it; it takes `SECONDS` at most."""
    mail = composed(target, message, delivery=delivery, now=now, public_url=public_url)
    refused: dict[str, tuple[int, bytes]] | None = None
    limit = _Limit(SECONDS)
    try:
        with limit, _connected(target, destination, limit, tls) as server:
            if target.username is not None and target.password is not None:
                server.login(target.username, target.password.get_secret_value())
            refused = server.send_message(mail, target.sender, target.recipients)
    except (smtplib.SMTPException, OSError) as error:
        if refused is None:
            return _failure(error, destination, limit)
        # it was taken: a server that takes leave in a strange way must not get it a second time
    note = f"the server refused {len(refused)} of {len(target.recipients)} recipients" if refused else None
    # sent to some: to try again would send it to those once more
    return Outcome(passed=True, status=250, error=note)


def composed(
    target: EmailTarget, message: Mapping[str, Any], *, delivery: str, now: datetime, public_url: str
) -> EmailMessage:
    """The mail: plain text alone, so that no name of a run or a layer can be markup; headers are single lines."""
    mail = EmailMessage()
    domain = _domain(target.sender)
    # a name in the form of an encoded word would be decoded here, whatever control characters are encoded in it
    mail["Subject"] = messages.title(message).replace("=?", "= ?")
    mail["From"] = target.sender
    mail["To"] = ", ".join(target.recipients)
    mail["Date"] = format_datetime(now)
    mail["Message-ID"] = f"<{delivery}@{domain}>"
    mail["Auto-Submitted"] = "auto-generated"
    if "alert" in message:
        # what becomes of an alert stands below its opening
        mail["References"] = f"<alert-{message['alert']['id']}@{domain}>"
    mail.set_content(messages.text(message, public_url))
    return mail


def _domain(sender: str) -> str:
    return sender.rpartition("@")[2]


class _Limit:
    """Cuts a connection off after so many seconds: a server that sends a byte now and then never times out itself."""

    def __init__(self, seconds: float) -> None:
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True
        self._watched: list[socket.socket] = []
        self._door = threading.Lock()
        self.is_over = False

    def __enter__(self) -> "_Limit":
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        with self._door:
            while self._watched:
                self._watched.pop().close()

    def watch(self, connection: socket.socket) -> None:
        """Cuts this one off, too. It is a duplicate that is kept: encryption takes the socket itself over."""
        with self._door:
            self._watched.append(connection.dup())
            over = self.is_over
        if over:
            self._end()

    def _end(self) -> None:
        with self._door:
            self.is_over = True
            for connection in self._watched:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue  # it has ended already


class _Checked(smtplib.SMTP):
    """A client that connects to addresses that were checked; the host's name is for its certificate alone."""

    def __init__(self, destination: Destination, limit: _Limit, name: str) -> None:
        self._destination, self._limit = destination, limit
        super().__init__(destination.host, destination.port, name, timeout=CONNECT_SECONDS)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        failure: OSError = OSError("it has no address")
        for address in self._destination.addresses:
            if self._limit.is_over:
                break
            try:
                connection = socket.create_connection((address, port), timeout)
            except OSError as error:
                failure = error
                continue
            connection.settimeout(SECONDS)  # some servers let strangers wait before they greet
            self._limit.watch(connection)
            return connection
        raise failure


class _CheckedTls(smtplib.SMTP_SSL, _Checked):
    """The same, encrypted from the beginning."""

    def __init__(self, destination: Destination, limit: _Limit, name: str, tls: ssl.SSLContext) -> None:
        self._destination, self._limit = destination, limit
        smtplib.SMTP_SSL.__init__(self, destination.host, destination.port, name, timeout=CONNECT_SECONDS, context=tls)


@contextmanager
def _connected(
    target: EmailTarget, destination: Destination, limit: _Limit, tls: ssl.SSLContext
) -> Iterator[smtplib.SMTP]:
    name = _domain(target.sender)
    server: smtplib.SMTP
    if target.security == "tls":
        server = _CheckedTls(destination, limit, name, tls)
    else:
        server = _Checked(destination, limit, name)
    with closing(server):
        if target.security == "starttls":
            server.starttls(context=tls)
        try:
            yield server
        finally:
            # whatever is answered to the end changes nothing of what came before
            with suppress(smtplib.SMTPException, OSError):
                server.quit()


def _failure(error: Exception, destination: Destination, limit: _Limit) -> Outcome:
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        codes = [code for code, _ in error.recipients.values()]
        return _refusal(max(codes, default=550), all(400 <= code < 500 for code in codes))
    if isinstance(error, smtplib.SMTPResponseException):
        return _refusal(error.smtp_code, 400 <= error.smtp_code < 500 or error.smtp_code < 0)
    if isinstance(error, smtplib.SMTPNotSupportedError):
        return Outcome(passed=False, error="the server does not offer encryption or signing in as the channel wants it")
    reason = f"no answer within {SECONDS:g} s" if limit.is_over else _reason(error)
    return Outcome(passed=False, again=True, error=f"no mail to {destination.host}, port {destination.port}: {reason}")


def _refusal(code: int, again: bool) -> Outcome:
    # never the server's own words: one that does not understand a command may repeat it, and with it the password
    said = _REASONS.get(code, "the server refuses it for now" if again else "the server refuses it")
    return Outcome(passed=False, again=again, status=code if code > 0 else None, error=f"{said} (SMTP {code})")


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer"
    if isinstance(error, OSError) and not isinstance(error, smtplib.SMTPException):
        return error.strerror or str(error) or type(error).__name__
    return "the connection broke off"
