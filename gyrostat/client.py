"""The HTTP API from a notebook: start runs, wait for them, and take what they measured as data frames.

    client = Client()
    run = client.start(preset="digits-mlp")
    client.wait(run["id"])
    client.series(run["id"], "gradient.norm").plot(logy=True)

Answers are the API's own JSON objects, as dictionaries; `GET /docs` describes them.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, TYPE_CHECKING, Any, Literal

import httpx
from pydantic import BaseModel

from gyrostat.administration import Administration
from gyrostat.http_api import ApiError, Document, Unreachable, refusal, segment
from gyrostat.stream.transport import HttpTransport
from gyrostat.wire import values

if TYPE_CHECKING:
    import pandas

__all__ = ["ApiError", "Client", "Unreachable"]

ENDED = frozenset({"finished", "failed", "stopped", "lost"})
"""States that a run does not leave by itself."""
FIRST_POLL, LONGEST_POLL = 0.1, 2.0


class Client(Administration):
    """A backend and its API.

    Args:
        server: its address. token: needed where the backend asks for one. timeout: seconds for each answer.

    Raises:
        ValueError: `server` is no http address.
    """

    def start(
        self,
        spec: Mapping[str, Any] | BaseModel | None = None,
        *,
        preset: str | None = None,
        patch: Mapping[str, Any] | None = None,
        name: str | None = None,
        project: str | None = None,
        tags: Sequence[str] = (),
    ) -> Document:
        """Queues a run of a spec, or of a preset, changed by the merge patch `patch`; answers the run."""
        if (spec is None) == (preset is None):
            raise ValueError(f"give either a spec or a preset, got {'neither' if spec is None else 'both'}")
        body = {
            "spec": spec.model_dump(mode="json") if isinstance(spec, BaseModel) else spec,
            "preset": preset,
            "patch": patch,
            "name": name,
            "project": project,
            "tags": list(tags) or None,
        }
        return self._create("/v1/runs", body)

    def attach(self, *, name: str, project: str = "default", tags: Sequence[str] = (), notes: str = "") -> Document:
        """Makes a run that only receives measurements, which `transport` carries; answers it."""
        body = {"attached": True, "name": name, "project": project, "tags": list(tags), "notes": notes}
        return self._create("/v1/runs", body)

    def transport(self) -> HttpTransport:
        """What carries numbered messages (layouts, batches of frames, events) to this backend."""
        return HttpTransport(self.server, token=self._token)

    def delete(self, run: str) -> None:
        """Deletes a run with everything that it measured."""
        self._document("DELETE", f"/v1/runs/{segment(run)}")

    def layout(self, run: str) -> Document:
        """The newest layout: `attempt`, `version`, the names along each of the `axes`, and the `metrics` declared.

        Raises:
            ApiError: there is no such run, or it has sent none yet.
        """
        return self._document("GET", f"/v1/runs/{segment(run)}/layout")

    def picture(self, run: str, step: int) -> bytes:
        """The PNG that a generative run made at a step, one of `samples`."""
        return self._answer("GET", f"/v1/runs/{segment(run)}/samples/{step}.png").content

    def export(self, run: str, file: IO[bytes], *, format: Literal["parquet", "csv"] = "parquet") -> None:
        """Writes every value that the run shows into `file`, a row each: step, metric, name (empty for scalars), value.

        Of a run that is thinned (`thinned_at`) a value is the last of `rows` stored ones, with `min`, `mean` and `max`.

        Raises:
            ApiError: there is no such run.
        """
        path = f"/v1/runs/{segment(run)}/export"
        try:
            with self._http.stream("GET", path, params={"format": format}, timeout=None) as response:
                if not response.is_success:
                    response.read()
                    raise refusal(response)
                for chunk in response.iter_bytes(1 << 20):
                    file.write(chunk)
        except httpx.TransportError as error:
            raise self._unreachable(error) from error

    def runs(self, **filters: Any) -> Iterator[Document]:
        """Every run that matches (`project`, `state`, `tag`, `q`, `order`), page by page as they are asked for."""
        return self._pages("/v1/runs", **filters)

    def run(self, run: str) -> Document:
        """One run, with its state and spec."""
        return self._document("GET", f"/v1/runs/{segment(run)}")

    def wait(self, run: str, timeout: float | None = None) -> Document:
        """The run once it has ended; goes on through a restart of the backend.

        Raises:
            TimeoutError: it has not ended after `timeout` seconds.
            ApiError: there is no such run.
            Unreachable: no backend has answered from the first, or for a minute.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        poll, heard, state = FIRST_POLL, None, "unknown"
        while True:
            try:
                found = self.run(run)
                heard, state = time.monotonic(), found["state"]
                if state in ENDED:
                    return found
            except Unreachable:
                if heard is None or time.monotonic() > heard + 60:
                    raise
            left = LONGEST_POLL if deadline is None else deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"run {run} is still {state} after {timeout:g} s; wait longer, or stop it")
            time.sleep(min(poll, left))
            poll = min(poll * 1.5, LONGEST_POLL)

    def stop(self, run: str) -> Document:
        """Ends a run; its worker writes a last checkpoint first."""
        return self._document("POST", f"/v1/runs/{segment(run)}:stop")

    def pause(self, run: str) -> Document:
        """Lets a run rest, with a checkpoint, and frees its worker."""
        return self._document("POST", f"/v1/runs/{segment(run)}:pause")

    def resume(self, run: str) -> Document:
        """Queues a paused run again."""
        return self._document("POST", f"/v1/runs/{segment(run)}:resume")

    def fork(
        self,
        run: str,
        from_step: int | None = None,
        patch: Mapping[str, Any] | None = None,
        *,
        name: str | None = None,
    ) -> Document:
        """Queues a new run with this one's spec, patched, from its checkpoint at `from_step` or from scratch."""
        body = {"from_step": from_step, "patch": patch, "name": name}
        return self._create(f"/v1/runs/{segment(run)}:fork", body)

    def metrics(self, run: str) -> list[Document]:
        """What the run has measured: name, unit, axis, description, count, first and last step of each metric."""
        return list(self._pages(f"/v1/runs/{segment(run)}/metrics"))

    def series(
        self,
        run: str,
        metric: str,
        *,
        names: str | None = None,
        from_step: int | None = None,
        to_step: int | None = None,
        points: int | None = None,
    ) -> "pandas.DataFrame":
        """A metric over steps: a float32 row per step, a column per name along its axis, the index named `step`.

        What was not measured and what was measured to be NaN are both NaN here. Unit, axis, level and total number of
        points are in the frame's `attrs`.

        Args:
            run: its id.
            metric: its name, one of `metrics`.
            names: glob that chooses columns.
            from_step: first step, included.
            to_step: last step, included.
            points: at most so many rows, each the last of its bucket of steps; None for all that are kept.

        Raises:
            ImportError: pandas is not installed.
            ApiError: there is no such run or metric, or the query is wrong.
        """
        frames = _pandas()
        query = {"names": names, "from": from_step, "to": to_step, "points": points}
        found = self._document("GET", f"/v1/runs/{segment(run)}/metrics/{segment(metric)}", query)
        columns = list(found["names"]) or [metric]
        rows = values.from_json(found["values"]).reshape(len(found["steps"]), len(columns))
        index = frames.Index(found["steps"], dtype="int64", name="step")
        frame: pandas.DataFrame = frames.DataFrame(rows, index=index, columns=columns)
        frame.attrs.update({key: found[key] for key in ("metric", "unit", "axis", "level", "total_points")})
        return frame

    def samples(self, run: str) -> list[Document]:
        """The pictures that a generative run has made, newest first: step, size and caption of each."""
        return list(self._pages(f"/v1/runs/{segment(run)}/samples"))

    def measure(self, run: str, kind: str, *, wait: float | None = None, **settings: Any) -> Document:
        """Asks the worker of a running training to measure once: "landscape", "spectral_density", "cka", "ntk".

        Answers what was asked for, `waiting`; with `wait`, what came of it (`done` with `values`, or `failed` with its
        `error`). `settings` are those of the kind: `dimensions`, `reach`, `points` and `seed`; `probes`, `steps`,
        `width` and `seed`; `samples`.

        Raises:
            ApiError: no worker trains the run, or the settings cannot be used.
            TimeoutError: nothing came within `wait` seconds; it may still come.
        """
        asked = self._create(f"/v1/runs/{segment(run)}:measure", {"kind": kind, **settings})
        if wait is None:
            return asked
        deadline, poll = time.monotonic() + wait, FIRST_POLL
        while (found := self.measurement(run, asked["id"]))["state"] == "waiting":
            if (left := deadline - time.monotonic()) <= 0:
                raise TimeoutError(
                    f"run {run} has not measured its {kind} within {wait:g} s; ask for measurement {asked['id']} later"
                )
            time.sleep(min(poll, left))
            poll = min(poll * 1.5, LONGEST_POLL)
        return found

    def measurements(self, run: str) -> list[Document]:
        """What was measured on demand or is waited for, newest first, without values."""
        return list(self._pages(f"/v1/runs/{segment(run)}/measurements"))

    def measurement(self, run: str, measurement: str) -> Document:
        """One measurement on demand with its `values`; numbers that are not finite are strings."""
        return self._document("GET", f"/v1/runs/{segment(run)}/measurements/{segment(measurement)}")

    def alerts(self, run: str | None = None, **filters: Any) -> list[Document]:
        """Alerts of one run or of all, with evidence (`state`, `severity`)."""
        return list(self._pages("/v1/alerts", run=run, **filters))

    def remedies(self, alert: str) -> list[Document]:
        """What may cure an alert, best first, each with the change that it makes and the reason."""
        return list(self._pages(f"/v1/alerts/{segment(alert)}/remedies"))

    def apply(self, alert: str, remedy: int, *, mode: Literal["fork", "live"] = "fork") -> Document:
        """Applies the remedy at this place of `remedies`, from 0: to a new run, or live to the running one.

        Answers, among others, the `run` that has it.
        """
        return self._create(f"/v1/alerts/{segment(alert)}/remedies/{remedy}:apply", {"mode": mode})


def _pandas() -> Any:
    try:
        import pandas
    except ImportError as error:
        raise ImportError("data frames need pandas: pip install 'gyrostat[data-frames]'") from error
    return pandas
