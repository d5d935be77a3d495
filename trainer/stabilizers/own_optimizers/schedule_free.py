"""Schedule-free SGD and AdamW."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from gyrostat.probes.second_moment import Divisor

Moved = list[tuple[nn.Parameter, Tensor]]


class ScheduleFree(Optimizer):
    """y = (1 − β)z + βx; z ← z − η(g/p + λ·y); x ← (1 − c)x + c·z with c = η²/Σηᵢ²; x and z start at the weights.

    g is the gradient at y. p is 1 for base "sgd", and √v̂ + ε of the bias-corrected second moment v of the gradients for
    "adamw" (algorithm 1 of the paper corrects η instead; this is how its authors' package has it since 1.3).

    The parameters hold y between steps, which is where the next gradient is wanted, and x inside of `averaged`. Loading
    a state sets them to y.

    Source: Defazio et al. 2024, arXiv 2405.15682, eq. 3-5 and algorithm 1.

    Args:
        params: parameters or groups. base: what makes a step of a gradient. lr: η. beta: β. beta2, eps: of v.
        weight_decay: λ.
    """

    def __init__(
        self,
        params: Any,
        base: Literal["sgd", "adamw"],
        *,
        lr: float,
        beta: float,
        beta2: float = 0.999,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        self.base = base
        super().__init__(params, {"lr": lr, "beta": beta, "beta2": beta2, "eps": eps, "weight_decay": weight_decay})

    @property
    def kind(self) -> str:
        """Its name with its base's, whose states differ."""
        return f"ScheduleFree({self.base})"

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step from the gradients at y; parameters without a gradient stay."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self._move(p, p.grad, group)
        return loss

    def _move(self, p: nn.Parameter, gradient: Tensor, group: dict[str, Any]) -> None:
        state, rate = self.state[p], group["lr"]
        if not state:
            state |= {"z": p.detach().clone(), "x": p.detach().clone(), "steps": 0, "squared_rates": 0.0, "part": 1.0}
            if self.base == "adamw":
                state["exp_avg_sq"] = torch.zeros_like(p)
        state["steps"] += 1
        state["squared_rates"] += rate**2
        # rates of 0, as at the start of a warmup, move nothing: then any average will do
        state["part"] = rate**2 / state["squared_rates"] if state["squared_rates"] > 0 else 1.0
        if self.base == "adamw":
            state["exp_avg_sq"].mul_(group["beta2"]).addcmul_(gradient, gradient, value=1 - group["beta2"])
            gradient = gradient / self._root(state, group)
        if group["weight_decay"]:
            gradient = gradient.add(p, alpha=group["weight_decay"])
        state["z"].sub_(gradient, alpha=rate)
        state["x"].lerp_(state["z"], state["part"])
        self._to_y(p, group)

    @torch.no_grad()
    def _to_y(self, p: nn.Parameter, group: dict[str, Any]) -> None:
        torch.lerp(self.state[p]["z"], self.state[p]["x"], group["beta"], out=p.detach())

    def divisors(self) -> list[Divisor]:
        """The second moment and 1 − β₂ᵗ of each parameter that was moved; none with base "sgd"."""
        if self.base != "adamw":
            return []
        return [
            Divisor(p, self.state[p]["exp_avg_sq"], 1 - group["beta2"] ** self.state[p]["steps"], group["eps"])
            for p, group in self._moved()
        ]

    @staticmethod
    def _root(state: dict[str, Any], group: dict[str, Any]) -> Tensor:
        corrected: Tensor = state["exp_avg_sq"] / (1 - group["beta2"] ** state["steps"])
        return corrected.sqrt_().add_(group["eps"])

    def _moved(self) -> Iterator[tuple[nn.Parameter, dict[str, Any]]]:
        """Parameters that have a state, with their groups."""
        return ((p, group) for group in self.param_groups for p in group["params"] if self.state.get(p))

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Inside, the parameters hold the average x, which is the result; afterwards y again, bit for bit."""
        with torch.no_grad():
            for p, _ in self._moved():
                p.copy_(self.state[p]["x"])
        try:
            yield
        finally:
            for p, group in self._moved():
                self._to_y(p, group)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes a state up, and the parameters to its y."""
        super().load_state_dict(state_dict)
        for p, group in self._moved():
            self._to_y(p, group)

    @property
    def is_preconditioned(self) -> bool:
        """Whether its limit is one of the preconditioned sharpness."""
        return self.base == "adamw"

    def stability_limit(self) -> float | None:
        """(4 − 2c)/(η((1 − β)(2 − c) + βc)) − λ, the smallest of all parameters', on the (preconditioned) Hessian at y.

        With a = η(λᴴ + λ), λᴴ the eigenvalue, and c held, (z, x) is multiplied by a matrix of trace
        (1 − a(1 − β)) + (1 − c − caβ) and determinant (1 − a(1 − β))(1 − c). Both eigenvalues are inside of the unit
        circle if and only if its polynomial is positive at −1, which is this limit; the other two conditions are then
        met. c falls to 0, where the limit is 2/((1 − β)η) − λ; at the first step c = 1, and it is 2/η − λ.
        """
        limits = [self._limit(self.state[p]["part"], group) for p, group in self._moved() if group["lr"] > 0]
        return min(limits, default=None)

    def _limit(self, part: float, group: dict[str, Any]) -> float:
        rate, beta = float(group["lr"]), float(group["beta"])
        bare = (4 - 2 * part) / (rate * ((1 - beta) * (2 - part) + beta * part))
        # in adamw a coupled decay is divided by P as well, and moves no eigenvalue of P⁻¹H by an amount of its own
        coupled = group.get("coupled_decay", 0.0) if self.base == "sgd" else 0.0
        return float(bare - group["weight_decay"] - coupled)

    def preconditioner(self) -> Moved:
        """The diagonal P = √v̂ + ε of each parameter that was moved."""
        return [(p, self._root(self.state[p], group)) for p, group in self._moved()]
