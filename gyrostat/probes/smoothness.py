"""How far the gradient can be trusted: the loss and its gradient at other points on the gradient's line."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from gyrostat.probes.base import Need, Probe, Readings
from gyrostat.probes.estimators import dense
from gyrostat.probes.network import Network
from gyrostat.probes.stability import is_adaptive, limit
from gyrostat.probes.undisturbed import undisturbed
from gyrostat.spec.probes import SmoothnessProbe

MULTIPLES = (0.5, 1.0, 2.0, 4.0)
"""Lengths of the steps down the gradient, in units of the step that the optimizer just made."""


class Smoothness(Probe):
    """Loss range, gradient change and effective smoothness down the gradient, and the sharpness of SAM up it.

    Six forward and five backward passes of the probe batch, at displaced parameters, which are put back bit for bit.
    Parameters must lie on one device. Waits for it once, for the length of the step.
    """

    settings_type = SmoothnessProbe
    needs = frozenset({Need.PROBE_LOSS})

    def __init__(self, settings: Any, network: Network) -> None:
        super().__init__(settings, network)
        self._before: list[Tensor] = []

    def begin(self) -> None:
        """Forgets an unfinished step's weights."""
        self._before = []

    def after_backward(self) -> Readings:
        """Keeps the weights, to tell how far the step will go."""
        self._before = [p.detach().clone() for p in self._parameters()]
        return {}

    def after_update(self) -> Readings:
        """Around the new weights."""
        parameters, before = self._parameters(), self._before
        self._before = []
        if self.network.probe_loss is None or not parameters or len(before) != len(parameters):
            return {}
        step = float(_norm([p.detach() - old for p, old in zip(parameters, before, strict=True)]))
        with undisturbed(self.network.model):
            return self._around(parameters, step)

    def _around(self, parameters: list[nn.Parameter], step: float) -> Readings:
        loss, gradient = self._loss_and_gradient(parameters)
        norm = _norm(gradient)
        # of a gradient of 0 there is no direction: all points are then the same, and nothing changes
        scale = torch.where(norm == 0, torch.zeros_like(norm), 1 / norm)
        unit = [g * scale for g in gradient]
        with displaced(parameters, unit, self.settings.rho):
            ascended = self._loss().detach()
        readings: dict[str, Tensor | float] = {"curvature.sam_sharpness": ascended - loss}
        if step == 0:  # as at the start of a warm-up
            return readings
        losses, changes = [loss], []
        for multiple in MULTIPLES:
            with displaced(parameters, unit, -multiple * step):
                other, turned = self._loss_and_gradient(parameters)
            losses.append(other)
            changes.append(_norm([b - a for a, b in zip(gradient, turned, strict=True)]))
        smoothness = torch.stack([c / (m * step) for c, m in zip(changes, MULTIPLES, strict=True)]).max()
        readings |= {
            "curvature.loss_range": torch.stack(losses).max() - torch.stack(losses).min(),
            "curvature.gradient_change": torch.stack(changes).max() * scale,
            "curvature.effective_smoothness": smoothness,
        }
        bound = None if is_adaptive(self.network.optimizer) else limit(self.network.optimizer)
        if bound is not None:
            readings["curvature.effective_smoothness_over_limit"] = smoothness / bound
        return readings

    def _parameters(self) -> list[nn.Parameter]:
        return [p for p in self.network.parameters.values() if p.requires_grad]

    def _loss(self) -> Tensor:
        assert self.network.probe_loss is not None
        return self.network.probe_loss()  # with its graph: a loss may differentiate by itself, as gradient penalties do

    def _loss_and_gradient(self, parameters: list[nn.Parameter]) -> tuple[Tensor, list[Tensor]]:
        loss = self._loss()
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
        return loss.detach(), [dense(gradient) for gradient in gradients]


def _norm(tensors: Sequence[Tensor]) -> Tensor:
    return torch.nn.utils.get_total_norm(tensors)


@contextmanager
def displaced(parameters: Sequence[nn.Parameter], direction: Sequence[Tensor], length: float) -> Iterator[None]:
    """Inside, `parameters` are moved by `length` times `direction`; afterwards as they were, bit for bit."""
    kept = [p.detach().clone() for p in parameters]
    try:
        with torch.no_grad():
            for p, along in zip(parameters, direction, strict=True):
                p.add_(along.to(p.dtype), alpha=length)
        yield
    finally:
        with torch.no_grad():
            for p, before in zip(parameters, kept, strict=True):
                p.copy_(before)
