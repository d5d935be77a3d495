"""Serves the plotly.js that ships inside the installed plotly package: offline, compressed once, cached for a year."""

import gzip
from functools import cache
from importlib.metadata import version
from importlib.resources import files

from fastapi import APIRouter, Request, Response

VERSION = version("plotly")
URL = f"/static/plotly-{VERSION}.min.js"

router = APIRouter(include_in_schema=False)


@router.get(URL)
def plotly_script(request: Request) -> Response:
    """The script; its address holds its version, so browsers never ask twice."""
    plain, compressed = _script()
    headers = {"Cache-Control": "public, max-age=31536000, immutable", "Vary": "Accept-Encoding"}
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(compressed, media_type="text/javascript", headers=headers | {"Content-Encoding": "gzip"})
    return Response(plain, media_type="text/javascript", headers=headers)


@cache
def _script() -> tuple[bytes, bytes]:
    plain = files("plotly").joinpath("package_data", "plotly.min.js").read_bytes()
    return plain, gzip.compress(plain, compresslevel=6, mtime=0)
