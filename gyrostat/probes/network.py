"""What probes see of a training: the model's parameters and leaf modules in a fixed order, and its optimizer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, cast

import numpy as np
import torch
from torch import Tensor, nn

from gyrostat.wire.values import ABSENT_BITS


class AttentionLayer(Protocol):
    """What makes a module an attention layer here: it has both attributes.

    Attributes:
        heads: how many there are.
        core: a submodule (or the module itself) that is called with queries and keys, and has a method `logits`, which
            takes what the call takes and answers what the softmax takes: (N, heads, T, S), −∞ where a query may not
            read. It draws no random numbers and changes nothing.
    """

    heads: int
    core: nn.Module


@dataclass(frozen=True, eq=False)
class Network:
    """A model in training.

    Vectors that probes return follow the order of `parameters`, `matrices`, `leaves` or `heads`.

    Attributes:
        probe_loss: training loss on the fixed probe batch with the current parameters; None where there is none.
        parameters: by name, tied ones once, frozen ones too.
        matrices: the parameters with two or more dimensions; embeddings and convolution kernels count.
        leaves: the modules without children, by name.
        attentions: the attention layers, by name.
        heads: names of their heads, layer after layer: `blocks.0.attention#0`.
        device: where vectors of results are put together: the first parameter's.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    probe_loss: Callable[[], Tensor] | None = None
    parameters: dict[str, nn.Parameter] = field(init=False)
    matrices: dict[str, nn.Parameter] = field(init=False)
    leaves: dict[str, nn.Module] = field(init=False)
    attentions: dict[str, AttentionLayer] = field(init=False)
    heads: list[str] = field(init=False)
    device: torch.device = field(init=False)

    def __post_init__(self) -> None:
        parameters = dict(self.model.named_parameters())
        matrices = {name: parameter for name, parameter in parameters.items() if parameter.ndim >= 2}
        leaves = {name: module for name, module in self.model.named_modules() if not any(module.children())}
        attentions = {name: layer for name, module in self.model.named_modules() if (layer := attention_layer(module))}
        heads = [f"{name or '(model)'}#{head}" for name, layer in attentions.items() for head in range(layer.heads)]
        device = next(iter(parameters.values())).device if parameters else torch.device("cpu")
        for attribute, value in (
            ("parameters", parameters),
            ("matrices", matrices),
            ("leaves", leaves),
            ("attentions", attentions),
            ("heads", heads),
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


def attention_layer(module: nn.Module) -> AttentionLayer | None:
    """The module, where it is an `AttentionLayer`."""
    heads, core = getattr(module, "heads", None), getattr(module, "core", None)
    fits = isinstance(heads, int) and isinstance(core, nn.Module) and callable(getattr(core, "logits", None))
    return cast(AttentionLayer, module) if fits else None


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
