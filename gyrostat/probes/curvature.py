"""How sharp the loss is around the weights, held against what the optimizer can bear."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from gyrostat.probes.base import Need, Probe, Readings
from gyrostat.probes.estimators import Operator, hessian, lanczos
from gyrostat.probes.network import Network
from gyrostat.probes.stability import inverse_root_preconditioner, is_adaptive, limit
from gyrostat.probes.undisturbed import undisturbed
from gyrostat.probes.warmstart import WarmStarts
from gyrostat.spec.probes import CurvatureProbe

_WARM_PRODUCTS = 3
"""Products at least from a warm start; with fewer, the random part has shown nothing yet."""

_STRICTER = 10
"""A residual says that *some* eigenvalue is near. Asked for `tolerance` itself, one measurement in a hundred of small
nets in training settled on the second eigenvalue, up to 10 % too low; asked for a tenth of it, none of 800. That takes
two more products.
"""

_BASIS_BYTES = 2**28
"""Memory for the vectors of one Lanczos run, at most (but for three vectors, with which it can do)."""


class Curvature(Probe):
    """Largest eigenvalue of the training loss's Hessian on the probe batch, and for Adam of the preconditioned one.

    Over all trainable parameters, by Lanczos from the last measurement's vector. The graph of the gradient is built
    once a measurement and shared by both eigenvalues, which also share `max_products`. Parameters must lie on one
    device. This probe waits for the device, once a product, and needs memory for one forward and two backward passes of
    the batch.
    """

    settings_type = CurvatureProbe
    needs = frozenset({Need.PROBE_LOSS})

    def __init__(self, settings: Any, network: Network) -> None:
        super().__init__(settings, network)
        self._starts = WarmStarts(fresh=0.1, cold_every=5)

    def after_update(self) -> Readings:
        """At the new weights; the limit at the learning rate of the step that led to them."""
        network = self.network
        parameters = [p for p in network.parameters.values() if p.requires_grad]
        if network.probe_loss is None or not parameters:
            return {}
        bound = limit(network.optimizer)
        readings: dict[str, Tensor | float] = {} if bound is None else {"curvature.limit": bound}
        readings |= self._eigenvalues(network.probe_loss, parameters)
        decisive = "curvature.preconditioned_sharpness" if is_adaptive(network.optimizer) else "curvature.sharpness"
        value = readings.get(decisive)
        if bound is not None and value is not None:
            readings["curvature.sharpness_over_limit"] = value / bound
        return readings

    def _eigenvalues(self, loss: Callable[[], Tensor], parameters: list[nn.Parameter]) -> Readings:
        roots = None
        if is_adaptive(self.network.optimizer):
            roots = inverse_root_preconditioner(self.network.optimizer, parameters)
        with undisturbed(self.network.model):
            product = hessian(loss(), parameters)
            share = self.settings.max_products // (1 if roots is None else 2)
            sharpness, used = self._largest("sharpness", product, parameters, share)
            readings = {"curvature.sharpness": sharpness}
            if roots is not None:
                flat = torch.cat([root.reshape(-1) for root in roots])
                rest = self.settings.max_products - used
                value, _ = self._largest("preconditioned", lambda v: flat * product(flat * v), parameters, rest)
                readings["curvature.preconditioned_sharpness"] = value
        return readings

    def _largest(self, name: str, product: Operator, parameters: list[nn.Parameter], most: int) -> tuple[float, int]:
        length = sum(p.numel() for p in parameters)
        like = torch.zeros((), dtype=_common_dtype(parameters), device=parameters[0].device)
        start, warm = self._starts.start(name, length, like)
        found = lanczos(
            product,
            start,
            tolerance=self.settings.tolerance / _STRICTER,
            max_products=most,
            min_products=_WARM_PRODUCTS if warm else 1,
            max_basis=max(3, min(64, _BASIS_BYTES // (length * like.element_size()))),
        )
        self._starts.keep(name, found.vector)
        return found.value, found.products

    def state_dict(self) -> dict[str, Any]:
        """Where the next measurement starts from."""
        return self._starts.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes up `state_dict`."""
        self._starts.load_state_dict(state)


def _common_dtype(parameters: list[nn.Parameter]) -> torch.dtype:
    wide = any(p.dtype == torch.float64 for p in parameters)
    return torch.float64 if wide else torch.float32
