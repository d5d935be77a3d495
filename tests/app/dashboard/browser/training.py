"""A training as the service hears it: a worker's claim, a layout, frames and events, all over HTTP."""

import time
from typing import Any

import httpx
import numpy as np

LAYERS = ("layers.0.linear.weight", "layers.1.linear.weight", "layers.2.linear.weight", "layers.3.linear.weight",
          "layers.4.linear.weight", "output.weight")  # fmt: skip
SCALARS = ("loss.train", "loss.validation", "accuracy.validation", "optimizer.learning_rate",
           "gradient.global_norm", "gradient.clip_factor",
           "curvature.sharpness", "curvature.limit", "curvature.sharpness_over_limit")  # fmt: skip


class Training:
    """A claimed run whose measurements the test makes up. `sick`: its gradient vanishes towards the first layer."""

    def __init__(
        self, http: httpx.Client, name: str, *, preset: str = "digits-mlp", sick: bool = False, **body: Any
    ) -> None:
        self.http, self.sick, self.step, self._sequence = http, sick, 0, 0
        for queued in http.get("/v1/runs", params={"state": "queued"}).json()["items"]:
            self._post(f"/v1/runs/{queued['id']}:stop", {})  # another test's; the oldest would be claimed first
        self.run = self._post("/v1/runs", {"preset": preset, "name": name, **body})["id"]
        worker = {
            "name": f"hand-{self.run}",
            "host": "here",
            "pid": 1,
            "device": "cpu",
            "datasets": ["digits"],
            "version": "1",
        }
        claimed = self._post(f"/v1/workers/{self._post('/v1/workers', worker)['id']}:claim", {})
        assert claimed["run"] == self.run, "another run was queued before"
        self.event("started")

    def declare(self, layers: tuple[str, ...] = LAYERS) -> None:
        """Sends the layout."""
        metrics = [{"name": name, "unit": "1", "axis": "run"} for name in SCALARS]
        metrics += [
            {"name": "gradient.norm", "unit": "1", "axis": "matrix"},
            {"name": "activation.rms", "unit": "1", "axis": "matrix"},
        ]
        document = {"version": 1, "axes": {"matrix": list(layers)}, "metrics": metrics}
        self._message("layout", layout=document)
        self.num_layers = len(layers)

    def train(self, steps: int, **given: float | str) -> None:
        """Sends frames of so many further steps; `given` replaces scalars (dots as two underscores) at the last one."""
        at = np.arange(self.step + 1, self.step + steps + 1)
        self.step += steps
        loss = 2.3 * np.exp(-at / 150)
        scalars = {
            "loss.train": loss,
            "loss.validation": loss * 1.1,
            "accuracy.validation": 1 - loss / 2.4,
            "optimizer.learning_rate": np.full(steps, 0.05),
            "gradient.global_norm": 0.3 + 0 * loss,
            "gradient.clip_factor": 1 + 0 * loss,
            "curvature.sharpness": 20 + 0 * loss,
            "curvature.limit": 76 + 0 * loss,
            "curvature.sharpness_over_limit": 20 / 76 + 0 * loss,
        }
        columns: list[dict[str, Any]] = [
            {"metric": name, "values": values.tolist()} for name, values in scalars.items()
        ]
        for column in columns:
            replaced = given.get(column["metric"].replace(".", "__"))
            if replaced is not None:
                column["values"][-1] = replaced
        depth = np.linspace(0, 1, self.num_layers)
        norms = 10.0 ** (-9 * (1 - depth)) if self.sick else 0.1 + 0 * depth
        for name, row in (("gradient.norm", 0.1 * norms), ("activation.rms", 1 + 0 * depth)):
            columns.append({"metric": name, "values": [row.tolist()] * steps})
        now = time.time()
        self._message("frames", layout=1, steps=at.tolist(), times=(now + at * 1e-3).tolist(), columns=columns)

    def event(self, kind: str, **data: Any) -> None:
        """Reports what happened."""
        self._message("events", events=[{"kind": kind, "at": time.time(), "step": self.step, "data": data}])

    def checkpoint(self) -> None:
        """Reports a checkpoint at the newest step."""
        self.event("checkpoint", step=self.step, best=True, metric=0.5, size_bytes=1000)

    def _message(self, path: str, **body: Any) -> None:
        self._sequence += 1
        self._post(
            f"/v1/runs/{self.run}/{path}", {"producer": "hand", "sequence": self._sequence, "attempt": 1, **body}
        )

    def _post(self, path: str, body: dict[str, Any]) -> Any:
        answer = self.http.post(path, json=body)
        assert answer.is_success, f"{path}: {answer.status_code} {answer.text}"
        return answer.json()
