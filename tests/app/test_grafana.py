"""The example dashboard asks for nothing that the service does not tell."""

import json
import re
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.storage.database import Database, Session
from app.storage.tables import Alert, Metric
from tests.app.control import START, served

DASHBOARD = json.loads((Path(__file__).parents[2] / "docs" / "grafana" / "gyrostat.json").read_text())
QUERIES = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
BY_PROMETHEUS = {"job", "instance"}


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """Name of each sample of a service that has done a little of everything, and its labels."""
    data = tmp_path_factory.mktemp("data")
    with served(data) as (_, url), httpx.Client(base_url=url) as client:
        run = client.post("/v1/runs", json={"attached": True}).json()["id"]
        database = Database(f"sqlite:///{data / 'gyrostat.sqlite'}")

        def fill(session: Session) -> None:
            session.add(Metric(run_id=run, name="loss.train", unit="1", axis="run", description="",
                               latest=np.float32([0.5]).tobytes()))  # fmt: skip
            session.add(Alert(id="a", run_id=run, rule="loss_spike", kind="loss_spike", severity="warning",
                              state="open", names=[], summary="", evidence=[], remedies=[],
                              opened_at=START, updated_at=START))  # fmt: skip

        database.write(fill)
        database.close()
        text = client.get("/metrics").text
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


@pytest.mark.parametrize("query", QUERIES)
def test_every_query_names_samples_and_labels_that_there_are(query: str, labels: dict[str, set[str]]) -> None:
    names = re.findall(r"\b(?:gyrostat|process)_\w+", query)
    assert names
    for name in names:
        assert name in labels
    known = set().union(*(labels[name] for name in names)) | BY_PROMETHEUS
    grouped = [label.strip() for group in re.findall(r"\bby \(([^)]*)\)", query) for label in group.split(",")]
    selected = re.findall(r"[{,](\w+)=", query)
    assert {*grouped, *selected} <= known


def test_the_legends_name_labels_that_the_queries_leave() -> None:
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            for label in re.findall(r"{{(\w+)}}", target["legendFormat"]):
                groups = re.findall(r"\bby \(([^)]*)\)", target["expr"])
                assert not groups or label in groups[-1], panel["title"]


def test_no_two_panels_lie_on_each_other() -> None:
    def area(panel: dict[str, Any]) -> set[tuple[int, int]]:
        at = panel["gridPos"]
        return {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}

    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert sum(len(area(panel)) for panel in panels) == len(set().union(*map(area, panels)))
    assert max(x for panel in panels for x, _ in area(panel)) < 24
