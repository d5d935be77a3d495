"""A callback for the Trainer of Hugging Face's transformers.

    trainer = Trainer(..., callbacks=[GyrostatCallback(name="my run")])

Gradients are read when the last of `gradient_accumulation_steps` backward passes ends, before the Trainer clips them.
"""

import math
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from gyrostat.integrations.offers import Offers
from gyrostat.watching import Watch, attach

try:
    from transformers import TrainerCallback
except ImportError as error:
    raise ImportError(
        "gyrostat.integrations.transformers needs transformers and accelerate, which are not installed; "
        "pip install 'gyrostat[transformers]'"
    ) from error

_KNOWN = {"loss": "loss.train", "eval_loss": "loss.validation"}
_LEFT_OUT = frozenset({"epoch", "learning_rate", "total_flos"})
"""In every frame anyway, or of no step: the Trainer's rate is that of the next step."""


class GyrostatCallback(TrainerCallback):  # type: ignore[misc]
    """Watches `train`: probes, and what the Trainer logs, every `logging_steps`, as metrics of the step before.

    `loss` is `loss.train` (a mean since the last log), `eval_loss` is `loss.validation`; others keep their names:
    `eval_accuracy` is `eval.accuracy`, `grad_norm` is `trainer.grad_norm`.

    Args:
        loss: the training loss of the model on a fixed batch, for curvature.
        options: of `gyrostat.attach`.
    """

    def __init__(self, loss: Callable[[nn.Module], Tensor] | None = None, **options: Any) -> None:
        self._loss, self._options = loss, options
        self._watch, self._offers = Watch(None), Offers(Watch(None))

    def on_train_begin(self, args: Any, state: Any, control: Any, **named: Any) -> None:
        """Attaches."""
        model, loss = named["model"], self._loss
        prepared = named["optimizer"]
        given = {
            "name": type(model).__name__,
            "config": {key: value for key, value in args.to_dict().items() if isinstance(value, int | float | str)},
            "done": state.global_step,
            "steps_per_epoch": _steps_per_epoch(named.get("train_dataloader"), args.gradient_accumulation_steps),
        }
        self._watch = attach(
            model,
            getattr(prepared, "optimizer", prepared),  # accelerate wraps the one that makes the steps
            None if loss is None else lambda: loss(model),
            accumulation=args.gradient_accumulation_steps,
            scaler=getattr(prepared, "scaler", None),
            **(given | self._options),
        )
        self._offers = Offers(self._watch)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **named: Any) -> None:
        """Logs what the Trainer does."""
        offered = {name: value for name, value in (logs or {}).items() if name not in _LEFT_OUT}
        self._offers.log({_named(name): value for name, value in offered.items()})

    def on_train_end(self, args: Any, state: Any, control: Any, **named: Any) -> None:
        """The run has finished."""
        self._watch.finish()

    @property
    def watch(self) -> Watch:
        """The watch of the last `train`."""
        return self._watch


def _steps_per_epoch(batches: Any, accumulation: int) -> int:
    try:
        return math.ceil(len(batches) / accumulation)
    except TypeError:  # a stream has no length
        return 0


def _named(name: str) -> str:
    family, _, quantity = name.partition("_")
    if name in _KNOWN:
        return _KNOWN[name]
    return f"{family}.{quantity}" if family in ("eval", "train") and quantity else f"trainer.{name}"
