"""Measurements over HTTP, read back with public tools."""

import io
import json
import math
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from sqlalchemy import select, update

from app.services import metrics
from app.services.maintenance import merge_some
from app.services.retention import thin_some
from app.storage.database import Database, Session
from app.storage.tables import Block, Metric, Run
from gyrostat.wire.values import ABSENT
from tests.app.control import served
from tests.app.measured import NOW, SCALAR, VECTOR, Sender, add_attempt, make_layout, make_run, start

NAMES = ("fc.weight", "fc,bias", 'quoted "name"', "Schicht/层")


@pytest.fixture
def http(database_url: str, tmp_path: Path) -> Iterator[httpx.Client]:
    with served(tmp_path / "data", database_url=database_url) as (_, url), httpx.Client(base_url=url) as client:
        yield client


SENT = np.arange(12, dtype=np.float32).reshape(3, 4) / 10
SENT[1] = [np.nan, np.inf, -np.inf, ABSENT]


@pytest.fixture
def sender(database: Database) -> Sender:
    sender = start(database, names=NAMES)
    sender.frames([1, 2, 5], {VECTOR: SENT, SCALAR: [0.1, np.nan, 1e-7]})
    return sender


URL = f"/v1/runs/r1/metrics/{VECTOR}"


def test_the_catalogue_lists_what_was_measured(http: httpx.Client, sender: Sender) -> None:
    found = {entry["name"]: entry for entry in http.get("/v1/runs/r1/metrics").json()["items"]}
    assert set(found) == {SCALAR, VECTOR, "progress.seconds", "progress.epoch"}
    assert found[VECTOR] == {
        "name": VECTOR,
        "unit": "V",
        "axis": "module",
        "description": "A vector.",
        "count": 3,
        "first_step": 1,
        "last_step": 5,
    }


def test_the_layout_is_the_newest(http: httpx.Client, sender: Sender) -> None:
    sender.layout(make_layout(2, names=("x",)))
    found = http.get("/v1/runs/r1/layout").json()
    assert (found["attempt"], found["version"], found["axes"]) == (1, 2, {"module": ["x"]})
    assert [metric["name"] for metric in found["metrics"]] == [VECTOR, SCALAR]


def test_json_spells_what_is_no_number_and_shows_the_shortest_decimals(http: httpx.Client, sender: Sender) -> None:
    answer = http.get(URL)
    assert answer.json() == {
        "metric": VECTOR,
        "unit": "V",
        "axis": "module",
        "description": "A vector.",
        "names": list(NAMES),
        "steps": [1, 2, 5],
        "values": [[0, 0.1, 0.2, 0.3], ["NaN", "Infinity", "-Infinity", None], [0.8, 0.9, 1.0, 1.1]],
        "level": 0,
        "total_points": 3,
    }
    scalar = http.get(f"/v1/runs/r1/metrics/{SCALAR}").json()
    assert (scalar["names"], scalar["values"]) == ([], [[0.1], ["NaN"], [1e-7]])


def test_buckets_have_their_aggregates(http: httpx.Client, sender: Sender) -> None:
    found = http.get(URL, params={"points": 1, "names": "fc*"}).json()
    assert found["names"] == ["fc.weight", "fc,bias"]
    assert (found["steps"], found["rows"], found["total_points"]) == ([5], [3], 3)
    assert (found["min"], found["mean"], found["max"]) == ([[0, 0.1]], [[0.4, 0.5]], [[0.8, 0.9]])
    assert (found["nonfinite"], found["values"]) == ([[1, 1]], [[0.8, 0.9]])
    only = http.get(URL, params={"points": 1, "aggregate": "mean", "from": 1, "to": 2}).json()
    assert only["values"] == [[0, 0.1, 0.2, 0.3]]
    assert not {"min", "mean", "max"} & only.keys()  # it is the values, and the others were not asked for


def test_parquet_reads_back_bit_for_bit(http: httpx.Client, sender: Sender) -> None:
    answer = http.get(URL, params={"format": "parquet"})
    assert f"r1-{VECTOR}.parquet" in answer.headers["content-disposition"]
    found = pyarrow.parquet.read_table(io.BytesIO(answer.content))
    assert found.column_names == ["step", *NAMES]
    assert found.schema.metadata[b"unit"] == b"V"
    assert found["step"].to_pylist() == [1, 2, 5]
    assert found.schema.field("fc.weight").type == pa.float32()
    assert math.isnan(found["fc.weight"][1].as_py())
    assert found["fc.weight"].null_count == 0
    assert [found[name][1].as_py() for name in NAMES[1:]] == [math.inf, -math.inf, None]
    assert found["fc,bias"][2].as_py() == float(np.float32(0.9))


def test_arrow_holds_matrices_bit_for_bit(http: httpx.Client, sender: Sender) -> None:
    answer = http.get(URL, params={"format": "arrow"})
    assert f"r1-{VECTOR}.arrow" in answer.headers["content-disposition"]
    found = pa.ipc.open_file(io.BytesIO(answer.content)).read_all()
    assert found.column_names == ["step", "values"]
    assert (found.schema.metadata[b"metric"], found.schema.metadata[b"unit"]) == (VECTOR.encode(), b"V")
    assert json.loads(found.schema.metadata[b"names"]) == [*NAMES]
    assert found.schema.field("values").type == pa.list_(pa.float32(), len(NAMES))
    values = found["values"].combine_chunks().flatten()
    assert values.null_count == 1
    assert values[7].as_py() is None
    assert found["step"].to_pylist() == [1, 2, 5]
    np.testing.assert_array_equal(values.to_numpy(zero_copy_only=False).reshape(SENT.shape), SENT)


def test_arrow_of_buckets_has_what_json_has(http: httpx.Client, sender: Sender) -> None:
    query = {"points": 1, "from": 1, "to": 2, "names": "fc*"}
    for aggregate in ("min,max", "max", "min,mean,max,last"):
        asked = query | {"aggregate": aggregate}
        told = http.get(URL, params=asked).json()
        content = http.get(URL, params=asked | {"format": "arrow"}).content
        found = pa.ipc.open_file(io.BytesIO(content)).read_all()
        known = {"step": told["steps"]} | {name: told[name] for name in found.column_names if name != "step"}
        assert {*known} == {"step", "values", "nonfinite", "rows"} | ({*aggregate.split(",")} & {*told})
        for name, values in known.items():
            expected = np.float32(np.array(values, dtype=np.float64))
            np.testing.assert_array_equal(np.float32(found[name].to_pylist()), expected)


def test_csv_reads_back_with_nothing_lost(http: httpx.Client, sender: Sender) -> None:
    answer = http.get(URL, params={"format": "csv"})
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    lines = answer.text.splitlines()
    assert lines[0] == 'step,fc.weight,"fc,bias","quoted ""name""",Schicht/层'
    assert lines[2] == "2,NaN,inf,-inf,"
    found = pyarrow.csv.read_csv(io.BytesIO(answer.content))
    assert found.column_names == ["step", *NAMES]
    np.testing.assert_array_equal(found["fc,bias"].to_numpy().astype(np.float32), np.float32([0.1, np.inf, 0.9]))
    scalar = http.get(f"/v1/runs/r1/metrics/{SCALAR}", params={"format": "csv"}).text.splitlines()
    assert scalar[0] == f"step,{SCALAR}"
    assert float(scalar[3].split(",")[1]) == 1e-7


def test_tables_of_buckets_have_a_column_for_each_aggregate(http: httpx.Client, sender: Sender) -> None:
    query = {"points": 1, "names": "fc.weight", "format": "csv"}
    header = http.get(URL, params=query).text.splitlines()[0]
    assert header == "step,rows," + ",".join(
        f"fc.weight:{name}" for name in ("min", "mean", "max", "last", "nonfinite")
    )
    header = http.get(URL, params={**query, "aggregate": "max"}).text.splitlines()[0]
    assert header == "step,rows,fc.weight,fc.weight:nonfinite"


def test_the_newest_values_are_served(http: httpx.Client, sender: Sender) -> None:
    found = {entry["name"]: entry for entry in http.get("/v1/runs/r1/latest").json()["items"]}
    assert found[VECTOR]["values"] == [0.8, 0.9, 1.0, 1.1]
    assert (found[VECTOR]["step"], found[VECTOR]["names"]) == (5, list(NAMES))
    assert (found[SCALAR]["values"], found[SCALAR]["names"]) == ([1e-7], [])
    only = http.get("/v1/runs/r1/latest", params={"metric": SCALAR}).json()["items"]
    assert [entry["name"] for entry in only] == [SCALAR]
    sender.frames([6], {SCALAR: [np.nan]})
    assert http.get("/v1/runs/r1/latest", params={"metric": SCALAR}).json()["items"][0]["values"] == ["NaN"]


def test_an_answer_at_hand_is_good_until_the_run_changes(http: httpx.Client, sender: Sender) -> None:
    first = http.get(URL)
    again = http.get(URL, headers={"If-None-Match": f'"other", {first.headers["etag"]}'})
    assert (again.status_code, again.content) == (304, b"")
    sender.frames([6], {SCALAR: [1]})
    assert http.get(URL, headers={"If-None-Match": first.headers["etag"]}).status_code == 200


@pytest.mark.parametrize("path", ["latest", "latest?metric=test.scalar", "metrics"])
def test_what_is_polled_comes_from_memory_until_the_run_changes(
    http: httpx.Client, database: Database, sender: Sender, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    first, asked, revision = http.get(f"/v1/runs/r1/{path}"), [], metrics.revision
    monkeypatch.setattr(metrics, "revision", lambda *which: asked.append(None) or revision(*which))
    again = http.get(f"/v1/runs/r1/{path}")
    assert (again.content, again.headers["etag"]) == (first.content, first.headers["etag"])
    assert again.headers["content-type"] == first.headers["content-type"]
    assert http.get(f"/v1/runs/r1/{path}", headers={"If-None-Match": first.headers["etag"]}).status_code == 304
    assert len(asked) == (0 if database.is_sqlite else 2), "sessions of the database"
    sender.frames([6], {SCALAR: [7]})
    changed = http.get(f"/v1/runs/r1/{path}", headers={"If-None-Match": first.headers["etag"]})
    assert changed.status_code == 200
    assert changed.headers["etag"] != first.headers["etag"]
    assert {item["name"]: item for item in changed.json()["items"]}[SCALAR].get("values", [7]) == [7]
    assert http.get("/v1/runs/nobody/latest").status_code == 404


def test_an_export_holds_every_value_that_the_run_shows(http: httpx.Client, database: Database, sender: Sender) -> None:
    add_attempt(database, "r1", 2, start_step=2)
    second = Sender(database, attempt=2)
    second.layout(make_layout(names=("new", "fc.weight")))
    second.frames([3, 4], {VECTOR: [[1, 2], [3, np.nan]]})
    answer = http.get("/v1/runs/r1/export")
    assert int(answer.headers["content-length"]) == len(answer.content)
    found = pyarrow.parquet.read_table(io.BytesIO(answer.content)).to_pylist()
    shown = {(row["step"], row["metric"], row["name"]): row["value"] for row in found}
    assert len(shown) == len(found)
    vector = {(step, name): value for (step, metric, name), value in shown.items() if metric == VECTOR}
    assert len(vector) == 4 + 3 + 4  # step 2 lacks an absent value; step 5 belonged to the first attempt
    assert vector[3, "fc.weight"] == 2.0
    assert math.isnan(vector[4, "fc.weight"])
    assert vector[2, "fc,bias"] == math.inf
    assert (2, NAMES[3]) not in vector
    assert shown[1, SCALAR, ""] == float(np.float32(0.1))
    table = http.get("/v1/runs/r1/export", params={"format": "csv"}).text.splitlines()
    assert table[0] == "step,metric,name,value"
    assert len(table) - 1 == len(found)


@pytest.fixture
def thinned(database: Database) -> None:
    """2 100 rows, of which 2 048 are summed up, with a column that holds what is no number."""
    values = np.arange(2100 * 3, dtype=np.float32).reshape(2100, 3)
    values[:, 1] = ABSENT
    values[3, 1], values[20:40, 2] = 7, np.nan
    start(database).frames(np.arange(2100), {VECTOR: values, SCALAR: np.arange(2100)})
    while merge_some(database):
        pass

    def end(session: Session) -> None:
        run = session.get_one(Run, "r1")
        run.state, run.ended_at = "finished", NOW

    database.write(end)


def test_answers_of_a_thinned_run_say_that_they_are_summaries(
    http: httpx.Client, database: Database, thinned: None
) -> None:
    whole = http.get(URL)
    assert "rows" not in whole.json()
    assert http.get("/v1/runs/r1").json()["thinned_at"] is None
    while thin_some(database, "r1", NOW):
        pass
    assert http.get("/v1/runs/r1").json()["thinned_at"] == "2026-03-04T05:06:07Z"
    answer = http.get(URL, headers={"If-None-Match": whole.headers["etag"]})
    assert answer.status_code == 200
    found = answer.json()
    assert (found["level"], found["total_points"], found["steps"][:2]) == (1, 2100, [15, 31])
    assert found["rows"] == [16] * 128 + [1] * 52
    assert found["values"][0] == [45.0, None, 47.0]
    assert (found["min"][0], found["mean"][0], found["max"][0]) == (
        [0.0, 7.0, 2.0],
        [22.5, 7.0, 24.5],
        [45.0, 7.0, 47.0],
    )
    assert (found["min"][1][2], found["nonfinite"][1][2]) == (16 * 3 + 2, 12)
    table = pyarrow.csv.read_csv(io.BytesIO(http.get(URL, params={"format": "csv"}).content)).to_pydict()
    assert table["rows"] == found["rows"]
    assert table["a:max"][0] == 45.0


def test_an_export_of_a_thinned_run_holds_its_summaries(http: httpx.Client, database: Database, thinned: None) -> None:
    while thin_some(database, "r1", NOW):
        pass
    found = pyarrow.parquet.read_table(io.BytesIO(http.get("/v1/runs/r1/export").content)).to_pylist()
    rows = {(row["metric"], row["name"], row["step"]): row for row in found}
    alone = rows[VECTOR, "b", 15]
    assert (alone["value"], alone["rows"], alone["min"], alone["mean"], alone["max"]) == (None, 16, 7.0, 7.0, 7.0)
    assert [key for key in rows if key[1] == "b"] == [(VECTOR, "b", 15)]
    raw = rows[SCALAR, "", 2099]
    assert (raw["value"], raw["rows"], raw["min"], raw["max"]) == (2099.0, 1, 2099.0, 2099.0)
    assert math.isnan(rows[VECTOR, "c", 31]["value"])
    assert sum(row["rows"] for row in found if row["metric"] == SCALAR) == 2100
    assert http.get("/v1/runs/r1/export", params={"format": "csv"}).text.splitlines()[0] == (
        "step,metric,name,value,rows,min,mean,max"
    )


def test_an_empty_run_exports_an_empty_table(http: httpx.Client, database: Database) -> None:
    make_run(database)
    assert pyarrow.parquet.read_table(io.BytesIO(http.get("/v1/runs/r1/export").content)).num_rows == 0
    assert http.get("/v1/runs/r1/export", params={"format": "csv"}).text.splitlines() in (
        [],
        ["step,metric,name,value"],
    )


def test_runs_are_compared(http: httpx.Client, database: Database, sender: Sender) -> None:
    make_run(database, "r2")
    other = Sender(database, "r2")
    other.layout(make_layout())
    other.frames([1], {SCALAR: [7]})
    answer = http.post("/v1/query", json={"runs": ["r1", "r2"], "metrics": [SCALAR, VECTOR], "points": 100})
    items = answer.json()["items"]
    assert [(item["run"], item["metric"]) for item in items] == [("r1", SCALAR), ("r2", SCALAR), ("r1", VECTOR)]
    assert items[1]["values"] == [[7]]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/runs/nobody/metrics", 404),
        ("GET", "/v1/runs/nobody/latest", 404),
        ("GET", "/v1/runs/nobody/layout", 404),
        ("GET", "/v1/runs/nobody/export", 404),
        ("GET", "/v1/runs/r1/metrics/no.such", 404),
        ("GET", f"{URL}?points=0", 422),
        ("GET", f"{URL}?points=ten", 422),
        ("GET", f"{URL}?from=9&to=1", 422),
        ("GET", f"{URL}?names=nothing*", 422),
        ("GET", f"{URL}?aggregate=median", 422),
        ("GET", f"{URL}?format=xls", 422),
        ("GET", "/v1/runs/r1/export?format=xls", 422),
        ("POST", "/v1/query", 422),
    ],
)
def test_what_cannot_be_answered_is_a_problem_document(
    http: httpx.Client, sender: Sender, method: str, path: str, status: int
) -> None:
    answer = http.request(method, path, json={"runs": [], "metrics": 5} if method == "POST" else None)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_every_route_of_the_data_path_is_documented_with_examples(http: httpx.Client) -> None:
    paths = http.get("/openapi.json").json()["paths"]
    wanted = ["frames", "layout", "events", "metrics", "metrics/{metric}", "latest", "export"]
    for path in [*(f"/v1/runs/{{run_id}}/{part}" for part in wanted), "/v1/query"]:
        for operation in paths[path].values():
            assert operation["summary"]
            assert "422" in operation["responses"]
            for media in operation["responses"]["200"]["content"].values():
                assert "schema" in media or "example" in media
    frames = paths["/v1/runs/{run_id}/frames"]["post"]["requestBody"]["content"]
    assert set(frames) == {"application/json", "application/vnd.gyrostat.frames+msgpack"}
    assert frames["application/json"]["example"]["columns"]


def test_what_is_damaged_is_told_and_takes_nothing_else_with_it(
    http: httpx.Client, sender: Sender, database: Database
) -> None:
    def damage(session: Session) -> None:
        metric = session.scalar(select(Metric.id).where(Metric.name == VECTOR))
        session.execute(update(Block).where(Block.metric_id == metric).values(body=b"GYRB, once"))

    database.write(damage)
    for path in (URL, "/v1/runs/r1/export", f"/runs/r1/panels?panel=metric.{VECTOR}"):
        answer = http.get(path)
        assert (answer.status_code, answer.json()["type"]) == (500, "urn:gyrostat:problem:damaged")
        assert f"what is stored of {VECTOR} of run r1 is damaged" in answer.json()["detail"]
    assert http.get(f"/v1/runs/r1/metrics/{SCALAR}").status_code == 200
    both = http.get(f"/runs/r1/panels?panel=metric.{VECTOR}&panel=metric.{SCALAR}").json()
    assert [figure.keys() >= {"data"} for figure in both.values()] == [False, True]
    assert VECTOR in both[f"metric.{VECTOR}"]["failed"]
    database.write(lambda session: session.execute(update(Block).values(body=b"GYRB, once")))
    assert http.get("/").status_code == 200


@pytest.mark.parametrize("names", [None, "fc.weight", "fc*"])
def test_a_chart_that_one_block_answers_is_json_too(
    http: httpx.Client, sender: Sender, database: Database, names: str | None
) -> None:
    rows = 9216 - 3  # with those that are there nine full blocks, and one of level 1
    values = np.arange(rows * 4, dtype=np.float32).reshape(rows, 4)
    sender.frames(np.arange(6, 6 + rows), {VECTOR: values})
    while merge_some(database):
        pass
    found = http.get(URL, params={"points": 1000, **({"names": names} if names else {})}).json()
    assert found["level"] == 1
    assert len(found["nonfinite"]) == len(found["values"]) == 576
    assert np.sum(found["nonfinite"]) == {None: 3, "fc.weight": 1, "fc*": 2}[names]


def test_nothing_in_the_range_of_a_metric_that_no_layout_declares_is_an_empty_table(
    http: httpx.Client, sender: Sender
) -> None:
    url = "/v1/runs/r1/metrics/progress.seconds"
    assert http.get(url, params={"from": 100, "format": "csv"}).text.splitlines() == ["step,progress.seconds"]
    assert http.get(url, params={"from": 100}).json()["values"] == []
