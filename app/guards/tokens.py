"""Who may speak to the service where a token is set: programs by `Authorization: Bearer`, browsers by a signed cookie.

The setting's token may do everything, and so may everybody where none is set. Others are given out by the service,
each with its scopes. Of all of them only the SHA-256 is kept. The cookie holds when it was given, the id of the token
it was given for, and an HMAC over both, keyed by the setting's token: no state, changing that token ends every
session, and revoking another one ends the sessions opened with it.
"""

import hashlib
import hmac
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as Connection

from app import problems
from app.errors import AppError, MissingScope, Unauthorized
from app.guards.attempts import FailedAttempts
from app.services import tokens as token_service
from app.services.tokens import TokenView
from app.settings import AppSettings
from app.storage.database import Database
from gyrostat.wire.scopes import SCOPES, Scope

COOKIE = "gyrostat_session"
SESSION_SECONDS = 14 * 24 * 3600
OPEN_PATHS = ("/healthz", "/login", "/logout")
REMEMBERED_SECONDS = 5.0
"""How long a token that was looked up is believed to be as it was: so long it may outlive its end elsewhere."""
MAX_REMEMBERED = 1000


@dataclass(frozen=True)
class Caller:
    """Who sent a request. `token` is the id of a token that was given out; empty for the setting's."""

    name: str
    scopes: frozenset[Scope]
    token: str = ""

    def check(self, scope: Scope) -> None:
        """Refuses what the caller's token does not allow; `admin` allows everything.

        Raises:
            MissingScope: it does not.
        """
        if scope not in self.scopes and "admin" not in self.scopes:
            raise MissingScope(
                f"this needs a token with the scope `{scope}`, and {self.name!r} has "
                f"{', '.join(f'`{own}`' for own in sorted(self.scopes))}; have one made by `gyrostat token create`",
                scope=scope,
            )


EVERYBODY = Caller("everybody", frozenset(SCOPES))
SETTING = Caller("GYROSTAT_TOKEN", frozenset(SCOPES))


class Tokens:
    """Tells whose token or session a request carries. Called by the event loop's thread, but for `forget`."""

    def __init__(
        self,
        settings: AppSettings,
        database: Callable[[], Database],
        *,
        clock: Callable[[], float] = time.time,
        attempts: FailedAttempts | None = None,
    ) -> None:
        token = settings.token.get_secret_value().encode() if settings.token is not None else None
        self._digest = None if token is None else hashlib.sha256(token).hexdigest()
        self._key = hashlib.sha256(b"gyrostat session\0" + (token or b"")).digest()
        self._database = database
        self._clock = clock
        self._attempts = attempts or FailedAttempts()
        self._remembered: OrderedDict[str, tuple[TokenView, float]] = OrderedDict()

    @property
    def needed(self) -> bool:
        """Whether a token is set at all."""
        return self._digest is not None

    async def caller(self, request: Request) -> Caller:
        """Who sent the request.

        Raises:
            Unauthorized: nobody that is known here.
            TooMany: too many wrong tokens came from the address.
            Unavailable: the database cannot be asked.
        """
        if not self.needed:
            return EVERYBODY
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and given.strip():
            return await self.owner(given.strip(), address_of(request))
        return await self._of_session(request.cookies.get(COOKIE, ""))

    async def owner(self, given: str, address: str) -> Caller:
        """Whose token `given` is, as it came from this address.

        A setting's token may be one that can be guessed, so that an address from which it never came has few tries.
        One that the service made is 256 random bits: it is good at any time, whoever else tries from there.

        Raises:
            Unauthorized, TooMany, Unavailable: as `caller` does.
        """
        digest = token_service.digest_of(given)
        if self._digest is not None and hmac.compare_digest(digest, self._digest):
            if not self._attempts.trusts(address):
                self._attempts.check(address)
            self._attempts.trust(address)
            return SETTING
        found = await self._looked_up(f"digest {digest}", digest=digest)
        if found is not None:
            return found
        self._attempts.count(address)
        raise Unauthorized("this token is not known here: it is wrong, has expired or was revoked; ask for another")

    def open_session(self, caller: Caller) -> str:
        """The value of a new session's cookie."""
        told = f"{int(self._clock())}.{caller.token}"
        return f"{told}.{self._signature(told)}"

    def forget(self) -> None:
        """Has every token looked up again; after a change of them."""
        self._remembered.clear()

    async def _of_session(self, cookie: str) -> Caller:
        told, _, signature = cookie.rpartition(".")
        if not hmac.compare_digest(signature.encode(), self._signature(told).encode()):
            raise Unauthorized(
                "this service needs a token; send `Authorization: Bearer TOKEN`, or open /login in a browser"
            )
        given_at, _, token_id = told.partition(".")
        if not 0 <= self._clock() - int(given_at) < SESSION_SECONDS:
            raise Unauthorized("the session has ended; open /login in a browser")
        if not token_id:
            return SETTING
        found = await self._looked_up(f"id {token_id}", token_id=token_id)
        if found is None:
            raise Unauthorized("the token that the session was opened with has expired or was revoked; open /login")
        return found

    async def _looked_up(self, key: str, *, digest: str | None = None, token_id: str | None = None) -> Caller | None:
        now = self._clock()
        token, until = self._remembered.get(key, (None, 0.0))
        if token is None or not now < until:
            self._remembered.pop(key, None)
            token = await run_in_threadpool(self._read, digest, token_id, now)
            if token is None:
                return None
            self._remembered[key] = (token, now + REMEMBERED_SECONDS)
            if len(self._remembered) > MAX_REMEMBERED:
                self._remembered.popitem(last=False)
        if token.expires_at is not None and now >= token.expires_at.timestamp():
            return None
        return Caller(token.name, frozenset(token.scopes), token.id)

    def _read(self, digest: str | None, token_id: str | None, now: float) -> TokenView | None:
        database = self._database()
        token = token_service.find(database, digest=digest, token_id=token_id)
        if token is not None:
            token_service.note_use(database, token, datetime.fromtimestamp(now, UTC))
        return token

    def _signature(self, text: str) -> str:
        return hmac.new(self._key, text.encode("utf-8", "surrogateescape"), hashlib.sha256).hexdigest()


class TokenGuard:
    """Notes who sent a request for the routes to see; answers 401 (a browser is sent to the login page) for nobody."""

    def __init__(self, app: ASGIApp, tokens: Tokens) -> None:
        self._app = app
        self._tokens = tokens

    async def __call__(self, scope: Connection, receive: Receive, send: Send) -> None:
        """Passes the request on, or refuses it."""
        if scope["type"] != "http" or is_open(scope["path"]):
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        try:
            request.state.caller = await self._tokens.caller(request)
        except Unauthorized as refusal:
            await _refused(request, refusal)(scope, receive, send)
        except AppError as refusal:
            await problems.response(refusal)(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def is_open(path: str) -> bool:
    """Whether the path is for everybody, token or not."""
    return path in OPEN_PATHS or (path.startswith("/static/") and ".." not in path)


def address_of(request: Request) -> str:
    """Where the request came from; the proxy's address behind one, since what a proxy tells can be made up."""
    return request.client.host if request.client is not None else ""


def _refused(request: Request, refusal: Unauthorized) -> Response:
    wants_page = request.method == "GET" and "text/html" in request.headers.get("accept", "")
    if wants_page and not request.url.path.startswith("/v1/"):
        return RedirectResponse(f"/login?next={quote(request.url.path, safe='/')}", status_code=303)
    return problems.response(refusal)
