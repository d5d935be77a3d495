"""Muon's step for matrices and kernels.

torch's own Muon refuses kernels of convolutions and computes in bfloat16 only, which a CPU does slowly and a float64
model does not want; its step is the reference of the tests.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Jordan et al. 2024: steepest at 0; after five steps singular values lie in about 0.7 to 1.2, and not at 1."""

_ITERATIONS = 5


def hidden_matrices(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that Muon is for, in the model's order.

    Those that are matrices when all but their first dimension are flattened, with more than one row and column; but for
    embeddings and the last module's that has any, which makes the outputs (Jordan et al. 2024).
    """
    owners = {p: module for module in model.modules() for p in module.parameters(recurse=False) if _is_matrix(p)}
    last = next(reversed(owners.values()), None)
    return [p for p, owner in owners.items() if owner is not last and not isinstance(owner, nn.Embedding)]


def _is_matrix(p: Tensor) -> bool:
    return p.ndim > 1 and p.shape[0] > 1 and p.numel() > p.shape[0]


def orthogonalized(matrix: Tensor) -> Tensor:
    """About UVᵀ of the singular value decomposition UΣVᵀ of `matrix` (n, m), by five Newton-Schulz iterations.

    Singular values come out between about 0.7 and 1.2; those below a thousandth of the largest stay smaller. Computed
    in the matrix's own precision. Zero gives zero.

    Source: Jordan et al. 2024, Muon: an optimizer for hidden layers in neural networks.
    """
    a, b, c = _COEFFICIENTS
    wide: Tensor = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    wide = wide / torch.linalg.vector_norm(wide).clamp(min=1e-7)
    for _ in range(_ITERATIONS):
        gram = wide @ wide.T
        wide = a * wide + (b * gram + c * gram @ gram) @ wide
    return wide if matrix.shape[0] <= matrix.shape[1] else wide.T


class Matrices(Optimizer):
    """M ← β·M + (1 − β)·G; W ← (1 − ηλ)·W − η·0.2·√max(n, m)·orthogonalized(β·M + (1 − β)·G).

    Kernels are taken as matrices of out × (in·k·k). With this scale the update's root mean square is about AdamW's, so
    that η and λ are AdamW's.

    Sources: Jordan et al. 2024, Muon: an optimizer for hidden layers in neural networks; Liu et al. 2025,
    arXiv 2502.16982, eq. 4.

    Args:
        params: parameters of two or more dimensions, or groups of them. lr: η. momentum: β. weight_decay: λ.
    """

    def __init__(self, params: Any, lr: float, momentum: float, weight_decay: float = 0.0) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step; parameters without a gradient stay."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self._move(p, group)
        return loss

    def _move(self, p: Tensor, group: dict[str, Any]) -> None:
        state, rate, beta = self.state[p], group["lr"], group["momentum"]
        if not state:
            state["momentum"] = torch.zeros_like(p)
        assert p.grad is not None
        momentum = state["momentum"].lerp_(p.grad, 1 - beta)
        direction = orthogonalized(p.grad.lerp(momentum, beta).flatten(1))
        p.mul_(1 - rate * group["weight_decay"])
        p.add_(direction.reshape(p.shape), alpha=-rate * 0.2 * math.sqrt(max(direction.shape)))
