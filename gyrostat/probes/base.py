"""The interface of a probe, and the registry that a probe enters by being defined."""

import enum
from abc import ABC
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from gyrostat.probes.network import Network
from gyrostat.spec import probes as spec
from gyrostat.wire.layout import Axis
from gyrostat.wire.values import Float32Array

Value = Tensor | Float32Array | float
"""A vector along a metric's axis (order of `Network`), or a scalar."""

Readings = Mapping[str, Value]
"""Metric -> its value."""

PROBES: dict[str, type["Probe"]] = {}
"""Every probe by its name, which is that of its settings."""


class Need(enum.Enum):
    """What the session has to provide."""

    OUTPUTS = "outputs of the leaf modules, through forward hooks"
    INPUTS = "what the leaf modules are called with, through forward hooks"
    ATTENTION = "what attention layers attend with, through forward hooks"
    SIGNALS = "the gradients with respect to the leaf modules' outputs, through hooks on these"
    BRANCHES = "what is joined where a branch meets its trunk, through forward hooks"
    MICRO_BATCHES = "a call after the backward pass of each micro-batch"
    NEXT_GRADIENT = "a call at the step right after a due one, too"
    PROBE_LOSS = "the training loss on the fixed probe batch"
    PROBE_BATCH = "the fixed probe batch itself, and the loss of any part of it"

    __hash__ = object.__hash__  # Enum's own is many times slower, and sets of needs are asked at every step


@dataclass(frozen=True, kw_only=True)
class MicroBatch:
    """A part of a step's batch whose backward pass is done: the gradients hold the sum of all so far.

    Attributes:
        samples: how many it has; of its mean loss, its share of all samples of the step was differentiated.
        scale: what the loss was multiplied by beside that, and the gradients will be divided by.
        reduced: whether its backward pass took the mean over ranks, so that what it added cannot be told apart.
        ranks: how many processes have parts of as many samples.
    """

    samples: int
    scale: float | Tensor = 1.0
    reduced: bool = False
    ranks: int = 1


class Probe(ABC):
    """Measures something at the steps at which it is due.

    Once, before the first step, the session calls `start`. At a step that is due it calls, in this order: `begin`;
    `output` for each leaf module's output (only with `Need.OUTPUTS`); `attended` for each call of an attention layer
    (only with `Need.ATTENTION`); `joins` where a branch is joined (only with `Need.BRANCHES`); `signal` for each
    gradient that reaches an output (only with `Need.SIGNALS`); `after_micro_batch` (only with `Need.MICRO_BATCHES`);
    `after_backward`; `after_clip`, where gradients are clipped; `after_update`. Results must not be changed afterwards,
    and must not make the host wait for the device, unless the probe is a dear one or says so.
    """

    settings_type: ClassVar[type[spec.Probe]]
    needs: ClassVar[frozenset[Need]] = frozenset()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        name = cls.settings_type.name
        if name in PROBES:
            raise TypeError(f"two probes are named {name!r}: {PROBES[name]} and {cls}")
        PROBES[name] = cls

    def __init__(self, settings: Any, network: Network) -> None:
        self.settings = settings
        self.network = network

    @classmethod
    def concerns(cls, network: Network) -> bool:
        """Whether the network has anything that it measures, now or later; it is left out otherwise."""
        return True

    @classmethod
    def acts(cls, stage: str) -> bool:
        """Whether it does anything at this stage, named after its method."""
        return getattr(cls, stage) is not getattr(Probe, stage)

    def axes(self) -> Mapping[Axis, Sequence[str]]:
        """Names along an axis that no other probe measures on; the same all through the training."""
        return {}

    def start(self) -> None:
        """The training begins, or goes on after `load_state_dict`: parameters are as its next step finds them."""
        return

    def begin(self) -> None:
        """The step begins; forget what an unfinished one left."""
        return

    def output(self, leaf: int, output: Tensor) -> None:
        """`output`: floating, with its graph, not to be kept or changed; of the leaf module at this position."""
        return

    def called(self, leaf: int, arguments: tuple[Any, ...]) -> None:
        """The leaf module at this position was called so; nothing of it is to be kept or changed."""
        return

    def attended(self, layer: int, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        """The core of the attention layer at this position was called so; nothing of it is to be kept or changed."""
        return

    def signal(self, leaf: int, gradient: Tensor) -> None:
        """`gradient` of the loss, as it was scaled, by an output of the leaf module at this position.

        It is not to be kept or changed, and has no graph.
        """
        return

    def joins(self, leaf: int, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        """The leaf module at this position, a `BranchJoin`, is called so; nothing of it is to be kept or changed."""
        return

    def after_micro_batch(self, part: MicroBatch) -> None:
        """The backward pass of a micro-batch is done, the last of a step included; only with `Need.MICRO_BATCHES`."""
        return

    def after_backward(self) -> Readings:
        """Gradients are final: unscaled, of all micro-batches, not yet clipped."""
        return {}

    def after_next_backward(self) -> Readings:
        """At the step right after a due one, where the session saw both in full: gradients are final.

        Only with `Need.NEXT_GRADIENT`. Where that step is due as well, `begin` comes before and `after_backward` after.
        """
        return {}

    def after_clip(self) -> Readings:
        """Gradients were clipped."""
        return {}

    def after_update(self) -> Readings:
        """The optimizer has moved the parameters."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """What the next measurement starts from: tensors, numbers and dicts of them."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes up what `state_dict` gave."""
        return

    def take_over(self, state: dict[str, Any]) -> list[str]:
        """The training is a fork and goes on from another's weights; `state` is that one's, empty where it had none.

        Answers what cannot be measured any more, and why.
        """
        return []
