"""What can go wrong in the backend, each with its status and sentence; rendered once, as RFC 9457 problem JSON.

AppError
├── NotFound             404  no such run, alert, metric ...
├── Conflict             409  the state does not allow it; AttemptSuperseded: a newer attempt has taken over
├── Gone                 410  the run was deleted
├── TooLarge             413
├── UnsupportedMedia     415
├── HostNotAllowed       421  Host is no name of this service
├── Invalid              422  lists every problem with path, value and mend
├── TooMany              429  with Retry-After
├── Unauthorized 401, Forbidden 403 (MissingScope names what the token lacks)
├── Damaged              500  what is stored cannot be read back
└── Unavailable          503 / StorageFull 507, with Retry-After
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, ClassVar

from gyrostat.spec.checks import Problem

MAX_TOLD, MAX_SENTENCE = 300, 2000
"""Characters that are told of a problem's path and value, and of what is said about it: a caller may have made up the
names that come back in there."""


class AppError(Exception):
    """A failure that the caller shall hear of. `kind` ends the problem's `type` URI."""

    status: ClassVar[int] = 500
    kind: ClassVar[str] = "internal"
    title: ClassVar[str] = "Internal error"

    def __init__(
        self, detail: str, *, problems: Sequence[Problem] = (), retry_after: float | None = None, **extra: Any
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.problems = list(problems)
        self.retry_after = retry_after
        self.extra = extra

    def document(self) -> dict[str, Any]:
        """The problem document (RFC 9457, section 3)."""
        document: dict[str, Any] = {
            "type": f"urn:gyrostat:problem:{self.kind}",
            "title": self.title,
            "status": self.status,
            "detail": _within(self.detail, MAX_SENTENCE),
            **self.extra,
        }
        if self.problems:
            document["problems"] = [_told(problem) for problem in self.problems]
        return document


def _told(problem: Problem) -> dict[str, Any]:
    limits = {"path": MAX_TOLD, "value": MAX_TOLD, "message": MAX_SENTENCE, "mend": MAX_SENTENCE}
    return {
        key: _within(told, limits[key]) if isinstance(told, str) and key in limits else told
        for key, told in asdict(problem).items()
    }


def _within(text: str, characters: int) -> str:
    """The text, or its beginning and its end."""
    if len(text) <= characters:
        return text
    end = characters // 4
    return f"{text[: characters - end - 40]} ... ({len(text)} characters) ... {text[-end:]}"


class BadRequest(AppError):
    """The request itself cannot be read."""

    status, kind, title = 400, "bad-request", "Bad request"


class Unauthorized(AppError):
    """No token, or a wrong one."""

    status, kind, title = 401, "unauthorized", "Unauthorized"


class Forbidden(AppError):
    """Not from here."""

    status, kind, title = 403, "forbidden", "Forbidden"


class MissingScope(Forbidden):
    """The token is good, but not for this."""

    kind, title = "missing-scope", "Missing scope"


class HostNotAllowed(AppError):
    """The request names another service; a setting mends it, so that a client may try again."""

    status, kind, title = 421, "host-not-allowed", "Host not allowed"


class NotFound(AppError):
    """No such thing."""

    status, kind, title = 404, "not-found", "Not found"


class Conflict(AppError):
    """The thing's state does not allow it."""

    status, kind, title = 409, "conflict", "Conflict"


class AttemptSuperseded(Conflict):
    """A newer attempt of the run has taken over; the sender shall end."""

    kind, title = "attempt-superseded", "Attempt superseded"


class TooLarge(AppError):
    """The body is over the limit."""

    status, kind, title = 413, "too-large", "Body too large"


class UnsupportedMedia(AppError):
    """The body's content type is not read here."""

    status, kind, title = 415, "unsupported-media-type", "Unsupported media type"


class Invalid(AppError):
    """The body is well formed but cannot be used."""

    status, kind, title = 422, "invalid", "Invalid"


class Damaged(AppError):
    """What is stored is not what was written: a disk's or a copy's fault, which only a backup mends."""

    kind, title = "damaged", "Stored data are damaged"


class TooMany(AppError):
    """Slow down."""

    status, kind, title = 429, "too-many", "Too many requests"


class Unavailable(AppError):
    """Not now; try again."""

    status, kind, title = 503, "unavailable", "Unavailable"


class StorageFull(AppError):
    """The disk is full."""

    status, kind, title = 507, "storage-full", "Storage full"
