"""Refuses foreign names (DNS rebinding) and foreign pages (cross-site requests).

`Host` is checked on every request against names that the operator knows; `Origin` and `Sec-Fetch-Site` on every method
but the safe ones. A request without `Origin` comes from a program, not from a page, and passes.
"""

from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from app import problems
from app.errors import Forbidden, HostNotAllowed
from app.settings import LOOPBACK, AppSettings

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
ANY_ADDRESS = frozenset({"0.0.0.0", "::", ""})  # noqa: S104 - listened on, never named


class HostGuard:
    """Lets only requests pass that name this service, and changes only from its own pages or from programs."""

    def __init__(self, app: ASGIApp, settings: AppSettings) -> None:
        self._app = app
        names = {*LOOPBACK, settings.host, *settings.hosts} - ANY_ADDRESS
        self._names = frozenset(name.lower().strip("[]") for name in names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on, or answers 421 or 403."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refusal = self._host(headers) or (None if scope["method"] in SAFE_METHODS else self._origin(headers))
        if refusal is None:
            await self._app(scope, receive, send)
        else:
            await problems.response(refusal)(scope, receive, send)

    def _host(self, headers: Headers) -> HostNotAllowed | None:
        given = headers.getlist("host")
        name = _host_name(given[0]) if len(given) == 1 else None
        if name in self._names:
            return None
        shown = ", ".join(given)[:100] or "none"
        return HostNotAllowed(
            f"Host is {shown!r}, which is not a name of this service; "
            f"add it to GYROSTAT_HOSTS, known are {', '.join(sorted(self._names))}"
        )

    def _origin(self, headers: Headers) -> Forbidden | None:
        site, origin = headers.get("sec-fetch-site"), headers.get("origin")
        if origin is None and site in (None, "same-origin", "none"):
            return None
        if origin is not None and site in (None, "same-origin", "none") and _same(origin, headers["host"]):
            return None
        return Forbidden(
            f"a page of {(origin or 'another site')[:100]!r} may change nothing here; "
            "use this service's own pages, or a program that sends no Origin"
        )


def _host_name(host: str) -> str | None:
    """The name in `name:port` or `[address]:port`; None where it is neither."""
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port  # raises where it is no number
    except ValueError:
        return None
    if parts.netloc != host or "@" in host or parts.path or not parts.hostname:
        return None
    return parts.hostname.lower().rstrip(".")


def _same(origin: str, host: str) -> bool:
    # the scheme is not compared: behind a proxy that ends TLS the service cannot know it
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    default = {"http": ":80", "https": ":443"}.get(parts.scheme)
    if default is None:
        return False
    return parts.netloc.lower().removesuffix(default) == host.lower().removesuffix(default)
