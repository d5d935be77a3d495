"""Samples over HTTP: sent as an event, listed, and served as the picture that they are and nothing else."""

import base64
from collections.abc import Iterator

import httpx
import numpy as np
import pytest

from gyrostat.wire import png
from tests.app.control import served

PICTURE = png.encode(np.full((4, 6), 7, np.uint8))


@pytest.fixture(scope="module")
def http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with served(tmp_path_factory.mktemp("data")) as (_, url), httpx.Client(base_url=url) as client:
        yield client


def _attached(http: httpx.Client) -> str:
    return str(http.post("/v1/runs", json={"attached": True, "name": "mine"}).json()["id"])


def _send(http: httpx.Client, run: str, data: bytes, caption: str = "") -> httpx.Response:
    content = {"png": base64.b64encode(data).decode(), "caption": caption}
    event = {"kind": "samples", "at": 1.7e9, "step": 20, "data": content}
    return http.post(f"/v1/runs/{run}/events", json={"producer": "t", "sequence": 1, "attempt": 1, "events": [event]})


def test_samples_are_listed_and_read_under_their_step(http: httpx.Client) -> None:
    run = _attached(http)
    assert _send(http, run, PICTURE, "a ring").json()["status"] == "stored"
    (item,) = http.get(f"/v1/runs/{run}/samples").json()["items"]
    assert (item["step"], item["width"], item["height"], item["caption"]) == (20, 6, 4, "a ring")
    answer = http.get(f"/v1/runs/{run}/samples/20.png")
    assert answer.content == PICTURE
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert http.get(f"/v1/runs/{run}/samples/21.png").status_code == 404
    assert http.get(f"/v1/runs/{run}/samples/x.png").status_code == 422
    assert http.get("/v1/runs/gone/samples").status_code == 404


def test_what_is_no_picture_is_refused_and_nothing_of_it_is_kept(http: httpx.Client) -> None:
    run = _attached(http)
    answer = _send(http, run, b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>")
    assert answer.status_code == 422
    assert answer.json()["problems"][0]["path"] == "events.data.png"
    assert http.get(f"/v1/runs/{run}/samples").json()["items"] == []


def test_a_hostile_caption_is_text_on_the_page(http: httpx.Client) -> None:
    run = _attached(http)
    _send(http, run, PICTURE, '"><script>alert(1)</script>')
    page = http.get(f"/runs/{run}").text
    assert f"/v1/runs/{run}/samples/20.png" in page
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page
