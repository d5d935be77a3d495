"""What of a training goes into a checkpoint, and how a training takes it up again."""

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from trainer.checkpoints import Checkpoint
from trainer.control import Adjustment
from trainer.errors import CheckpointError
from trainer.ranks import Ranks
from trainer.stabilizers import normalization, optimizers


class Stateful(Protocol):
    """Something whose state is kept: the precision's numbers."""

    def state_dict(self) -> dict[str, Any]:
        """Tensors, numbers, strings, lists and dicts of them."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes up what `state_dict` gave."""


class Forkable(Stateful, Protocol):
    """Something whose state a fork may take over from its parent: the probe session, the task."""

    def take_over(self, state: dict[str, Any]) -> list[str]:
        """Whatever fits of what another run's `state_dict` gave (`{}` where it gave none); answers what does not."""


@dataclass(kw_only=True)
class Progress:
    """How far a training is, and what was changed about it while it ran.

    Attributes:
        step: optimizer steps done.
        best: lowest validation loss yet; None before the first that is finite.
        learning_rate_factor, clip_norm: live changes; clip_norm None means what the spec says.
    """

    step: int = 0
    best: float | None = None
    learning_rate_factor: float = 1.0
    clip_norm: float | None = None

    def adjust(self, change: Adjustment) -> None:
        """Takes a live change up."""
        if "learning_rate_factor" in change.model_fields_set:
            self.learning_rate_factor = 1.0 if change.learning_rate_factor is None else change.learning_rate_factor
        if "clip_norm" in change.model_fields_set:
            self.clip_norm = change.clip_norm


@dataclass(frozen=True, eq=False, kw_only=True)
class Parts:
    """The parts of a training that have a state."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    probes: Forkable
    task: Forkable
    progress: Progress
    seed: int
    numbers: Stateful
    ranks: Ranks


def capture(parts: Parts) -> dict[str, Any]:
    """Everything but the model that the next step depends on: tensors and plain values only.

    All ranks call it at the same step; what rank 0 gets is the whole training's.
    """
    random = parts.ranks.gathered(_random_state())
    return {
        "optimizer": {"kind": optimizers.kind(parts.optimizer), **parts.optimizer.state_dict()},
        "random": random[0] if random else {},
        "random_of_other_ranks": random[1:],
        "seed": parts.seed,
        "threads": torch.get_num_threads() * parts.ranks.size,
        "numbers": parts.numbers.state_dict(),
        "probes": parts.probes.state_dict(),
        "task": parts.task.state_dict(),
        "progress": vars(parts.progress).copy(),
    }


def resume(parts: Parts, checkpoint: Checkpoint) -> None:
    """Goes on exactly where the checkpoint of the same run was written.

    Raises:
        CheckpointError: any part of it does not fit; nothing is half taken over silently.
    """
    misfits = _load_model(parts.model, checkpoint.model)
    optimizer = _fitting_optimizer_state(parts.optimizer, checkpoint.state["optimizer"])
    if misfits or optimizer is None:
        raise CheckpointError(
            f"the checkpoint of step {checkpoint.step} does not fit its own run: "
            f"{'; '.join(misfits) or 'the optimizer state is of another optimizer'}; was the spec changed?"
        )
    random = _random_states(checkpoint)
    if len(random) != parts.ranks.size:
        raise CheckpointError(
            f"the checkpoint of step {checkpoint.step} is of {len(random)} ranks, and its own run has "
            f"{parts.ranks.size} now; was the spec changed? A fork may have another number of ranks"
        )
    parts.optimizer.load_state_dict(optimizer)
    parts.numbers.load_state_dict(checkpoint.state.get("numbers", {}))
    _set_random_state(random[parts.ranks.rank])
    parts.probes.load_state_dict(checkpoint.state["probes"])
    parts.task.load_state_dict(checkpoint.state.get("task", {}))  # checkpoints of before tasks had a state have none
    vars(parts.progress).update(checkpoint.state["progress"])


def branch_off(parts: Parts, checkpoint: Checkpoint) -> list[str]:
    """Starts a fork from another run's checkpoint: whatever fits its spec. Answers what was not taken over, and why.

    Step and weights come from the checkpoint; live changes and the best loss are the parent's own and stay with it.
    """
    notes = _load_model(parts.model, normalization.taken_over(parts.model, checkpoint.model))
    optimizer = None if notes else _fitting_optimizer_state(parts.optimizer, checkpoint.state["optimizer"])
    if optimizer is None:
        notes.append("the optimizer starts anew: its kind or the parameters differ from the parent's")
    else:
        parts.optimizer.load_state_dict(optimizer)
        parts.numbers.load_state_dict(checkpoint.state.get("numbers", {}))
    notes += parts.probes.take_over(checkpoint.state.get("probes", {}))
    notes += parts.task.take_over(checkpoint.state.get("task", {}))
    random = _random_states(checkpoint)
    if len(random) != parts.ranks.size:
        notes.append(f"random numbers start anew: the parent has {len(random)} ranks and this run {parts.ranks.size}")
    elif checkpoint.state["seed"] == parts.seed:
        _set_random_state(random[parts.ranks.rank])
    parts.progress.step = checkpoint.step
    return notes


@torch.no_grad()
def _load_model(model: nn.Module, tensors: dict[str, Tensor]) -> list[str]:
    """Copies what fits by name and shape into the model; answers what does not."""
    own = model.state_dict()
    misfits = []
    for name, target in own.items():
        source = tensors.get(name)
        if source is None:
            misfits.append(f"{name} keeps its initial value: the checkpoint does not hold it")
        elif source.shape != target.shape:
            misfits.append(
                f"{name} keeps its initial value: it has shape {tuple(target.shape)} here and "
                f"{tuple(source.shape)} in the checkpoint"
            )
        else:
            target.copy_(source)
    return misfits + [f"{name} of the checkpoint has no place here" for name in tensors if name not in own]


def _fitting_optimizer_state(optimizer: torch.optim.Optimizer, saved: dict[str, Any]) -> dict[str, Any] | None:
    """`saved` with this optimizer's own settings, or None where it is of another optimizer or other parameters.

    The settings (momentum, decay) are this run's: a fork may have changed them, and a checkpoint must not undo that.
    """
    own = optimizer.state_dict()
    if saved["kind"] != optimizers.kind(optimizer):
        return None
    if [group["params"] for group in own["param_groups"]] != [group["params"] for group in saved["param_groups"]]:
        return None
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for index, values in saved["state"].items():
        shape = parameters[index].shape
        if any(isinstance(value, Tensor) and value.ndim and value.shape != shape for value in values.values()):
            return None
    return {"state": saved["state"], "param_groups": own["param_groups"]}


def _random_states(checkpoint: Checkpoint) -> list[dict[str, Any]]:
    """Of all ranks, in their order."""
    return [checkpoint.state["random"], *checkpoint.state.get("random_of_other_ranks", [])]


def _random_state() -> dict[str, Any]:
    devices = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"cpu": torch.get_rng_state(), "cuda": devices}


def _set_random_state(state: dict[str, Any]) -> None:
    torch.set_rng_state(state["cpu"])
    if state["cuda"] and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
