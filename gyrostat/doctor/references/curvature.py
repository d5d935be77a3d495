"""Curvature, from the dense Hessian of the probe batch's loss."""

from copy import deepcopy
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call

from gyrostat.doctor.moment import Array, Moment
from gyrostat.doctor.networks import NETWORKS, loss_of
from gyrostat.doctor.references.registry import DEVIATIONS, Between, Values, reference
from gyrostat.doctor.training import EIGENVALUES, TRACE_SAMPLES
from gyrostat.spec.probes import CurvatureProbe, SmoothnessProbe

_ESTIMATE = 0.02
"""The probe stops at one hundredth; and where it has used up its products, which small nets do not."""


def names_of(moment: Moment) -> list[str]:
    """Trainable parameters, tied ones once."""
    return [name for name, parameter in moment.network.named_parameters() if parameter.requires_grad]


@lru_cache(maxsize=len(NETWORKS))
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
    """Diagonal of P: (√v̂ + ε)·(1 − β₁ᵗ) of AdamW, √s + ε of RMSprop; 0 where it has not moved; None for momentum."""
    if "betas" not in moment.group and "alpha" not in moment.group:
        return None
    parts = []
    for name in names_of(moment):
        state = moment.state.get(name)
        if not state:
            parts.append(np.zeros(moment.after[name].size))
            continue
        if "alpha" in moment.group:
            parts.append((np.sqrt(state["square_avg"].double().numpy()) + moment.group["eps"]).ravel())
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
    """Of momentum and RMSprop (2 + 2β)/η; of AdamW (2 − ηw)(1 + β₁)/((1 − β₁)η)."""
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


def largest(moment: Moment) -> dict[str, float]:
    """Eigenvalues of H by their names, falling."""
    values = np.linalg.eigvalsh(hessian(moment))[: -EIGENVALUES - 1 : -1]
    return {f"eigenvalue {number}": float(value) for number, value in enumerate(values, start=1)}


@reference("curvature.eigenvalue", error=_ESTIMATE)
def eigenvalues(moment: Moment) -> Values:
    """The largest of H, falling."""
    return largest(moment)


@reference("curvature.eigenvalue_error")
def eigenvalue_errors(moment: Moment) -> Values:
    """Of each that was found what `sharpness_error` is of the sharpness."""
    return {name: _residual(moment, moment.found("curvature.eigenvalue", name)) for name in largest(moment)}


@reference("curvature.sharpness_error")
def sharpness_error(moment: Moment) -> Values:
    """At least how far the nearest eigenvalue is from the sharpness that was found; at most where the probe stops."""
    return _residual(moment, moment.found("curvature.sharpness"))


def _residual(moment: Moment, found: float) -> Between:
    nearest = float(np.abs(np.linalg.eigvalsh(hessian(moment)) - found).min())
    rounding = 1e-5
    return Between(low=nearest / found - rounding, high=CurvatureProbe().tolerance)


@reference("curvature.trace")
def trace(moment: Moment) -> Values:
    """Σ of H's diagonal, within the error that is stated of the estimate."""
    return _within(float(np.trace(hessian(moment))), moment.found("curvature.trace_error"))


@reference("curvature.trace_error")
def trace_error(moment: Moment) -> Values:
    """At least what the trace that was found is off, and at most twice the standard error of random signs alone."""
    off = abs(moment.found("curvature.trace") - float(np.trace(hessian(moment))))
    return Between(low=off / DEVIATIONS, high=2 * _random_signs(hessian(moment)))


def blocks(moment: Moment) -> dict[str, tuple[Array, Array]]:
    """By parameter its rows of H, (nₚ, n), and those rows' columns that are its own too, (nₚ, nₚ)."""
    ends = np.cumsum([moment.after[name].size for name in names_of(moment)])
    places = [slice(end - moment.after[name].size, end) for name, end in zip(names_of(moment), ends, strict=True)]
    whole = hessian(moment)
    return {name: (whole[at], whole[at, at]) for name, at in zip(names_of(moment), places, strict=True)}


@reference("curvature.block_sharpness", error=_ESTIMATE)
def block_sharpness(moment: Moment) -> Values:
    """Largest eigenvalue of each diagonal block."""
    return {name: float(np.linalg.eigvalsh(block)[-1]) for name, (_, block) in blocks(moment).items()}


@reference("curvature.block_trace")
def block_trace(moment: Moment) -> Values:
    """Σ of each diagonal block's diagonal, within the error that is stated of the estimate."""
    return {
        name: _within(float(np.trace(block)), moment.found("curvature.block_trace_error", name))
        for name, (_, block) in blocks(moment).items()
    }


@reference("curvature.block_trace_error")
def block_trace_error(moment: Moment) -> Values:
    """At least what each trace is off, and at most twice the standard error of random signs alone.

    That of the block's rows, and a little of all others', which the probe's projection mixes into them.
    """
    mixed, found = 0.01 * _random_signs(hessian(moment)), {}
    for name, (rows, block) in blocks(moment).items():
        off = abs(moment.found("curvature.block_trace", name) - float(np.trace(block)))
        found[name] = Between(low=off / DEVIATIONS, high=2 * _random_signs(rows) + mixed)
    return found


def _within(true: float, stated: float) -> Between:
    return Between(low=true - DEVIATIONS * stated, high=true + DEVIATIONS * stated)


def _random_signs(rows: Array) -> float:
    """√(2‖A‖²/m): no less than the standard error of Hutchinson's estimate from the probe's m samples here."""
    return float(np.sqrt(2 * (rows**2).sum() / TRACE_SAMPLES))


@lru_cache(maxsize=len(NETWORKS))
def line(moment: Moment) -> list[tuple[float, float, Array]]:
    """Distance, loss and gradient (n,) at θ, and down its gradient at 1/2, 1, 2 and 4 times the step's length."""
    loss, gradient = probe_loss(moment)
    step = np.sqrt(sum(((moment.after[name] - moment.before[name]) ** 2).sum() for name in names_of(moment)))
    found = [(0.0, loss, gradient)]
    for multiple in (0.5, 1.0, 2.0, 4.0):
        distance = float(multiple * step)
        found.append((distance, *probe_loss(moment, -distance * gradient / np.linalg.norm(gradient))))
    return found


@reference("curvature.loss_range", error=1e-3)
def loss_range(moment: Moment) -> Values:
    """Largest less smallest; a difference of losses that float32 knows to seven digits."""
    losses = [loss for _, loss, _ in line(moment)]
    return max(losses) - min(losses)


@reference("curvature.gradient_change", error=1e-3)
def gradient_change(moment: Moment) -> Values:
    """Largest ‖g′ − g‖/‖g‖."""
    (_, _, gradient), *others = line(moment)
    return max(float(np.linalg.norm(other - gradient) / np.linalg.norm(gradient)) for _, _, other in others)


@reference("curvature.effective_smoothness", error=1e-3)
def effective_smoothness(moment: Moment) -> Values:
    """Largest ‖g′ − g‖ over the distance."""
    (_, _, gradient), *others = line(moment)
    return max(float(np.linalg.norm(other - gradient)) / distance for distance, _, other in others)


@reference("curvature.effective_smoothness_over_limit", error=1e-3)
def effective_smoothness_over_limit(moment: Moment) -> Values:
    """The same over the limit, of momentum alone."""
    smoothness, bound = effective_smoothness(moment), limit(moment)
    assert isinstance(smoothness, float)
    assert isinstance(bound, float)
    return None if preconditioner(moment) is not None else smoothness / bound
