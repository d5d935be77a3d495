"""`gyrostat export` and `import` against the real backend."""

import json
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.services import retention
from gyrostat import commands
from gyrostat.client import Client
from gyrostat.commands.export import FORMATS
from gyrostat.stream.segments import Kind, Record
from gyrostat.transfer import sending, tensorboard
from gyrostat.wire import codec
from gyrostat.wire.frame import Batch, Column
from gyrostat.wire.layout import Layout, MetricDeclaration
from gyrostat.wire.messages import Event, EventsMessage, LayoutMessage
from gyrostat.wire.values import ABSENT
from tests.app.control import served

NAMES = ["stem.weight", "層.λ", "<b>"]
STEPS = np.array([1, 2, 5, 9, 10], dtype=np.int64)
LOSS = np.array([[2.5], [np.nan], [np.inf], [1e-45], [-0.0]], dtype=np.float32)
NORMS = np.array([[1, ABSENT, 3], [-np.inf, 5, 6], [7, 8, ABSENT]], dtype=np.float32)
ENDINGS = {"archive": ".zip", "tensorboard": ".tfevents"}
FULL = 1024
"""Rows of a full block of a scalar."""
DECLARED = [
    MetricDeclaration(name="loss.train", unit="1", axis="run", description="Of the batch."),
    MetricDeclaration(name="gradient.norm", unit="1", axis="parameter", description="Of each parameter."),
]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with served(tmp_path_factory.mktemp("data")) as (_, url), Client(url) as made:
        yield made


@pytest.fixture(autouse=True)
def _there(client: Client, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GYROSTAT_SERVER", client.server)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def run(client: Client) -> str:
    made = client.attach(name="long & hard", project="vision", tags=["a", "b"], notes="Read me.")
    began = 1.7e9
    layout = Layout(version=1, axes={"parameter": NAMES}, metrics=DECLARED)
    batch = Batch(
        producer="test",
        sequence=2,
        attempt=1,
        layout=1,
        steps=STEPS,
        times=began + STEPS * 0.5,
        epochs=STEPS / 4,
        columns=(
            Column(metric="loss.train", rows=np.arange(5, dtype=np.uint32), values=LOSS),
            Column(metric="gradient.norm", rows=np.array([0, 2, 4], dtype=np.uint32), values=NORMS),
        ),
    )
    end = EventsMessage(
        producer="test", sequence=3, attempt=1, events=[Event(kind="finished", at=began, step=10, data={})]
    )
    first = LayoutMessage(producer="test", sequence=1, attempt=1, layout=layout)
    with client.transport() as transport:
        for record in (
            Record(Kind.LAYOUT, 1, first.model_dump_json().encode()),
            Record(Kind.FRAMES, 2, codec.encode_msgpack(batch)),
            Record(Kind.EVENTS, 3, end.model_dump_json().encode()),
        ):
            assert transport.send(made["id"], record).status == "stored"
    return str(made["id"])


def imported(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    capsys.readouterr()
    assert commands.main(["import", *arguments]) == 0
    return [line.split()[0] for line in capsys.readouterr().out.splitlines()]


def points(client: Client, run: str, path: Path) -> dict[tuple[str, str, int], int]:
    """Bits of every value by metric, name and step, but those that the backend makes of the time of storing."""
    with path.open("wb") as file:
        client.export(run, file)
    table = pq.read_table(path)
    keys = zip(*(table[name].to_pylist() for name in ("metric", "name", "step")), strict=True)
    bits = table["value"].to_numpy().view(np.uint32).tolist()
    found = dict(zip(keys, bits, strict=True))
    assert len(found) == len(bits)
    return {key: value for key, value in found.items() if key[0] != "progress.seconds"}


@pytest.mark.parametrize("format", ["archive", "parquet"])
def test_what_was_exported_is_imported_bit_for_bit(
    client: Client, run: str, format: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert commands.main(["export", run, "--format", format]) == 0
    told = capsys.readouterr().out
    path = told.partition(":")[0]
    assert f"{Path(path).stat().st_size:,} bytes" in told
    assert sorted(each.name for each in tmp_path.iterdir()) == [path]
    (copy,) = imported(capsys, path)
    before, after = points(client, run, tmp_path / "a"), points(client, copy, tmp_path / "b")
    assert after == before
    assert len(before) == 5 + 5 + 7
    if format == "archive":
        assert client.layout(copy)["axes"] == {"parameter": NAMES}
    else:
        assert {axis: sorted(names) for axis, names in client.layout(copy)["axes"].items()} == {"module": sorted(NAMES)}
    assert client.run(copy)["state"] == "finished"
    seconds = (
        client.series(copy, "progress.seconds")["progress.seconds"]
        - client.series(run, "progress.seconds")["progress.seconds"]
    )
    assert np.ptp(seconds.to_numpy()) <= 128, "float32 seconds since the run was made, which was decades later"


def test_an_archive_holds_all_that_the_api_tells(client: Client, run: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert commands.main(["export", run, "-o", "whole.zip"]) == 0
    with zipfile.ZipFile("whole.zip") as archive:
        assert archive.testzip() is None
        assert json.loads(archive.read("run.json")) == client.run(run)
        assert json.loads(archive.read("alerts.json")) == client.alerts(run)
        assert [each["name"] for each in json.loads(archive.read("metrics.json"))] == [
            each["name"] for each in client.metrics(run)
        ]
    (copy,) = imported(capsys, "whole.zip", "--name", "a copy")
    found = client.run(copy)
    assert (found["name"], found["project"], found["tags"]) == ("a copy", "vision", ["a", "b"])
    assert found["notes"].startswith("Read me.")
    assert f"Imported from whole.zip: run {run}" in found["notes"]
    described = {each["name"]: each["description"] for each in client.metrics(copy)}
    assert described["gradient.norm"] == "Of each parameter."
    kinds = [sorted(each["kind"] for each in client.alerts(which)) for which in (run, copy)]
    assert kinds[0] == kinds[1] != []


def test_a_long_run_is_sent_in_many_batches(
    client: Client, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(sending, "POINTS_AT_ONCE", 700)
    monkeypatch.setattr(sending, "VALUES_A_BATCH", 90)
    steps = np.arange(0, 3000, 3)
    rng = np.random.default_rng(0)
    columns = {"step": steps, "Train/Loss": rng.normal(size=1000), "lr": rng.normal(size=1000).astype(np.float32)}
    thin = pa.array([float(value) if value % 2 else None for value in range(1000)], pa.float32())
    pq.write_table(pa.table(columns).append_column("eval/top-1 acc", thin), "wide.parquet")
    (made,) = imported(capsys, "wide.parquet")
    assert {each["name"]: each["count"] for each in client.metrics(made) if "progress" not in each["name"]} == {
        "train.loss": 1000,
        "imported.lr": 1000,
        "eval.top_1_acc": 500,
    }
    loss = client.series(made, "train.loss")
    assert loss.index.tolist() == steps.tolist()
    np.testing.assert_array_equal(loss["train.loss"], columns["Train/Loss"].astype(np.float32))
    odd = client.series(made, "eval.top_1_acc")
    assert odd.index.tolist() == steps[1::2].tolist()
    assert client.run(made)["step"] == 2997


@pytest.fixture
def thinned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Client, str]]:
    """A run of 3 000 steps of which the service keeps summaries, on a backend of its own."""
    monkeypatch.setattr(retention, "LOOK_SECONDS", 0.1)
    with served(tmp_path / "data", keep_raw_days=1e-9) as (_, url), Client(url) as client:
        monkeypatch.setenv("GYROSTAT_SERVER", client.server)
        pq.write_table(pa.table({"step": range(3000), "loss.train": np.arange(3000, dtype=np.float32)}), "long.parquet")
        assert commands.main(["import", "long.parquet"]) == 0
        (run,) = (each["id"] for each in client.runs())
        deadline = time.monotonic() + 60
        while len(client.series(run, "loss.train")) > 2 * FULL // 16 + 3000 % FULL:
            assert time.monotonic() < deadline, "the run was not thinned"
            time.sleep(0.1)
        yield client, run


def test_an_export_of_a_thinned_run_says_so_in_every_format(
    thinned: tuple[Client, str], capsys: pytest.CaptureFixture[str]
) -> None:
    client, run = thinned
    assert client.run(run)["thinned_at"] is not None
    frame = client.series(run, "loss.train")
    assert (frame.attrs["level"], frame.attrs["total_points"]) == (1, 3000)
    for format in FORMATS:
        capsys.readouterr()
        path = f"thinned.{format}{ENDINGS.get(format, '')}"
        assert commands.main(["export", run, "--format", format, "-o", path]) == 0
        assert "keeps summaries of this run since 20" in capsys.readouterr().out
    table = pq.read_table("thinned.parquet").to_pandas()
    loss = table[table["metric"] == "loss.train"].set_index("step")
    first = loss.iloc[0]
    assert (first.name, first["value"], first["rows"]) == (15, 15.0, 16)
    assert (first["min"], first["mean"], first["max"]) == (0.0, 7.5, 15.0)
    assert loss["rows"].sum() == 3000
    assert Path("thinned.csv").read_text().splitlines()[0] == "step,metric,name,value,rows,min,mean,max"
    (copy,) = imported(capsys, "thinned.archive.zip")
    assert "the last of every 16 rows or so" in client.run(copy)["notes"]
    assert {each["name"]: each["count"] for each in client.metrics(copy)}["loss.train"] == len(loss)
    written = tensorboard.read(Path())
    assert pa.compute.sum(pa.compute.equal(written["metric"], "loss.train")).as_py() == len(loss)


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ({"epoch": [1], "loss": [2.0]}, "has the columns epoch, loss; it needs step"),
        ({"step": [1], "note": ["x"]}, "column 'note' holds string, not numbers"),
        ({"step": [-1], "loss": [2.0]}, "the smallest step is -1"),
        ({"step": [1, 1], "metric": ["a.b", "a.b"], "name": ["", "x"], "value": [1.0, 2.0]}, "a.b has the names"),
    ],
)
def test_what_cannot_be_a_run_is_told_and_leaves_nothing(
    client: Client, table: dict[str, list[object]], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pq.write_table(pa.table(table), "wrong.parquet")
    before = [each["id"] for each in client.runs()]
    assert commands.main(["import", "wrong.parquet"]) == 2
    assert told in capsys.readouterr().err
    assert [each["id"] for each in client.runs()] == before


def test_damaged_and_foreign_archives_are_told(
    client: Client, run: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert commands.main(["export", run, "-o", "a.zip"]) == 0
    whole = Path("a.zip").read_bytes()
    Path("short.zip").write_bytes(whole[: len(whole) // 2])
    place = whole.index(b"PAR1") + 40
    Path("flipped.zip").write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    with zipfile.ZipFile("newer.zip", "w") as archive:
        archive.writestr("archive.json", json.dumps({"format": "gyrostat-run", "version": 2, "gyrostat": "9.9"}))
    with zipfile.ZipFile("foreign.zip", "w") as archive:
        archive.writestr("archive.json", "[]")
    Path("no.parquet").write_text("no")
    before = len(list(client.runs()))
    for name, told in {
        "short.zip": "no archive of a run, or a damaged one",
        "flipped.zip": "a damaged one",
        "newer.zip": "made by Gyrostat 9.9; this one reads 1",
        "foreign.zip": "is no archive of a run",
        "no.parquet": "cannot be read as Parquet",
        "absent.zip": "absent.zip: there is no such file or folder; nothing was imported",
    }.items():
        assert commands.main(["import", name]) == 2, name
        assert told in capsys.readouterr().err
    assert commands.main(["import", "a.zip", "absent.zip"]) == 2  # a good one first: it is not imported either
    assert len(list(client.runs())) == before


def test_an_unknown_run_leaves_no_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for format in ("archive", "parquet", "csv", "tensorboard"):
        assert commands.main(["export", "nothing", "--format", format]) == 2
        assert "there is no run 'nothing'" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
