"""The catalogue over HTTP shows every registry whole."""

from collections.abc import Iterator

import httpx
import pytest

from gyrostat.spec.catalogue import STABILIZERS
from gyrostat.spec.data import DATASETS
from gyrostat.spec.metrics import METRICS
from gyrostat.spec.presets import PRESETS
from gyrostat.spec.probes import PROBES
from tests.app.control import served


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with served(tmp_path_factory.mktemp("data")) as (_, url), httpx.Client(base_url=url) as client:
        yield client


@pytest.mark.parametrize(
    ("path", "key", "known"),
    [
        ("stabilizers", "id", STABILIZERS),
        ("probes", "name", PROBES),
        ("datasets", "kind", DATASETS),
        ("presets", "id", PRESETS),
        ("metrics-catalogue", "name", METRICS),
    ],
)
def test_everything_registered_is_listed(client: httpx.Client, path: str, key: str, known: dict[str, object]) -> None:
    items = client.get(f"/v1/{path}").json()["items"]
    assert [item[key] for item in items] == list(known)


def test_a_stabilizer_comes_with_formula_source_and_the_schema_of_its_settings(client: httpx.Client) -> None:
    for item in client.get("/v1/stabilizers").json()["items"]:
        assert all(item[name] for name in ("title", "section", "formula", "controls", "when", "source"))
        assert item["settings"]["properties"]["kind"]["const"] == item["kind"]
        assert all("description" in field for field in item["settings"]["properties"].values())


def test_every_preset_is_accepted_as_a_run(client: httpx.Client) -> None:
    for item in client.get("/v1/presets").json()["items"]:
        answer = client.post("/v1/runs:validate", json={"spec": item["spec"]})
        assert answer.status_code == 200
        assert answer.json()["spec"]["task"]["kind"] == item["task"]


def test_the_schema_of_specs_describes_every_section(client: httpx.Client) -> None:
    schema = client.get("/v1/spec-schema").json()
    assert {"task", "model", "optimizer", "probes", "steps"} <= set(schema["properties"])
    for name, field in schema["properties"].items():
        # where a field says no more than its model does, it is told there alone
        told = field if "description" in field else schema["$defs"][field["$ref"].rpartition("/")[2]]
        assert told["description"], name
