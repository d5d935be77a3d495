"""Lion."""

from collections.abc import Callable
from typing import Any

import torch
from torch.optim import Optimizer


class Lion(Optimizer):
    """θ ← θ − η·(sign(β₁m + (1 − β₁)g) + λ·θ), then m ← β₂m + (1 − β₂)g; m starts at 0.

    Source: Chen et al. 2023, arXiv 2302.06675, algorithm 2.

    Args:
        params: parameters or groups. lr: η. betas: (β₁, β₂). weight_decay: λ, decoupled.
    """

    def __init__(self, params: Any, lr: float, betas: tuple[float, float], weight_decay: float = 0.0) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step; parameters without a gradient stay."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            moved = [p for p in group["params"] if p.grad is not None]
            if not moved:
                continue
            for p in moved:
                if not self.state[p]:
                    self.state[p]["momentum"] = torch.zeros_like(p)
            gradients, momenta = [p.grad for p in moved], [self.state[p]["momentum"] for p in moved]
            first, second = group["betas"]
            signs = torch._foreach_lerp(momenta, gradients, 1 - first)
            torch._foreach_sign_(signs)
            torch._foreach_mul_(moved, 1 - group["lr"] * group["weight_decay"])
            torch._foreach_add_(moved, signs, alpha=-group["lr"])
            torch._foreach_lerp_(momenta, gradients, 1 - second)
        return loss
