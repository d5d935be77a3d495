"""The largest factor by which each weight matrix can stretch a vector."""

from typing import Any

import torch
from torch import Tensor

from gyrostat.probes.base import Probe, Readings
from gyrostat.probes.estimators import largest_singular_value, power_iteration
from gyrostat.probes.network import Network
from gyrostat.probes.warmstart import WarmStarts, random_vector
from gyrostat.spec.probes import SpectralProbe

_WARM_ITERATIONS = 2
"""Power iterations of a measurement on an accelerator that starts from the last one's vector."""


class Spectral(Probe):
    """σ₁ of each weight with two or more dimensions, reshaped to (out, rest), starting from the last vector.

    On a CPU it goes on until `tolerance` is met. On an accelerator that decision would make the host wait for the
    device, so the first measurement makes `max_iterations` power iterations, and most further ones two, from where the
    last ended: weights move little between measurements, and what is missing is made up over several of them.
    """

    settings_type = SpectralProbe

    def __init__(self, settings: Any, network: Network) -> None:
        super().__init__(settings, network)
        self._starts = WarmStarts(fresh=0.01, cold_every=20)

    def after_update(self) -> Readings:
        """σ₁ of the new weights."""
        # a loop that runs whole steps under autocast would have the products in half precision
        with torch.no_grad(), torch.autocast(self.network.device.type, enabled=False):
            values = [self._largest(name, matrix()) for name, matrix in self.network.matrices.items()]
        if not values:
            return {}
        if all(isinstance(value, float) for value in values):
            return {"weight.spectral_norm": torch.tensor(values, dtype=torch.float32)}
        placed = [torch.as_tensor(value, dtype=torch.float32, device=self.network.device) for value in values]
        return {"weight.spectral_norm": torch.stack(placed)}

    def _largest(self, name: str, weight: Tensor) -> float | Tensor:
        if weight.numel() == 0:
            return 0.0
        matrix = weight.reshape(len(weight), -1)
        if matrix.dtype not in (torch.float32, torch.float64):
            matrix = matrix.float()
        if len(matrix) < matrix.shape[1]:
            matrix = matrix.mT  # the same singular values, and the vector to keep is the shorter one
        start, warm = self._starts.start(name, matrix.shape[1], matrix)
        if matrix.device.type == "cpu":
            limits = {"tolerance": self.settings.tolerance, "max_products": self.settings.max_iterations}
            found = largest_singular_value(matrix, start, **limits)
            self._starts.keep(name, found.vector)
            return found.value
        sigma, vector = power_iteration(matrix, start, _WARM_ITERATIONS if warm else self.settings.max_iterations)
        # whether it is finite is not asked, for the host would wait: a NaN weight must not spoil the later measurements
        self._starts.keep(name, torch.where(vector.isfinite().all(), vector, random_vector(len(vector), matrix)))
        return sigma

    def state_dict(self) -> dict[str, Any]:
        """Where the next measurement starts from."""
        return self._starts.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes up `state_dict`."""
        self._starts.load_state_dict(state)
