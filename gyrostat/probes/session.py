"""The session: calls the probes at the stages of each training step, and sends what they found as one frame a step."""

import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

import torch
from torch import Tensor, nn

from gyrostat.probes.base import PROBES, MicroBatch, Need, Probe, Readings, Value
from gyrostat.probes.footprint import Footprint
from gyrostat.probes.hooks import Hooks
from gyrostat.probes.layouts import LayoutBook
from gyrostat.probes.native import kernels
from gyrostat.probes.network import Network
from gyrostat.probes.packing import pack
from gyrostat.probes.probe_batch import ProbeBatch
from gyrostat.probes.recorder import FlightRecorder
from gyrostat.probes.scalars import Scalars
from gyrostat.probes.schedule import Plan, Schedule
from gyrostat.probes.stopwatch import Stopwatch
from gyrostat.probes.ungraded import Ungraded
from gyrostat.spec.probes import Probe as SettingsOfProbe
from gyrostat.spec.probes import Probes
from gyrostat.wire.layout import Layout
from gyrostat.wire.messages import EventKind
from gyrostat.wire.pending import PendingFrame

T = TypeVar("T")

AT_LEAST = 20
"""Cheap probes are measured at this multiple of their cadence whatever the budget says."""

ALLOWANCE = 1.0
"""Seconds that probes may take beyond their budget, once in a training."""

QUIET_SECONDS = 0.02
"""Between two looks at what is due, at most: a look is little beside that, and steps may have become longer."""

_STAGES = ("begin", "after_backward", "after_clip", "after_update")

_TRACEBACK_CHARACTERS = 20_000


class Sink(Protocol):
    """Where a session's findings go. None of these may block, or raise for a reason outside of the training process."""

    def layout(self, layout: Layout) -> None:
        """Before the first frame, and before each one that follows a new version."""

    def emit(self, frame: PendingFrame) -> None:
        """One step's values."""

    def event(self, kind: EventKind, step: int, data: dict[str, Any]) -> None:
        """Something that happened."""


class ProbeSession:
    """Watches one training. A context manager; within it, each step is

        session.begin_step(step)            # the first is 1
        loss.backward()                     # forward and backward passes of all micro-batches
        session.after_micro_batch(len(x))   # only where there are several: after the backward pass of each
        session.after_backward()            # gradients are final and unscaled, not yet clipped
        session.after_clip()                # only where gradients are clipped
        optimizer.step()
        session.after_update()
        session.end_step({"loss.train": loss}, epoch=0.1)

    Validation passes belong outside of `begin_step` ... `after_backward`, or into eval mode; neither is measured.

    The time spent in here is taken with the host's clock, but for the sending of frames that hold the loop's own
    scalars alone, which costs what any logger does. On a CPU that is all of it but for what probes displace from
    caches. On CUDA it is the time to launch their kernels; where a probe waits for the device (curvature), its cost
    includes the training's own work that was still queued.

    Args:
        settings: which probes, how often, and their budget.
        sink: takes layouts, frames and events.
        scalars: names of the catalogue's metrics on the axes `run` and `rank` that the loop itself will pass to
            `end_step`.
        probe_loss: the training loss on the fixed probe batch with the model's current parameters, with its graph; None
            takes that of `probe_batch`. Without either, what needs it is off.
        probe_batch: the fixed probe batch; None switches off what needs more of it than its loss.
        ranks: how many processes train the model together, each on its share of the batch: the length of axis `rank`.
        loss_scale: what the step's losses are multiplied by before their backward passes, asked for after them; a
            tensor is not waited for.

    Raises:
        ValueError: `scalars` holds a name that the catalogue does not know as a scalar, or that a probe measures.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        settings: Probes,
        *,
        sink: Sink,
        scalars: Sequence[str],
        probe_loss: Callable[[], Tensor] | None = None,
        probe_batch: ProbeBatch | None = None,
        ranks: int = 1,
        loss_scale: Callable[[], float | Tensor] = lambda: 1.0,
    ) -> None:
        probe_loss = probe_batch.loss if probe_loss is None and probe_batch is not None else probe_loss
        self._network = Network(model, optimizer, probe_loss, probe_batch, lambda: loss_scale() * ranks)
        self._sink = sink
        self._probes = _chosen(settings, self._network)
        self._scalars = Scalars(scalars, self._probes.values(), ranks)
        if self._probes and self._network.device.type == "cpu":
            kernels.prepare()
        axes = {axis: names for probe in self._probes.values() for axis, names in probe.axes().items()}
        self._ranks, self._layouts = ranks, LayoutBook(self._network, scalars, ranks, axes)
        recorder = settings.recorder
        self._schedule = Schedule(
            {name: _plan(probe.settings, settings.budget, recorder.enabled) for name, probe in self._probes.items()},
            settings.budget,
            ALLOWANCE,
        )
        self._recorder = FlightRecorder(recorder.steps, sink) if recorder.enabled else None
        self._clock, self._ungraded = Stopwatch(), Ungraded()
        self._hooks = Hooks(self._network, self._clock, self._ask, self._charge, self._switch_off)
        self._footprint = Footprint(self._clock, self._held)
        self._tighten = 0
        self._step = self._quiet = self._passed = 0
        self._look_by = 0.0
        self._due: list[Probe] = []
        self._planned: list[Probe] = []
        self._acting: dict[str, list[Probe]] = {}
        self._recorded: frozenset[str] = frozenset()
        self._following: dict[str, bool] = {}
        self._readings: dict[str, Value] = {}
        self._kept: dict[str, Value] = {}
        self._costs: dict[str, float] = {}

    def __enter__(self) -> Self:
        with self._clock, self._ungraded:
            for probe in list(self._probes.values()):
                self._ask(probe, probe.start)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._hooks.detach()
        for probe in self._probes.values():
            probe.begin()  # drops what an unfinished step left
        self._due = []
        if error is not None and self._recorder:
            self._recorder.recall()

    def begin_step(self, step: int) -> None:
        """Before the forward passes of optimizer step `step`."""
        if self._quiet and step == self._step + 1 and not self._tighten:
            began = time.perf_counter()
            if began < self._look_by:
                self._step, self._quiet, self._passed = step, self._quiet - 1, self._passed + 1
                self._clock.add(time.perf_counter() - began)
                return
        with self._clock:
            self._observe()
            self._hooks.detach()
            if step != self._step + 1:
                self._following = {}
            self._step, self._readings, self._kept, self._costs = step, {}, {}, {}
            if self._tighten:
                steps, self._tighten = self._tighten, 0
                self._look_closer(steps, after=step - 1)
                if self._recorder:
                    self._recorder.recall()
            due = self._schedule.due(step)
            self._quiet = 0 if due.sent or due.recorded or self._following else self._schedule.quiet(step)
            self._look_by = time.perf_counter() + QUIET_SECONDS
            self._recorded = frozenset(due.recorded)
            self._due = [self._probes[name] for name in (*due.sent, *due.recorded)]
            if not self._due:
                return
            if self._due != self._planned:
                self._plan()
            with self._ungraded:
                for probe in self._acting["begin"]:
                    self._ask(probe, probe.begin)
            self._hooks.attach(self._due)

    def _observe(self) -> None:
        """Tells the schedule what the last step took, and those before it at which nothing was due."""
        steps, self._passed = self._passed + 1, 0
        if lap := self._clock.lap():
            fixed = lap.inside - sum(self._costs.values())
            self._schedule.observe(lap.outside / steps, fixed / steps, self._costs, steps=steps)

    def after_forward(self) -> None:
        """The forward passes to measure are over; more may follow before `after_backward`, which implies this."""
        if self._hooks.on_modules:
            with self._clock:
                self._hooks.detach_modules()

    def after_micro_batch(self, samples: int, *, scale: float | Tensor = 1.0, reduced: bool = False) -> None:
        """The backward pass of a micro-batch with so many `samples` is done: of a run that the step is made with.

        The loss was their mean, times their share of this process's samples of the step, times `scale` (a loss scale);
        `reduced`, as in the last pass of `DistributedDataParallel`: gradients became the ranks' mean in it.
        """
        if wanting := self._due_with(Need.MICRO_BATCHES):
            part = MicroBatch(samples=samples, scale=scale, reduced=reduced, ranks=self._ranks)
            with self._clock, self._ungraded:
                for probe in wanting:
                    self._ask(probe, lambda probe=probe: probe.after_micro_batch(part))  # type: ignore[misc]

    def after_backward(self) -> None:
        """Gradients are final: unscaled, of all micro-batches, not yet clipped."""
        if self._hooks.attached:
            with self._clock:
                self._hooks.detach()
        if not self._due and not self._following:
            return
        for name, kept in list(self._following.items()):
            with self._clock, self._ungraded:
                self._ask(self._probes[name], self._probes[name].after_next_backward, kept=kept)
        self._ask_all("after_backward")
        following = self._due_with(Need.NEXT_GRADIENT)
        self._following = {probe.settings.name: probe.settings.name in self._recorded for probe in following}

    def after_clip(self) -> None:
        """Gradients were clipped."""
        self._ask_all("after_clip")

    def after_update(self) -> None:
        """The optimizer has made its step."""
        self._ask_all("after_update")

    def end_step(self, scalars: Mapping[str, float | Tensor], *, epoch: float) -> None:
        """Sends the step's frame: what was measured, and the loop's own `scalars` (numbers, or tensors of one element;
        on axis `rank`, of an element a rank).

        Nothing is sent where there is nothing. Tensors on a device are not waited for.

        Raises:
            ValueError: a scalar that was not announced, or a tensor with more than one element.
        """
        if not self._costs:
            return self._finish(scalars, epoch)
        with self._clock:
            self._finish(scalars, epoch)

    @property
    def is_measuring(self) -> bool:
        """Whether anything is due at the present step."""
        return bool(self._due)

    def announce(self, name: str, description: str = "") -> None:
        """A further scalar that the loop will pass to `end_step`: of the catalogue, or of its own by any other name.

        Raises:
            ValueError: a probe measures it, it is no scalar, or no name of a metric (`family.quantity`).
        """
        if own := self._scalars.announce(name, description):
            self._layouts.announce(own)

    def tighten(self, steps: int) -> None:
        """A detector sees trouble: measure more closely for so many steps, and send what the flight recorder has.

        Takes effect with the next step; may be called from any thread.
        """
        self._tighten = steps

    def aside(self, look: Callable[[Network], T]) -> T:
        """What `look` finds in the network, between two steps; neither the budget nor the overhead counts its time."""
        with self._clock.stopped():
            return look(self._network)

    def state_dict(self) -> dict[str, Any]:
        """What the probes start from and how far cadences are stretched: tensors, numbers, and dicts of them."""
        return {
            "schedule": self._schedule.state_dict(),
            "probes": {name: probe.state_dict() for name, probe in self._probes.items()},
            "step": self._step,
            "following": dict(self._following),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes up `state_dict`, between steps. State of probes that are not on here is passed over."""
        self._schedule.load_state_dict(state["schedule"])
        for name, probe in self._probes.items():
            if name in state["probes"]:
                probe.load_state_dict(state["probes"][name])
        self._step, self._quiet = state.get("step", 0), 0
        self._following = {name: kept for name, kept in state.get("following", {}).items() if name in self._probes}

    def take_over(self, state: dict[str, Any]) -> list[str]:
        """This training is a fork, and goes on from the weights of the one whose `state_dict` this is (`{}`: unknown).

        Measurements start anew. Answers what cannot be measured any more.
        """
        states = state.get("probes", {})
        return [note for name, probe in self._probes.items() for note in probe.take_over(states.get(name, {}))]

    def _finish(self, scalars: Mapping[str, float | Tensor], epoch: float) -> None:
        sent, kept = self._readings, self._kept
        if self._due or sent or kept:
            self._due, self._readings, self._kept = [], {}, {}
        self._scalars.check(scalars)
        sent = {**sent, **scalars, **self._footprint.readings(self._step)}
        if sent or kept:
            self._send(sent, kept, epoch)

    def _look_closer(self, steps: int, *, after: int) -> None:
        self._quiet = 0
        self._schedule.tighten(steps, after=after)

    def _send(self, sent: dict[str, Value], kept: dict[str, Value], epoch: float) -> None:
        if layout := self._layouts.renewed((*sent, *kept)):
            self._sink.layout(layout)
        packed = pack(self._layouts.cut(sent | kept if kept else sent))
        frame = PendingFrame(
            step=self._step, time=time.time(), epoch=epoch, layout=self._layouts.version, slices=packed.slices,
            fetch=packed.fetch,
        )  # fmt: skip
        if self._recorder is None:
            self._sink.emit(frame)
        elif incident := self._recorder.take(frame, packed, set(kept)):
            self._look_closer(self._recorder.steps, after=self._step)
            self._sink.event("log", self._step, {"level": "warning", "message": str(incident)})

    def _ask_all(self, stage: str) -> None:
        if self._due and (acting := self._acting[stage]):
            with self._clock, self._ungraded:
                for probe in acting:
                    self._ask(probe, getattr(probe, stage))

    def _plan(self) -> None:
        """Who acts at which stage of the step: the same at most steps."""
        self._planned = list(self._due)
        self._acting = {stage: [probe for probe in self._due if probe.acts(stage)] for stage in _STAGES}

    def _ask(self, probe: Probe, measure: Callable[[], Readings | None], *, kept: bool | None = None) -> None:
        """Calls a stage of a probe, counts its time, and switches it off where it raises.

        What it finds is only `kept` where the recorder alone has it measured; None: at this step.
        """
        started = time.perf_counter()
        name = probe.settings.name
        try:
            found = measure() or {}
            readings = self._kept if (name in self._recorded if kept is None else kept) else self._readings
            # a model without parameters has vectors without values, which no frame can hold
            readings |= {n: v for n, v in found.items() if isinstance(v, float | int) or v.shape.count(0) == 0}
        except Exception as error:
            self._switch_off(probe, error)
        else:
            self._charge(probe, time.perf_counter() - started)

    def _charge(self, probe: Probe, seconds: float) -> None:
        name = probe.settings.name
        self._costs[name] = self._costs.get(name, 0.0) + seconds

    def _switch_off(self, probe: Probe, error: Exception) -> None:
        name = probe.settings.name
        self._probes.pop(name, None)
        self._due = [other for other in self._due if other is not probe]
        self._plan()
        self._hooks.drop(probe)
        self._schedule.drop(name)
        self._costs.pop(name, None)
        self._following.pop(name, None)
        trace = "".join(traceback.format_exception(error))[-_TRACEBACK_CHARACTERS:]
        reason = f"{type(error).__name__}: {error}"[:1000]
        self._sink.event("probe_disabled", self._step, {"probe": name, "reason": reason, "traceback": trace})

    def _held(self) -> tuple[Iterable[object], int]:
        return self._probes.values(), self._recorder.num_bytes if self._recorder else 0

    def _due_with(self, need: Need) -> list[Probe]:
        return [probe for probe in self._due if need in probe.needs]


def _chosen(settings: Probes, network: Network) -> dict[str, Probe]:
    """The probes that are on and whose needs can be met, by name."""
    chosen: dict[str, Probe] = {}
    missing = {Need.PROBE_LOSS} if network.probe_loss is None else set()
    missing |= {Need.PROBE_BATCH} if network.probe_batch is None else set()
    for name, kind in PROBES.items():
        own = getattr(settings, name)
        if own.enabled and not kind.needs & missing and kind.concerns(network):
            chosen[name] = kind(own, network)
    return chosen


def _plan(settings: SettingsOfProbe, budget: float | None, recorder: bool) -> Plan:
    late = not settings.at_start or (settings.cost == "dear" and budget is not None)
    cheap = settings.cost == "cheap"
    recorded = recorder and settings.recorded and cheap
    at_least = AT_LEAST * settings.every if cheap else 0
    return Plan(
        every=settings.every, cost=settings.cost, late=late, recorded=recorded, at_least=at_least, first=settings.first
    )
