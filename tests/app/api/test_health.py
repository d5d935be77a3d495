"""Alive, ready, and figures for Prometheus."""

import re
from pathlib import Path

import httpx
import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from app.services import runs, scrape
from app.services.run_requests import RunRequest
from app.services.telemetry import Telemetry
from app.storage.database import Database, Session
from app.storage.tables import Metric
from gyrostat.wire.messages import Acknowledgement
from tests.app.control import at, claim, register, report, served, start


def test_the_service_says_that_it_lives_and_can_work(tmp_path: Path) -> None:
    with served(tmp_path) as (_, url), httpx.Client(base_url=url) as client:
        assert client.get("/healthz").json()["status"] == "ok"
        assert re.fullmatch(r"[0-9a-f]+", client.get("/readyz").json()["revision"])


def test_requests_are_counted_by_template_and_never_by_what_callers_make_up(tmp_path: Path) -> None:
    with served(tmp_path) as (_, url), httpx.Client(base_url=url) as client:
        for name in ("one", "two", "three"):
            client.get(f"/v1/runs/{name}")
            client.get(f"/made/up/{name}")
            client.request(f"METHOD{name}", "/v1/runs")
        text = client.get("/metrics").text
    assert 'gyrostat_http_requests_total{method="GET",route="/v1/runs/{run_id}",status="404"} 3.0' in text
    assert "made" not in text
    assert "METHOD" not in text


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
