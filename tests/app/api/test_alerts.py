"""`/v1/alerts` and `/v1/rules` over HTTP."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.app.control import served

PROBLEM = "application/problem+json"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with served(tmp_path_factory.mktemp("data")) as (_, url), httpx.Client(base_url=url) as client:
        yield client


@pytest.fixture(scope="module")
def sick(client: httpx.Client) -> dict[str, Any]:
    """The alert of an attached run whose loss became NaN."""
    run = client.post("/v1/runs", json={"attached": True}).json()["id"]
    numbered = {"producer": "test", "attempt": 1}
    layout = {"version": 1, "axes": {}, "metrics": [{"name": "loss.train", "unit": "1", "axis": "run"}]}
    answer = client.post(f"/v1/runs/{run}/layout", json={**numbered, "sequence": 1, "layout": layout})
    assert answer.status_code == 200, answer.text
    columns = [{"metric": "loss.train", "values": [2.3, "NaN"]}]
    batch = {**numbered, "sequence": 2, "layout": 1, "steps": [1, 2], "times": [1e9, 1e9 + 1], "columns": columns}
    answer = client.post(f"/v1/runs/{run}/frames", json=batch)
    assert answer.json()["tighten"] is True, answer.text
    (alert,) = client.get("/v1/alerts", params={"run": run}).json()["items"]
    return dict(alert)


def test_an_alert_has_everything_that_a_page_shows(client: httpx.Client, sick: dict[str, Any]) -> None:
    assert (sick["kind"], sick["rule"], sick["severity"], sick["state"]) == (
        "non_finite",
        "non_finite",
        "critical",
        "open",
    )
    assert sick["evidence"][0]["value"] == "NaN"
    assert sick["onset_step"] == 2
    detail = client.get(f"/v1/alerts/{sick['id']}").json()
    assert detail["changes"][0]["kind"] == "opened"
    assert detail["explanation"]
    assert client.get(f"/v1/alerts/{sick['id']}/remedies").json() == {"items": [], "next": None}


def test_alerts_are_filtered(client: httpx.Client, sick: dict[str, Any]) -> None:
    def ids(**params: Any) -> list[str]:
        return [item["id"] for item in client.get("/v1/alerts", params=params).json()["items"]]

    assert ids(state=["open", "acknowledged"], severity="critical", limit=1) == [sick["id"]]
    assert ids(severity="info") == ids(run="other") == ids(kind="divergence") == []
    for wrong in ({"state": "shut"}, {"severity": "fatal"}, {"limit": 0}, {"cursor": "x"}):
        answer = client.get("/v1/alerts", params=wrong)
        assert (answer.status_code, answer.headers["content-type"]) == (422, PROBLEM)


def test_it_is_acknowledged_muted_and_resolved(client: httpx.Client, sick: dict[str, Any]) -> None:
    path = f"/v1/alerts/{sick['id']}"
    assert client.post(f"{path}:acknowledge", json={"note": "seen"}).json()["state"] == "acknowledged"
    assert client.post(f"{path}:mute").json()["muted"] is True
    assert client.post(f"{path}:mute", json={"muted": False}).json()["muted"] is False
    resolved = client.post(f"{path}:resolve").json()
    assert resolved["state"] == "resolved"
    assert [change["kind"] for change in resolved["changes"]] == [
        "opened",
        "acknowledged",
        "muted",
        "unmuted",
        "resolved",
    ]
    assert client.post(f"{path}:acknowledge").status_code == 409
    assert client.post(f"{path}:mute", json={"mute": True}).status_code == 422


def test_remedies_that_are_not_there_and_bodies_that_are_none(client: httpx.Client, sick: dict[str, Any]) -> None:
    path = f"/v1/alerts/{sick['id']}/remedies"
    assert client.post(f"{path}/0:apply", json={"mode": "fork"}).status_code == 404
    assert client.post(f"{path}/-1:apply", json={"mode": "fork"}).status_code == 422
    assert client.post(f"{path}/0:apply", json={"mode": "sideways"}).status_code == 422
    for method, where in (("GET", ""), ("GET", "/remedies"), ("POST", ":resolve"), ("POST", "/remedies/0:apply")):
        answer = client.request(method, f"/v1/alerts/nope{where}")
        assert (answer.status_code, answer.headers["content-type"]) == (404, PROBLEM)


def test_detectors_and_rules_are_listed_and_rules_are_changed(client: httpx.Client) -> None:
    detectors = client.get("/v1/detectors").json()["items"]
    assert {"kind", "title", "severity", "metrics", "explanation", "source", "hold", "quiet", "settings"} == set(
        detectors[0]
    )
    body = {"rules": {"loss_spike": {"enabled": False, "settings": {"sigmas": 8}}}}
    changed = {rule["kind"]: rule for rule in client.put("/v1/rules", json=body).json()["items"]}
    assert (changed["loss_spike"]["enabled"], changed["loss_spike"]["settings"]["sigmas"]) == (False, 8)
    assert client.get("/v1/rules").json()["items"] == list(changed.values())
    wrong = client.put("/v1/rules", json={"rules": {"los_spike": {}}})
    assert wrong.status_code == 422
    assert "did you mean 'loss_spike'" in wrong.json()["problems"][0]["mend"]
    assert not any(rule["changed"] for rule in client.put("/v1/rules", json={"rules": {}}).json()["items"])


def test_a_backtest_replays_a_stored_run(client: httpx.Client, sick: dict[str, Any]) -> None:
    answer = client.post("/v1/rules:backtest", json={"run": sick["run"], "rule": "non_finite"}).json()
    assert (answer["frames"], [item["step"] for item in answer["items"]]) == (2, [2])
    assert answer["items"][0]["evidence"][0]["value"] == "NaN"
    wrong = {"run": sick["run"], "rule": "divergence", "settings": {"factor": 0}}
    assert client.post("/v1/rules:backtest", json=wrong).status_code == 422
