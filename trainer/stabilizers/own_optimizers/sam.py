"""Sharpness-aware minimization."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from gyrostat.probes.stability import is_adaptive, limit
from gyrostat.probes.undisturbed import buffers_kept
from trainer.stabilizers.own_optimizers.together import Together

_RELATIVE_FLOOR = 0.01
"""η of Kwon et al. 2021: added to |θ|, so that weights at 0 take part."""


class Sam(Together):
    """The base optimizer's step from θ, with the gradient at θ + ε. A step is

        loss(θ).backward()
        with sam.ascended(model):        # parameters at θ + ε, gradients cleared
            loss(θ + ε).backward()
        sam.step()                       # parameters at θ again, bit for bit

    ε = ρ·g/‖g‖₂ with the norm over all parameters together (Foret et al. 2020, arXiv 2010.01412, eq. 2), or, adaptive,
    ε = ρ·T²g/‖Tg‖₂ with T = |θ| + 0.01 (Kwon et al. 2021, arXiv 2102.11600, algorithm 1).

    Args:
        base: makes the step. rho: ρ. adaptive: measure the neighbourhood relative to each weight.
    """

    def __init__(self, base: Optimizer, *, rho: float, adaptive: bool) -> None:
        super().__init__([base])
        self.rho, self.adaptive = rho, adaptive
        self._norm: Tensor | None = None

    @contextmanager
    def ascended(self, model: nn.Module) -> Iterator[None]:
        """Inside, the parameters are at θ + ε for the gradients they hold, which are then cleared.

        Afterwards they are at θ again, from copies, and the model's buffers as before, so that batch statistics count a
        batch once. The gradients of the inside stay. Nothing is waited for.

        Where a gradient is not finite, ε is 0: in float16 that says that the loss scale was too large, which the second
        pass, then at θ, says again. The direction itself does not depend on a scale.
        """
        held = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        with torch.no_grad(), buffers_kept(model):
            kept = [p.detach().clone() for p in held]
            for p, epsilon in zip(held, self._ascent(held), strict=True):
                p.add_(epsilon)
                p.grad = None
            try:
                with torch.enable_grad():
                    yield
            finally:
                for p, before in zip(held, kept, strict=True):
                    p.copy_(before)

    def _ascent(self, held: list[nn.Parameter]) -> list[Tensor]:
        gradients = [p.grad for p in held if p.grad is not None]
        stretched = [(p.abs() + _RELATIVE_FLOOR) for p in held] if self.adaptive else None
        scaled = gradients if stretched is None else [t * g for t, g in zip(stretched, gradients, strict=True)]
        norm = torch.nn.utils.get_total_norm(scaled)
        self._norm = norm
        usable = norm.isfinite() & (norm > 0)
        factor = self.rho / norm
        directions = scaled if stretched is None else [t * s for t, s in zip(stretched, scaled, strict=True)]
        return [torch.where(usable, factor.to(d) * d, torch.zeros_like(d)) for d in directions]

    is_preconditioned = False

    def stability_limit(self) -> float | None:
        """(‖g‖/2ρ)(√(1 + 4ρL/‖g‖) − 1), L the base optimizer's own limit and ‖g‖ the last gradient's norm at θ.

        On a quadratic g(θ + ε) = H(1 + ρH/‖g‖)θ, so with the norm held every eigenvalue λ acts as λ(1 + ρλ/‖g‖), which
        reaches L at this λ; for gradient descent that is the edge of Long and Bartlett 2023, arXiv 2309.12488. None
        before the first step, for adaptive SAM and around an adaptive base: there H(1 + ρH/‖g‖) meets a diagonal that
        it does not commute with, and the eigenvalues of H, or P⁻¹H, alone decide nothing.
        """
        bound = limit(self.parts[0])
        if bound is None or self._norm is None or self.adaptive or is_adaptive(self.parts[0]):
            return None
        norm = float(self._norm)
        if not norm > 0 or not math.isfinite(norm) or not math.isfinite(bound):
            return None
        # (√(1 + x) − 1)·n/2ρ with x = 4ρL/n, written so that a large n does not cancel
        return 2 * bound / (math.sqrt(1 + 4 * self.rho * bound / norm) + 1)

    def preconditioner(self) -> list[tuple[nn.Parameter, Tensor]]:
        """None: its limit is one of the Hessian itself."""
        return []
