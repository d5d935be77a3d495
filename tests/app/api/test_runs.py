"""`/v1/runs` over HTTP."""

from collections.abc import Iterator

import httpx
import pytest

from gyrostat.spec.presets import PRESETS
from tests.app.control import served


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with served(tmp_path_factory.mktemp("data")) as (_, url), httpx.Client(base_url=url) as client:
        yield client


def test_a_run_is_started_listed_changed_and_deleted(client: httpx.Client) -> None:
    answer = client.post("/v1/runs", json={"preset": "digits-mlp", "project": "tour", "tags": ["one"]})
    assert answer.status_code == 201, answer.text
    run = answer.json()
    assert answer.headers["location"] == f"/v1/runs/{run['id']}"
    assert run["created_at"].endswith("Z")
    listed = client.get("/v1/runs", params={"project": "tour", "state": ["queued", "running"], "tag": "one"}).json()
    assert (listed["next"], [item["id"] for item in listed["items"]]) == (None, [run["id"]])
    changed = client.patch(f"/v1/runs/{run['id']}", json={"notes": "looked at"}).json()
    assert (changed["notes"], changed["tags"]) == ("looked at", ["one"])
    assert client.post(f"/v1/runs/{run['id']}:pause").json()["state"] == "paused"
    assert client.post(f"/v1/runs/{run['id']}:resume").json()["state"] == "queued"
    assert client.post(f"/v1/runs/{run['id']}:stop").json()["state"] == "stopped"
    history = client.get(f"/v1/runs/{run['id']}/history").json()
    assert [row["new"] for row in history["transitions"]] == ["queued", "paused", "queued", "stopped"]
    assert client.get(f"/v1/runs/{run['id']}/checkpoints").json() == {"items": []}
    fork = client.post(f"/v1/runs/{run['id']}:fork", json={"patch": {"steps": 7}})
    assert (fork.status_code, fork.json()["steps"], fork.json()["parent"]) == (201, 7, run["id"])
    assert client.delete(f"/v1/runs/{run['id']}").status_code == 204
    assert client.get(f"/v1/runs/{run['id']}").status_code == 404
    assert client.delete(f"/v1/runs/{run['id']}").status_code == 404


def test_validation_answers_with_the_whole_spec_and_warnings(client: httpx.Client) -> None:
    deep = {**PRESETS["digits-mlp"].document, "model": {"kind": "mlp", "depth": 60, "activation": "sigmoid"}}
    answer = client.post("/v1/runs:validate", json={"spec": deep})
    assert answer.status_code == 200
    assert answer.json()["valid"] is True
    assert answer.json()["spec"]["seed"] == 0
    assert "vanish" in answer.json()["warnings"][0]["message"]


def test_validation_lists_every_problem(client: httpx.Client) -> None:
    broken = {**PRESETS["digits-mlp"].document, "steps": "many", "optimiser": {}, "rules": {"no_such_rule": {}}}
    answer = client.post("/v1/runs:validate", json={"spec": broken})
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    problems = {problem["path"]: problem["mend"] for problem in answer.json()["problems"]}
    assert set(problems) >= {"steps", "optimiser"}
    assert "did you mean 'optimizer'?" in problems["optimiser"]
    bare = client.post("/v1/runs:validate", json={"task": broken["task"]})
    assert bare.json()["problems"][0]["mend"].startswith("put it into `spec`; known here")
    unknown_rule = {**PRESETS["digits-mlp"].document, "rules": {"no_such_rule": {}}}
    answer = client.post("/v1/runs:validate", json={"spec": unknown_rule})
    assert answer.status_code == 422
    assert "no_such_rule" in answer.text


def test_the_same_key_makes_one_run(client: httpx.Client) -> None:
    asked = {"preset": "digits-mlp", "name": "once"}
    first, again = (client.post("/v1/runs", json=asked, headers={"Idempotency-Key": "k1"}) for _ in range(2))
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()
    other = client.post("/v1/runs", json={**asked, "name": "twice"}, headers={"Idempotency-Key": "k1"})
    assert other.status_code == 422
    assert "another body" in other.json()["detail"]
    run = first.json()["id"]
    forks = [client.post(f"/v1/runs/{run}:fork", json={}, headers={"Idempotency-Key": "k1"}) for _ in range(2)]
    assert forks[0].status_code == 201, "a key belongs to its route"
    assert forks[0].json()["id"] == forks[1].json()["id"] != run


def test_live_changes_need_a_training(client: httpx.Client) -> None:
    run = client.post("/v1/runs", json={"preset": "digits-mlp"}).json()["id"]
    answer = client.post(f"/v1/runs/{run}:control", json={"learning_rate_factor": 0.5})
    assert (answer.status_code, answer.json()["title"]) == (409, "Conflict")
    answer = client.post(f"/v1/runs/{run}:control", json={"learning_rate_factor": -1, "clip": 2})
    assert {problem["path"] for problem in answer.json()["problems"]} == {"learning_rate_factor", "clip"}


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ("limit=0", "query.limit"),
        ("order=size", "query.order"),
        ("cursor=x", "query.cursor"),
        ("state=odd", "query.state"),
    ],
)
def test_wrong_questions_are_told_which_part_is_wrong(client: httpx.Client, query: str, path: str) -> None:
    answer = client.get(f"/v1/runs?{query}")
    assert answer.status_code == 422
    assert answer.json()["problems"][0]["path"].startswith(path)
