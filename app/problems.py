"""Renders every failure as problem JSON (RFC 9457), and nothing of the inside with it."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match

from app.errors import AppError, BadRequest, Invalid, MissingScope
from gyrostat.spec.checks import Problem
from gyrostat.spec.parse import SpecError, described

MEDIA_TYPE = "application/problem+json"
_SECRET = frozenset({"target"})
"""What of bodies holds passwords and tokens: it is not repeated where it is refused, since refusals end up in logs."""
_SEE = "see /docs"
"""Where bodies and parameters of requests are described."""


class Nothing(BaseModel):
    """Stands for the body of a route that has none."""


class _Complaints:
    """Complaints about a request in the shape in which pydantic holds those about a model."""

    def __init__(self, details: Sequence[Mapping[str, Any]]) -> None:
        self._details = [dict(detail) for detail in details]

    def errors(self, *, include_url: bool = True) -> list[dict[str, Any]]:
        return self._details


def response(error: AppError) -> Response:
    """The answer that tells of `error`."""
    headers = {"Cache-Control": "no-store"}
    if error.retry_after is not None:
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after)))
    if error.status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="gyrostat"'
    if isinstance(error, MissingScope):  # RFC 6750, section 3.1
        headers["WWW-Authenticate"] = f'Bearer error="insufficient_scope", scope="{error.extra["scope"]}"'
    return _rendered(error.document(), error.status, headers)


def invalid_spec(error: SpecError) -> Invalid:
    """A spec's problems as a failure of the request."""
    count = len(error.problems)
    return Invalid(f"the spec has {count} problem{'s' if count > 1 else ''}", problems=error.problems)


def install(app: FastAPI) -> None:
    """Makes `app` answer every failure that is foreseen with a problem document; `guards.failsafe` does the rest."""

    def app_error(request: Request, error: Exception) -> Response:
        return response(cast(AppError, error))

    def spec_error(request: Request, error: Exception) -> Response:
        return response(invalid_spec(cast(SpecError, error)))

    def refused(request: Request, error: Exception) -> Response:
        return response(_of_request(request, cast(RequestValidationError, error)))

    def http_error(request: Request, error: Exception) -> Response:
        return _of_http(request, cast(HTTPException, error))

    app.add_exception_handler(AppError, app_error)
    app.add_exception_handler(SpecError, spec_error)
    app.add_exception_handler(RequestValidationError, refused)
    app.add_exception_handler(HTTPException, http_error)


def _rendered(document: Mapping[str, Any], status: int, headers: Mapping[str, str]) -> Response:
    body = json.dumps(document, ensure_ascii=True, default=str)
    return Response(body, status, dict(headers), media_type=MEDIA_TYPE)


def _of_request(request: Request, error: RequestValidationError) -> AppError:
    details = list(error.errors())
    if details and details[0]["type"] == "json_invalid":
        first = details[0]
        return BadRequest(
            f"the body is not JSON: {first.get('ctx', {}).get('error', 'it cannot be read')} "
            f"at character {first['loc'][-1]}; send one JSON document"
        )
    problems = [problem for detail in details for problem in _problems(request, detail)]
    named = ", ".join(problem.path for problem in problems[:5])
    return Invalid(
        f"the request has {len(problems)} problem{'s' if len(problems) > 1 else ''}: {named}", problems=problems
    )


def _problems(request: Request, detail: Mapping[str, Any]) -> list[Problem]:
    location = tuple(detail["loc"])
    if location and location[0] == "body":
        model = _body_model(request)
        trimmed = _Complaints([{**detail, "loc": location[1:]}])
        found = described(cast(ValidationError, trimmed), model, see=_SEE)
        return [replace(each, value=None) if each.path.split(".")[0] in _SECRET else each for each in found]
    trimmed = _Complaints([{**detail, "loc": location[1:]}])
    where = f"{location[0]}." if location else ""
    return [
        Problem(path=where + problem.path, value=problem.value, message=problem.message, mend=problem.mend)
        for problem in described(cast(ValidationError, trimmed), Nothing, see=_SEE)
    ]


def _body_model(request: Request) -> Any:
    """The model of the route's body, or the union of models."""
    field = getattr(request.scope.get("route"), "body_field", None)
    return Nothing if field is None else field.field_info.annotation


_KINDS = {
    400: "bad-request",
    404: "not-found",
    405: "method-not-allowed",
    413: "too-large",
    415: "unsupported-media-type",
}


def _of_http(request: Request, error: HTTPException) -> Response:
    detail, headers = str(error.detail), dict(error.headers or {})
    if error.status_code == 404:
        detail = f"there is no {request.url.path} here; GET /openapi.json lists every route"
    elif error.status_code == 405:
        headers["Allow"] = ", ".join(_allowed(request))
        detail = f"{request.method} is not for {request.url.path}; allowed: {headers['Allow']}"
    kind = _KINDS.get(error.status_code, f"http-{error.status_code}")
    document = {
        "type": f"urn:gyrostat:problem:{kind}",
        "title": kind.replace("-", " ").capitalize(),
        "status": error.status_code,
        "detail": detail,
    }
    return _rendered(document, error.status_code, headers)


def _allowed(request: Request) -> list[str]:
    """The methods of all routes of the path; Starlette tells those of the first one alone."""
    return [
        method
        for method in ("DELETE", "GET", "PATCH", "POST", "PUT")
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in request.app.routes)
    ]
