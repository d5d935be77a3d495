"""Serves plotly.js, the bundle of it that knows flat charts alone: offline, kept by browsers for a year.

It is as its makers publish it (npm's plotly.js-cartesian-dist-min, MIT), but compressed. Of the whole library a browser
would parse three times as much before the first chart. To update it, take the file, its licence, and its digest in the
tests.
"""

import gzip
from functools import cache

from fastapi import APIRouter, Request, Response

from app.dashboard.rendering import STATIC

VERSION = "4.1.1"
URL = f"/static/vendor/plotly-cartesian-{VERSION}.min.js"

router = APIRouter(include_in_schema=False)


@router.get(URL)
def plotly_script(request: Request) -> Response:
    """The script; its address holds its version, so browsers never ask twice."""
    headers = {"Cache-Control": "public, max-age=31536000, immutable", "Vary": "Accept-Encoding"}
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(_compressed(), media_type="text/javascript", headers=headers | {"Content-Encoding": "gzip"})
    return Response(gzip.decompress(_compressed()), media_type="text/javascript", headers=headers)


@cache
def _compressed() -> bytes:
    return (STATIC / "vendor" / f"plotly-cartesian-{VERSION}.min.js.gz").read_bytes()
