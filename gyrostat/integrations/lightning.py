"""A callback for Lightning's Trainer.

    trainer = Trainer(callbacks=[GyrostatCallback(name="my run")])

Works with `pytorch_lightning` and with `lightning`, whichever the program uses.
"""

import importlib
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from gyrostat.integrations.offers import Offers
from gyrostat.watching import Watch, attach
from gyrostat.watching.stages import samples_in

if TYPE_CHECKING:
    from pytorch_lightning import Callback
else:
    _NAMES = ("lightning.pytorch", "pytorch_lightning")
    for _name in sorted(_NAMES, key=lambda name: name not in sys.modules):
        try:
            Callback = importlib.import_module(_name).Callback
        except ImportError:
            continue
        break
    else:
        raise ImportError(
            "gyrostat.integrations.lightning needs Lightning, which is not installed; pip install 'gyrostat[lightning]'"
        )


class GyrostatCallback(Callback):  # type: ignore[misc]
    """Watches `fit`: probes, the training loss of each step as `loss.train`, and what the module logs.

    Gradients are read where Lightning calls `on_before_optimizer_step`: of all micro-batches, unscaled, before its
    clipping. Modules with several optimizers are not watched as one: attach to each network by hand.

    Args:
        loss: the training loss of the module on a fixed batch, for curvature.
        options: of `gyrostat.attach`.

    Raises:
        ValueError: the module has more than one optimizer.
    """

    def __init__(self, loss: Callable[[nn.Module], Tensor] | None = None, **options: Any) -> None:
        super().__init__()
        self._loss, self._options = loss, options
        self._watch, self._offers = Watch(None), Offers(Watch(None))
        self._losses: tuple[int, Any] = (0, 0.0)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Attaches."""
        if len(trainer.optimizers) != 1:
            raise ValueError(
                f"{type(pl_module).__name__} has {len(trainer.optimizers)} optimizers; leave this callback out, and in "
                "the module's on_fit_start call gyrostat.attach(network, optimizer) for each network (docs/attach.md)"
            )
        loss = self._loss
        given = {
            "name": type(pl_module).__name__,
            "config": dict(pl_module.hparams),
            "done": trainer.global_step,
            "steps_per_epoch": trainer.num_training_batches / trainer.accumulate_grad_batches,
        }
        self._watch = attach(
            pl_module,
            trainer.optimizers[0],
            None if loss is None else lambda: loss(pl_module),
            accumulation=None,
            scaler=getattr(trainer.precision_plugin, "scaler", None),
            **(given | self._options),
        )
        self._offers = Offers(self._watch)

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """A step begins, with the first of its micro-batches."""
        self._watch.forward_begins(samples_in(batch))

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        """Gradients are final, unscaled and not yet clipped."""
        self._watch.backward_done()

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Logs what the module logged, and the step's loss: each micro-batch's is its share of it."""
        self._log(trainer)
        loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
        if loss is not None:
            step, before = self._losses
            self._losses = (self._watch.step, loss + before if step == self._watch.step else loss)
            self._offers.log({"loss.train": self._losses[1]})

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """Logs what the module logged in validation."""
        self._log(trainer)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """The run has finished."""
        self._watch.finish()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """The run has failed, or was stopped by its user."""
        self._watch.finish(exception)

    def _log(self, trainer: Any) -> None:
        own = {"loss", "train_loss"}  # of a micro-batch or of an epoch, where `loss.train` is a step's
        self._offers.log({name: value for name, value in trainer.callback_metrics.items() if name not in own})

    @property
    def watch(self) -> Watch:
        """The watch of the last `fit`."""
        return self._watch
