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

The eigenvalues of P⁻¹H are those of the symmetric P⁻¹ᐟ²HP⁻¹ᐟ². For w = 0 the limits are those of Cohen et al. 2021
(arXiv 2103.00065, eq. 1 and appendix B) and Cohen et al. 2022 (arXiv 2207.14484, section 3).
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, Optimizer


def is_adaptive(optimizer: Optimizer) -> bool:
    """Whether its limit is one of the preconditioned sharpness: Adam and AdamW."""
    return isinstance(optimizer, Adam)


def limit(optimizer: Optimizer) -> float | None:
    """The largest stable eigenvalue, of H or (see `is_adaptive`) of P⁻¹H, at the learning rates of this moment.

    Of several parameter groups the smallest limit counts, which is that of the largest rate. None: an optimizer other
    than torch's SGD, Adam and AdamW, one that maximizes, or all rates 0 (as at the start of a warm-up). Adam's coupled
    weight decay is left out.
    """
    of_group = {SGD: _sgd_limit, Adam: _adam_limit}
    for kind, formula in of_group.items():
        if isinstance(optimizer, kind):
            groups = [group for group in optimizer.param_groups if float(group["lr"]) > 0]
            if not groups or any(group.get("maximize") for group in groups):
                return None
            return min(formula(group) for group in groups)
    return None


def _sgd_limit(group: dict[str, Any]) -> float:
    rate, momentum, decay = float(group["lr"]), group["momentum"], group["weight_decay"]
    if group["nesterov"]:
        return float((2 + 2 * momentum) / (rate * (1 + 2 * momentum)) - decay)
    damped = 1 - group["dampening"] if momentum else 1.0
    return float((2 + 2 * momentum) / (rate * damped) - decay) if damped > 0 else math.inf


def _adam_limit(group: dict[str, Any]) -> float:
    rate, beta = float(group["lr"]), float(group["betas"][0])
    kept = 1 - rate * group["weight_decay"] if group.get("decoupled_weight_decay") else 1.0
    return (1 + kept) * (1 + beta) / ((1 - beta) * rate)


def inverse_root_preconditioner(optimizer: Optimizer, parameters: Sequence[nn.Parameter]) -> list[Tensor] | None:
    """P⁻¹ᐟ² of Adam or AdamW, elementwise, a tensor for each parameter; None before its first step.

    0 for parameters that the optimizer has not moved yet: it has no P for them, and they do not oscillate.
    """
    roots = {id(p): root for group in optimizer.param_groups for p, root in _roots(optimizer, group)}
    if not roots:
        return None
    return [roots.get(id(p), torch.zeros_like(p, requires_grad=False)) for p in parameters]


def _roots(optimizer: Optimizer, group: dict[str, Any]) -> list[tuple[nn.Parameter, Tensor]]:
    first, second = (float(beta) for beta in group["betas"])
    found: list[tuple[nn.Parameter, Tensor]] = []
    for parameter in group["params"]:
        state = optimizer.state.get(parameter)
        if not state:
            continue
        step = float(state["step"])
        moment = state["max_exp_avg_sq" if group["amsgrad"] else "exp_avg_sq"]
        root_mean = (moment / (1 - second**step)).sqrt() + group["eps"]
        found.append((parameter, (root_mean * (1 - first**step)).rsqrt()))
    return found
