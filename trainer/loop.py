"""One training, from its first step or its last checkpoint to its end."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor

from gyrostat.probes.pace import METRICS, Pace
from gyrostat.probes.probe_batch import ProbeBatch
from gyrostat.probes.session import ProbeSession, Sink
from gyrostat.spec.gradients import Clip, ClipNorm
from gyrostat.spec.probes import PROBES, Probes
from gyrostat.spec.run import RunSpec
from trainer import state
from trainer.checkpoints import Checkpoint, CheckpointStore
from trainer.control import Adjustment, Control, Ending
from trainer.data.batches import Batch
from trainer.data.generators import generator
from trainer.keeper import Keeper
from trainer.on_demand import carried_out
from trainer.passes import Passes
from trainer.ranks import ALONE, Comparison, Ranks
from trainer.showcase import show
from trainer.stabilizers import gradients, lipschitz, noise, optimizers, schedules
from trainer.tasks import Task

TIGHTEN_STEPS = 100
"""How long the probes look closer each time the backend sees trouble."""


@dataclass(frozen=True)
class Outcome:
    """How a training ended, and the last step that it did."""

    ending: Literal["finished"] | Ending
    step: int


def prepare(spec: RunSpec, device: torch.device, *, threads: int | None = None, ranks: Ranks = ALONE) -> None:
    """Makes this process compute the same numbers every time. Call it once, before anything is built.

    `threads` of all ranks together are used where the spec says nothing; None leaves one rank torch's own choice.
    """
    if (chosen := spec.threads or threads) is not None:
        torch.set_num_threads(ranks.threads(chosen))
    # on a CPU this costs nothing; on an accelerator it forbids operations that have no deterministic form
    torch.use_deterministic_algorithms(device.type == "cpu")
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def train(
    spec: RunSpec,
    *,
    run: str,
    task: Task,
    stream: Sink,
    checkpoints: CheckpointStore,
    control: Control,
    start: Checkpoint | None = None,
    progress: Callable[[int], None] = lambda step: None,
    ranks: Ranks = ALONE,
) -> Outcome:
    """Trains `task` to the spec's last step, or until `control` ends it.

    Every number is a function of the spec and of the live changes alone: on a CPU a training that goes on from a
    checkpoint gives the same losses, bit for bit, as one that was never cut.

    `start` is where it goes on: a checkpoint of this run, or of the one that it is a fork of. `progress` is told the
    number of every step that is done. Every one of several `ranks` calls this; what `control` asks of rank 0 holds for
    all, and only its `stream` and `checkpoints` are told anything of weight.

    Raises:
        CheckpointError: a checkpoint of this run does not fit its spec.
        RanksDiffer: the ranks do not begin with the same weights.
    """
    torch.manual_seed(spec.seed + ranks.rank)  # each rank drops other units of its own samples
    training = _Training(spec, run=run, task=task, stream=stream, checkpoints=checkpoints, ranks=ranks)
    training.take_up(start)
    done = training.done
    with training.probes:
        while done.step < spec.steps and training.goes_on(control):
            training.step()
            progress(done.step)
        # An end that somebody asked for leaves a checkpoint of the very last step, whichever that was.
        training.keeper.keep(regular=True)
    ending = "finished" if done.step >= spec.steps or control.ending is None else control.ending
    stream.event(ending, done.step, {})
    return Outcome(ending, done.step)


class _Training:
    """The parts of a training, wired up, and one step of it."""

    def __init__(
        self, spec: RunSpec, *, run: str, task: Task, stream: Sink, checkpoints: CheckpointStore, ranks: Ranks
    ) -> None:
        self.spec, self.run, self.task, self.stream, self.ranks = spec, run, task, stream, ranks
        ranks.synchronize(spec.distributed, task.model)
        ranks.check_same(task.model)
        self.optimizer = optimizers.build(spec.optimizer, task.model, spec.regularization.weight_decay)
        self.rates = [group["lr"] for group in self.optimizer.param_groups]
        self.passes = Passes(spec, task, self.optimizer, ranks)
        self.comparison = Comparison(spec.distributed, ranks, task.model)
        own = (*self.passes.numbers.metrics, *self.comparison.metrics)
        self.probes = ProbeSession(
            task.model,
            self.optimizer,
            spec.probes if ranks.leading else _silenced(spec.probes),
            sink=stream,
            scalars=(
                "loss.train",
                *task.scalars,
                *task.enrichment.scalars,
                "optimizer.learning_rate",
                *METRICS,
                *own,
                "gradient.clip_factor",
                "gradient.clipped_fraction",
            ),
            probe_batch=_probe_batch(spec, task),  # the session decides which probes need it
            ranks=ranks.size,
            loss_scale=self.passes.numbers.loss_scale,
        )
        self.done, self.overflowed = state.Progress(), False
        self.parts = state.Parts(
            model=task.model,
            optimizer=self.optimizer,
            probes=self.probes,
            task=task,
            progress=self.done,
            seed=spec.seed,
            numbers=self.passes.numbers,
            ranks=ranks,
        )
        self.keeper = Keeper(spec, run=run, parts=self.parts, store=checkpoints, stream=stream)
        self.pace = Pace(task.device)

    def take_up(self, start: Checkpoint | None) -> None:
        """Goes to where the training begins, and says so."""
        if start is not None and start.run == self.run:
            state.resume(self.parts, start)
        elif start is not None and (notes := state.branch_off(self.parts, start)):
            message = f"forked from step {start.step} of run {start.run}, but for: {'; '.join(notes)}"
            self.stream.event("log", start.step, {"level": "warning", "message": message})
        self.keeper.kept_step = self.done.step
        self.stream.event("started", self.done.step, _circumstances(self.task, start, self.ranks))
        self.task.model.train()

    def goes_on(self, control: Control) -> bool:
        """Takes up what a person or a detector asked for meanwhile; False where that is the end. All ranks agree."""
        going = control.ending is None  # looked at first: a change that was asked for before the end is on record
        for change in control.adjustments():
            self.adjust(change)
        if control.trouble:
            control.trouble = False
            self.probes.tighten(TIGHTEN_STEPS)
        done = self.done
        limit = math.inf if done.clip_norm is None else done.clip_norm
        led, done.learning_rate_factor, limit = self.ranks.led([going, done.learning_rate_factor, limit])
        done.clip_norm = None if math.isinf(limit) else limit
        if led:
            self.measure(control)
        return bool(led)

    def adjust(self, change: Adjustment) -> None:
        """A live change, from the next step on and on record."""
        self.done.adjust(change)
        if change.tighten_probes:
            self.probes.tighten(TIGHTEN_STEPS)
        data = {"by": "control", **change.model_dump(exclude_unset=True)}
        self.stream.event("intervention", self.done.step + 1, data)

    def measure(self, control: Control) -> None:
        """Carries out what was asked for on demand, outside of the training's pace; other ranks wait at their step."""
        for order in control.orders():
            with self.pace.stopped():
                report = carried_out(order, self.probes, is_over=lambda: control.ending is not None)
            self.stream.event("measurement", self.done.step, report)

    def step(self) -> None:
        """One optimizer step, with everything that is due at it."""
        spec, task, probes = self.spec, self.task, self.probes
        # Steps count from 1; schedules and data count the steps done before.
        step, last = self.done.step + 1, self.done.step + 1 == spec.steps
        factor = schedules.factor(spec.schedule, step - 1, spec.steps) * self.done.learning_rate_factor
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor

        # The gradient of the mean loss over the whole batch, in however many pieces it is computed.
        probes.begin_step(step)
        self.optimizer.zero_grad(set_to_none=True)
        scalars: dict[str, Any] = {**self._gradient(step), **task.enrichment.measured(step - 1)}
        probes.after_backward()
        self.comparison.note_gradient(step)

        # A loss that is not finite ends nothing: the user asked for so many steps, and detectors do the judging.
        if (clipped := gradients.clip(task.model.parameters(), _clipping(spec, self.done))) is not None:
            scalars |= {"gradient.clip_factor": clipped.factor, "gradient.clipped_fraction": clipped.fraction}
            probes.after_clip()
        if spec.noise.gradient is not None:
            source = generator(spec.seed, "gradient noise", step - 1)
            noise.add_to_gradients(spec.noise.gradient, task.model.parameters(), step - 1, source)
        scalars |= self._update(step)
        lipschitz.clip_weights(spec.lipschitz.weight_clip, task.bounded)
        task.after_update(step)
        self.done.step = step
        probes.after_update()
        scalars |= self.comparison.compared()

        # Validation belongs to the frame of the step that led to it, and not to the training's pace.
        scalars |= {
            "optimizer.learning_rate": self.rates[0] * factor,
            **self.pace.step(samples=task.samples_per_step, last=last),
        }
        if last or step % spec.validation.every == 0:
            with self.pace.stopped():
                scalars |= self._validate()
        probes.end_step(scalars, epoch=task.batches.epoch(step))

        # After its frame, so that a checkpoint that is known of has all frames before it.
        with self.pace.stopped():
            self.keeper.keep(regular=last or step % spec.checkpoints.every == 0)

    def _gradient(self, step: int) -> dict[str, Tensor]:
        probes, batch = self.probes, self.task.batch(step - 1)
        return self.passes.gradient(
            batch, after_forward=probes.after_forward, after_micro_batch=probes.after_micro_batch
        )

    def _update(self, step: int) -> dict[str, float]:
        """The optimizer's step; one that the precision leaves out is told, the first of several in a row."""
        measured = self.passes.step()
        overflow = measured.get("precision.overflow", 0.0)
        if overflow and not self.overflowed:
            message = f"step {step} changed nothing: its gradient was not finite at loss scale"
            message = f"{message} {measured['precision.loss_scale']:g}, which becomes smaller"
            self.stream.event("log", step, {"level": "info", "message": message})
        self.overflowed = bool(overflow)
        return measured

    def _validate(self) -> dict[str, Tensor]:
        """Measures on held-out data, in the numbers of the training; rank 0 does it, and tells the others the loss."""
        validated: dict[str, Tensor] = {}
        if self.ranks.leading:
            with optimizers.averaged(self.optimizer):
                with self.passes.numbers.autocast():
                    validated = self.task.validate(self.task.model, self.spec.validation.max_batches)
                show(self.task.samples(self.task.model), self.stream, self.done.step)
        (loss,) = self.ranks.led([float(validated.get("loss.validation", math.nan))])
        self.keeper.validated(loss)
        return validated


def _clipping(spec: RunSpec, done: state.Progress) -> Clip | None:
    """The spec's clipping, or the live limit that stands in for it."""
    if done.clip_norm is None:
        return spec.gradients.clip
    # as it was taken: a live limit may be looser than what a spec should say
    return ClipNorm.model_construct(max_norm=done.clip_norm)


def _probe_batch(spec: RunSpec, task: Task) -> ProbeBatch:
    @cache  # made when it is asked for: not every training has a probe that does
    def tensors() -> Batch:
        return task.probe_batch(spec.probes.curvature.batch_size or spec.data.batch_size)

    return ProbeBatch(tensors=tensors, loss_of=lambda batch: task.loss(task.model, batch)[0])


def _silenced(probes: Probes) -> Probes:
    """What rank 0 measures is not measured again by the others."""
    return probes.model_copy(
        update={name: getattr(probes, name).model_copy(update={"enabled": False}) for name in PROBES}
    )


def _circumstances(task: Task, start: Checkpoint | None, ranks: Ranks) -> dict[str, Any]:
    return {
        "device": str(task.device),
        "threads": torch.get_num_threads(),
        "ranks": ranks.size,
        "torch": str(torch.__version__),
        "parameters": sum(p.numel() for p in task.model.parameters()),
        "from": None if start is None else {"run": start.run, "step": start.step},
    }
