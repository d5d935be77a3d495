"""What is measured once in a running training because somebody asks: settings in, values as they travel out.

Between two steps, at the current weights, on the fixed probe batch. The model, its modes, buffers and gradients, and
all random states are as found afterwards.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from gyrostat.probes.estimators import hessian
from gyrostat.probes.features import features, visit_outputs
from gyrostat.probes.kernel import kernel_of
from gyrostat.probes.landscape import landscape
from gyrostat.probes.network import Network
from gyrostat.probes.similarity import MIN_SAMPLES, signature
from gyrostat.probes.spectral_density import spectral_density
from gyrostat.probes.undisturbed import undisturbed
from gyrostat.spec.measurements import Alignment, Kernel, Landscape, Measurement, SpectralDensity
from gyrostat.wire import values
from gyrostat.wire.measurements import (
    GRID_POINTS,
    MAX_MODULES,
    AlignmentValues,
    KernelValues,
    LandscapeValues,
    SpectralDensityValues,
    Values,
)

BASIS_BYTES = 2**30
"""Memory for the vectors of one Lanczos run, at most (but for two, below which there is no spectrum)."""

Check = Callable[[], None]
"""Called before each pass through the network; raises where nobody waits for the result any more."""


class Measured(NamedTuple):
    """What was found, and on how many samples of the probe batch; None where only its loss is known."""

    samples: int | None
    values: Values


def measure(settings: Measurement, network: Network, check: Check = lambda: None) -> Measured:
    """What `settings` ask for.

    Raises:
        ValueError: the training has no probe loss or batch, or no parameters or features of the kind that is needed.
        FloatingPointError: a Hessian-vector product is not finite.
        Exception: whatever the model's own passes, or `check`, raise.
    """
    if network.probe_loss is None:
        raise ValueError("there is no probe loss to measure; give the session one")
    return _MEASURED[type(settings)](settings, network, network.probe_loss, check)


def _all_samples(network: Network) -> int | None:
    return None if network.probe_batch is None else network.probe_batch.size


def _landscape(settings: Landscape, network: Network, loss: Callable[[], Tensor], check: Check) -> Measured:
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
    return Measured(_all_samples(network), LandscapeValues(positions=found.positions.tolist(), losses=losses))


def _spectral_density(
    settings: SpectralDensity, network: Network, loss: Callable[[], Tensor], check: Check
) -> Measured:
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
    told = SpectralDensityValues(
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
    return Measured(_all_samples(network), told)


def _alignment(settings: Alignment, network: Network, loss: Callable[[], Tensor], check: Check) -> Measured:
    batch, names = network.probe_batch, list(network.leaves)
    samples = min(settings.samples, _all_samples(network) or 0)
    if batch is None or samples < MIN_SAMPLES:
        raise ValueError(f"likenesses need a probe batch of at least {MIN_SAMPLES} samples, and there are {samples}")
    chosen = set(np.linspace(0, len(names) - 1, min(len(names), MAX_MODULES)).round().astype(int).tolist())
    found: dict[str, Tensor] = {}

    def keep(leaf: int, output: Tensor) -> None:
        check()
        if leaf in chosen and (known := signature(features(output))).any():
            found[names[leaf]] = known

    visit_outputs(network, batch, samples, keep)
    if not found:
        raise ValueError("no module has outputs with a row for each sample that vary over samples")
    signatures = torch.stack(list(found.values()))
    matrix = (signatures @ signatures.mT).cpu().numpy()
    told = AlignmentValues(names=list(found), alignment=values.to_json(matrix.astype(np.float32)))
    return Measured(samples, told)


def _kernel(settings: Kernel, network: Network, loss: Callable[[], Tensor], check: Check) -> Measured:
    check()
    kernel = kernel_of(network, settings.samples)
    if kernel is None:
        raise ValueError("a kernel needs a probe batch, trained parameters and a model with an output for each sample")
    if not kernel.isfinite().all():
        raise FloatingPointError("a gradient is not finite")
    eigenvalues = torch.linalg.eigvalsh(kernel).clamp_min(0).numpy()
    return Measured(len(kernel), KernelValues(kernel_eigenvalues=_listed(eigenvalues)))


def _listed(array: np.ndarray) -> list[float]:
    """As float32 in the shortest decimals: no more digits travel than a product in float32 has."""
    listed: list[float] = values.to_json(array.astype(np.float32))
    return listed


_MEASURED: dict[type, Callable[[Any, Network, Callable[[], Tensor], Check], Measured]] = {
    Landscape: _landscape,
    SpectralDensity: _spectral_density,
    Alignment: _alignment,
    Kernel: _kernel,
}
