"""`/docs`, without the network: the installed Swagger UI, our own starting script, no inline script."""

from pathlib import Path

from fastapi import APIRouter, FastAPI, Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response
from swagger_ui_bundle import swagger_ui_path

from app.api.openapi import document
from app.deps import READ
from app.errors import NotFound

router = APIRouter(include_in_schema=False, dependencies=[READ])

_TYPES = {
    "swagger-ui.css": "text/css",
    "swagger-ui-bundle.js": "text/javascript",
    "favicon-32x32.png": "image/png",
}
"""The files that are served, and no others."""

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Gyrostat API</title>
<link rel="stylesheet" href="/docs/swagger-ui.css">
<link rel="icon" type="image/png" href="/docs/favicon-32x32.png">
</head>
<body>
<div id="swagger-ui"></div>
<noscript>This page needs JavaScript; <a href="/openapi.json">/openapi.json</a> does not.</noscript>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
"""

# The bundled Swagger UI knows OpenAPI 3.0 by name only; what we write of 3.1 it shows well all the same.
_START = """"use strict";
window.addEventListener("load", async () => {
  const spec = await (await fetch("/openapi.json")).json();
  window.ui = SwaggerUIBundle({
    spec: { ...spec, openapi: "3.0.3" },
    dom_id: "#swagger-ui",
    deepLinking: true,
    defaultModelsExpandDepth: 0,
    tryItOutEnabled: true,
    validatorUrl: null,
  });
});
"""


@router.get("/openapi.json")
async def description(request: Request) -> JSONResponse:
    """The document that the page shows."""
    return JSONResponse(request.app.openapi())


@router.get("/docs")
async def page() -> HTMLResponse:
    """The page."""
    return HTMLResponse(_PAGE)


@router.get("/docs/start.js")
async def start() -> Response:
    """The script that starts Swagger UI."""
    return Response(_START, media_type="text/javascript")


@router.get("/docs/{name}")
async def asset(name: str) -> FileResponse:
    """A file of the installed Swagger UI."""
    if name not in _TYPES:
        raise NotFound(f"there is no file {name[:100]!r} here; /docs is the page")
    return FileResponse(
        Path(str(swagger_ui_path)) / name,
        media_type=_TYPES[name],
        headers={"Cache-Control": "public, max-age=86400"},
    )


def describe(app: FastAPI) -> None:
    """Makes `/openapi.json` tell everything: tags, failures, an example of every body."""

    def openapi() -> dict[str, object]:
        if app.openapi_schema is None:
            app.openapi_schema = document(app)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
