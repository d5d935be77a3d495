"""Whether an adaptive optimizer's second moment keeps up with the gradients."""

from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.optim import Adam, NAdam, Optimizer, RMSprop
from torch.utils.hooks import RemovableHandle

from gyrostat.probes.base import Probe, Readings
from gyrostat.probes.network import Network
from gyrostat.spec.probes import SecondMomentProbe

_CHUNK = 131_072
"""Elements looked at together on a CPU: they stay in its cache between the operations."""

_TINY = 1e-37
"""Least divisor, where ε is 0: 0/0 is then 0."""


class Divisor(NamedTuple):
    """What an optimizer's last step divided a parameter's averaged gradient by: √v̂ + ε with v̂ = moment/correction.

    Attributes:
        correction: 1 − β₂ᵗ; 1 where the optimizer corrects nothing. A tensor where its steps are counted on a device.
    """

    parameter: nn.Parameter
    moment: Tensor
    correction: float | Tensor
    eps: float


@runtime_checkable
class SaysDivisors(Protocol):
    """An optimizer that says itself what it divides by."""

    def divisors(self) -> list[Divisor]:
        """Of each parameter that it has moved; empty where it divides by nothing."""


class SecondMoment(Probe):
    """RMS_t = √mean(g²/max(v̂, ε²)) of each parameter, v̂ after the step and g what the optimizer was given for it.

    Where the optimizer itself adds weight decay wθ to the gradient, g is with it: so it is in v̂. Absent for parameters
    without a gradient or without a second moment, and at a step that a loss scale left out.
    """

    settings_type = SecondMomentProbe

    @classmethod
    def concerns(cls, network: Network) -> bool:
        """Trainings by optimizers that have one."""
        return isinstance(network.optimizer, SaysDivisors | Adam | NAdam | RMSprop)

    def __init__(self, settings: Any, network: Network) -> None:
        super().__init__(settings, network)
        self._handle: RemovableHandle | None = None
        self._added: dict[int, Tensor] = {}
        self._made = False

    def begin(self) -> None:
        """Forgets a step that never ended."""
        if self._handle is not None:
            self._handle.remove()
        self._handle, self._added, self._made = None, {}, False

    def after_backward(self) -> Readings:
        """Waits for the step, and notes what it will add to the gradients while the weights are still the old ones."""
        self._added = _coupled_decay(self.network.optimizer)
        self._handle = self.network.optimizer.register_step_post_hook(lambda *_: self._stepped())
        return {}

    def _stepped(self) -> None:
        self._made = True

    def after_update(self) -> Readings:
        """Of the step that was made."""
        network, made, added = self.network, self._made, self._added
        self.begin()
        if not made:
            return {}
        places = {id(parameter): at for at, parameter in enumerate(network.parameters.values())}
        found: dict[int, Tensor] = {}
        for divisor in divisors(network.optimizer):
            gradient, at = divisor.parameter.grad, places.get(id(divisor.parameter))
            if at is not None and gradient is not None and gradient.numel():
                found[at] = lag(gradient, divisor, added.get(id(divisor.parameter)))
        if not found:
            return {}
        values = torch.stack([value.to(network.device, torch.float32, non_blocking=True) for value in found.values()])
        return {"update.second_moment_lag": network.spread(values, list(found), len(places))}


def lag(gradient: Tensor, divisor: Divisor, added: Tensor | None = None) -> Tensor:
    """√mean((g + added)²/max(v̂, ε²)), 0-dim; in float32 or better, and not waited for on an accelerator.

    Source: Wortsman et al. 2023, arXiv 2304.13013, section 3.4.
    """
    wide = torch.promote_types(divisor.moment.dtype, torch.float32)
    # on a CPU by chunks, elsewhere at once
    size = _CHUNK if gradient.device.type == "cpu" else gradient.numel()
    parts = [torch.split(tensor.detach().reshape(-1), size) for tensor in (gradient, divisor.moment)]
    more = None if added is None else torch.split(added.reshape(-1), size)
    squares: list[Tensor] = []
    for at, (given, moment) in enumerate(zip(*parts, strict=True)):
        root = (moment.to(wide) / divisor.correction).sqrt_().clamp_(min=max(divisor.eps, _TINY))
        ratio = given.to(wide) / root if more is None else (given.to(wide) + more[at]) / root
        squares.append(torch.dot(ratio, ratio))
    return (torch.stack(squares).double().sum() / gradient.numel()).sqrt()


def divisors(optimizer: Optimizer) -> list[Divisor]:
    """Of each parameter that the optimizer has moved: torch's Adam, AdamW, NAdam, RMSprop, and who says so itself."""
    if isinstance(optimizer, SaysDivisors):
        return optimizer.divisors()
    of_state = _of_rmsprop if isinstance(optimizer, RMSprop) else _of_adam
    if not isinstance(optimizer, Adam | NAdam | RMSprop):
        return []
    return [
        of_state(parameter, group, optimizer.state[parameter])
        for group in optimizer.param_groups
        for parameter in group["params"]
        if optimizer.state.get(parameter) and not parameter.is_complex()
    ]


def _of_adam(parameter: nn.Parameter, group: dict[str, Any], state: dict[str, Any]) -> Divisor:
    beta, step = float(group["betas"][1]), state["step"]
    # in float64: 1 − β₂ᵗ of the first steps is all rounding in float32
    steps = step.double() if isinstance(step, Tensor) and not step.is_cpu else float(step)
    moment = state["max_exp_avg_sq" if group.get("amsgrad") else "exp_avg_sq"]
    return Divisor(parameter, moment, 1 - beta**steps, float(group["eps"]))


def _of_rmsprop(parameter: nn.Parameter, group: dict[str, Any], state: dict[str, Any]) -> Divisor:
    moment = state["square_avg"] - state["grad_avg"] ** 2 if group["centered"] else state["square_avg"]
    return Divisor(parameter, moment, 1.0, float(group["eps"]))


def _coupled_decay(optimizer: Optimizer) -> dict[int, Tensor]:
    """wθ by the parameter's identity, where the optimizer itself will add it to the gradient."""
    if not isinstance(optimizer, Adam | NAdam | RMSprop):
        return {}
    return {
        # of gradients that are climbed the negative is taken before, and the square tells no sign
        id(parameter): parameter.detach() * (-group["weight_decay"] if group.get("maximize") else group["weight_decay"])
        for group in optimizer.param_groups
        if group["weight_decay"] and not group.get("decoupled_weight_decay")
        for parameter in group["params"]
    }
