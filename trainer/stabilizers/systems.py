"""Systems-level techniques: how a step's batch reaches the device, and in which numbers (brief sections 15 to 17)."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn, optim
from torch.amp.grad_scaler import GradScaler
from torch.nn.parallel import DistributedDataParallel

from gyrostat.spec.systems import Accumulation, Bf16, Ddp, Fp16, Fp32, Precision
from trainer.stabilizers.registry import Registry

Batch = tuple[Tensor, ...]
"""Tensors of as many samples, along the first axis of each."""

ACCUMULATIONS: Registry[Iterator[tuple[Batch, float]]] = Registry("accumulation")
PRECISIONS: "Registry[Arithmetic]" = Registry("precision")
DISTRIBUTIONS: Registry[nn.Module] = Registry("distributed")


def micro_batches(settings: Accumulation, batch: Batch) -> Iterator[tuple[Batch, float]]:
    """The parts of a step's batch, each with the weight bᵢ/b of its mean loss in the whole batch's mean loss."""
    return ACCUMULATIONS.of(settings)(settings, batch)


@ACCUMULATIONS.implements(Accumulation)
def _equal_parts(settings: Accumulation, batch: Batch) -> Iterator[tuple[Batch, float]]:
    for part in zip(*(tensor.tensor_split(settings.steps) for tensor in batch), strict=True):
        yield part, len(part[0]) / len(batch[0])


class Arithmetic:
    """In which numbers the passes of a step compute, and how their gradient becomes an optimizer's step.

    A step is `scaled(loss).backward()` for each micro-batch, `unscale(optimizer)`, then `step(optimizer)`. This class
    does nothing but autocast; weights, their gradients and the optimizer stay in float32.

    Attributes:
        metrics: names of what `step` answers.
    """

    metrics: tuple[str, ...] = ()

    def __init__(self, device: torch.device, dtype: torch.dtype | None = None) -> None:
        self._device, self._dtype = device, dtype

    def autocast(self) -> AbstractContextManager[Any]:
        """Around forward passes; torch chooses by operation what is computed in the lower precision."""
        return nullcontext() if self._dtype is None else torch.autocast(self._device.type, dtype=self._dtype)

    def scaled(self, loss: Tensor) -> Tensor:
        """What to differentiate in place of `loss`."""
        return loss

    def loss_scale(self) -> float | Tensor:
        """What `scaled` multiplies by; a tensor on the device is not waited for."""
        return 1.0

    def unscale(self, optimizer: optim.Optimizer, *, last: bool = True) -> None:
        """Makes the gradients that were summed up those of the loss. `last`: the step is made with these."""
        return

    def step(self, optimizer: optim.Optimizer) -> dict[str, float]:
        """The optimizer's step; answers `metrics`."""
        optimizer.step()
        return {}

    def state_dict(self) -> dict[str, Any]:
        """What the next step depends on: numbers."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes up what `state_dict` gave; of another precision, nothing."""
        return


class ScaledArithmetic(Arithmetic):
    """Arithmetic in float16: the loss is scaled, and a step whose gradient is not finite is left out.

    Source: Micikevicius et al. 2018, arXiv 1710.03740, section 3.2; carried out by `torch.amp.GradScaler`.
    """

    metrics = ("precision.loss_scale", "precision.overflow")

    def __init__(self, device: torch.device, settings: Fp16) -> None:
        super().__init__(device, torch.float16)
        self._scaler = GradScaler(
            device.type,
            init_scale=settings.initial_scale,
            growth_factor=settings.growth_factor,
            backoff_factor=settings.backoff_factor,
            growth_interval=settings.growth_interval,
        )

    def scaled(self, loss: Tensor) -> Tensor:
        """The loss times the scale."""
        return self._scaler.scale(loss)

    def loss_scale(self) -> float | Tensor:
        """The scale of this step, until `step` changes it."""
        return self._scaler.scale(torch.ones((), device=self._device))

    def unscale(self, optimizer: optim.Optimizer, *, last: bool = True) -> None:
        """Divides the gradients by the scale; those of the last pass are looked through for what is not finite."""
        if last:
            self._scaler.unscale_(optimizer)
            return
        # GradScaler unscales only once a step. An overflow here needs no note: whatever is made of a gradient that is
        # not finite leads to a last pass that is not finite either.
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        torch._foreach_mul_(gradients, 1 / self.loss_scale())

    def step(self, optimizer: optim.Optimizer) -> dict[str, float]:
        """A step where the gradient is finite, none otherwise; the scale follows."""
        made: list[bool] = []
        handle = optimizer.register_step_post_hook(lambda *_: made.append(True))
        scale = self._scaler.get_scale()
        try:
            self._scaler.step(optimizer)
        finally:
            handle.remove()
        self._scaler.update()
        return {"precision.loss_scale": scale, "precision.overflow": float(not made)}

    def state_dict(self) -> dict[str, Any]:
        """The scale, and the steps since it last changed."""
        return self._scaler.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes up scale and steps; how it grows is this run's own setting."""
        if state:
            own = self._scaler.state_dict()
            self._scaler.load_state_dict(own | {name: state[name] for name in ("scale", "_growth_tracker")})


def arithmetic(settings: Precision, device: torch.device) -> Arithmetic:
    """The spec's precision on `device`."""
    return PRECISIONS.of(settings)(settings, device)


@PRECISIONS.implements(Fp32)
def _fp32(settings: Fp32, device: torch.device) -> Arithmetic:
    return Arithmetic(device)


@PRECISIONS.implements(Bf16)
def _bf16(settings: Bf16, device: torch.device) -> Arithmetic:
    return Arithmetic(device, torch.bfloat16)


@PRECISIONS.implements(Fp16)
def _fp16(settings: Fp16, device: torch.device) -> Arithmetic:
    return ScaledArithmetic(device, settings)


def replicated(settings: Ddp, objective: nn.Module) -> nn.Module:
    """`objective` so that a backward pass leaves the gradients' mean over all ranks on each of them."""
    return DISTRIBUTIONS.of(settings)(objective)


@DISTRIBUTIONS.implements(Ddp)
def _ddp(objective: nn.Module) -> nn.Module:
    # Some tasks train one part of their model at a time, so parameters without a gradient are looked for in each pass.
    # Buffers are rank 0's at the start of each step, so that a resumed training, which has only those, goes on alike.
    return DistributedDataParallel(objective, find_unused_parameters=True)
