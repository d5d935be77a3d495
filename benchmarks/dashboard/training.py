"""Runs as a page meets them: every metric of the catalogue, some at each step, in as many layers as wanted."""

import time

import httpx
import numpy as np

from gyrostat.spec.metrics import METRICS
from gyrostat.wire import codec
from gyrostat.wire.frame import Batch, Column
from gyrostat.wire.layout import Layout, MetricDeclaration
from gyrostat.wire.messages import LayoutMessage

AXES = ("run", "module", "parameter", "matrix")
ALWAYS = (
    "loss.train",
    "optimizer.learning_rate",
    "gradient.global_norm",
    "gradient.norm",
    "activation.rms",
    "weight.spectral_norm",
    "update.ratio",
    "activation.zero_fraction",
)
"""Measured at every step; all others at every SELDOM-th."""
SELDOM = 100
BODY_BYTES = 5 << 20
FRAMES = 1000


def layout_of(layers: int) -> Layout:
    """Names and metrics of a run with so many layers."""
    modules, weights = ([f"layers.{index}{part}" for index in range(layers)] for part in ("", ".weight"))
    declared = [
        MetricDeclaration(name=each.name, unit=each.unit, axis=each.axis, description=each.description)
        for each in METRICS.values()
        if each.axis in AXES and not each.name.startswith("progress.")
    ]
    return Layout(version=1, axes={"module": modules, "parameter": weights, "matrix": weights}, metrics=declared)


class Training:
    """An attached run that measures healthy norms, which drift and jitter: one pattern, slightly larger each time.

    Attributes:
        run: its id. layers: of the network. step: its newest.
    """

    def __init__(self, http: httpx.Client, layers: int) -> None:
        self.layers, self.step = layers, 0
        self._http, self._sequence = http, 1
        self._frames = max(1, min(FRAMES, BODY_BYTES // (20 * layers)))
        layout, random = layout_of(layers), np.random.default_rng(0)
        self._patterns = {each.name: self._pattern(random, each.name, layout) for each in layout.metrics}
        self.run = str(self._post("/v1/runs", {"attached": True, "name": f"{layers} layers"}).json()["id"])
        message = LayoutMessage(producer="bench", sequence=1, attempt=1, layout=layout)
        self._post(f"/v1/runs/{self.run}/layout", message.model_dump())

    def train(self, steps: int) -> None:
        """Sends the frames of so many further steps, waiting where the backend asks to."""
        last = self.step + steps
        while self.step < last:
            body = codec.encode_msgpack(self._batch(min(self._frames, last - self.step)))
            while True:
                kind = {"Content-Type": codec.MSGPACK}
                answer = self._http.post(f"/v1/runs/{self.run}/frames", content=body, headers=kind)
                if answer.status_code != 429:
                    break
                time.sleep(float(answer.headers["Retry-After"]))
            answer.raise_for_status()

    def _batch(self, frames: int) -> Batch:
        at = np.arange(self.step + 1, self.step + frames + 1)
        self.step += frames
        self._sequence += 1
        seldom = np.flatnonzero(at % SELDOM == 1).astype(np.uint32)
        columns = []
        for name, pattern in self._patterns.items():
            rows = np.arange(frames, dtype=np.uint32) if name in ALWAYS else seldom
            if len(rows):
                values = pattern[: len(rows)] * np.float32(1 + 1e-3 * self._sequence)
                columns.append(Column(metric=name, rows=rows, values=values))
        return Batch(
            producer="bench",
            sequence=self._sequence,
            attempt=1,
            layout=1,
            steps=at,
            times=np.full(frames, time.time()),
            epochs=at / 1000,
            columns=tuple(columns),
        )

    def _pattern(self, random: np.random.Generator, name: str, layout: Layout) -> np.ndarray:
        shape = (self._frames if name in ALWAYS else 1 + self._frames // SELDOM, layout.width(name) or 1)
        drift = random.normal(0, 0.02, shape).cumsum(axis=0) / 8 + random.normal(0, 0.05, shape)
        return np.minimum(np.exp(drift) * 1e-3, 0.5).astype(np.float32)

    def _post(self, path: str, document: object) -> httpx.Response:
        return self._http.post(path, json=document).raise_for_status()
