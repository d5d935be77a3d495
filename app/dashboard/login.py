"""`/login`: a browser exchanges a token for a session cookie."""

import math
from typing import Annotated
from urllib.parse import parse_qs

from fastapi import APIRouter, Query, Request
from starlette.responses import RedirectResponse, Response

from app.dashboard.rendering import page
from app.deps import TokensDep
from app.errors import MissingScope, TooMany, Unauthorized
from app.guards.tokens import COOKIE, SESSION_SECONDS, address_of

router = APIRouter(include_in_schema=False)

Next = Annotated[str, Query(max_length=500)]


@router.get("/login", response_model=None)
async def login_page(tokens: TokensDep, next: Next = "/") -> Response:
    """The form; where no token is set there is nothing to log in to."""
    if not tokens.needed:
        return RedirectResponse("/", status_code=303)
    return _page(local_path(next))


@router.post("/login", response_model=None)
async def login(request: Request, tokens: TokensDep) -> Response:
    """Opens a session where the token is right and may read."""
    # one small form, already bounded by the body guard: no form parser with its own bugs
    fields = parse_qs((await request.body()).decode("utf-8", "replace"), max_num_fields=10)
    destination = local_path(fields.get("next", ["/"])[0])
    try:
        caller = await tokens.owner(fields.get("token", [""])[0].strip(), address_of(request))
        caller.check("read")
    except TooMany as refusal:
        wait = math.ceil(refusal.retry_after or 1)
        return _page(destination, f"Too many wrong tokens came from here. Try again in {wait} s.", 429, wait)
    except Unauthorized:
        return _page(destination, "That is no token of this service, or not any more.", 401)
    except MissingScope:
        return _page(destination, "That token may not read; these pages need the scope read.", 403)
    answer = RedirectResponse(destination, status_code=303)
    answer.set_cookie(
        COOKIE,
        tokens.open_session(caller),
        max_age=SESSION_SECONDS,
        httponly=True,
        samesite="strict",
        secure=_is_encrypted(request),
        path="/",
    )
    return answer


@router.post("/logout", response_model=None)
async def logout() -> Response:
    """Forgets the session."""
    answer = RedirectResponse("/login", status_code=303)
    answer.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")
    return answer


def local_path(wanted: str) -> str:
    """`wanted` where it is a path of this service, else the first page: no open redirect."""
    is_local = wanted.startswith("/") and not wanted.startswith(("//", "/\\")) and wanted.isprintable()
    return wanted if is_local and "\\" not in wanted else "/"


def _is_encrypted(request: Request) -> bool:
    # behind a proxy that ends TLS only the browser knows, and says so with every form that it posts
    return request.url.scheme == "https" or request.headers.get("origin", "").startswith("https://")


def _page(destination: str, error: str = "", status: int = 200, retry_after: int | None = None) -> Response:
    answer = page("login.html", status=status, next=destination, error=error)
    if retry_after is not None:
        answer.headers["Retry-After"] = str(retry_after)
    return answer
