"""`/login`: a browser exchanges the token for a session cookie."""

from typing import Annotated
from urllib.parse import parse_qs

from fastapi import APIRouter, Query, Request
from starlette.responses import RedirectResponse, Response

from app.dashboard.rendering import page
from app.deps import TokensDep
from app.guards.tokens import COOKIE, SESSION_SECONDS

router = APIRouter(include_in_schema=False)

Next = Annotated[str, Query(max_length=500)]


@router.get("/login", response_model=None)
async def login_page(tokens: TokensDep, next: Next = "/") -> Response:
    """The form; where no token is set there is nothing to log in to."""
    if not tokens.needed:
        return RedirectResponse("/", status_code=303)
    return _page(local_path(next), wrong=False)


@router.post("/login", response_model=None)
async def login(request: Request, tokens: TokensDep) -> Response:
    """Opens a session where the token is right."""
    # one small form, already bounded by the body guard: no form parser with its own bugs
    fields = parse_qs((await request.body()).decode("utf-8", "replace"), max_num_fields=10)
    destination = local_path(fields.get("next", ["/"])[0])
    if not tokens.is_token(fields.get("token", [""])[0].strip()):
        return _page(destination, wrong=True)
    answer = RedirectResponse(destination, status_code=303)
    answer.set_cookie(
        COOKIE,
        tokens.open_session(),
        max_age=SESSION_SECONDS,
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
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


def _page(destination: str, *, wrong: bool) -> Response:
    error = "That is not the token." if wrong else ""
    return page("login.html", status=401 if wrong else 200, next=destination, error=error)
