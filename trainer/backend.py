"""The backend as a worker sees it: three requests, and errors by what can be done about them.

BackendError
├── Unreachable   nobody answered, or with an error of the server's: the same again later
├── Forgotten     it does not know this worker (its database is new): register again
└── Refused       it will never take this: a wrong token, a message it cannot read
"""

from typing import TypeVar

import httpx
from pydantic import ValidationError

from gyrostat.stream.transport import checked_server, is_loopback, problem
from gyrostat.wire.layout import Wire
from gyrostat.wire.messages import Assignment, Heartbeat, HeartbeatAnswer, Registered, Registration
from trainer.errors import TrainerError

ANSWER_SECONDS = 10.0

Message = TypeVar("Message", bound=Wire)


class BackendError(TrainerError):
    """A request had no good answer."""


class Unreachable(BackendError):
    """Try the same again later."""


class Forgotten(BackendError):
    """Register again."""


class Refused(BackendError):
    """Do not try this again."""


class Backend:
    """Callable from several threads at once.

    Args:
        url: of the backend, without the version. token: of scope `ingest`; none is sent where it is empty.
    """

    def __init__(self, url: str, token: str = "") -> None:
        self._client = httpx.Client(
            base_url=checked_server(url),
            trust_env=not is_loopback(url),
            headers={"Authorization": f"Bearer {token}"} if token else {},
            timeout=httpx.Timeout(ANSWER_SECONDS),
        )

    def close(self) -> None:
        """Gives the connections back."""
        self._client.close()

    def register(self, registration: Registration) -> Registered:
        """Introduces this worker."""
        answer = self._post("/v1/workers", registration)
        return _read(answer, Registered)

    def heartbeat(self, worker: str, heartbeat: Heartbeat, *, timeout: float = ANSWER_SECONDS) -> HeartbeatAnswer:
        """Renews leases; brings commands back."""
        answer = self._post(f"/v1/workers/{worker}:heartbeat", heartbeat, timeout=timeout)
        return _read(answer, HeartbeatAnswer)

    def claim(self, worker: str, *, wait_seconds: float) -> Assignment | None:
        """A queued run, once there is one within `wait_seconds`."""
        path = f"/v1/workers/{worker}:claim?wait={wait_seconds:g}"
        answer = self._post(path, timeout=wait_seconds + ANSWER_SECONDS)
        return None if answer.status_code == httpx.codes.NO_CONTENT else _read(answer, Assignment)

    def _post(self, path: str, message: Wire | None = None, *, timeout: float = ANSWER_SECONDS) -> httpx.Response:
        body = b"" if message is None else message.model_dump_json().encode()
        try:
            answer = self._client.post(
                path, content=body, headers={"Content-Type": "application/json"} if body else {}, timeout=timeout
            )
        except httpx.TransportError as error:
            raise Unreachable(f"{self._client.base_url} does not answer: {type(error).__name__}: {error}") from error
        status = answer.status_code
        if status < 300:
            return answer
        what = f"{answer.request.url} answered {status}: {answer.text[:500]}"
        if status >= 500 or status in (408, 425, 429):
            raise Unreachable(what)
        if status == httpx.codes.NOT_FOUND:
            # without a problem document it is not Gyrostat that answers, but whatever is there while it is away
            raise Forgotten(what) if problem(answer) else Unreachable(what)
        raise Refused(what)


def _read(answer: httpx.Response, kind: type[Message]) -> Message:
    try:
        return kind.model_validate_json(answer.content)
    except ValidationError as error:
        # a proxy's login page, another service, a backend of another version: perhaps it will be there later
        raise Unreachable(f"{answer.request.url} answered what is no {kind.__name__}: {error}") from error
