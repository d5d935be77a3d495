"""Messages over HTTP: each failure is transient (the same message again, later) or permanent (never again).

Exception
├── Transient            no connection, no answer in time, 408, 425, 429, 5xx; what a change of settings mends (401 and
│                        403 the token, 405 and 421 the address); whatever no Gyrostat backend answered
└── Permanent            a backend refuses this message: any other 4xx with a problem document of Gyrostat's
    └── Superseded       it refuses everything more of this run or attempt: 410, 409 `attempt-superseded`
        └── RunUnknown   404: it was deleted, or this is the wrong backend
"""

import ipaddress
import json
import time
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, Protocol, Self
from urllib.parse import quote

import httpx
from pydantic import ValidationError

from gyrostat.stream.segments import Kind, Record
from gyrostat.wire import codec
from gyrostat.wire.messages import Acknowledgement

DEFAULT_SERVER = "http://127.0.0.1:8000"


class Transient(Exception):
    """The message is not stored yet, and may be sent again.

    Attributes:
        retry_after: the server's wish in seconds, if any. status: of HTTP, where it answered.
    """

    def __init__(self, reason: str, *, retry_after: float | None = None, status: int | None = None) -> None:
        super().__init__(reason)
        self.retry_after, self.status = retry_after, status


class Permanent(Exception):
    """The backend will never take this message."""


class Superseded(Permanent):
    """The backend will take nothing more: the run was deleted, or a newer attempt has taken over."""


class RunUnknown(Superseded):
    """The backend has no such run. It may have been deleted, or another backend or database is answering."""


class Transport(Protocol):
    """What carries records to the backend; called by one thread."""

    def send(self, run: str, record: Record) -> Acknowledgement:
        """Sends one record and waits for its acknowledgement.

        Raises:
            Transient: try again later.
            Permanent: do not.
        """
        ...

    def close(self) -> None:
        """Gives connections back; a later `send` opens new ones."""
        ...


_ROUTES = {
    Kind.LAYOUT: ("layout", codec.JSON),
    Kind.FRAMES: ("frames", codec.MSGPACK),
    Kind.EVENTS: ("events", codec.JSON),
}
_RETRIED = {401, 403, 405, 408, 421, 425, 429}
_PROBLEM = "urn:gyrostat:problem:"
# Below uvicorn's five seconds, so that an idle connection is left before the server closes it.
_LIMITS = httpx.Limits(max_connections=2, keepalive_expiry=4.0)


class HttpTransport:
    """The backend's ingest routes.

    Args:
        server: such as `http://127.0.0.1:8000`.
        token: of a user with scope `ingest`; needed where the backend is not on this machine.
        timeout: seconds to wait for a connection and for each part of an answer.
    """

    def __init__(self, server: str, *, token: str | None = None, timeout: float = 10.0) -> None:
        self._server = checked_server(server)
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._timeout = timeout
        self._client: httpx.Client | None = None

    def send(self, run: str, record: Record) -> Acknowledgement:
        """Posts one record; see `Transport`."""
        route, content_type = _ROUTES[record.kind]
        answer = self._posted(f"/v1/runs/{quote(run, safe='')}/{route}", record.payload, {"Content-Type": content_type})
        try:
            return Acknowledgement.model_validate_json(answer)
        except ValidationError as error:
            raise self._stranger() from error

    def register(self, body: dict[str, Any], key: str) -> tuple[str, int]:
        """Makes the run that `body` asks for, once for each idempotency `key`; answers its id and attempt.

        Raises:
            Transient: try again later.
            Permanent: the backend refuses such a run.
        """
        content = json.dumps(body).encode()
        answer = self._posted("/v1/runs", content, {"Content-Type": codec.JSON, "Idempotency-Key": key})
        try:
            made = json.loads(answer)
            run, attempt = made["id"], made["attempt"]
        except (ValueError, TypeError, LookupError) as error:
            raise self._stranger() from error
        if not isinstance(run, str) or not isinstance(attempt, int):
            raise self._stranger()
        return run, attempt

    def _posted(self, path: str, content: bytes, headers: dict[str, str]) -> bytes:
        try:
            response = self._opened().post(path, content=content, headers=headers)
        except httpx.HTTPError as error:
            raise Transient(f"{self._server}: {error or type(error).__name__}") from error
        if not response.is_success:
            raise _failure(response)
        return response.content

    def _stranger(self) -> Transient:
        return Transient(f"{self._server} took the message, but did not answer as a Gyrostat backend")

    def close(self) -> None:
        """Closes the connections; a later `send` opens new ones."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _opened(self) -> httpx.Client:
        if self._client is None:
            self._client = httpx.Client(
                base_url=self._server,
                headers=self._headers,
                timeout=self._timeout,
                limits=_LIMITS,
                trust_env=not is_loopback(self._server),
            )
        return self._client


def checked_server(server: str) -> str:
    """The address without its trailing slash.

    Raises:
        ValueError: it is no http or https address.
    """
    try:
        url = httpx.URL(server)
    except httpx.InvalidURL as error:
        raise ValueError(f"server {server!r} is no address: {error}; give one such as http://127.0.0.1:8000") from error
    if url.scheme not in ("http", "https") or not url.host:
        raise ValueError(f"server {server!r} is no http address; give one such as http://127.0.0.1:8000")
    return server.rstrip("/")


def is_loopback(server: str) -> bool:
    """Whether `server` is this machine, which no proxy of the environment can reach."""
    host = httpx.URL(server).host
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def problem(response: httpx.Response) -> dict[str, Any]:
    """The RFC 9457 problem document of a response; empty where it has none."""
    if "json" not in response.headers.get("Content-Type", ""):
        return {}
    try:
        document = json.loads(response.content)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _failure(response: httpx.Response) -> Transient | Permanent:
    document = problem(response)
    status = response.status_code
    detail = document.get("detail")
    reason = str(detail)[:300] if detail else f"{status} {response.reason_phrase}"
    if _is_ours(response, document) and 400 <= status < 500 and status not in _RETRIED:
        if status == 404:
            return RunUnknown(reason)
        if status == 410 or document["type"] == f"{_PROBLEM}attempt-superseded":
            return Superseded(reason)
        return Permanent(reason)
    # What is left: try again later. A proxy's refusal or redirect must not cost measurements.
    wish = _retry_after(response.headers.get("Retry-After"))
    return Transient(f"{status}: {reason}", retry_after=wish, status=status)


def _is_ours(response: httpx.Response, document: dict[str, Any]) -> bool:
    media_type = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    return media_type == "application/problem+json" and str(document.get("type", "")).startswith(_PROBLEM)


def _retry_after(value: str | None) -> float | None:
    """Seconds, from either form of the header (RFC 9110, section 10.2.3)."""
    if value is None:
        return None
    if value.strip().isdecimal():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None
