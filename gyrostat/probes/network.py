"""What probes see of a training: the model's parameters and leaf modules in a fixed order, and its optimizer."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from gyrostat.probes.probe_batch import ProbeBatch
from gyrostat.probes.sizes import Sizes
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


class BranchJoin(Protocol):
    """What makes a module without children the join of a branch and its trunk here: it has this method."""

    def summands(self, *arguments: Any, **named: Any) -> tuple[Tensor, Tensor]:
        """What branch and trunk bring into the output, of what the module is called with; draws no random numbers."""


@dataclass(frozen=True, eq=False)
class Network:
    """A model in training.

    Vectors that probes return follow the order of `parameters`, `matrices`, `leaves` or `heads`.

    Attributes:
        probe_loss: training loss on the fixed probe batch with the current parameters; None where there is none.
        probe_batch: that batch itself; None where only its loss is known.
        signal_scale: what gradients with respect to outputs carry, against those of the whole batch's mean loss: the
            loss scale of now times the number of ranks, each of which averages over its share.
        parameters: by name, tied ones once, frozen ones too. One that a parametrization (`torch.nn.utils.parametrize`)
            computes a weight from is named after it: `0.weight`, or `0.weight.original1` where there are several.
        matrices: what gives each weight of two or more dimensions, under the name of its parameter; embeddings and
            convolution kernels count. A parametrized weight is what its layer works with in eval, under the name of
            that of its parameters which has its shape.
        leaves: the modules without children, by name; a layer with a parametrized weight is one.
        joins: those leaf modules that are a `BranchJoin`, by their position.
        attentions: the attention layers, by name.
        heads: names of their heads, layer after layer: `blocks.0.attention#0`.
        device: where vectors of results are put together: the first parameter's.
        called: positions of the leaf modules that were seen to put out a floating tensor. It grows.
        sizes: norms of the parameters, kept from one probe for the next.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    probe_loss: Callable[[], Tensor] | None = None
    probe_batch: ProbeBatch | None = None
    signal_scale: Callable[[], float | Tensor] = lambda: 1.0
    parameters: dict[str, nn.Parameter] = field(init=False)
    matrices: dict[str, Callable[[], Tensor]] = field(init=False)
    leaves: dict[str, nn.Module] = field(init=False)
    joins: dict[int, nn.Module] = field(init=False)
    attentions: dict[str, AttentionLayer] = field(init=False)
    heads: list[str] = field(init=False)
    device: torch.device = field(init=False)
    called: set[int] = field(init=False, default_factory=set)
    sizes: Sizes = field(init=False)

    def __post_init__(self) -> None:
        parameters = {_plain(name): parameter for name, parameter in self.model.named_parameters()}
        matrices = _matrices(self.model, parameters)
        leaves = _leaves(self.model)
        joins = {at: leaf for at, leaf in enumerate(leaves.values()) if callable(getattr(leaf, "summands", None))}
        attentions = {name: layer for name, module in self.model.named_modules() if (layer := attention_layer(module))}
        heads = [f"{name or '(model)'}#{head}" for name, layer in attentions.items() for head in range(layer.heads)]
        device = next(iter(parameters.values())).device if parameters else torch.device("cpu")
        for attribute, value in (
            ("parameters", parameters),
            ("matrices", matrices),
            ("leaves", leaves),
            ("joins", joins),
            ("attentions", attentions),
            ("heads", heads),
            ("device", device),
            ("sizes", Sizes()),
        ):
            object.__setattr__(self, attribute, value)

    def trained(self) -> list[nn.Parameter]:
        """Parameters that the optimizer holds and that require a gradient now, in the order of `parameters`."""
        held = self.held()
        return [p for p in self.parameters.values() if p.requires_grad and id(p) in held]

    def held(self) -> set[int]:
        """The identities of the parameters that the optimizer holds now."""
        return {id(parameter) for group in self.optimizer.param_groups for parameter in group["params"]}

    def gradients(self) -> dict[str, Tensor]:
        """The gradients that are there now, of parameters that require one, by name in the order of `parameters`."""
        return {
            name: parameter.grad.detach()
            for name, parameter in self.parameters.items()
            if parameter.requires_grad and parameter.grad is not None
        }

    def weights(self) -> dict[nn.Module, str]:
        """The leaf modules that have a weight among `matrices`, and its name there, which tied ones share."""
        names = {id(self.parameters[name]): name for name in self.matrices}
        found: dict[nn.Module, str] = {}
        for layer in self.leaves.values():
            if parametrize.is_parametrized(layer, "weight"):
                sources = list(layer.get_submodule("parametrizations.weight").parameters())
            else:
                sources = [p for name, p in layer.named_parameters(recurse=False) if name == "weight"]
            for source in sources:
                if id(source) in names:
                    found[layer] = names[id(source)]
        return found

    def spread(self, values: Tensor, positions: Sequence[int], length: int) -> Tensor:
        """A float32 vector of `length` that holds `values` at `positions`, and "not measured" elsewhere."""
        return self.spread_each([values], positions, length)[0]

    def spread_each(self, columns: Sequence[Tensor], positions: Sequence[int], length: int) -> Sequence[Tensor]:
        """`spread` of several vectors at once: on a CPU small operations cost more than what they compute."""
        table = absent(len(columns) * length, self.device).view(len(columns), length)
        if not len(positions):
            return table.unbind()
        if table.is_cpu:
            places = np.asarray(positions)
            with np.errstate(over="ignore"):
                for row, values in zip(table.numpy(), columns, strict=True):
                    row[places] = values.cpu().numpy()
        else:
            at = index(positions, self.device)
            for row, values in zip(table, columns, strict=True):
                row[at] = values.to(torch.float32)
        return table.unbind()


def _plain(name: str) -> str:
    """A parameter's name without what torch's parametrizations put into it."""
    parts = name.split(".")
    if "parametrizations" not in parts:
        return name
    return ".".join(part for part in parts if part != "parametrizations").removesuffix(".original")


def _parametrized(model: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Module]]:
    """Layers, names of their tensors that parametrizations compute, and the modules that compute them."""
    for module in model.modules():
        if parametrize.is_parametrized(module):
            assert isinstance(module.parametrizations, nn.ModuleDict)
            for name, computing in module.parametrizations.items():
                yield module, name, computing


def _matrices(model: nn.Module, parameters: dict[str, nn.Parameter]) -> dict[str, Callable[[], Tensor]]:
    computed: dict[int, Callable[[], Tensor]] = {}
    inner: set[int] = set()
    for layer, name, computing in _parametrized(model):
        originals = list(computing.parameters())
        inner |= {id(each) for each in originals}
        effective = partial(_effective, layer, name, computing)
        shape = effective().shape
        for each in [each for each in originals if each.shape == shape][:1]:
            computed[id(each)] = effective
    return {
        name: computed.get(id(parameter), partial(nn.Parameter.detach, parameter))
        for name, parameter in parameters.items()
        if parameter.ndim >= 2 and (id(parameter) not in inner or id(parameter) in computed)
    }


@torch.no_grad()
def _effective(layer: nn.Module, name: str, computing: nn.Module) -> Tensor:
    """The tensor as its layer works with it in eval: reading it in training could change state, as power iterations."""
    modes = [(module, module.training) for module in computing.modules()]
    try:
        computing.eval()
        tensor: Tensor = getattr(layer, name)
        return tensor
    finally:
        for module, training in modes:
            module.training = training


def _leaves(model: nn.Module) -> dict[str, nn.Module]:
    inner = {part for _, _, computing in _parametrized(model) for part in computing.modules()}
    for layer, _, _ in _parametrized(model):
        inner.add(layer.get_submodule("parametrizations"))
    return {
        name: module
        for name, module in model.named_modules()
        if module not in inner and all(child in inner for child in module.children())
    }


def attention_layer(module: nn.Module) -> AttentionLayer | None:
    """The module, where it is an `AttentionLayer`."""
    heads, core = getattr(module, "heads", None), getattr(module, "core", None)
    fits = isinstance(heads, int) and isinstance(core, nn.Module) and callable(getattr(core, "logits", None))
    return cast(AttentionLayer, module) if fits else None


def absent(length: int, device: torch.device) -> Tensor:
    """(length,) float32, all "not measured"."""
    # filled as an integer: no arithmetic may touch the payload of this NaN
    if device.type == "cpu":  # where numpy's calls take a fraction of torch's
        return torch.from_numpy(np.full(length, ABSENT_BITS).view(np.float32))
    return torch.full((length,), int(ABSENT_BITS.astype(np.int32)), dtype=torch.int32, device=device).view(
        torch.float32
    )


def quotient(numerators: Tensor, denominators: Tensor) -> Tensor:
    """(n,) float32 of vectors on one device; "not measured" where the denominator is 0."""
    device = numerators.device
    missing = absent(len(numerators), device)
    if missing.is_cpu:
        known = denominators.numpy() != 0
        with np.errstate(over="ignore", invalid="ignore"):
            missing.numpy()[known] = numerators.numpy()[known] / denominators.numpy()[known]
        return missing
    return torch.where(denominators == 0, missing, (numerators / denominators).to(torch.float32))


def index(positions: Sequence[int], device: torch.device) -> Tensor:
    """`positions` as an index on `device`, without waiting for the device."""
    if device.type == "cuda":
        return torch.tensor(positions, pin_memory=True).to(device, non_blocking=True)
    return torch.tensor(positions, dtype=torch.int64, device=device)
