"""Whatever goes wrong is a problem document, and tells nothing of the inside."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from app.errors import Invalid, StorageFull
from app.main import create_app
from app.settings import AppSettings
from gyrostat.spec.checks import Problem
from tests.app.control import served


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with served(tmp_path_factory.mktemp("data")) as (server, url), httpx.Client(base_url=url) as client:

        @server.app.get("/break")
        def break_down() -> None:
            raise RuntimeError("secret path /etc/gyrostat and a password")

        @server.app.get("/named")
        def named(name: str) -> None:
            raise Invalid(f"nobody knows {name}")

        @server.app.get("/full")
        def full() -> None:
            raise StorageFull("the disk is full; nothing was stored", retry_after=29.2)

        yield client


def problem(answer: httpx.Response, status: int, kind: str) -> dict[str, object]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    document = answer.json()
    assert (document["status"], document["type"]) == (status, f"urn:gyrostat:problem:{kind}")
    assert document["title"]
    assert document["detail"]
    return dict(document)


def test_no_such_route(client: httpx.Client) -> None:
    assert "/openapi.json" in str(problem(client.get("/v1/nothing"), 404, "not-found")["detail"])


def test_no_such_method(client: httpx.Client) -> None:
    answer = client.put("/v1/runs", json={})
    told = problem(answer, 405, "method-not-allowed")["detail"]
    assert told == "PUT is not for /v1/runs; allowed: GET, POST"
    assert answer.headers["allow"] == "GET, POST"
    assert client.post("/v1/runs/nothing").headers["allow"] == "DELETE, GET, PATCH"


def test_no_such_run(client: httpx.Client) -> None:
    problem(client.get("/v1/runs/nothing"), 404, "not-found")
    problem(client.get("/v1/runs/nothing/events"), 404, "not-found")
    assert "by POST" in problem(client.get("/v1/runs/nothing:pause"), 404, "not-found")["detail"]
    problem(client.get("/v1/runs/%00"), 404, "not-found")
    problem(client.get("/v1/runs/" + "x" * 65), 422, "invalid")


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'"text"', b"[]", b"null", b"1"])
def test_garbage_for_json(client: httpx.Client, body: bytes) -> None:
    answer = client.post("/v1/runs", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422), answer.text
    problem(answer, answer.status_code, "bad-request" if answer.status_code == 400 else "invalid")


def test_nan_in_json(client: httpx.Client) -> None:
    answer = client.post("/v1/runs", content=b'{"spec": {"steps": NaN}}', headers={"Content-Type": "application/json"})
    assert "NaN" in str(problem(answer, 400, "bad-request")["detail"])


def test_an_infinite_number_in_json(client: httpx.Client) -> None:
    body = b'{"preset": "digits-mlp", "patch": {"optimizer": {"learning_rate": 1e999}}}'
    answer = client.post("/v1/runs", content=body, headers={"Content-Type": "application/json"})
    assert "optimizer.learning_rate" in str(problem(answer, 422, "invalid")["problems"])


def test_a_text_that_pretends_to_be_simple(client: httpx.Client) -> None:
    answer = client.post("/v1/runs", content=b'{"preset": "digits-mlp"}', headers={"Content-Type": "text/plain"})
    problem(answer, 415, "unsupported-media-type")


def test_several_problems_are_told_together(client: httpx.Client) -> None:
    answer = client.post("/v1/runs", json={"preset": 7, "tags": "x", "names": "y"})
    problems = problem(answer, 422, "invalid")["problems"]
    assert isinstance(problems, list)
    assert {item["path"] for item in problems} == {"preset", "tags", "names"}
    assert "did you mean 'name'?" in next(item["mend"] for item in problems if item["path"] == "names")


def test_a_parameter_that_there_is_not_is_told_and_not_left_out(client: httpx.Client) -> None:
    answer = client.get("/v1/runs", params={"limt": 5, "state": "running", "x": "1"})
    document = problem(answer, 422, "invalid")
    assert document["detail"] == "unknown in the query: query.limt, query.x"
    known = "known here: cursor, limit, order, parent, project, q, state, tag"
    assert document["problems"] == [
        {
            "path": "query.limt",
            "value": "5",
            "message": "there is no such parameter",
            "mend": f"did you mean 'limit'? {known}",
        },
        {"path": "query.x", "value": "1", "message": "there is no such parameter", "mend": f"remove it; {known}"},
    ]
    told = problem(client.post("/v1/runs:validate?strict=1", json={}), 422, "invalid")["problems"]
    assert told == [
        {
            "path": "query.strict",
            "value": "1",
            "message": "there is no such parameter",
            "mend": "remove it; there are none here",
        }
    ]
    assert client.get("/v1/runs", params={"limit": 5, "state": "running"}).status_code == 200
    assert client.get("/?campaign=letter").status_code == 200  # pages are linked to with whatever


def test_so_it_is_behind_a_proxy_that_serves_it_under_a_path(tmp_path: Path) -> None:
    transport = httpx.ASGITransport(create_app(AppSettings(data=tmp_path)), root_path="/watch")

    async def asked() -> httpx.Response:
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as client:
            return await client.get("/watch/v1/runs?limt=5")

    assert problem(asyncio.run(asked()), 422, "invalid")["detail"] == "unknown in the query: query.limt"


def test_what_nobody_expected_is_told_by_a_number_alone(client: httpx.Client) -> None:
    document = problem(client.get("/break"), 500, "internal")
    assert "secret" not in str(document)
    assert str(document["incident"]) in str(document["detail"])


def test_a_failure_that_passes_says_when_to_come_back(client: httpx.Client) -> None:
    answer = client.get("/full")
    problem(answer, 507, "storage-full")
    assert answer.headers["retry-after"] == "30"


def test_an_answer_does_not_grow_with_the_names_that_were_made_up() -> None:
    problem = Problem(path="x" * 100_000, value="y" * 100_000, message="is not declared", mend="declare it")
    assert len(str(Invalid("1 column", problems=[problem]).document())) < 1000


def test_a_text_in_an_answer_is_as_long_as_it_is_worth(client: httpx.Client) -> None:
    document = problem(client.get("/named", params={"name": "x" * 50_000 + "end"}), 422, "invalid")
    told = str(document["detail"])
    assert len(told) < 2000
    assert told.startswith("nobody knows xxx")
    assert "50016 characters" in told
    assert told.endswith("end")


def test_a_foreign_name(client: httpx.Client) -> None:
    problem(client.get("/healthz", headers={"Host": "evil.example"}), 421, "host-not-allowed")


def test_a_foreign_page(client: httpx.Client) -> None:
    answer = client.delete("/v1/runs/x", headers={"Origin": "https://evil.example"})
    problem(answer, 403, "forbidden")
