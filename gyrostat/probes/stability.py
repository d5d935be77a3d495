"""When an optimizer is unstable on a quadratic, and in which coordinates: the limit that sharpness is held against.

On ½ λ θ², gradient descent with heavy-ball momentum is the linear recurrence

    θ' − d θ = β (θ − d θ₋₁) − c λ θ,

with effective rate c and the factor d = 1 − ηw of decoupled weight decay w. Its polynomial
z² − (d + β − cλ) z + βd has all roots inside the unit circle, for 0 ≤ β, d ≤ 1 and λ > 0, if and only if it is positive
at z = −1:  cλ < (1 + d)(1 + β).

- SGD: c = η(1 − dampening), d = 1; its coupled weight decay adds w to every eigenvalue:  λ < (2 + 2β)/c − w.
- Nesterov: the gradient acts once through the buffer and once directly, so z = −1 gives
  ηλ(1 + 2β) < 2 + 2β, hence λ < (2 + 2β)/(η(1 + 2β)) − w.
- AdamW, with its second moment taken as fixed: θ' = dθ − η m̂/(√v̂ + ε), m̂ = m/(1 − β₁ᵗ), m = β₁m₋₁ + (1 − β₁)g. With
  P = diag(√v̂ + ε)·(1 − β₁ᵗ) this is θ' = dθ − η P⁻¹m: m is an average that holds the factor (1 − β₁), and the
  correction of m̂ is in P. So c = η(1 − β₁), and λ is an eigenvalue of P⁻¹H:  λ < (1 + d)(1 + β₁)/((1 − β₁)η), which
  without weight decay is (2 + 2β₁)/((1 − β₁)η), 38/η for β₁ = 0.9.

- RMSprop, with its mean square s taken as fixed: P = diag(√s + ε), c = η, d = 1:  λ < (2 + 2β)/η.
- Decoupled weight decay beside an optimizer that has none (θ' = dθ before the step) changes d = 1 in all of these, and
  Nesterov's limit to (1 + d)(1 + β)/(η(1 + 2β)) − w. Coupled decay beside an adaptive optimizer makes P⁻¹(H + wI) of
  P⁻¹H, whose eigenvalues do not follow from those of P⁻¹H; they are larger by at most w·max P⁻¹, and it is left out.
- Lion and Muon move by a length that does not depend on the gradient's. On a quadratic λ scales gradients and momenta
  alike, so that their path is the same at every λ, and no λ can be a limit: Lion ends within η(1 + β₁/(1 − β₂)) of the
  minimum, Muon within 1 + β²/(1 − β) of its steps. An edge of theirs is one of another sharpness, in the norm that
  their step is steepest in, over the gradient's dual norm (Islamov et al. 2026, arXiv 2603.05002), which no eigenvalue
  tells.
- An optimizer that has a law of its own says it itself: see `SelfLimiting`.

The eigenvalues of P⁻¹H are those of the symmetric P⁻¹ᐟ²HP⁻¹ᐟ². For w = 0 the limits are those of Cohen et al. 2021
(arXiv 2103.00065, eq. 1 and appendix B) and Cohen et al. 2022 (arXiv 2207.14484, section 3).
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, Optimizer, RMSprop


@runtime_checkable
class SelfLimiting(Protocol):
    """An optimizer that says itself when it is unstable."""

    @property
    def is_preconditioned(self) -> bool:
        """Whether its limit is one of P⁻¹H instead of H."""

    def stability_limit(self) -> float | None:
        """The largest stable eigenvalue at this moment, or None where there is none that can be said."""

    def preconditioner(self) -> list[tuple[nn.Parameter, Tensor]]:
        """The diagonal P of each parameter that it has moved; empty where it has none."""


def is_adaptive(optimizer: Optimizer) -> bool:
    """Whether its limit is one of the preconditioned sharpness: Adam, AdamW, RMSprop, and what says so of itself."""
    if isinstance(optimizer, SelfLimiting):
        return optimizer.is_preconditioned
    return isinstance(optimizer, Adam | RMSprop)


def limit(optimizer: Optimizer) -> float | None:
    """The largest stable eigenvalue, of H or (see `is_adaptive`) of P⁻¹H, at the learning rates of this moment.

    Of several parameter groups the smallest limit counts, which is that of the largest rate. A group may name a decay
    that is carried out beside the optimizer: `coupled_decay` w, added to the gradient as wθ, or `decoupled_decay` w,
    which multiplies θ by 1 − ηw before the step. None: an optimizer other than torch's SGD, Adam, AdamW and RMSprop
    that does not say its limit itself, one that maximizes, or all rates 0 (as at the start of a warm-up). Coupled
    weight decay of the adaptive ones is left out.
    """
    if isinstance(optimizer, SelfLimiting):
        return optimizer.stability_limit()
    of_group: dict[type[Optimizer], Callable[[dict[str, Any]], float]] = {
        SGD: _sgd_limit,
        Adam: _adam_limit,
        RMSprop: _rmsprop_limit,
    }
    for kind, formula in of_group.items():
        if isinstance(optimizer, kind):
            groups = [group for group in optimizer.param_groups if float(group["lr"]) > 0]
            if not groups or any(group.get("maximize") for group in groups):
                return None
            return min(formula(group) for group in groups)
    return None


def _kept(group: dict[str, Any]) -> float:
    """d: the share of a weight that decoupled decay beside the optimizer leaves at a step."""
    return float(1 - group["lr"] * group.get("decoupled_decay", 0.0))


def _sgd_limit(group: dict[str, Any]) -> float:
    rate, momentum, decay = float(group["lr"]), group["momentum"], group["weight_decay"] + group.get("coupled_decay", 0)
    top = (1 + _kept(group)) * (1 + momentum)
    if group["nesterov"]:
        return float(top / (rate * (1 + 2 * momentum)) - decay)
    damped = 1 - group["dampening"] if momentum else 1.0
    return float(top / (rate * damped) - decay) if damped > 0 else math.inf


def _adam_limit(group: dict[str, Any]) -> float:
    rate, beta = float(group["lr"]), float(group["betas"][0])
    kept = _kept(group) * (1 - rate * group["weight_decay"] if group.get("decoupled_weight_decay") else 1.0)
    return (1 + kept) * (1 + beta) / ((1 - beta) * rate)


def _rmsprop_limit(group: dict[str, Any]) -> float:
    return float((1 + _kept(group)) * (1 + group["momentum"]) / group["lr"])


def inverse_root_preconditioner(optimizer: Optimizer, parameters: Sequence[nn.Parameter]) -> list[Tensor] | None:
    """P⁻¹ᐟ² of an adaptive optimizer, elementwise, a tensor for each parameter; None before its first step.

    0 for parameters that the optimizer has not moved yet: it has no P for them, and they do not oscillate.
    """
    roots = {id(p): diagonal.rsqrt() for p, diagonal in _preconditioner(optimizer)}
    if not roots:
        return None
    return [roots.get(id(p), torch.zeros_like(p, requires_grad=False)) for p in parameters]


def _preconditioner(optimizer: Optimizer) -> list[tuple[nn.Parameter, Tensor]]:
    """The diagonal P of each parameter that the optimizer has moved."""
    if isinstance(optimizer, SelfLimiting):
        return optimizer.preconditioner()
    of_state = _rmsprop_diagonal if isinstance(optimizer, RMSprop) else _adam_diagonal
    return [
        (parameter, of_state(group, optimizer.state[parameter]))
        for group in optimizer.param_groups
        for parameter in group["params"]
        if optimizer.state.get(parameter)
    ]


def _adam_diagonal(group: dict[str, Any], state: dict[str, Any]) -> Tensor:
    first, second = (float(beta) for beta in group["betas"])
    step = float(state["step"])
    moment: Tensor = state["max_exp_avg_sq" if group["amsgrad"] else "exp_avg_sq"]
    root_mean: Tensor = (moment / (1 - second**step)).sqrt() + group["eps"]
    return root_mean * float(1 - first**step)


def _rmsprop_diagonal(group: dict[str, Any], state: dict[str, Any]) -> Tensor:
    square: Tensor = state["square_avg"]
    if group["centered"]:
        square = square - state["grad_avg"] ** 2
    root_mean: Tensor = square.sqrt() + group["eps"]
    return root_mean
