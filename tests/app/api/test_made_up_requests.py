"""Requests that schemathesis makes up from the API's own description: answered as described, and never with a 5xx.

GYROSTAT_MADE_UP says how many are made up for each operation; `make hostile` makes up 100.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from app.main import create_app
from app.settings import AppSettings
from app.storage.database import Database
from tests.app.alarmed import diverge, trained
from tests.app.control import served

COUNT = int(os.environ.get("GYROSTAT_MADE_UP", "3"))
CHECKS: list[Any] = [
    not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance,
]  # fmt: skip
DOCUMENT = create_app(AppSettings(data=Path("never-opened"))).openapi()
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT)
# schemathesis rewrites `prefixItems` (of `missing`) to what its own validator of OpenAPI 3.1 then refuses
UNCHECKED = {("post", f"/v1/runs/{{run_id}}/{route}") for route in ("frames", "layout", "events")}
ENDLESS = {("get", "/v1/events"), ("get", "/v1/runs/{run_id}/events")}
OPERATIONS = sorted((method, path) for path, methods in DOCUMENT["paths"].items() for method in methods)


class Target:
    """A backend with a run that diverged, and the ids of what there is."""

    def __init__(self, url: str, ids: dict[str, Any]) -> None:
        self.url, self.ids = url, ids

    def known(self, path: str) -> dict[str, Any] | None:
        """Path parameters of what is there; None where some of it is not."""
        names = re.findall(r"{(\w+)}", path)
        return {name: self.ids[name] for name in names} if set(names) <= set(self.ids) else None


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    data = tmp_path_factory.mktemp("made-up")
    with served(data, lease_seconds=3600, unreachable_seconds=1800, channel_allow=["127.0.0.1"]) as (server, url):
        database: Database = server.app.state.database
        diverge(trained(database))
        with httpx.Client(base_url=url) as client:
            nobody = {"kind": "webhook", "url": "http://127.0.0.1:9/"}
            client.post("/v1/channels", json={"name": "nobody", "target": nobody}).raise_for_status()
            kinds = ("runs", "alerts", "workers", "channels")
            found = {f"{kind[:-1]}_id": client.get(f"/v1/{kind}").json()["items"][0]["id"] for kind in kinds}
        yield Target(url, {**found, "metric": "loss.train", "number": 0})


@pytest.mark.parametrize(("method", "path"), [each for each in OPERATIONS if each not in ENDLESS])
def test_whatever_is_asked_is_answered_as_described(method: str, path: str, target: Target) -> None:
    operation: Any = SCHEMA[path][method]
    ways = [operation.as_strategy(generation_mode=mode) for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)]
    if (known := target.known(path)) is not None and method != "delete":
        ways.append(operation.as_strategy(path_parameters=known))
    made = 0

    @settings(
        max_examples=COUNT, deadline=None, database=None, derandomize=True, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(case=st.one_of(ways))
    def ask(case: Any) -> None:
        nonlocal made
        made += 1
        if case.query and "wait" in case.query:
            case.query["wait"] = 0  # else a claim waits for a minute
        checks = CHECKS[:-1] if (method, path) in UNCHECKED else CHECKS
        case.call_and_validate(base_url=target.url, checks=checks)

    ask()
    assert made >= 1
