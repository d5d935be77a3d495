"""The neural tangent kernel: pure functions of a model, inputs and parameters, and the probe that follows it.

K outputs for each of N samples are numbered sample by sample, so that a whole kernel is (N·K, N·K). The model should be
in eval mode or inside `undisturbed`: a kernel of dropout masks is none.

Source: Jacot, Gabriel and Hongler 2018, arXiv 1806.07572, section 4.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from gyrostat.probes.base import Need, Probe, Readings
from gyrostat.probes.estimators import dense
from gyrostat.probes.hooks import first_tensor
from gyrostat.probes.network import Network
from gyrostat.probes.undisturbed import evaluated
from gyrostat.spec.probes import KernelProbe

Parameters = Mapping[str, Tensor]

MAX_JACOBIAN_BYTES = 2**29
"""Memory for the gradients of all samples, at most."""

MIN_SAMPLES = 4
"""A kernel of fewer says nothing."""

FLOOR = 1e-12
"""Eigenvalues below this, relative to the largest, are rounding errors of gradients in float32."""

_COLUMNS = 2**16
"""Parameters whose gradients are multiplied at once: bounds their copy in float64."""


def ntk(model: nn.Module, inputs: tuple[Tensor, ...], *, parameters: Parameters | None = None) -> Tensor:
    """Θ = J·Jᵀ, J the Jacobian of all outputs with respect to all parameters; symmetric, positive semi-definite.

    One backward pass for each of the N·K outputs, whose gradients are held together: keep the batch small.

    Args:
        model: its first axis of outputs is the samples'.
        inputs: what the model is called with, N samples.
        parameters: by name; None takes the model's own. Names that are missing keep the model's own values.

    Returns:
        (N·K, N·K), detached, on the model's device, in its type.
    """
    own = dict(model.named_parameters()) | dict(parameters or {})
    leaves = {name: value.detach().clone().requires_grad_() for name, value in own.items()}
    with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
        outputs = functional_call(model, leaves, inputs).flatten()
        return _gram(outputs, list(leaves.values())).to(outputs.dtype)


def projected_ntk(outputs: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    """(n, n) float64 kernel of the scalar sᵀy/√K, y the K outputs of each of n samples, s fixed random signs.

    Over the signs its expectation is the mean over outputs of their kernels, Σ_k Θ_kk/K; for one output it is Θ itself.
    The plain sum of outputs (Mohamadi, Bae and Sutherland 2022, arXiv 2206.12543, section 3) would look along the one
    direction in which a softmax of logits never moves.

    One backward pass a sample, whose gradients are held together.

    Args:
        outputs: (n, ...), with their graph.
        parameters: what is differentiated by; one that the outputs do not depend on counts for nothing.
    """
    flat = outputs.flatten(1)
    return _gram(flat @ signs(flat.shape[1]).to(flat) / math.sqrt(flat.shape[1]), parameters)


def signs(length: int) -> Tensor:
    """(length,) numbers −1 and 1, evenly random and always the same."""
    return torch.randint(2, (length,), generator=torch.Generator().manual_seed(0)) * 2 - 1


def _gram(scalars: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    """(n, n) inner products of the gradients of n scalars, added up in float64."""
    rows = [torch.autograd.grad(scalar, parameters, retain_graph=True, materialize_grads=True) for scalar in scalars]
    wide = torch.float32 if scalars.device.type == "mps" else torch.float64
    kernel = torch.zeros(len(rows), len(rows), dtype=wide, device=scalars.device)
    for gradients in zip(*rows, strict=True):
        for part in torch.split(torch.stack([dense(gradient).flatten() for gradient in gradients]), _COLUMNS, dim=1):
            kernel.addmm_(part.to(wide), part.to(wide).mT)
    return kernel


def kernel_change(before: Tensor, after: Tensor) -> Tensor:
    """‖Θ₁ − Θ₀‖_F/‖Θ₀‖_F of two kernels of one shape, a 0-dim tensor; 0 where training is linear.

    Source: Lee et al. 2019, arXiv 1902.06720, whose relative change in Frobenius norm this is.
    """
    change: Tensor = torch.linalg.matrix_norm(after - before) / torch.linalg.matrix_norm(before)
    return change


def kernel_distance(before: Tensor, after: Tensor) -> Tensor:
    """1 − ⟨Θ₀, Θ₁⟩/(‖Θ₀‖_F·‖Θ₁‖_F), a 0-dim tensor in [0, 1]: how far a kernel has turned, whatever its size.

    Source: Fort et al. 2020, arXiv 2010.15110 (kernel distance).
    """
    sizes = torch.linalg.matrix_norm(before) * torch.linalg.matrix_norm(after)
    distance: Tensor = 1 - (before * after).sum() / sizes
    return distance


def kernel_drift(model: nn.Module, inputs: tuple[Tensor, ...], before: Parameters, after: Parameters) -> Tensor:
    """`kernel_change` of the model's kernel from one set of parameters to another, a 0-dim tensor."""
    return kernel_change(ntk(model, inputs, parameters=before), ntk(model, inputs, parameters=after))


class Kernel(Probe):
    """Spectrum of `projected_ntk` of the first samples of the probe batch, and how far it has moved.

    Of all parameters that require a gradient, with the model in eval mode. The outputs are those of the model's first
    call in the loss that has a graph, or the first tensor among them, their first axis the samples'; without such there
    is no kernel. The initial kernel is that of the weights that the training begins with. This probe waits for the
    device, and needs memory for a forward pass and for a gradient of each sample.

    Raises:
        ValueError: the gradients of `MIN_SAMPLES` samples need more than `MAX_JACOBIAN_BYTES`.
    """

    settings_type = KernelProbe
    needs = frozenset({Need.PROBE_BATCH})

    def __init__(self, settings: Any, network: Network) -> None:
        super().__init__(settings, network)
        self._initial: Tensor | None = None
        self._last: Tensor | None = None

    def start(self) -> None:
        """Takes the initial kernel, unless a checkpoint had it."""
        if self._initial is None:
            self._initial = self._last = kernel_of(self.network, self.settings.samples)

    def after_update(self) -> Readings:
        """At the new weights."""
        kernel = kernel_of(self.network, self.settings.samples)
        if kernel is None:
            return {}
        readings = spectrum(kernel)
        for metric, measure, other in (
            ("kernel.drift", kernel_change, self._initial),
            ("kernel.distance", kernel_distance, self._initial),
            ("kernel.last_distance", kernel_distance, self._last),
        ):
            # a kernel that is zero has no direction, and a checkpoint's may be of another number of samples
            if other is not None and other.shape == kernel.shape and other.any() and kernel.any():
                readings[metric] = measure(other, kernel).item()
        self._last = kernel
        return readings

    def state_dict(self) -> dict[str, Any]:
        """The initial and the last kernel, where there are any."""
        kernels = {"initial": self._initial, "last": self._last}
        return {name: kernel for name, kernel in kernels.items() if kernel is not None}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes up `state_dict`."""
        self._initial, self._last = state.get("initial"), state.get("last")


def kernel_of(network: Network, samples: int) -> Tensor | None:
    """(n, n) float64 on the host, `projected_ntk` of at most the first `samples` of the probe batch, in eval mode.

    None where the loss calls no model that has outputs of samples. See `Kernel` for which outputs those are.

    Raises:
        ValueError: the gradients of `MIN_SAMPLES` samples need more than `MAX_JACOBIAN_BYTES`.
    """
    batch, parameters = network.probe_batch, [p for p in network.parameters.values() if p.requires_grad]
    if batch is None or not parameters:
        return None
    samples = _affordable(parameters, min(samples, batch.size))
    found: list[Tensor] = []

    def look(module: nn.Module, arguments: Any, output: Any) -> None:
        tensor = first_tensor(output)
        if not found and tensor is not None and tensor.requires_grad and tensor.ndim and len(tensor) >= samples:
            found.append(tensor[:samples])

    with evaluated(network.model), torch.enable_grad():
        handle = network.model.register_forward_hook(look)
        try:
            batch.loss_of(batch.part(0, samples))
        finally:
            handle.remove()
        return projected_ntk(found[0], parameters).cpu() if found else None


def _affordable(parameters: Sequence[Tensor], samples: int) -> int:
    """As many of `samples` as their gradients' memory allows."""
    each = sum(p.numel() * p.element_size() for p in parameters)
    if each * min(MIN_SAMPLES, samples) > MAX_JACOBIAN_BYTES:
        raise ValueError(
            f"the gradients of {MIN_SAMPLES} samples take {each * MIN_SAMPLES:,} bytes; the probe `kernel` uses at "
            f"most {MAX_JACOBIAN_BYTES:,}, so models as large as this have no kernel"
        )
    return min(samples, MAX_JACOBIAN_BYTES // max(1, each))


def spectrum(kernel: Tensor) -> dict[str, Tensor | float]:
    """Metrics of the eigenvalues of a kernel (n, n): NaN where an entry is not finite; no ratios where it is 0."""
    trace = kernel.trace().item()
    if not kernel.isfinite().all():
        names = ("largest_eigenvalue", "trace", "condition_number", "effective_rank")
        return dict.fromkeys((f"kernel.{name}" for name in names), math.nan)
    if trace == 0:
        return {"kernel.largest_eigenvalue": 0.0, "kernel.trace": 0.0}
    values = torch.linalg.eigvalsh(kernel).clamp_min(0)
    largest = values[-1].item()
    return {
        "kernel.largest_eigenvalue": largest,
        "kernel.trace": trace,
        "kernel.condition_number": largest / max(values[0].item(), FLOOR * largest),
        "kernel.effective_rank": torch.special.entr(values / values.sum()).sum().exp().item(),
    }
