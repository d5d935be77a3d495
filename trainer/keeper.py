"""When a checkpoint of a training is written, and what is told of it."""

import math

from gyrostat.probes.session import Sink
from gyrostat.spec.run import RunSpec
from trainer import state
from trainer.checkpoints import CheckpointStore
from trainer.stabilizers import optimizers


class Keeper:
    """Decides when a checkpoint is due, writes it and tells of it.

    Attributes:
        kept_step: the step that needs no checkpoint any more: the last written, or the one that was resumed.
    """

    def __init__(self, spec: RunSpec, *, run: str, parts: state.Parts, store: CheckpointStore, stream: Sink) -> None:
        self._spec, self._run, self._parts, self._store, self._stream = spec, run, parts, store, stream
        self.kept_step = 0
        self._validation: tuple[int, float] | None = None
        self._improved = False

    def validated(self, loss: float) -> None:
        """The validation loss of the step just done."""
        done = self._parts.progress
        self._validation = (done.step, loss)
        if math.isfinite(loss) and (done.best is None or loss < done.best):
            done.best, self._improved = loss, self._spec.checkpoints.best

    def keep(self, *, regular: bool) -> None:
        """Writes a checkpoint where a `regular` one is due, or this step is the best yet; once a step.

        All ranks call it, and take part in what rank 0 writes.
        """
        step = self._parts.progress.step
        if step == self.kept_step or not (regular or self._improved):
            return
        self.kept_step = step
        captured = state.capture(self._parts)
        if not self._parts.ranks.leading:
            self._improved = False
            return
        loss = self._validation[1] if self._validation is not None and self._validation[0] == step else None
        best, self._improved = self._improved, False
        try:
            with optimizers.averaged(self._parts.optimizer):
                saved = self._store.save(
                    self._run,
                    step,
                    model=self._parts.model.state_dict(),
                    state=captured,
                    validation_loss=loss,
                    keep=self._spec.checkpoints,
                    regular=regular,
                )
        except OSError as error:
            # a full disk must not end a training that could go on; the checkpoint before is still there
            message = f"no checkpoint of step {step}: {error}; the training goes on without it"
            self._stream.event("log", step, {"level": "error", "message": message})
            return
        self._stream.event("checkpoint", step, {
            "step": step,
            "best": best,
            "metric": saved.validation_loss,
            "size_bytes": saved.size_bytes,
            "kept": [one.step for one in self._store.listed(self._run)],
        })  # fmt: skip
