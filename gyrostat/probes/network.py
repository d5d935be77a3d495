"""What probes see of a training: the model's parameters and leaf modules in a fixed order, and its optimizer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from gyrostat.wire.values import ABSENT_BITS


@dataclass(frozen=True, eq=False)
class Network:
    """A model in training.

    Vectors that probes return follow the order of `parameters`, `matrices` or `leaves`.

    Attributes:
        probe_loss: training loss on the fixed probe batch with the current parameters; None where there is none.
        parameters: by name, tied ones once, frozen ones too.
        matrices: the parameters with two or more dimensions; embeddings and convolution kernels count.
        leaves: the modules without children, by name.
        device: where vectors of results are put together: the first parameter's.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    probe_loss: Callable[[], Tensor] | None = None
    parameters: dict[str, nn.Parameter] = field(init=False)
    matrices: dict[str, nn.Parameter] = field(init=False)
    leaves: dict[str, nn.Module] = field(init=False)
    device: torch.device = field(init=False)

    def __post_init__(self) -> None:
        parameters = dict(self.model.named_parameters())
        matrices = {name: parameter for name, parameter in parameters.items() if parameter.ndim >= 2}
        leaves = {name: module for name, module in self.model.named_modules() if not any(module.children())}
        device = next(iter(parameters.values())).device if parameters else torch.device("cpu")
        for attribute, value in (
            ("parameters", parameters),
            ("matrices", matrices),
            ("leaves", leaves),
            ("device", device),
        ):
            object.__setattr__(self, attribute, value)

    def trained(self) -> list[nn.Parameter]:
        """Parameters that the optimizer holds and that require a gradient now, in the order of `parameters`."""
        held = {id(parameter) for group in self.optimizer.param_groups for parameter in group["params"]}
        return [p for p in self.parameters.values() if p.requires_grad and id(p) in held]

    def spread(self, values: Tensor, positions: Sequence[int], length: int) -> Tensor:
        """A float32 vector of `length` that holds `values` at `positions`, and "not measured" elsewhere."""
        vector = absent(length, self.device)
        if len(positions) == length:
            return vector.copy_(values)
        if positions:
            vector[index(positions, self.device)] = values.to(torch.float32)
        return vector


def absent(length: int, device: torch.device) -> Tensor:
    """(length,) float32, all "not measured"."""
    # filled as an integer: no arithmetic may touch the payload of this NaN
    return torch.full((length,), int(ABSENT_BITS.astype(np.int32)), dtype=torch.int32, device=device).view(
        torch.float32
    )


def index(positions: Sequence[int], device: torch.device) -> Tensor:
    """`positions` as an index on `device`, without waiting for the device."""
    if device.type == "cuda":
        return torch.tensor(positions, pin_memory=True).to(device, non_blocking=True)
    return torch.tensor(positions, device=device)
