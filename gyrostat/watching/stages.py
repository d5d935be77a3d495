"""The stages of a step, out of hooks on a model, its parameters and its optimizers."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import Any, ParamSpec

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook

from gyrostat.probes import ProbeSession, Sink
from gyrostat.probes.hooks import first_tensor
from gyrostat.probes.pace import Pace
from gyrostat.watching.gradients import BackwardPasses, divided_by

logger = logging.getLogger(__name__)

P = ParamSpec("P")

TOO_MANY = (
    "gradients were read before they were final: {count} backward passes came before one optimizer step; give "
    "attach(accumulation={count}), or surround passes that are not of this training by `with watch.paused():`"
)
CLIPPED = "gradients were clipped before they could be read, after {count} of {told} backward passes"


def _guarded(hook: Callable[P, None]) -> Callable[P, None]:
    """Whatever goes wrong in here costs the watching, and never the training."""

    @wraps(hook)
    def guarded(*arguments: P.args, **named: P.kwargs) -> None:
        stages: Any = arguments[0]
        try:
            hook(*arguments, **named)
        except Exception as error:
            logger.exception("watching ends, training goes on")
            stages.failed = True
            stages.tell("error", f"watching ended: {type(error).__name__}: {error}")

    return guarded


@dataclass(frozen=True, kw_only=True)
class Steps:
    """What is told of the steps to come.

    Attributes:
        done: how many there were before.
        per_epoch: 0 where unknown.
        accumulation: backward passes before each; None where `Stages.read_gradients` is called in time.
    """

    done: int
    per_epoch: float
    accumulation: int | None


def samples_in(*given: Any) -> int:
    """Length of the first axis of the first tensor that is `given`, by itself or in something; 0 where none is."""
    tensors = [tensor for each in given if (tensor := first_tensor(each)) is not None and tensor.ndim]
    return len(tensors[0]) if tensors else 0


class Stages:
    """Calls `session` at the stages of the steps of somebody's loop, until `remove`.

    Args:
        called: the module that the loop calls; `model` is the network in it, without wrappers.
        scaler: scales the loss, so that gradients are divided by its scale while they are read.
        sink: is told what the user should know.
    """

    def __init__(
        self,
        session: ProbeSession,
        *,
        called: nn.Module,
        model: nn.Module,
        optimizers: Sequence[Optimizer],
        steps: Steps,
        scaler: torch.amp.GradScaler | None,
        sink: Sink,
    ) -> None:
        self.step, self.failed = steps.done, False
        self.scalars: dict[str, Tensor | float] = {}
        self._session, self._sink, self._optimizers = session, sink, optimizers
        self._scaler = scaler if scaler is not None and scaler.is_enabled() else None
        self._accumulation, self._per_epoch = steps.accumulation, steps.per_epoch
        self._parameters = list(model.parameters())
        self._replicated = next((each for each in called.modules() if isinstance(each, DistributedDataParallel)), None)
        self._device = self._parameters[0].device if self._parameters else torch.device("cpu")
        self._pace = Pace(self._device)
        self._rows = self._samples = 0
        self._begun = self._read = self._updated = self._spoiled = False
        self._stepping: Optimizer | None = None
        self._stepped: set[int] = set()
        self._rate: Tensor | float | None = None
        self._busy = self._pauses = 0
        self._told: set[str] = set()
        self._passes = BackwardPasses(self._parameters, self._backward_ended)
        self._handles: list[Any] = [called.register_forward_pre_hook(self._forward_begins, with_kwargs=True)]
        self._handles += [optimizer.register_step_pre_hook(self._step_begins) for optimizer in optimizers]
        # of all optimizers, because it is called after those of the one, which probes use as well
        self._handles.append(register_optimizer_step_post_hook(self._step_ended))

    def remove(self) -> None:
        """Removes every hook."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        self._passes.remove()

    def finish(self) -> None:
        """Sends the last step's frame, and forgets one that was not finished."""
        if self._updated and not self.failed:
            self._end(last=True)
        self.remove()

    def tell(self, level: str, message: str) -> None:
        """An event on the run."""
        self._sink.event("log", self.step, {"level": level, "message": message})

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Inside, passes and optimizer steps are none of this training's."""
        if self._begun and not self._read:
            self._session.after_forward()
        self._pauses += 1
        try:
            with self._pace.stopped():
                yield
        finally:
            self._pauses -= 1

    @_guarded
    def expect_passes(self, samples: int = 0) -> None:
        """A forward pass of so many samples (0: unknown) begins: of a new step, where the last one was made."""
        if self.failed:
            return
        self._passes.expect()
        if not self._begun or self._updated:
            self._begin()
        # more calls before a backward pass are other looks at the same samples
        self._rows = max(self._rows, samples)

    @_guarded
    def read_gradients(self) -> None:
        """The gradients of the step are final, and not yet clipped."""
        if self.failed:
            return
        if not self._begun or self._updated:
            self._begin()
        elif self._read:  # no update has followed the last time: that step was left out
            if self._scaler is not None:
                self.scalars["precision.overflow"] = 1.0
            self._end()
            self._begin()
        self._after_backward()

    @property
    def loss_scale(self) -> Tensor:
        """What losses are multiplied by now, 0-dim, on the model's device."""
        one = torch.ones((), device=self._device)
        # a product, because asking for the number itself would wait for the device
        return one if self._scaler is None else self._scaler.scale(one)

    @property
    def _ignores(self) -> bool:
        return self.failed or bool(self._busy or self._pauses) or torch.compiler.is_compiling()

    @_guarded
    def _forward_begins(self, module: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        if self.failed:  # not where it failed: an optimizer's hooks cannot be removed while they are being called
            return self.remove()
        if self._ignores or not module.training or not torch.is_grad_enabled():
            return
        self.expect_passes(samples_in(*arguments, *named.values()))

    @_guarded
    def _backward_ended(self) -> None:
        if self._ignores or (self._stepping is not None and self._read):
            return  # the further evaluations of an optimizer that asks for several
        if not self._begun or self._updated:  # its forward pass was not seen
            self._begin()
        elif self._read and self._accumulation is not None:
            self._read_too_early()
        self._micro_batch_ended()
        if not self._read and self._accumulation is not None and self._passes.count >= self._accumulation:
            self._after_backward()

    def _micro_batch_ended(self) -> None:
        samples, self._rows = self._rows, 0
        self._samples += samples
        if samples and not self._read and self._accumulation != 1 and self._session.is_measuring:
            reduced = self._replicated is not None and bool(self._replicated.require_backward_grad_sync)
            self._asked(lambda: self._session.after_micro_batch(samples, scale=self.loss_scale, reduced=reduced))

    def _read_too_early(self) -> None:
        """Another backward pass has come after the one that was taken for the last."""
        if self._passes.count == 1 and self._scaler is not None:  # the scaler left that step out, since it overflowed
            self.scalars["precision.overflow"] = 1.0
            self._end()
            self._begin()
            return
        self._spoiled = True

    @_guarded
    def _step_begins(self, optimizer: Optimizer, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        if self._ignores:
            return
        self._passes.expect()
        if self._updated:
            self._end()
        self._stepping = optimizer
        if any(callable(given) for given in (*arguments[1:], *named.values())):
            return  # a closure, whose passes are yet to come
        if not self._begun:
            self._begin()
        changes = self._passes.changes()
        if self._spoiled and self._accumulation is not None:
            self._once(TOO_MANY.format(count=max(2, self._passes.count)))
            self._accumulation = self._passes.count
        elif not self._read:
            self._read_late(changes)
        if self._read and changes != 0:  # a scaler's unscaling does not count as a write
            self._asked(self._session.after_clip)

    def _read_late(self, changes: int | None) -> None:
        """The optimizer begins, and the gradients were not read: fewer passes than told, or none was noticed."""
        if changes is None:
            self._passes.listen_to_all()
        if self._accumulation is not None and changes != 0:
            self._spoiled = True
            self._once(CLIPPED.format(count=self._passes.count, told=self._accumulation))
        else:
            self._after_backward()

    @_guarded
    def _step_ended(self, optimizer: Optimizer, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        if self._ignores or not any(optimizer is own for own in self._optimizers):
            return
        self._stepping = None
        self._stepped.add(id(optimizer))
        if len(self._stepped) < len(self._optimizers):
            return
        self._updated = True
        rate = self._optimizers[0].param_groups[0].get("lr")
        self._rate = rate.clone() if isinstance(rate, Tensor) else rate
        if self._read:
            self._asked(self._session.after_update)

    def _begin(self) -> None:
        if self._updated:
            self._end()
        self.step += 1
        self._begun, self._read, self._updated, self._spoiled = True, False, False, False
        self._stepped = set()
        self._rows = self._samples = 0
        self._asked(lambda: self._session.begin_step(self.step))

    def _after_backward(self) -> None:
        if self._read:
            return
        self._read, scale = True, None
        if self._scaler is not None:
            scale = self.loss_scale
            self.scalars |= {"precision.loss_scale": scale, "precision.overflow": 0.0}
        # where the loop says when gradients are final, it has unscaled them
        scaled = self._session.is_measuring and self._accumulation is not None
        with divided_by(scale if scaled else None, self._parameters):
            self._asked(self._session.after_backward)

    def _end(self, *, last: bool = False) -> None:
        if self._spoiled or not self._read:
            self._asked(lambda: self._session.begin_step(self.step))  # forgets what was measured
            self._session.after_forward()
        scalars, self.scalars = self.scalars | self._pace.step(samples=self._samples, last=last), {}
        if self._rate is not None and (scalars or self._session.is_measuring):  # no frame for its sake alone
            scalars.setdefault("optimizer.learning_rate", self._rate)
        self._begun = self._updated = False
        epoch = self.step / self._per_epoch if self._per_epoch else 0.0
        self._asked(lambda: self._session.end_step(scalars, epoch=epoch))

    def _asked(self, stage: Callable[[], None]) -> None:
        self._busy += 1  # a probe's own passes are none of the loop's
        try:
            stage()
        finally:
            self._busy -= 1

    def _once(self, message: str) -> None:
        if message not in self._told:
            self._told.add(message)
            logger.warning("%s", message)
            self.tell("warning", message)
