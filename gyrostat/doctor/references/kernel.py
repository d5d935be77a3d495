"""The neural tangent kernel of a signed sum of outputs, from explicit gradients of each sample by itself."""

from copy import deepcopy

import numpy as np
import torch
from torch import nn

from gyrostat.doctor.moment import Array, Moment
from gyrostat.doctor.references.registry import Values, reference
from gyrostat.probes.kernel import signs
from gyrostat.spec.probes import KernelProbe


def kernel(network: nn.Module, moment: Moment) -> Array:
    """(n, n) of the first samples of the probe batch, eval mode; the signs are the probe's own draw."""
    copy = deepcopy(network).eval()
    trained = [parameter for parameter in copy.parameters() if parameter.requires_grad]
    rows = []
    for image in moment.probe_batch[0][: KernelProbe().samples]:
        outputs = copy(image[None])[0]
        signed = (outputs * signs(len(outputs)).to(outputs)).sum() / len(outputs) ** 0.5
        gradients = torch.autograd.grad(signed, trained, materialize_grads=True)
        rows.append(torch.cat([gradient.flatten() for gradient in gradients]).numpy())
    jacobian = np.stack(rows)
    return np.asarray(jacobian @ jacobian.T)


def eigenvalues(moment: Moment) -> Array:
    """Rising."""
    return np.asarray(np.linalg.eigvalsh(kernel(moment.network, moment)))


def distance(one: Array, other: Array) -> float:
    """1 − ⟨A, B⟩/(‖A‖‖B‖)."""
    return float(1 - (one * other).sum() / np.linalg.norm(one) / np.linalg.norm(other))


@reference("kernel.largest_eigenvalue")
def largest_eigenvalue(moment: Moment) -> Values:
    """Of the full spectrum."""
    return float(eigenvalues(moment)[-1])


@reference("kernel.trace")
def trace(moment: Moment) -> Values:
    """Sum of the diagonal."""
    return float(np.trace(kernel(moment.network, moment)))


@reference("kernel.condition_number", error=1e-2)
def condition_number(moment: Moment) -> Values:
    """Largest over smallest; the probe's gradients are in float32, which the smallest feels."""
    found = eigenvalues(moment)
    return float(found[-1] / max(found[0], 1e-12 * found[-1]))


@reference("kernel.effective_rank")
def effective_rank(moment: Moment) -> Values:
    """The exponential of the entropy of eigenvalues over their sum."""
    found = np.clip(eigenvalues(moment), 0, None)
    shares = found[found > 0] / found.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


@reference("kernel.drift")
def drift(moment: Moment) -> Values:
    """‖Θ − Θ₀‖/‖Θ₀‖."""
    first, now = kernel(moment.start, moment), kernel(moment.network, moment)
    return float(np.linalg.norm(now - first) / np.linalg.norm(first))


@reference("kernel.distance", least=0.01)
def first_distance(moment: Moment) -> Values:
    """From the kernel before training."""
    return distance(kernel(moment.start, moment), kernel(moment.network, moment))


@reference("kernel.last_distance", least=0.01)
def last_distance(moment: Moment) -> Values:
    """From the kernel after the step before."""
    return distance(kernel(moment.previous, moment), kernel(moment.network, moment))
