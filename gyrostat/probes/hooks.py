"""The hooks through which due probes see a step's forward and backward passes."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from gyrostat.probes.base import Need, Probe, Readings
from gyrostat.probes.network import Network
from gyrostat.probes.stopwatch import Stopwatch

Ask = Callable[[Probe, Callable[[], Readings | None]], None]


class Hooks:
    """Puts hooks where probes that are due need them, and takes them all off again.

    Modules are watched while the model is in training. What is recomputed for a backward pass (checkpointing) was seen
    in the forward pass already, and is not seen again; where the forward pass kept no graph, it is the recomputed
    output that gets the gradient.

    Args:
        clock: counts the time in here.
        ask: calls a method of a probe, and switches the probe off where it raises.
    """

    def __init__(self, network: Network, clock: Stopwatch, ask: Ask) -> None:
        self._network, self._clock, self._ask = network, clock, ask
        self._due: dict[Need, list[Probe]] = {}
        self._on_modules: list[RemovableHandle] = []
        self._on_tensors: list[RemovableHandle] = []

    @property
    def on_modules(self) -> bool:
        """Whether modules are watched."""
        return bool(self._on_modules)

    @property
    def attached(self) -> bool:
        """Whether anything is watched."""
        return bool(self._on_modules or self._on_tensors)

    def attach(self, due: Sequence[Probe]) -> None:
        """For the step that begins."""
        self._due = {need: [probe for probe in due if need in probe.needs] for need in Need}
        network = self._network
        if self._due[Need.OUTPUTS] or self._due[Need.INPUTS] or self._due[Need.SIGNALS]:
            for leaf, module in enumerate(network.leaves.values()):
                self._on_modules.append(module.register_forward_hook(partial(self._output, leaf)))
        if self._due[Need.BRANCHES]:
            for leaf, join in network.joins.items():
                hook = partial(self._joins, leaf)
                self._on_modules.append(join.register_forward_pre_hook(hook, with_kwargs=True))
        if self._due[Need.ATTENTION]:
            for position, layer in enumerate(network.attentions.values()):
                attended = partial(self._attends, position)
                self._on_modules.append(layer.core.register_forward_hook(attended, with_kwargs=True))

    def drop(self, probe: Probe) -> None:
        """The probe is not to be called again."""
        for probes in self._due.values():
            if probe in probes:
                probes.remove(probe)

    def detach_modules(self) -> None:
        """The forward passes are over; gradients may still come."""
        for handle in self._on_modules:
            handle.remove()
        self._on_modules = []

    def detach(self) -> None:
        """All are taken off."""
        self.detach_modules()
        for handle in self._on_tensors:
            handle.remove()
        self._on_tensors = []

    def _output(self, leaf: int, module: nn.Module, arguments: Any, output: Any) -> None:
        if torch.compiler.is_compiling() or not self._network.model.training:
            return
        again = _recomputing()
        with self._clock:
            if not again:
                for probe in tuple(self._due[Need.INPUTS]):
                    self._ask(probe, partial(probe.called, leaf, arguments))
            tensor = first_tensor(output)
            if tensor is None or not tensor.is_floating_point():
                return
            if self._due[Need.SIGNALS] and tensor.requires_grad:
                self._on_tensors.append(tensor.register_hook(partial(self._signal, leaf)))  # type: ignore[no-untyped-call]
            if again:
                return
            self._network.called.add(leaf)
            detached = tensor.detach()
            for probe in tuple(self._due[Need.OUTPUTS]):
                self._ask(probe, partial(probe.output, leaf, detached))

    def _signal(self, leaf: int, gradient: Tensor) -> None:
        # a pass whose gradients get gradients (a penalty's) is of another function than the loss
        if torch.is_grad_enabled():
            return
        with self._clock:
            for probe in tuple(self._due[Need.SIGNALS]):
                self._ask(probe, partial(probe.signal, leaf, gradient.detach()))

    def _joins(self, leaf: int, module: nn.Module, arguments: Any, named: Any) -> None:
        if torch.compiler.is_compiling() or not self._network.model.training or _recomputing():
            return
        with self._clock:
            self._network.called.add(leaf)
            for probe in tuple(self._due[Need.BRANCHES]):
                self._ask(probe, partial(probe.joins, leaf, arguments, named))

    def _attends(self, layer: int, module: nn.Module, arguments: Any, named: Any, output: Any) -> None:
        if torch.compiler.is_compiling() or not self._network.model.training or _recomputing():
            return
        with self._clock:
            for probe in tuple(self._due[Need.ATTENTION]):
                self._ask(probe, partial(probe.attended, layer, arguments, named))


def first_tensor(output: Any) -> Tensor | None:
    """The tensor that a module's output is, or the first one in its tuple, list or mapping; else None."""
    if isinstance(output, Tensor):
        return output
    parts = output.values() if isinstance(output, Mapping) else output if isinstance(output, tuple | list) else ()
    return next((part for part in parts if isinstance(part, Tensor)), None)


def _recomputing() -> bool:
    """Whether a backward pass is under way, in which modules are called to recompute what was not kept."""
    return bool(torch._C._current_graph_task_id() != -1)
