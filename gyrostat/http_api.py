"""Asks a backend over HTTP: a document at a time, lists page by page, refusals as exceptions.

ApiError     the backend refuses
Unreachable  nothing answers, or nothing that speaks this API
"""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx

from gyrostat.stream.transport import DEFAULT_SERVER, checked_server, is_loopback, problem

Document = dict[str, Any]


class ApiError(Exception):
    """The backend refused a request (RFC 9457).

    Attributes:
        status: of HTTP. title, detail: what is wrong in general, and here.
        problems: each with `path`, `value`, `message` and `mend`, where a spec or a request was checked.
    """

    def __init__(self, status: int, title: str, detail: str, problems: Sequence[Document] = ()) -> None:
        self.status, self.title, self.detail = status, title, detail
        self.problems = list(problems)
        lines = [f"{p.get('path')}: {p.get('message')} ({p.get('mend')})" for p in self.problems]
        super().__init__("\n  ".join([f"{status} {title}: {detail}", *lines]))


class Unreachable(ConnectionError):
    """No backend answers at the address."""


class Api:
    """A backend.

    Args:
        server: its address. token: needed where the backend asks for one. timeout: seconds for each answer.

    Raises:
        ValueError: `server` is no http address.
    """

    def __init__(self, server: str = DEFAULT_SERVER, token: str | None = None, *, timeout: float = 30.0) -> None:
        self.server = checked_server(server)
        self._token = token
        self._http = httpx.Client(
            base_url=self.server,
            headers={"Authorization": f"Bearer {token}"} if token else {},
            timeout=timeout,
            trust_env=not is_loopback(self.server),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def _create(self, path: str, body: Document) -> Document:
        given = {key: value for key, value in body.items() if value is not None}
        # A key of its own makes the request safe to repeat for whatever carries it.
        return self._document("POST", path, body=given, headers={"Idempotency-Key": uuid.uuid4().hex})

    def _pages(self, path: str, **query: Any) -> Iterator[Document]:
        cursor: str | None = None
        while True:
            page = self._document("GET", path, {**query, "cursor": cursor})
            yield from page["items"]
            cursor = page.get("next")
            if cursor is None:
                return

    def _document(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any] | None = None,
        *,
        body: Document | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Document:
        """One request and its JSON object.

        Raises:
            ApiError: the backend refuses. Unreachable: nothing answers, or nothing that speaks this API.
        """
        response = self._answer(method, path, query, body=body, headers=headers)
        if not response.content:
            return {}
        try:
            document = response.json()
        except ValueError as error:
            raise Unreachable(f"{self.server} answers, but not as a Gyrostat backend; check the address") from error
        return document if isinstance(document, dict) else {"items": document}

    def _answer(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any] | None = None,
        *,
        body: Document | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        known = {key: value for key, value in (query or {}).items() if value is not None}
        try:
            response = self._http.request(method, path, params=known, json=body, headers=headers)
        except httpx.TransportError as error:
            raise self._unreachable(error) from error
        if not response.is_success:
            raise refusal(response)
        return response

    def _unreachable(self, error: httpx.TransportError) -> Unreachable:
        return Unreachable(
            f"no backend answers at {self.server} ({error or type(error).__name__}); start one with `make run`, "
            "or give its address"
        )


def refusal(response: httpx.Response) -> ApiError:
    """What an answer that is no success says."""
    document = problem(response)
    return ApiError(
        response.status_code,
        str(document.get("title") or response.reason_phrase),
        str(document.get("detail") or response.text[:300]),
        [entry for entry in document.get("problems", []) if isinstance(entry, dict)],
    )


def segment(name: str) -> str:
    """A name as one part of a path."""
    return quote(name, safe="")
