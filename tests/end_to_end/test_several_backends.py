"""Two backend processes on one PostgreSQL database give what one would: the same rows, once, and the same alerts."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest

from gyrostat.wire import codec
from gyrostat.wire.frame import Batch, Column
from gyrostat.wire.layout import Layout, MetricDeclaration
from gyrostat.wire.messages import LayoutMessage
from tests.databases import database_on
from tests.end_to_end.service import Service, eventually

FRAMES, BATCHES, WIDTH = 64, 20, 24
STEPS = FRAMES * BATCHES
BROKEN_AT = 1000
LAYOUT = Layout(
    version=1,
    axes={"parameter": [f"layer{index}.weight" for index in range(WIDTH)]},
    metrics=[
        MetricDeclaration(name="loss.train", unit="1", axis="run"),
        MetricDeclaration(name="gradient.norm", unit="1", axis="parameter"),
    ],
)

pytestmark = pytest.mark.postgresql


@pytest.fixture
def url(postgresql_url: str) -> Iterator[str]:
    with database_on(postgresql_url) as url:
        yield url


@pytest.fixture
def backends(url: str, tmp_path: Path) -> Iterator[list[Service]]:
    services = [Service(tmp_path / name, url) for name in ("one", "two")]
    try:
        for service in services:
            service.folder.mkdir()
            service.start_backend()
        yield services
    finally:
        for service in services:
            service.close()


def _bodies() -> list[bytes]:
    random = np.random.default_rng(7)
    norms = np.exp(random.normal(0, 0.05, (STEPS, WIDTH))).astype(np.float32)
    losses = np.linspace(2.3, 1.1, STEPS, dtype=np.float32)[:, None].copy()
    losses[BROKEN_AT] = np.nan
    rows = np.arange(FRAMES, dtype=np.uint32)
    bodies = []
    for number in range(BATCHES):
        part = slice(number * FRAMES, (number + 1) * FRAMES)
        columns = (Column(metric="loss.train", rows=rows, values=losses[part]),
                   Column(metric="gradient.norm", rows=rows, values=norms[part]))  # fmt: skip
        batch = Batch(
            producer="p", sequence=number + 2, attempt=1, layout=1, steps=np.arange(STEPS)[part] + 1,
            times=np.full(FRAMES, 1.7e9), epochs=np.zeros(FRAMES), columns=columns,
        )  # fmt: skip
        bodies.append(codec.encode_msgpack(batch))
    return bodies


def _new_run(service: Service) -> str:
    run = str(service.http.post("/v1/runs", json={"attached": True}).raise_for_status().json()["id"])
    message = LayoutMessage(producer="p", sequence=1, attempt=1, layout=LAYOUT)
    service.http.post(f"/v1/runs/{run}/layout", json=message.model_dump()).raise_for_status()
    return run


def _send(service: Service, run: str, body: bytes) -> str:
    answer = service.http.post(f"/v1/runs/{run}/frames", content=body, headers={"Content-Type": codec.MSGPACK})
    return str(answer.raise_for_status().json()["status"])


def _send_in_turns(backends: list[Service], run: str, bodies: list[bytes]) -> None:
    for number, body in enumerate(bodies):
        assert _send(backends[number % 2], run, body) == "stored"


def _send_to_both_at_once(backends: list[Service], run: str, bodies: list[bytes]) -> None:
    with ThreadPoolExecutor(2) as threads:
        for body in bodies:
            told = sorted(threads.map(lambda service, body=body: _send(service, run, body), backends))
            assert told == ["duplicate", "stored"]


def _known(service: Service, run: str) -> dict[str, Any]:
    """What anybody is told of the run, but for times and ids."""
    alerts = service.http.get("/v1/alerts", params={"run": run}).raise_for_status().json()["items"]
    told = ("rule", "severity", "state", "names", "onset_step", "summary")
    catalogue = {name: item["count"] for name, item in service.catalogue(run).items()}
    return {
        "alerts": sorted(repr([alert[key] for key in told]) for alert in alerts),
        "series": {name: service.series(run, name) for name in ("loss.train", "gradient.norm")},
        "catalogue": catalogue,
        "step": service.run(run)["step"],
    }


def test_runs_sent_to_two_backends_at_once_are_as_one_sent_to_one(backends: list[Service], url: str) -> None:
    bodies = _bodies()
    alone, raced, *turned = (_new_run(backends[0]) for _ in range(5))
    with ThreadPoolExecutor(5) as threads:
        sent = [threads.submit(_send_to_both_at_once, backends, raced, bodies)]
        sent += [threads.submit(_send_in_turns, backends, run, bodies) for run in turned]
        for body in bodies:
            assert _send(backends[0], alone, body) == "stored"
        for one in sent:
            one.result()
    wanted = _known(backends[0], alone)
    assert len(wanted["series"]["loss.train"]["steps"]) == wanted["catalogue"]["loss.train"] == STEPS
    assert wanted["series"]["loss.train"]["values"][BROKEN_AT] == ["NaN"]
    assert any("'non_finite'" in alert for alert in wanted["alerts"])
    for run in (raced, *turned):
        assert _known(backends[1], run) == wanted
    eventually(lambda: _merged(url), within=60)
    for run in (alone, raced, *turned):
        assert _known(backends[1], run) == wanted


def _merged(url: str) -> bool:
    """Whether every full block is made; fails where rows were lost or doubled, or summed up twice or not at all."""
    query = """SELECT run_id, name, sum(rows) FILTER (WHERE level = 0),
        sum(rows) FILTER (WHERE level = 0 AND sealed), sum(rows) FILTER (WHERE level = 1)
        FROM block JOIN metric ON metric.id = metric_id GROUP BY run_id, name"""
    with psycopg.connect(url.replace("postgresql+psycopg", "postgresql")) as connection:
        found = connection.execute(query).fetchall()
    assert len(found) == 5 * 4
    for *where, rows, sealed, above in found:
        assert rows == STEPS, where
        assert (above or 0) * 16 == (sealed or 0), where
    return all(sealed == STEPS // 1024 * 1024 for *_, sealed, _ in found)
