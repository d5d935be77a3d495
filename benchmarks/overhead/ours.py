"""This project's probes around a training step."""

import math
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.overhead.cases import loss_of
from benchmarks.overhead.others import Step, Variant
from gyrostat.probes.native import kernels
from gyrostat.probes.probe_batch import ProbeBatch
from gyrostat.probes.schedule import EARLY
from gyrostat.probes.session import ProbeSession
from gyrostat.spec.probes import PROBES, Probes
from gyrostat.wire.layout import Layout
from gyrostat.wire.pending import PendingFrame


class Discard:
    """A sink that fetches, as the stream's thread would, and keeps nothing but what the session says of itself.

    Attributes:
        share: of the time since its last report, what the session and its probes took; NaN before there is one.
    """

    def __init__(self) -> None:
        self.share = math.nan

    def layout(self, layout: Layout) -> None: ...

    def emit(self, frame: PendingFrame) -> None:
        vector = frame.fetch()
        if (place := frame.slices.get("probe.overhead")) is not None:
            self.share = float(vector[place[0]])

    def event(self, kind: str, step: int, data: dict[str, Any]) -> None:
        if kind != "log":
            raise RuntimeError(f"{kind}: {data}")


def watched(settings: Probes, sink: Discard | None = None) -> Variant:
    """A step that a session watches."""
    sink = sink or Discard()

    def make(net: nn.Module, inputs: Tensor, targets: Tensor) -> Step:
        kernels.prepare(wait=True)
        optimizer = torch.optim.SGD(net.parameters(), lr=1e-3, momentum=0.9)
        batch = ProbeBatch(
            tensors=lambda: (inputs[:64], targets[:64]), loss_of=lambda parts: loss_of(net, parts[0], parts[1])
        )
        session = ProbeSession(
            net, optimizer, settings, sink=sink, scalars=("loss.train",), probe_batch=batch
        ).__enter__()
        at = 0

        def step() -> None:
            nonlocal at
            at += 1
            session.begin_step(at)
            optimizer.zero_grad()
            loss = loss_of(net, inputs, targets)
            loss.backward()
            session.after_backward()
            optimizer.step()
            session.after_update()
            session.end_step({"loss.train": loss.detach()}, epoch=0.0)

        began = time.process_time()
        while settings.budget is not None and time.process_time() - began < EARLY + 1:
            step()  # what is given at the start is not what the rest costs
        return step

    return make


def without_kernels(make: Variant) -> Variant:
    """The same where there is no compiler."""

    def without(net: nn.Module, inputs: Tensor, targets: Tensor) -> Step:
        kernels.prepare(wait=True)
        library = kernels.library

        def hidden(work: Callable[[], Any]) -> Any:
            kernels.library = None
            try:
                return work()
            finally:
                kernels.library = library

        step = hidden(lambda: make(net, inputs, targets))
        return lambda: hidden(step)

    return without


def counted(settings: Probes, hide: Callable[[Variant], Variant] = lambda make: make) -> Callable[..., float]:
    """A step over what is not the session's of it, by the session's own clock: steadier than two steps compared.

    What probes displace from caches, and what torch does to call a hook, are not in it.
    """

    def measure(net: nn.Module, inputs: Tensor, targets: Tensor) -> float:
        sink = Discard()
        step = hide(watched(settings, sink))(net, inputs, targets)
        reports = 0
        while reports < 2:  # the first one holds the first steps, in which everything is made
            sink.share = math.nan
            while math.isnan(sink.share):
                step()
            reports += 1
        return 1 / (1 - sink.share)

    return measure


def cheap() -> list[str]:
    """Names of the cheap probes."""
    return [name for name, kind in PROBES.items() if kind.cost == "cheap"]


def only(*names: str) -> Probes:
    """These probes at every step."""
    return every(1, *names)


def every(steps: int, *names: str) -> Probes:
    """These probes at every so many steps, without a budget and a recorder."""
    own = {name: {"every": steps, "enabled": name in names} for name in PROBES}
    return Probes.model_validate({"budget": None, "recorder": {"enabled": False}, **own})
