"""Alive, ready, and figures for Prometheus."""

import re
import threading
from pathlib import Path

import httpx
import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from app.services import runs, scrape
from app.services.run_requests import RunRequest
from app.services.telemetry import Telemetry
from app.storage.database import Database, Session
from app.storage.tables import Alert, Block, Metric
from gyrostat.wire.messages import Acknowledgement
from tests.app.control import at, claim, register, report, served, start
from tests.end_to_end.service import eventually


def test_the_service_says_that_it_lives_and_can_work(tmp_path: Path) -> None:
    with served(tmp_path) as (_, url), httpx.Client(base_url=url) as client:
        assert client.get("/healthz").json()["status"] == "ok"
        assert re.fullmatch(r"[0-9a-f]+", client.get("/readyz").json()["revision"])


def test_tables_of_another_version_are_no_readiness(tmp_path: Path) -> None:
    with served(tmp_path) as (server, url), httpx.Client(base_url=url) as client:
        database: Database = server.app.state.database
        needed = database.head()
        assert client.get("/readyz").json() == {"status": "ready", "revision": needed}
        database.downgrade("0001")
        answer = client.get("/readyz")
        assert answer.status_code == 503
        assert "revision 0001" in answer.json()["detail"]
        assert needed in answer.json()["detail"]
        assert int(answer.headers["retry-after"]) > 0
        assert client.get("/healthz").status_code == 200
        database.migrate()
        assert client.get("/readyz").status_code == 200


def test_requests_are_counted_by_template_and_never_by_what_callers_make_up(tmp_path: Path) -> None:
    with served(tmp_path) as (_, url), httpx.Client(base_url=url) as client:
        for name in ("one", "two", "three"):
            client.get(f"/v1/runs/{name}")
            client.get(f"/made/up/{name}")
            client.request(f"METHOD{name}", "/v1/runs")
        text = client.get("/metrics").text
    assert 'gyrostat_http_requests_total{method="GET",route="/v1/runs/{run_id}",status="404"} 3.0' in text
    assert "made" not in text
    assert "_created" not in text
    assert "METHOD" not in text


def test_requests_are_timed_and_their_bodies_counted_by_route(tmp_path: Path) -> None:
    with served(tmp_path) as (_, url), httpx.Client(base_url=url) as client:
        body = b'{"attached": true}'
        for _ in range(3):
            client.post("/v1/runs", content=body, headers={"Content-Type": "application/json"})
        text = client.get("/metrics").text
    assert f'gyrostat_http_request_bytes_total{{route="/v1/runs"}} {3.0 * len(body)}' in text
    assert 'gyrostat_http_request_seconds_count{method="POST",route="/v1/runs"} 3.0' in text


def test_writes_and_what_they_wait_for_are_told(tmp_path: Path) -> None:
    with served(tmp_path) as (server, url), httpx.Client(base_url=url) as client:
        database: Database = server.app.state.database
        holding, held = threading.Event(), threading.Event()

        def hold(_: Session) -> None:
            held.set()
            holding.wait(10)

        first = threading.Thread(target=database.write, args=[hold])
        first.start()
        held.wait(10)
        others = [threading.Thread(target=database.write, args=[lambda _: None]) for _ in range(7)]
        for other in others:
            other.start()
        eventually(lambda: "gyrostat_writes_waiting 7.0" in client.get("/metrics").text, within=10)
        holding.set()
        for thread in (first, *others):
            thread.join(10)
        text = client.get("/metrics").text
    assert "gyrostat_writes_waiting 0.0" in text
    samples = {
        (sample.name, sample.labels.get("le")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.startswith("gyrostat_commit_")
    }
    assert samples["gyrostat_commit_writes_bucket", "8.0"] == samples["gyrostat_commit_writes_count", None]
    assert samples["gyrostat_commit_writes_bucket", "4.0"] == samples["gyrostat_commit_writes_count", None] - 1
    assert samples["gyrostat_commit_seconds_count", None] == samples["gyrostat_commit_writes_count", None]


def test_what_the_database_holds_is_told(database: Database) -> None:
    run = start(database).id

    def fill(session: Session) -> None:
        for number, (state, muted) in enumerate(
            [("open", False), ("open", False), ("open", True), ("resolved", False)]
        ):
            session.add(
                Alert(
                    id=f"a{number}", run_id=run, rule="r", kind="r", severity="warning", state=state, muted=muted,
                    names=[], summary="", evidence=[], remedies=[], opened_at=at(0), updated_at=at(0),
                )
            )  # fmt: skip
        metric = Metric(run_id=run, name="loss.train", unit="1", axis="run", description="")
        session.add(metric)
        session.flush()
        for sealed in (False, False, True):
            session.add(
                Block(
                    metric_id=metric.id, attempt=1, level=0, layout=1, first_step=1, last_step=1, rows=1, width=1,
                    sealed=sealed, body=b"",
                )
            )  # fmt: skip

    database.write(fill)
    text = scrape.exposition(database, Telemetry()).decode()
    assert 'gyrostat_alerts{severity="warning",state="open"} 2.0' in text
    assert 'gyrostat_alerts{severity="warning",state="resolved"} 1.0' in text
    assert "gyrostat_unmerged_blocks 2.0" in text
    size = re.search(r"^gyrostat_database_bytes (.*)$", text, re.MULTILINE)
    assert size is not None
    assert float(size[1]) > 100_000


def test_acknowledged_batches_are_counted() -> None:
    telemetry = Telemetry()
    telemetry.acknowledged(Acknowledgement(status="stored", sequence=1, frames=4, points=40))
    telemetry.acknowledged(Acknowledgement(status="duplicate", sequence=1))
    sample = telemetry.registry.get_sample_value
    assert sample("gyrostat_ingest_frames_total") == 4
    assert sample("gyrostat_ingest_points_total") == 40
    assert sample("gyrostat_ingest_batches_total", {"status": "duplicate"}) == 1


def test_active_runs_show_their_newest_scalars_whatever_their_name(database: Database) -> None:
    name = 'odd "name" \\ with {braces}, ünïcode'
    run = start(database, name=name).id
    queued = start(database, now=at(1)).id
    claim(database, register(database))
    report(database, run, 1, "started")

    def measure(session: Session) -> None:
        for metric, axis, row in (
            ("loss.train", "run", [0.5]), ("loss.validation", "run", [np.nan]), ("gradient.norm", "parameter", [1, 2]),
        ):  # fmt: skip
            session.add(
                Metric(
                    run_id=run, name=metric, unit="1", axis=axis, description="", count=1, first_step=1, last_step=1,
                    latest=np.asarray(row, "<f4").tobytes(), latest_layout=1, latest_attempt=1,
                )
            )  # fmt: skip

    database.write(measure)
    text = scrape.exposition(database, Telemetry()).decode()
    samples = {
        (sample.name, sample.labels.get("metric")): sample
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.labels.get("run") == run
    }
    assert samples["gyrostat_run_metric", "loss.train"].value == 0.5
    assert np.isnan(samples["gyrostat_run_metric", "loss.validation"].value)
    assert ("gyrostat_run_metric", "gradient.norm") not in samples
    assert samples["gyrostat_run_metric", "loss.train"].labels["name"] == name
    assert queued not in text


def test_the_number_of_runs_shown_is_bounded(sqlite_database: Database) -> None:
    def attach(session: Session) -> None:
        for number in range(scrape.MAX_RUNS + 5):
            runs.start(session, RunRequest(attached=True, name=f"run {number}"), at(number))

    sqlite_database.write(attach)
    text = scrape.exposition(sqlite_database, Telemetry()).decode()
    assert text.count("gyrostat_run_step{") == scrape.MAX_RUNS
    assert f'gyrostat_runs{{state="running"}} {scrape.MAX_RUNS + 5}.0' in text
