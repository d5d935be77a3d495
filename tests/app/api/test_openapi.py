"""The API's description: complete for every route, and true."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.main import create_app
from app.settings import AppSettings
from tests.app.control import served

Operation = tuple[str, str, dict[str, Any]]

DOCUMENT = create_app(AppSettings(data=Path("never-opened"))).openapi()
OPERATIONS: list[Operation] = [
    (method, path, operation)
    for path, operations in DOCUMENT["paths"].items()
    for method, operation in operations.items()
]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with served(tmp_path_factory.mktemp("data")) as (_, url), httpx.Client(base_url=url) as client:
        yield client


@pytest.mark.parametrize(("method", "path", "operation"), OPERATIONS, ids=[f"{m} {p}" for m, p, _ in OPERATIONS])
def test_every_operation_is_told_in_full(method: str, path: str, operation: dict[str, Any]) -> None:
    assert operation["summary"]
    assert operation["summary"] != operation["operationId"]
    assert len(operation["description"]) > 20
    assert operation["tags"]
    for parameter in operation.get("parameters", []):
        assert parameter.get("description") or parameter["schema"].get("description"), parameter["name"]
    contents = [operation.get("requestBody", {}).get("content", {})]
    contents += [response.get("content", {}) for response in operation["responses"].values()]
    for content in contents:
        for media, described in content.items():
            assert "example" in described or "examples" in described, media
    declared = set(operation["responses"])
    assert {"400", "401", "422", "500", "503"} <= declared
    if method != "get":
        assert {"403", "413", "415"} <= declared
    if "{" in path:
        assert "404" in declared
    for status, response in operation["responses"].items():
        assert response["description"]
        if status >= "400":
            assert list(response["content"]) == ["application/problem+json"]


def test_every_tag_is_described() -> None:
    used = {tag for _, _, operation in OPERATIONS for tag in operation["tags"]}
    assert used <= {tag["name"] for tag in DOCUMENT["tags"]}


def test_every_reference_leads_somewhere() -> None:
    def references(value: Any) -> Iterator[str]:
        if isinstance(value, dict):
            if isinstance(value.get("$ref"), str):
                yield value["$ref"]
            for item in value.values():
                yield from references(item)
        elif isinstance(value, list):
            for item in value:
                yield from references(item)

    schemas = DOCUMENT["components"]["schemas"]
    for reference in references({"paths": DOCUMENT["paths"], "components": DOCUMENT["components"]}):
        if reference.startswith("#/components/schemas/"):
            assert reference.rpartition("/")[2] in schemas, reference


@pytest.mark.parametrize("path", ["/v1/runs", "/v1/runs:validate"])
def test_the_examples_of_creates_are_accepted(client: httpx.Client, path: str) -> None:
    body = DOCUMENT["paths"][path]["post"]["requestBody"]["content"]["application/json"]["example"]
    answer = client.post(path, json=body)
    assert answer.status_code in (200, 201), answer.text


def test_the_page_needs_nothing_from_elsewhere_and_no_inline_script(client: httpx.Client) -> None:
    page = client.get("/docs")
    assert page.status_code == 200
    assert "http://" not in page.text
    assert "https://" not in page.text
    assert "<script>" not in page.text
    for asset in ("swagger-ui.css", "swagger-ui-bundle.js", "start.js", "favicon-32x32.png"):
        answer = client.get(f"/docs/{asset}")
        assert answer.status_code == 200
        assert len(answer.content) > 100
    assert "script-src 'self';" in page.headers["content-security-policy"]
    for other in ("swagger-initializer.js", "..%2f__init__.py", "%2e%2e%2fsetup.py"):
        assert client.get(f"/docs/{other}").status_code == 404


def test_the_description_itself_is_served(client: httpx.Client) -> None:
    assert client.get("/openapi.json").json()["info"]["title"] == "Gyrostat"
