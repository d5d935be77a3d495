"""A whole run as one file: a zip of `points.parquet`, and JSON of what the API tells of the run.

| member | what |
| --- | --- |
| `archive.json` | `{"format": "gyrostat-run", "version": 1, "gyrostat": its version}` |
| `run.json` | `GET /v1/runs/{id}`: name, project, tags, notes, spec, state, times |
| `layout.json`, `metrics.json` | names along each axis; name, unit, axis and description of each metric |
| `points.parquet` | every value: step, metric, name, value; of a thinned run also rows, min, mean, max |
| `alerts.json`, `measurements.json` | as the API lists them, with evidence and values |
| `samples/STEP.png` | pictures that a generative run made |

Members are stored plain, because Parquet and PNG are compressed already; a checksum guards each.
"""

import json
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow.dataset as ds
from pydantic import TypeAdapter, ValidationError

from gyrostat import __version__
from gyrostat.client import ApiError, Client
from gyrostat.transfer import recording
from gyrostat.transfer.recording import Recording
from gyrostat.wire.layout import MetricDeclaration

FORMAT, VERSION = "gyrostat-run", 1
MAX_DOCUMENT_BYTES = 64 << 20
ENDS = {"finished": "finished", "failed": "failed", "lost": "failed"}
"""How an imported run ends; what was not over ends as stopped."""

_METRICS = TypeAdapter(list[MetricDeclaration])
_AXES = TypeAdapter(dict[str, list[str]])


def write(client: Client, run: str, path: Path) -> None:
    """Writes the run to `path`; what was there is replaced once all has come.

    Raises:
        ApiError: there is no such run. Unreachable: the backend stopped answering.
    """
    document = client.run(run)
    partial = path.with_name(f"{path.name}.partial")
    try:
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as archive:
            _put(archive, "archive", {"format": FORMAT, "version": VERSION, "gyrostat": __version__})
            _put(archive, "run", document)
            _put(archive, "layout", _layout(client, run))
            _put(archive, "metrics", client.metrics(run))
            _put(archive, "alerts", client.alerts(run))
            _put(archive, "measurements", [client.measurement(run, each["id"]) for each in client.measurements(run)])
            with archive.open("points.parquet", "w", force_zip64=True) as file:
                client.export(run, file)
            for sample in client.samples(run):
                archive.writestr(f"samples/{sample['step']}.png", client.picture(run, sample["step"]))
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _layout(client: Client, run: str) -> Any:
    try:
        return client.layout(run)
    except ApiError as error:
        if error.status != 404:
            raise
        return {"axes": {}}  # the run has sent none yet


def _put(archive: zipfile.ZipFile, name: str, document: Any) -> None:
    archive.writestr(f"{name}.json", json.dumps(document, indent=1))


@contextmanager
def read(path: Path) -> Iterator[Recording]:
    """The run in an archive; its points lie in a temporary folder until the block ends.

    Raises:
        ValueError: it is no archive of a run, a newer one, or a damaged one.
    """
    try:
        with zipfile.ZipFile(path) as archive, TemporaryDirectory(prefix="gyrostat-import-") as folder:
            _check(path, _document(archive, "archive"))
            points = Path(folder) / "points.parquet"
            with archive.open("points.parquet") as packed, points.open("wb") as file:
                shutil.copyfileobj(packed, file, 1 << 20)
            yield _recording(path, archive, recording.parquet(points))
    except (zipfile.BadZipFile, KeyError) as error:
        raise ValueError(f"{path} is no archive of a run, or a damaged one: {error}") from error
    except ValidationError as error:
        raise ValueError(f"{path} describes its metrics in a way that is not known: {error}") from error


def _check(path: Path, head: Any) -> None:
    if not isinstance(head, dict) or head.get("format") != FORMAT:
        raise ValueError(f"{path} is no archive of a run; give a file that `gyrostat export --format archive` made")
    if head.get("version") != VERSION:
        raise ValueError(
            f"{path} has format version {head.get('version')}, made by Gyrostat {head.get('gyrostat')}; "
            f"this one reads {VERSION}: update it"
        )


def _recording(path: Path, archive: zipfile.ZipFile, points: ds.Dataset) -> Recording:
    run = _document(archive, "run")
    fields = set(MetricDeclaration.model_fields)
    listed = [{key: each[key] for key in fields & set(each)} for each in _document(archive, "metrics")]
    declared = {each.name: each for each in _METRICS.validate_python(listed)}
    axes = _AXES.validate_python(_document(archive, "layout").get("axes", {}))
    spec = json.dumps(run["spec"], indent=1) if run.get("spec") else ""
    notes = [
        str(run.get("notes") or ""),
        f"Imported from {path.name}: run {run['id']}, made {run['created_at']}.",
        f"Thinned {run['thinned_at']}: of what it measured, this is the last of every 16 rows or so."
        if run.get("thinned_at")
        else "",
        spec,
    ]
    return Recording(
        points=points,
        declared=declared,
        names=axes,  # type: ignore[arg-type]  # an unknown axis has no metric, since those were checked
        name=f"{run['name'][:188]} (imported)",  # so that nobody goes on with it by the name of the first
        project=run["project"],
        tags=tuple(run["tags"]),
        notes="\n\n".join(note for note in notes if note)[:20_000],
        state=ENDS.get(run["state"], "stopped"),
    )


def _document(archive: zipfile.ZipFile, name: str) -> Any:
    info = archive.getinfo(f"{name}.json")
    if info.file_size > MAX_DOCUMENT_BYTES:
        raise ValueError(f"{info.filename} has {info.file_size} bytes; at most {MAX_DOCUMENT_BYTES} are read")
    try:
        return json.loads(archive.read(info))
    except ValueError as error:
        raise ValueError(f"{info.filename} is no JSON: {error}") from error
