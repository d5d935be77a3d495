"""Shared: a sink that records, one thread, and a loop that calls a session as the trainer's does."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gyrostat.probes import ProbeSession
from gyrostat.probes.native import kernels
from gyrostat.spec import probes as spec
from gyrostat.spec.probes import PROBES, Probes
from gyrostat.wire.layout import Layout
from gyrostat.wire.pending import PendingFrame


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Recorder:
    """Keeps everything, and fetches frames at once as the sending thread would."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.layouts: list[Layout] = []
        self.events: list[tuple[str, int, dict[str, Any]]] = []
        self.frames: dict[int, dict[str, np.ndarray]] = {}
        self.layout_of: dict[int, Layout] = {}
        self.order: list[str] = []

    def layout(self, layout: Layout) -> None:
        self.layouts.append(layout)
        self.order.append(f"layout {layout.version}")

    def emit(self, frame: PendingFrame) -> None:
        vector = frame.fetch()
        assert vector.dtype == np.float32
        assert max(stop for _, stop in frame.slices.values()) <= len(vector)
        self.order.append(f"{'recalled' if frame.recalled else 'frame'} {frame.step}")
        values = {name: vector[slice(*place)] for name, place in frame.slices.items()}
        assert self.frames.get(frame.step, {}).keys().isdisjoint(values)
        assert frame.recalled or frame.step not in self.frames
        self.frames[frame.step] = self.frames.get(frame.step, {}) | values
        self.layout_of[frame.step] = next(known for known in self.layouts if known.version == frame.layout)
        for name, values in self.frames[frame.step].items():
            assert self.layout_of[frame.step].width(name) == len(values), name

    def event(self, kind: str, step: int, data: dict[str, Any]) -> None:
        self.events.append((kind, step, data))

    def at(self, step: int, metric: str) -> dict[str, float]:
        """A vector as name -> value."""
        layout = self.layout_of[step]
        axis = next(m.axis for m in layout.metrics if m.name == metric)
        return dict(zip(layout.axes[axis], self.frames[step][metric], strict=True))


@pytest.fixture
def sink() -> Recorder:
    return Recorder()


@pytest.fixture
def only() -> Callable[..., Probes]:
    """Settings with only the named probes on, at every step; no budget, no recorder; keywords change their settings."""

    def build(*names: str, **changes: Any) -> Probes:
        own = {
            name: kind(enabled=name in names, **({"every": 1} | changes if name in names else {}))
            for name, kind in PROBES.items()
        }
        return Probes(budget=None, recorder=spec.Recorder(enabled=False), **own)

    return build


@pytest.fixture
def run_step() -> Callable[..., None]:
    """One step as the trainer makes it: micro-batches of (input, target), a loss, an optimizer."""

    def run(
        session: ProbeSession,
        step: int,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        loss_of: Callable[[], Tensor],
        micro_batches: int = 1,
        clip: float | None = None,
    ) -> Tensor:
        session.begin_step(step)
        optimizer.zero_grad()
        total = torch.zeros(())
        for _ in range(micro_batches):
            loss = loss_of() / micro_batches
            loss.backward()
            total = total + loss.detach()
        session.after_backward()
        if clip is not None:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
            session.after_clip()
        optimizer.step()
        session.after_update()
        session.end_step({"loss.train": total}, epoch=step / 10)
        return total

    return run


@pytest.fixture(params=["kernel", "torch alone"])
def either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice: by the compiled kernel, and by torch's operations as where there is no compiler."""
    kernels.prepare(wait=True)
    if request.param == "torch alone":
        monkeypatch.setattr(kernels, "library", None)
    elif kernels.library is None:
        pytest.skip("there is no C compiler")
