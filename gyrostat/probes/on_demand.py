"""What is measured once in a running training because somebody asks: settings in, values as they travel out.

Between two steps, at the current weights, on the fixed probe batch. The model, its modes, buffers and gradients, and
all random states are as found afterwards.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gyrostat.probes.estimators import hessian
from gyrostat.probes.landscape import landscape
from gyrostat.probes.network import Network
from gyrostat.probes.spectral_density import spectral_density
from gyrostat.probes.undisturbed import undisturbed
from gyrostat.spec.measurements import Landscape, Measurement, SpectralDensity
from gyrostat.wire import values
from gyrostat.wire.measurements import GRID_POINTS, LandscapeValues, SpectralDensityValues, Values

BASIS_BYTES = 2**30
"""Memory for the vectors of one Lanczos run, at most (but for two, below which there is no spectrum)."""

Check = Callable[[], None]
"""Called before each pass through the network; raises where nobody waits for the result any more."""


def measure(settings: Measurement, network: Network, check: Check = lambda: None) -> Values:
    """What `settings` ask for.

    Raises:
        ValueError: the training has no probe loss, or no parameters of the kind that is needed.
        FloatingPointError: a Hessian-vector product is not finite.
        Exception: whatever the model's own passes, or `check`, raise.
    """
    if network.probe_loss is None:
        raise ValueError("there is no probe loss to measure; give the session one")
    return _MEASURED[type(settings)](settings, network, network.probe_loss, check)


def _landscape(settings: Landscape, network: Network, loss: Callable[[], Tensor], check: Check) -> LandscapeValues:
    weights = [p for name, p in network.parameters.items() if name in network.matrices and p.requires_grad]
    if not weights:
        raise ValueError("a landscape needs trained weights of two or more dimensions, and the model has none")

    def checked() -> Tensor:
        check()
        return loss()

    with undisturbed(network.model):
        found = landscape(
            checked,
            weights,
            dimensions=settings.dimensions,
            reach=settings.reach,
            points=settings.num_points,
            seed=settings.seed,
        )
    losses = values.to_json(found.losses.astype(np.float32))
    return LandscapeValues(positions=found.positions.tolist(), losses=losses)


def _spectral_density(
    settings: SpectralDensity, network: Network, loss: Callable[[], Tensor], check: Check
) -> SpectralDensityValues:
    parameters: list[nn.Parameter] = [p for p in network.parameters.values() if p.requires_grad]
    length = sum(p.numel() for p in parameters)
    if not length:
        raise ValueError("a spectral density needs trained parameters, and the model has none")
    wide = any(p.dtype == torch.float64 for p in parameters)
    like = torch.zeros(length, dtype=torch.float64 if wide else torch.float32, device=parameters[0].device)
    with undisturbed(network.model):
        product = hessian(loss(), parameters)

        def checked(vector: Tensor) -> Tensor:
            check()
            return product(vector)

        found = spectral_density(
            checked,
            like,
            probes=settings.probes,
            steps=max(2, min(settings.steps, BASIS_BYTES // (length * like.element_size()))),
            width=settings.width,
            points=GRID_POINTS,
            seed=settings.seed,
        )
    return SpectralDensityValues(
        grid=_listed(found.grid),
        density=_listed(found.density),
        error=_listed(found.error),
        eigenvalues=_listed(found.eigenvalues),
        weights=_listed(found.weights),
        sigma=found.sigma,
        trace=found.trace.value,
        trace_error=found.trace.error,
        square=found.square.value,
        square_error=found.square.error,
        steps=found.steps,
        parameters=length,
    )


def _listed(array: np.ndarray) -> list[float]:
    """As float32 in the shortest decimals: no more digits travel than a product in float32 has."""
    listed: list[float] = values.to_json(array.astype(np.float32))
    return listed


_MEASURED: dict[type, Callable[[Any, Network, Callable[[], Tensor], Check], Values]] = {
    Landscape: _landscape,
    SpectralDensity: _spectral_density,
}
