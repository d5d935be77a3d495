"""The log on standard error: one line for each thing that happened, with the request and the run it happened in.

Everything is logged by the standard library's loggers, with what belongs to it in `extra`.
"""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any, Literal

import structlog


def configure(form: Literal["json", "text"], level: str) -> None:
    """Makes every logger of the process write to standard error."""
    is_json = form == "json"
    render: Any = structlog.processors.JSONRenderer(default=str)
    if not is_json:
        render = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _without_colours, render],
            foreign_pre_chain=[
                structlog.contextvars.merge_contextvars,
                structlog.stdlib.ExtraAdder(),
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                structlog.stdlib.add_log_level,
                structlog.stdlib.add_logger_name,
                *([structlog.processors.format_exc_info] if is_json else []),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # what other libraries say of their inner life is no part of it, whatever the level
    for name in ("alembic", "asyncio", "httpcore", "httpx", "sqlalchemy", "sse_starlette"):
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


def _without_colours(logger: Any, method: str, entry: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    entry.pop("color_message", None)
    return entry
