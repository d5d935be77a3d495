"""The hooks through which due probes see a step's forward and backward passes."""

import time
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

    Outputs and gradients are many, so their hooks call probes without anything between.

    Args:
        clock: counts the time in here.
        ask: calls a method of a probe, and switches the probe off where it raises.
        charge: takes what a probe that was called here cost, in seconds.
        failed: switches off a probe that raised.
    """

    def __init__(
        self,
        network: Network,
        clock: Stopwatch,
        ask: Ask,
        charge: Callable[[Probe, float], None],
        failed: Callable[[Probe, Exception], None],
    ) -> None:
        self._network, self._clock, self._ask, self._charge, self._failed = network, clock, ask, charge, failed
        self._due: dict[Need, list[Probe]] = {need: [] for need in Need}
        self._outputs: list[Probe] = []
        self._signals: list[Probe] = []
        self._of_output = [partial(self._output, leaf) for leaf in range(len(network.leaves))]
        self._of_signal = [partial(self._signal, leaf) for leaf in range(len(network.leaves))]
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
        # some want modules to be watched, and not their outputs
        self._outputs = [probe for probe in self._due[Need.OUTPUTS] if probe.acts("output")]
        self._signals = self._due[Need.SIGNALS]
        if self._due[Need.OUTPUTS] or self._due[Need.INPUTS] or self._due[Need.SIGNALS]:
            for module, hook in zip(network.leaves.values(), self._of_output, strict=True):
                self._on_modules.append(module.register_forward_hook(hook))
        if self._due[Need.BRANCHES]:
            for leaf, join in network.joins.items():
                joins = partial(self._joins, leaf)
                self._on_modules.append(join.register_forward_pre_hook(joins, with_kwargs=True))
        if self._due[Need.ATTENTION]:
            for position, layer in enumerate(network.attentions.values()):
                attended = partial(self._attends, position)
                self._on_modules.append(layer.core.register_forward_hook(attended, with_kwargs=True))

    def drop(self, probe: Probe) -> None:
        """The probe is not to be called again."""
        for probes in self._due.values():
            if probe in probes:
                probes.remove(probe)
        # they may be gone through just now
        self._outputs = [other for other in self._outputs if other is not probe]
        self._signals = [other for other in self._signals if other is not probe]

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
        began = time.perf_counter()
        again = _recomputing()
        if self._due[Need.INPUTS] and not again:
            with torch.no_grad():
                for probe in tuple(self._due[Need.INPUTS]):
                    self._ask(probe, partial(probe.called, leaf, arguments))
        tensor = output if isinstance(output, Tensor) else first_tensor(output)
        if tensor is not None and tensor.is_floating_point():
            if self._signals and tensor.requires_grad:
                self._on_tensors.append(tensor.register_hook(self._of_signal[leaf]))  # type: ignore[no-untyped-call]
            if not again:
                self._network.called.add(leaf)
                for probe in self._outputs:
                    self._show(probe, probe.output, leaf, tensor)
        self._clock.add(time.perf_counter() - began)

    def _signal(self, leaf: int, gradient: Tensor) -> None:
        # a pass whose gradients get gradients (a penalty's) is of another function than the loss
        if torch.is_grad_enabled():
            return
        began = time.perf_counter()
        for probe in self._signals:
            self._show(probe, probe.signal, leaf, gradient)
        self._clock.add(time.perf_counter() - began)

    def _show(self, probe: Probe, method: Callable[[int, Tensor], None], leaf: int, tensor: Tensor) -> None:
        began = time.perf_counter()
        try:
            method(leaf, tensor)
        except Exception as error:
            self._failed(probe, error)
        else:
            self._charge(probe, time.perf_counter() - began)

    def _joins(self, leaf: int, module: nn.Module, arguments: Any, named: Any) -> None:
        if torch.compiler.is_compiling() or not self._network.model.training or _recomputing():
            return
        with self._clock, torch.no_grad():
            self._network.called.add(leaf)
            for probe in tuple(self._due[Need.BRANCHES]):
                self._ask(probe, partial(probe.joins, leaf, arguments, named))

    def _attends(self, layer: int, module: nn.Module, arguments: Any, named: Any, output: Any) -> None:
        if torch.compiler.is_compiling() or not self._network.model.training or _recomputing():
            return
        with self._clock, torch.no_grad():
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
