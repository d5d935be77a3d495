"""The hooks through which due probes see a step's forward and backward passes."""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from gyrostat.probes.base import Need, Probe, Readings
from gyrostat.probes.network import Network
from gyrostat.probes.stopwatch import Stopwatch

is_compiling = torch.compiler.is_dynamo_compiling

graph_task: Callable[[], int] = torch._C._current_graph_task_id
"""Of the backward pass under way, in which modules are called to recompute what was not kept; −1 outside of any."""

transformation: Callable[[], Any] = torch._C._functorch.peek_interpreter_stack
"""Of `torch.func` that is under way, whose tensors stand for others and have no memory; None outside of any."""

Ask = Callable[[Probe, Callable[[], Readings | None]], None]


class Hooks:
    """Puts hooks where probes that are due need them, and takes them all off again.

    Modules are watched while the model is in training, but not in transformations of it (`torch.func`). What is
    recomputed for a backward pass (checkpointing) was seen in the forward pass already, and is not seen again; where
    the forward pass kept no graph, it is the recomputed output that gets the gradient.

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
        self._model, self._called = network.model, network.called
        self._attached: list[Probe] = []
        self._inputs: list[Probe] = []
        self._outputs: list[Probe] = []
        self._signals: list[Probe] = []
        self._branches: list[Probe] = []
        self._attention: list[Probe] = []
        self._seconds: dict[Probe, float] = {}
        self._spent = 0.0
        self._of_signal = [partial(self._signal, leaf) for leaf in range(len(network.leaves))]
        # where torch keeps hooks, by a number of its own: registering them takes twenty times as long
        self._key = RemovableHandle(OrderedDict()).id
        self._of_output = [(leaf, partial(self._output, at)) for at, leaf in enumerate(network.leaves.values())]
        self._watching_leaves = False
        self._entered: list[dict[int, Any]] = []
        self._on_modules: list[RemovableHandle] = []
        self._on_tensors: list[RemovableHandle] = []

    @property
    def on_modules(self) -> bool:
        """Whether modules are watched."""
        return bool(self._entered or self._on_modules)

    @property
    def attached(self) -> bool:
        """Whether anything is watched."""
        return self.on_modules or bool(self._on_tensors)

    def attach(self, due: Sequence[Probe]) -> None:
        """For the step that begins."""
        if due != self._attached:
            self._choose(due)
        if self._watching_leaves:
            self._entered = [module._forward_hooks for module, _ in self._of_output]
            for hooks, (_, hook) in zip(self._entered, self._of_output, strict=True):
                hooks[self._key] = hook
        network = self._network
        if self._branches:
            for leaf, join in network.joins.items():
                joins = partial(self._joins, leaf)
                self._on_modules.append(join.register_forward_pre_hook(joins, with_kwargs=True))
        if self._attention:
            for position, layer in enumerate(network.attentions.values()):
                attended = partial(self._attends, position)
                self._on_modules.append(layer.core.register_forward_hook(attended, with_kwargs=True))

    def _choose(self, due: Sequence[Probe]) -> None:
        """Who wants to see what: the same at most steps."""
        self._attached = list(due)
        wanting = {need: [probe for probe in due if need in probe.needs] for need in Need}
        # some want modules to be watched, and not their outputs
        self._watching_leaves = bool(wanting[Need.OUTPUTS] or wanting[Need.INPUTS] or wanting[Need.SIGNALS])
        self._outputs = [probe for probe in wanting[Need.OUTPUTS] if probe.acts("output")]
        self._inputs, self._signals = wanting[Need.INPUTS], wanting[Need.SIGNALS]
        self._branches, self._attention = wanting[Need.BRANCHES], wanting[Need.ATTENTION]
        self._seconds = dict.fromkeys((*self._outputs, *self._signals), 0.0)

    def drop(self, probe: Probe) -> None:
        """The probe is not to be called again."""
        # they may be gone through just now
        self._attached = [other for other in self._attached if other is not probe]
        self._inputs = [other for other in self._inputs if other is not probe]
        self._outputs = [other for other in self._outputs if other is not probe]
        self._signals = [other for other in self._signals if other is not probe]
        self._branches = [other for other in self._branches if other is not probe]
        self._attention = [other for other in self._attention if other is not probe]

    def detach_modules(self) -> None:
        """The forward passes are over; gradients may still come."""
        for hooks in self._entered:
            hooks.pop(self._key, None)
        self._entered = []
        for handle in self._on_modules:
            handle.remove()
        self._on_modules = []

    def detach(self) -> None:
        """All are taken off."""
        self.detach_modules()
        for handle in self._on_tensors:
            handle.remove()
        self._on_tensors = []
        self._clock.add(self._spent)
        self._spent = 0.0
        for probe, seconds in self._seconds.items():
            if seconds and probe in self._attached:
                self._charge(probe, seconds)
            self._seconds[probe] = 0.0

    def _output(self, leaf: int, module: nn.Module, arguments: Any, output: Any) -> None:
        if is_compiling() or not self._model.training or transformation() is not None:
            return
        began = now = perf_counter()
        again = graph_task() != -1
        if self._inputs and not again:
            with torch.no_grad():
                for probe in self._inputs:
                    self._ask(probe, partial(probe.called, leaf, arguments))
            now = perf_counter()
        tensor = output if isinstance(output, Tensor) else first_tensor(output)
        if tensor is not None and tensor.is_floating_point():
            if self._signals and tensor.requires_grad:
                self._on_tensors.append(tensor.register_hook(self._of_signal[leaf]))  # type: ignore[no-untyped-call]
            if not again:
                self._called.add(leaf)
                for probe in self._outputs:
                    try:
                        probe.output(leaf, tensor)
                    except Exception as error:
                        self._failed(probe, error)
                    before, now = now, perf_counter()
                    self._seconds[probe] += now - before
        if not self._clock.running:
            self._spent += now - began

    def _signal(self, leaf: int, gradient: Tensor) -> None:
        # a pass whose gradients get gradients (a penalty's) is of another function than the loss
        if torch.is_grad_enabled():
            return
        began = now = perf_counter()
        for probe in self._signals:
            try:
                probe.signal(leaf, gradient)
            except Exception as error:
                self._failed(probe, error)
            before, now = now, perf_counter()
            self._seconds[probe] += now - before
        if not self._clock.running:
            self._spent += now - began

    def _joins(self, leaf: int, module: nn.Module, arguments: Any, named: Any) -> None:
        if is_compiling() or not self._model.training or transformation() is not None or graph_task() != -1:
            return
        with self._clock, torch.no_grad():
            self._called.add(leaf)
            for probe in self._branches:
                self._ask(probe, partial(probe.joins, leaf, arguments, named))

    def _attends(self, layer: int, module: nn.Module, arguments: Any, named: Any, output: Any) -> None:
        if is_compiling() or not self._model.training or transformation() is not None or graph_task() != -1:
            return
        with self._clock, torch.no_grad():
            for probe in self._attention:
                self._ask(probe, partial(probe.attended, layer, arguments, named))


def first_tensor(output: Any) -> Tensor | None:
    """The tensor that a module's output is, or the first one in its tuple, list or mapping; else None."""
    if isinstance(output, Tensor):
        return output
    parts = output.values() if isinstance(output, Mapping) else output if isinstance(output, tuple | list) else ()
    return next((part for part in parts if isinstance(part, Tensor)), None)
