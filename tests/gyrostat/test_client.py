import math
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Annotated, Any

import numpy as np
import pytest
import uvicorn
from fastapi import Body, FastAPI, Header, Query, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response

from gyrostat.client import ApiError, Client, Unreachable
from gyrostat.spec.parse import SpecError, parse
from gyrostat.spec.presets import PRESETS
from gyrostat.wire import values
from gyrostat.wire.values import ABSENT
from tests.gyrostat.backend import ROOT

SERIES = np.array([[0.1, 2.5, ABSENT], [np.nan, -np.inf, 1e-38], [np.inf, 0, 3]], dtype=np.float32)


def refusal(status: int, title: str, detail: str, **more: Any) -> Response:
    document = {"type": "urn:x", "title": title, "status": status, "detail": detail, **more}
    return JSONResponse(document, status, media_type="application/problem+json")


def create_app() -> FastAPI:
    """The routes that the client uses, in the shapes of DESIGN section 4, over a dictionary."""
    app = FastAPI()
    app.state.runs, app.state.keys, app.state.seen = {}, [], []
    runs: dict[str, dict[str, Any]] = app.state.runs

    @app.middleware("http")
    async def guard(request: Request, call_next: Any) -> Any:
        app.state.seen.append(dict(request.query_params))
        if request.headers.get("Authorization") != "Bearer secret":
            return refusal(401, "Unauthorized", "send a token")
        return await call_next(request)

    def add(document: dict[str, Any], **more: Any) -> dict[str, Any]:
        run = {"id": f"r{len(runs)}", "state": "running", "spec": document, **more}
        runs[run["id"]] = run
        return run

    @app.post("/v1/runs", status_code=201)
    def start(body: Annotated[dict[str, Any], Body()], idempotency_key: Annotated[str, Header()]) -> Any:
        app.state.keys.append(idempotency_key)
        document = PRESETS[body.pop("preset")].document if "preset" in body else body.pop("spec")
        try:
            spec = parse(document).spec
        except SpecError as error:
            found = [vars(entry) for entry in error.problems]
            return refusal(422, "Invalid", f"the spec has {len(found)} problems", problems=found)
        return add(spec.model_dump(mode="json"), **body)

    @app.get("/v1/runs")
    def listed(cursor: int = 0, limit: int = 2, project: str | None = None) -> Any:
        found = [run for run in runs.values() if project in (None, run.get("project"))]
        following = cursor + limit
        return {"items": found[cursor:following], "next": str(following) if following < len(found) else None}

    @app.get("/v1/runs/{run}")
    def one(run: str) -> Any:
        if run not in runs:
            return refusal(404, "Not found", f"there is no run {run!r}")
        states = runs[run].get("coming", [])
        if states:
            runs[run]["state"] = states.pop(0)
        return runs[run]

    @app.post("/v1/runs/{run}:fork", status_code=201)
    def fork(run: str, body: Annotated[dict[str, Any], Body()]) -> Any:
        return add(runs[run]["spec"], parent=run, **body)

    @app.post("/v1/runs/{run}:{action}")
    def steer(run: str, action: str) -> Any:
        runs[run]["state"] = {"stop": "stopped", "pause": "paused", "resume": "queued"}[action]
        return runs[run]

    @app.get("/v1/runs/{run}/metrics")
    def metrics(run: str) -> Any:
        return {"items": [{"name": "gradient.norm", "axis": "parameter", "count": 3}]}

    @app.get("/v1/runs/page/metrics/html")
    def html() -> Any:
        return HTMLResponse("<h1>log in</h1>")

    @app.get("/v1/runs/{run}/metrics/{metric}")
    def series(run: str, metric: str, first: Annotated[int, Query(alias="from")] = 0) -> Any:
        scalar = metric == "loss.train"
        if not scalar and metric != "gradient.norm":
            return refusal(404, "Not found", f"run {run} has no values of {metric!r}")
        kept = [place for place, step in enumerate((10, 20, 30)) if step >= first]
        return {
            "metric": metric,
            "unit": "1",
            "axis": "run" if scalar else "parameter",
            "names": [] if scalar else ["a.weight", "b.weight", "b.bias"],
            "steps": [10 * (place + 1) for place in kept],
            "values": values.to_json(SERIES[kept, :1] if scalar else SERIES[kept]) if kept else [],
            "level": 0,
            "total_points": 3,
        }

    @app.get("/v1/alerts")
    def alerts(run: str | None = None, severity: str | None = None) -> Any:
        found = [{"id": "a1", "run": "r0", "severity": "critical"}, {"id": "a2", "run": "r1", "severity": "info"}]
        chosen = [alert for alert in found if run in (None, alert["run"]) and severity in (None, alert["severity"])]
        return {"items": chosen, "next": None}

    @app.get("/v1/alerts/{alert}/remedies")
    def remedies(alert: str) -> Any:
        return {"items": [{"number": 0, "title": "clip"}, {"number": 1, "title": "warm up"}], "next": None}

    @app.post("/v1/alerts/{alert}/remedies/{number}:apply")
    def apply(alert: str, number: int, body: Annotated[dict[str, Any], Body()]) -> Any:
        return {"alert": alert, "remedy": number, "run": "r9", **body}

    return app


class Service:
    def __init__(self) -> None:
        self.app = create_app()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._server = uvicorn.Server(uvicorn.Config(self.app, log_level="error", lifespan="off"))
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],))
        self._thread.start()

    def close(self) -> None:
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    service = Service()
    yield service
    service.close()


@pytest.fixture
def client(service: Service) -> Iterator[Client]:
    with Client(service.url, token="secret") as client:
        yield client


def test_a_run_starts_from_a_spec_or_a_preset_and_each_start_has_its_own_key(client: Client, service: Service) -> None:
    preset = PRESETS["digits-mlp"]
    one = client.start(preset.document, name="mine", tags=["a"])
    two = client.start(preset.spec, project="p")
    three = client.start(preset="digits-mlp")
    assert one["spec"] == two["spec"] == three["spec"]
    assert one["name"] == "mine"
    assert one["tags"] == ["a"]
    assert "tags" not in two
    assert len(set(service.app.state.keys[-3:])) == 3
    assert client.run(one["id"]) == one


def test_a_start_names_one_source(client: Client) -> None:
    with pytest.raises(ValueError, match="neither"):
        client.start()
    with pytest.raises(ValueError, match="both"):
        client.start({}, preset="digits-mlp")


def test_every_problem_of_a_spec_is_in_the_error(client: Client) -> None:
    with pytest.raises(ApiError) as refused:
        client.start({**PRESETS["digits-mlp"].document, "steps": 0, "sed": 1})
    assert (refused.value.status, refused.value.title) == (422, "Invalid")
    assert {entry["path"] for entry in refused.value.problems} == {"steps", "sed"}
    assert "did you mean 'seed'?" in str(refused.value)


def test_runs_come_page_by_page_as_they_are_asked_for(client: Client, service: Service) -> None:
    for _ in range(5):
        client.start(preset="digits-mlp", project="pages")
    before = len(service.app.state.seen)
    found = client.runs(project="pages", limit=2)
    assert next(found)["project"] == "pages"
    assert len(service.app.state.seen) == before + 1
    assert len(list(found)) == 4
    assert [query.get("cursor") for query in service.app.state.seen[before:]] == [None, "2", "4"]


def test_a_run_is_steered_and_forked(client: Client) -> None:
    run = client.start(preset="digits-mlp")["id"]
    assert client.pause(run)["state"] == "paused"
    assert client.resume(run)["state"] == "queued"
    assert client.stop(run)["state"] == "stopped"
    forked = client.fork(run, 100, {"steps": 5}, name="again")
    assert (forked["parent"], forked["from_step"], forked["patch"], forked["name"]) == (run, 100, {"steps": 5}, "again")
    assert "from_step" not in client.fork(run)


def test_waiting_ends_with_the_run(client: Client, service: Service) -> None:
    run = client.start(preset="digits-mlp")["id"]
    service.app.state.runs[run]["coming"] = ["running", "unreachable", "running", "finished"]
    assert client.wait(run, 20)["state"] == "finished"


def test_waiting_ends_at_its_timeout(client: Client) -> None:
    run = client.start(preset="digits-mlp")["id"]
    started = time.monotonic()
    with pytest.raises(TimeoutError, match=r"still running after 0\.3 s"):
        client.wait(run, 0.3)
    assert time.monotonic() - started < 3


def test_a_series_is_a_data_frame_by_step(client: Client) -> None:
    frame = client.series("r0", "gradient.norm")
    assert frame.index.name == "step"
    assert frame.index.tolist() == [10, 20, 30]
    assert list(frame.columns) == ["a.weight", "b.weight", "b.bias"]
    np.testing.assert_array_equal(frame.to_numpy(), SERIES)
    assert frame.dtypes.unique().tolist() == [np.dtype("float32")]
    assert math.isnan(frame.loc[10, "b.bias"])
    assert frame.loc[30, "a.weight"] == np.inf
    assert frame.attrs["unit"] == "1"
    assert frame.attrs["total_points"] == 3


def test_a_scalar_series_has_one_column_of_its_own_name(client: Client) -> None:
    frame = client.series("r0", "loss.train", from_step=20)
    assert list(frame.columns) == ["loss.train"]
    assert frame.index.tolist() == [20, 30]
    assert client.series("r0", "loss.train", from_step=99).shape == (0, 1)


def test_a_query_sends_only_what_was_given(client: Client, service: Service) -> None:
    client.series("r0", "gradient.norm", names="b.*", from_step=1, to_step=9, points=5)
    assert service.app.state.seen[-1] == {"names": "b.*", "from": "1", "to": "9", "points": "5"}
    client.series("r0", "gradient.norm")
    assert service.app.state.seen[-1] == {}


def test_what_there_is_to_see_is_listed(client: Client) -> None:
    assert [metric["name"] for metric in client.metrics("r0")] == ["gradient.norm"]
    assert [alert["id"] for alert in client.alerts()] == ["a1", "a2"]
    assert [alert["id"] for alert in client.alerts("r1")] == ["a2"]
    assert [alert["id"] for alert in client.alerts(severity="critical")] == ["a1"]
    assert [remedy["title"] for remedy in client.remedies("a1")] == ["clip", "warm up"]
    assert client.apply("a1", 1) == {"alert": "a1", "remedy": 1, "run": "r9", "mode": "fork"}
    assert client.apply("a1", 0, mode="live")["mode"] == "live"


def test_a_refusal_tells_status_title_and_detail(client: Client, service: Service) -> None:
    with pytest.raises(ApiError, match="404 Not found: there is no run 'nope'") as refused:
        client.run("nope")
    assert (refused.value.status, refused.value.detail, refused.value.problems) == (404, "there is no run 'nope'", [])
    with pytest.raises(ApiError, match="no values of"):
        client.series("r0", "no.such")
    with Client(service.url) as nobody, pytest.raises(ApiError, match="send a token"):
        nobody.run("r0")
    with Client(service.url, token="") as unset, pytest.raises(ApiError, match="send a token"):
        unset.run("r0")


def test_a_name_cannot_leave_its_route(client: Client) -> None:
    with pytest.raises(ApiError) as refused:
        client.run("../alerts?run=r0")
    assert refused.value.status == 404


def test_without_a_backend_the_error_says_what_to_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with Client(f"http://127.0.0.1:{port}") as client, pytest.raises(Unreachable, match="make run"):
        client.wait("r0", 1)


def test_a_page_that_is_no_api_is_told_apart(client: Client) -> None:
    with pytest.raises(Unreachable, match="not as a Gyrostat backend"):
        client.series("page", "html")


def test_an_address_that_is_none_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="such as http"):
        Client("localhost:8000")


def test_the_client_needs_neither_pandas_nor_torch_until_it_makes_a_data_frame(service: Service) -> None:
    code = (
        "import sys; sys.modules['pandas'] = None; sys.modules['torch'] = None\n"
        "from gyrostat.client import Client\n"
        f"client = Client({service.url!r}, token='secret')\n"
        "print(client.metrics('r0')[0]['name'])\n"
        "try:\n    client.series('r0', 'gradient.norm')\n"
        "except ImportError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "gradient.norm",
        "data frames need pandas: pip install 'gyrostat[data-frames]'",
    ]
