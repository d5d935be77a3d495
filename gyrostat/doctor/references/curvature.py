"""Curvature, from the dense Hessian of the probe batch's loss."""

from copy import deepcopy
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call

from gyrostat.doctor.moment import Array, Moment
from gyrostat.doctor.networks import loss_of
from gyrostat.doctor.references.registry import Values, reference
from gyrostat.spec.probes import SmoothnessProbe

_ESTIMATE = 0.02
"""The probe stops at one hundredth; and where it has used up its products, which small nets do not."""


def names_of(moment: Moment) -> list[str]:
    """Trainable parameters, tied ones once."""
    return [name for name, parameter in moment.network.named_parameters() if parameter.requires_grad]


@lru_cache(maxsize=1)
def hessian(moment: Moment) -> Array:
    """(n, n), every entry by a backward pass of a row."""
    names = names_of(moment)
    parameters = dict(moment.network.named_parameters())
    sizes = [parameters[name].numel() for name in names]
    images, targets = moment.probe_batch

    def loss(flat: Tensor) -> Tensor:
        parts = {
            name: part.view_as(parameters[name]) for name, part in zip(names, torch.split(flat, sizes), strict=True)
        }
        outputs = functional_call(moment.network, parts, (images,), tie_weights=True)
        return torch.nn.functional.cross_entropy(outputs, targets)

    flat = torch.cat([parameters[name].detach().flatten() for name in names])
    buffers = {name: buffer.clone() for name, buffer in moment.network.named_buffers()}
    found: Tensor = torch.autograd.functional.hessian(loss, flat)  # type: ignore[no-untyped-call]
    for name, buffer in moment.network.named_buffers():
        buffer.copy_(buffers[name])
    return found.numpy()


def probe_loss(moment: Moment, shift: Array | None = None) -> tuple[float, Array]:
    """Loss of the probe batch and its gradient (n,), with the trainable parameters moved by `shift` (n,)."""
    network = deepcopy(moment.network)
    parameters = [dict(network.named_parameters())[name] for name in names_of(moment)]
    if shift is not None:
        parts = torch.split(torch.from_numpy(shift), [parameter.numel() for parameter in parameters])
        with torch.no_grad():
            for parameter, part in zip(parameters, parts, strict=True):
                parameter.add_(part.view_as(parameter))
    loss = loss_of(network, moment.probe_batch)
    gradients = torch.autograd.grad(loss, parameters, materialize_grads=True, allow_unused=True)
    return float(loss.detach()), torch.cat([gradient.flatten() for gradient in gradients]).numpy()


def preconditioner(moment: Moment) -> Array | None:
    """Diagonal of P = (√v̂ + ε)·(1 − β₁ᵗ); 0 where the optimizer has not moved; None for momentum."""
    if "betas" not in moment.group:
        return None
    parts = []
    for name in names_of(moment):
        state = moment.state.get(name)
        if not state:
            parts.append(np.zeros(moment.after[name].size))
            continue
        first, second = moment.group["betas"]
        step = float(state["step"])
        corrected = np.sqrt(state["exp_avg_sq"].double().numpy() / (1 - second**step)) + moment.group["eps"]
        parts.append((corrected * (1 - first**step)).ravel())
    return np.concatenate(parts)


@reference("curvature.sharpness", error=_ESTIMATE)
def sharpness(moment: Moment) -> Values:
    """Largest eigenvalue of H."""
    return float(np.linalg.eigvalsh(hessian(moment))[-1])


@reference("curvature.preconditioned_sharpness", error=_ESTIMATE)
def preconditioned_sharpness(moment: Moment) -> Values:
    """Largest eigenvalue of P⁻¹ᐟ²HP⁻¹ᐟ²."""
    diagonal = preconditioner(moment)
    if diagonal is None:
        return None
    roots = np.where(diagonal > 0, 1 / np.sqrt(np.where(diagonal > 0, diagonal, 1)), 0)
    return float(np.linalg.eigvalsh(roots[:, None] * hessian(moment) * roots)[-1])


@reference("curvature.limit")
def limit(moment: Moment) -> Values:
    """Of momentum (2 + 2β)/η; of AdamW (2 − ηw)(1 + β₁)/((1 − β₁)η)."""
    rate = moment.group["lr"]
    if "betas" not in moment.group:
        return float((2 + 2 * moment.group["momentum"]) / rate)
    beta = moment.group["betas"][0]
    return float((2 - rate * moment.group["weight_decay"]) * (1 + beta) / ((1 - beta) * rate))


@reference("curvature.sharpness_over_limit", error=_ESTIMATE)
def over_limit(moment: Moment) -> Values:
    """The one over the other."""
    decisive = preconditioned_sharpness(moment) or sharpness(moment)
    bound = limit(moment)
    assert isinstance(decisive, float)
    assert isinstance(bound, float)
    return decisive / bound


@reference("curvature.along_gradient")
def along_gradient(moment: Moment) -> Values:
    """gᵀHg/gᵀg."""
    _, gradient = probe_loss(moment)
    return float(gradient @ hessian(moment) @ gradient / (gradient @ gradient))


@reference("curvature.sam_sharpness", error=1e-3)
def sam_sharpness(moment: Moment) -> Values:
    """L(θ + ρ·g/‖g‖) − L(θ); a difference of losses that float32 knows to seven digits."""
    loss, gradient = probe_loss(moment)
    moved, _ = probe_loss(moment, SmoothnessProbe().rho * gradient / np.linalg.norm(gradient))
    return moved - loss
