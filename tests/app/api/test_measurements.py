"""`:measure` and `/measurements` over HTTP: strict requests, problem documents, results with their values."""

import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from app.main import create_app
from app.settings import AppSettings
from gyrostat.client import ApiError, Client
from tests.app.control import served
from tests.app.dashboard.browser.training import Training


@pytest.fixture(scope="module")
def http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    patience = {"lease_seconds": 600, "unreachable_seconds": 300}
    with (
        served(tmp_path_factory.mktemp("data"), **patience) as (_, url),
        httpx.Client(base_url=url, timeout=60) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def training(http: httpx.Client) -> Training:
    return Training(http, "measured")


def measure(http: httpx.Client, run: str, body: Any, **headers: str) -> httpx.Response:
    return http.post(f"/v1/runs/{run}:measure", json=body, headers=headers)


def test_a_measurement_is_asked_for_reported_listed_and_read(http: httpx.Client, training: Training) -> None:
    answer = measure(http, training.run, {"kind": "landscape", "points": 3, "reach": 2})
    assert answer.status_code == 202, answer.text
    asked = answer.json()
    assert asked["state"] == "waiting"
    assert asked["settings"] == {"kind": "landscape", "dimensions": 1, "reach": 2.0, "points": 3, "seed": 0}
    place = f"/v1/runs/{training.run}/measurements"
    assert http.get(f"{place}/{asked['id']}").json()["values"] is None
    losses = ["NaN", 0.5, "Infinity"]
    training.event(
        "measurement",
        id=asked["id"],
        settings=asked["settings"],
        seconds=0.5,
        samples=64,
        values={"positions": [-2, 0, 2], "losses": losses},
    )
    (item,) = http.get(place).json()["items"]
    assert (item["id"], item["state"], item["seconds"]) == (asked["id"], "done", 0.5)
    assert "values" not in item
    assert http.get(f"{place}/{asked['id']}").json()["values"] == {"positions": [-2, 0, 2], "losses": losses}


def test_a_repeated_request_asks_once(http: httpx.Client, training: Training) -> None:
    body = {"kind": "spectral_density"}
    one, two = (measure(http, training.run, body, **{"Idempotency-Key": "once"}) for _ in range(2))
    assert one.json() == two.json()
    assert measure(http, training.run, body).json()["id"] != one.json()["id"]


@pytest.mark.parametrize(
    ("body", "path", "words"),
    [
        ({}, "kind", "use one of landscape, spectral_density, cka, ntk"),
        ({"kind": "cka", "seed": 1}, "seed", "samples"),
        ({"kind": "landscap"}, "kind", "did you mean 'landscape'"),
        ({"kind": "landscape", "points": 4}, "(whole document)", "odd"),
        ({"kind": "landscape", "dimensions": 2, "points": 101}, "(whole document)", "at most 51"),
        ({"kind": "landscape", "dimensions": 3}, "dimensions", "1 or 2"),
        ({"kind": "landscape", "reach": 0}, "reach", "above 0"),
        ({"kind": "landscape", "steps": 4}, "steps", "points"),
        ({"kind": "spectral_density", "probes": 1}, "probes", "at least 2"),
        ({"kind": "spectral_density", "steps": 1000}, "steps", "at most 128"),
        ({"kind": "spectral_density", "seed": "7"}, "seed", "without quotes"),
        ([], "(whole document)", "object"),
    ],
)
def test_what_cannot_be_measured_is_refused_with_its_mend(
    http: httpx.Client, training: Training, body: Any, path: str, words: str
) -> None:
    answer = measure(http, training.run, body)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    (problem,) = answer.json()["problems"]
    assert problem["path"] == path
    assert words in f"{problem['message']} {problem['mend']}"


def test_runs_that_are_not_there_or_not_trained_are_told_apart(http: httpx.Client, training: Training) -> None:
    body = {"kind": "landscape"}
    assert measure(http, "gone", body).status_code == 404
    assert http.get("/v1/runs/gone/measurements").status_code == 404
    assert http.get(f"/v1/runs/{training.run}/measurements/none").status_code == 404
    attached = http.post("/v1/runs", json={"attached": True}).json()["id"]
    refused = measure(http, attached, body)
    assert refused.status_code == 409
    assert "attached from outside" in refused.json()["detail"]


def test_a_page_of_another_origin_asks_for_nothing(http: httpx.Client, training: Training) -> None:
    answer = measure(http, training.run, {"kind": "landscape"}, Origin="https://elsewhere.example")
    assert answer.status_code == 403


def test_the_example_of_the_description_is_accepted(http: httpx.Client, tmp_path: Any) -> None:
    document = create_app(AppSettings(data=tmp_path)).openapi()
    content = document["paths"]["/v1/runs/{run_id}:measure"]["post"]["requestBody"]["content"]["application/json"]
    (example,) = content.get("examples") or content["schema"]["examples"]
    assert measure(http, Training(http, "of the example").run, example).status_code == 202


def test_the_client_asks_waits_and_reads(http: httpx.Client) -> None:
    training = Training(http, "of the client")
    with Client(str(http.base_url)) as client:
        asked = client.measure(training.run, "landscape", points=3)
        assert asked["state"] == "waiting"
        with pytest.raises(TimeoutError, match=r"has not measured its spectral_density within 0\.2 s"):
            client.measure(training.run, "spectral_density", wait=0.2)

        def answer() -> None:
            while len(waiting := [m for m in client.measurements(training.run) if m["state"] == "waiting"]) < 3:
                pass
            told = {"seconds": 0.5, "samples": 64, "values": {"positions": [-1, 0, 1], "losses": [2, 1, 3]}}
            training.event("measurement", id=waiting[0]["id"], settings=waiting[0]["settings"], **told)

        answering = threading.Thread(target=answer)
        answering.start()
        found = client.measure(training.run, "landscape", points=3, seed=4, wait=30)
        answering.join()
        assert (found["state"], found["settings"]["seed"]) == ("done", 4)
        assert found["values"]["losses"] == [2, 1, 3]
        assert client.measurement(training.run, asked["id"])["values"] is None
        assert [m["state"] for m in client.measurements(training.run)] == ["done", "waiting", "waiting"]
        with pytest.raises(ApiError, match="points"):
            client.measure(training.run, "landscape", points=1)
