"""Turns templates into pages: everything is escaped, whatever a name holds."""

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import HTMLResponse

from app.dashboard import formats, looks
from app.dashboard.contents.channels import delivery_look
from app.services.run_view import RunView
from gyrostat import __version__

STATIC = Path(__file__).parent / "static"


def page(template: str, *, status: int = 200, **context: Any) -> HTMLResponse:
    """The template as an answer that no cache keeps, since the page is live."""
    return HTMLResponse(html(template, **context), status, {"Cache-Control": "no-store"})


def html(template: str, **context: Any) -> str:
    """The template's text."""
    return _environment().get_template(template).render(version=__version__, **context)


def asset(name: str) -> str:
    """Address of a static file, with its content's digest, so that a new version is fetched at once.

    Raises:
        OSError: there is no such file.
    """
    return f"/static/{name}?v={_digest(name)}"


@cache
def _digest(name: str) -> str:
    return hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12]


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("app", "dashboard/templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["asset"] = asset
    environment.filters |= {
        "number": formats.number,
        "count": formats.count,
        "percent": formats.percent,
        "size": formats.size,
        "age": formats.age,
        "pretty": _pretty,
        "progress": _progress,
        "state_look": looks.state_look,
        "severity_tone": looks.severity_tone,
        "severity_icon": looks.severity_icon,
        "progress_tone": looks.progress_tone,
        "kind_title": looks.kind_title,
        "delivery_look": delivery_look,
    }
    return environment


def _pretty(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def _progress(run: RunView) -> float:
    return round(min(100.0, 100.0 * run.step / run.steps), 2) if run.steps else 0.0
