"""The OpenAPI document: what FastAPI derives, with every failure declared and an example of every body."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from app.api.examples import example_of
from app.problems import MEDIA_TYPE

TAGS = [
    {"name": "runs", "description": "Start, watch over and steer trainings"},
    {"name": "frames", "description": "Measurements and events, as a training process sends them"},
    {"name": "metrics", "description": "What was measured, at the width that a chart needs"},
    {"name": "samples", "description": "Pictures of what a generative model makes"},
    {"name": "measurements", "description": "What is measured once in a running training, when somebody asks"},
    {"name": "alerts", "description": "What rules found, with evidence and remedies"},
    {"name": "rules", "description": "What is watched for, and from which threshold on"},
    {"name": "events", "description": "Server-sent events"},
    {"name": "workers", "description": "Processes that claim queued runs"},
    {"name": "tokens", "description": "Who may do what, where the service asks for a token"},
    {"name": "channels", "description": "Where alerts are told: webhooks, mail, apprise"},
    {"name": "catalogue", "description": "The toolkit"},
    {"name": "health", "description": "The service itself"},
]

SUMMARY = (
    "Gyrostat trains networks, watches every layer, tells what is wrong and what to change. Failures are problem "
    "documents (RFC 9457); lists answer `items` and `next`; non-finite numbers in JSON are the strings `NaN`, "
    "`Infinity` and `-Infinity`."
)

PROBLEM = {
    "type": "object",
    "description": "A failure (RFC 9457)",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "description": "Which kind of failure, as a URI"},
        "title": {"type": "string", "description": "The kind in words"},
        "status": {"type": "integer", "description": "The HTTP status"},
        "detail": {"type": "string", "description": "What was wrong, what was got, what to do"},
        "problems": {
            "type": "array",
            "description": "Everything that was wrong, not only the first",
            "items": {
                "type": "object",
                "required": ["path", "message", "mend"],
                "properties": {
                    "path": {"type": "string", "description": "Dotted path of the field"},
                    "value": {"description": "What was got"},
                    "message": {"type": "string", "description": "What is wrong"},
                    "mend": {"type": "string", "description": "What to do"},
                },
            },
        },
    },
}

FAILURES: dict[str, tuple[str, str, str]] = {
    "400": (
        "bad-request",
        "Bad request",
        "the body is not JSON: Expecting value at character 0; send one JSON document",
    ),
    "401": ("unauthorized", "Unauthorized", "this service needs its token; send `Authorization: Bearer TOKEN`"),
    "403": (
        "missing-scope",
        "Missing scope",
        "this needs a token with the scope `run`, and 'worker in room 4' has `ingest`; have one made by "
        "`gyrostat token create`",
    ),
    "404": ("not-found", "Not found", "there is no run '5f0c2f9d3b1a4e77'; GET /v1/runs lists those there are"),
    "408": ("request-timeout", "Request timeout", "the body did not arrive within 30 s; send it again"),
    "409": ("conflict", "Conflict", "run 5f0c2f9d3b1a4e77 is finished and cannot become paused"),
    "410": ("gone", "Gone", "the run was deleted"),
    "413": ("too-large", "Body too large", "the body has 9000000 bytes, the limit is 8388608; send smaller batches"),
    "415": (
        "unsupported-media-type",
        "Unsupported media type",
        "Content-Type is 'text/plain'; application/json is read",
    ),
    "422": ("invalid", "Invalid", "the spec has 1 problem"),
    "429": (
        "too-many",
        "Too many requests",
        "too many wrong tokens came from this address; wait, and send the right one",
    ),
    "500": (
        "internal",
        "Internal error",
        "something unexpected went wrong; the backend's log has it under 9f2c51d07a3e",
    ),
    "503": ("unavailable", "Unavailable", "the database does not answer; try again"),
    "507": ("storage-full", "Storage full", "the disk is full; nothing was stored"),
}
ALWAYS = ("400", "401", "403", "422", "429", "500", "503")
OF_CHANGES = ("404", "408", "409", "413", "415", "507")
EXAMPLE_PROBLEM = {
    "path": "model.width",
    "value": -3,
    "message": "Input should be greater than or equal to 1",
    "mend": "use a value of at least 1",
}


def document(app: FastAPI) -> dict[str, Any]:
    """The whole document."""
    schema = get_openapi(
        title=app.title,
        version=app.version,
        description=SUMMARY,
        routes=app.routes,
        tags=TAGS,
        separate_input_output_schemas=False,
    )
    components = schema.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    schemas["Failure_RFC9457"] = PROBLEM
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            _declare_failures(path, method, operation)
            _give_examples(operation, schemas)
    return schema


def _declare_failures(path: str, method: str, operation: dict[str, Any]) -> None:
    responses = operation.setdefault("responses", {})
    wanted = {*ALWAYS, *(OF_CHANGES if method != "get" else ()), *(("404",) if "{" in path else ())}
    wanted |= {status for status in responses if status in FAILURES}
    for status in sorted(wanted):
        responses[status] = {
            "description": responses.get(status, {}).get("description") or FAILURES[status][1],
            "content": {
                MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Failure_RFC9457"}, "example": _problem(status)}
            },
        }
        if status == "422":  # FastAPI's own description of it is not ours
            responses[status]["description"] = "The request can be read but not used; `problems` lists everything"


def _problem(status: str) -> dict[str, Any]:
    kind, title, detail = FAILURES[status]
    example: dict[str, Any] = {
        "type": f"urn:gyrostat:problem:{kind}",
        "title": title,
        "status": int(status),
        "detail": detail,
    }
    if status == "422":
        example["problems"] = [EXAMPLE_PROBLEM]
    return example


def _give_examples(operation: dict[str, Any], schemas: dict[str, Any]) -> None:
    contents = [operation.get("requestBody", {}).get("content", {})]
    contents += [response.get("content", {}) for response in operation["responses"].values()]
    for content in contents:
        for media in content.values():
            if "example" not in media and "examples" not in media and "schema" in media:
                media["example"] = example_of(media["schema"], schemas)
