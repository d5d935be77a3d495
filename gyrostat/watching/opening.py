"""`gyrostat.attach`: opens everything that watching a loop takes."""

import logging
import os
import secrets
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torch.optim import Optimizer

from gyrostat.probes import ProbeSession, pace
from gyrostat.probes.probe_batch import ProbeBatch
from gyrostat.spec.parse import SpecError, described
from gyrostat.spec.probes import Probes
from gyrostat.stream.attached import FOLDER, Attached, Request, stream_of
from gyrostat.stream.stream import Stream
from gyrostat.stream.transport import DEFAULT_SERVER
from gyrostat.watching.stages import Stages, Steps
from gyrostat.watching.watch import Parts, Watch
from gyrostat.wire.messages import Acknowledgement

TIGHTEN_STEPS = 100
"""How long the probes look closer each time the backend sees trouble."""

COMPILED = (
    "the model is compiled: hooks do not reach into compiled code, so that what is measured of its modules' outputs "
    "(activations, attention, branches, backward signals) is absent; to see it, train some steps without compiling"
)

STRANGERS = (
    "none of the optimizer's parameters is the model's, so that nothing can be told of its updates; "
    "attach the model whose parameters the optimizer was made with"
)

_log = logging.getLogger(__name__)
_watches: "weakref.WeakKeyDictionary[nn.Module, weakref.ref[Watch]]" = weakref.WeakKeyDictionary()


def attach(
    model: nn.Module,
    optimizer: Optimizer | Sequence[Optimizer],
    loss: Callable[..., Tensor] | None = None,
    *,
    batch: Sequence[Tensor] | None = None,
    name: str | None = None,
    project: str = "default",
    tags: Sequence[str] = (),
    config: Mapping[str, Any] | None = None,
    server: str | None = None,
    token: str | None = None,
    folder: str | os.PathLike[str] = FOLDER,
    probes: Probes | Mapping[str, Any] | None = None,
    accumulation: int | None = 1,
    scaler: torch.amp.GradScaler | None = None,
    steps_per_epoch: float = 0,
    done: int = 0,
    resume: bool | str = False,
) -> Watch:
    """Watches a training loop from outside: every probe, at every step that the optimizer makes.

        with gyrostat.attach(model, optimizer, name="my run") as watch:
            ...                                    # the loop as it is
            watch.log({"loss.train": loss})

    Nothing waits for a backend: measurements go to disk, and from there to one that answers. Of several ranks of
    `torch.distributed` only rank 0 is watched; on the others the watch does nothing.

    Args:
        model: what the loop calls; wrapped by `torch.compile` or `DistributedDataParallel`, if it is.
        optimizer: or several that each make one step in a step of the training.
        loss: the training loss on a fixed batch, for what needs passes of its own (curvature); called without
            arguments, or with the tensors of `batch`.
        batch: inputs first, targets last; the first axis of each is the samples'.
        name: of the run; None takes a number.
        project: groups runs.
        tags: words to find the run by.
        config: settings to show with the run.
        server: default GYROSTAT_SERVER, then http://127.0.0.1:8000; an empty text keeps everything on disk.
        token: default GYROSTAT_TOKEN.
        folder: in it the run gets a folder of its own.
        probes: settings as in a spec's section `probes`.
        accumulation: backward passes that make the gradient of one step; None where `Watch.backward_done` tells.
        scaler: the loss scaler in use, so that gradients are read unscaled.
        steps_per_epoch: gives frames their epoch; 0 leaves it out.
        done: optimizer steps done before.
        resume: goes on with an earlier run, after `done` steps: True with the newest of this `name` and `project`, made
            where there is none; an id (`Watch.run`) with that very run.

    Raises:
        ValueError: an argument that cannot be used. OSError: the folder cannot be written.
    """
    bare = unwrapped(model)
    if (earlier := _watches.get(bare)) is not None and (watch := earlier()) is not None:
        watch.superseded()
    optimizers = [optimizer] if isinstance(optimizer, Optimizer) else list(optimizer)
    if not optimizers or (accumulation is not None and accumulation < 1):
        raise ValueError(f"attach needs an optimizer and accumulation ≥ 1, got {optimizers} and {accumulation}")
    settings = probes if isinstance(probes, Probes) else _settings(probes or {})
    request = _request(name, project, tags, config or {}, resume, done)
    if _ranks()[0] != 0:
        return Watch(None)
    attached = Attached.made(
        Path(folder) / f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}",
        request.model_dump(mode="json"),
        server=os.environ.get("GYROSTAT_SERVER", DEFAULT_SERVER) if server is None else server,
    )
    heard = _Heard()
    stream = stream_of(attached, token=token or os.environ.get("GYROSTAT_TOKEN"), on_acknowledged=heard)
    try:
        session = heard.session = ProbeSession(
            bare,
            as_one(optimizers),
            settings,
            sink=stream,
            scalars=("optimizer.learning_rate", "precision.loss_scale", "precision.overflow", *pace.METRICS),
            ranks=_ranks()[1],
            loss_scale=lambda: stages.loss_scale,
            **_passes_of_its_own(loss, batch),
        )
        steps = Steps(done=done, per_epoch=steps_per_epoch, accumulation=accumulation)
        stages = Stages(
            session, called=model, model=bare, optimizers=optimizers, steps=steps, scaler=scaler, sink=stream
        )
    except BaseException:
        stream.close(0)
        raise
    _tell(stream, model, optimizers, done, config or {})
    watch = Watch(Parts(attached=attached, stream=stream, session=session, stages=stages))
    _watches[bare] = weakref.ref(watch)
    return watch


def _request(
    name: str | None, project: str, tags: Sequence[str], config: Mapping[str, Any], resume: bool | str, done: int
) -> Request:
    """What the backend is asked for: a new run, or the next attempt of an earlier one."""
    if resume is True and name is None:
        raise ValueError("attach(resume=True) finds the run by its name; give name=..., or the run's id as resume")
    return Request(
        name=name,
        project=project,
        tags=list(tags),
        notes=_notes(config),
        resume=resume,
        from_step=done if resume else 0,
    )


def _tell(
    stream: Stream, model: nn.Module, optimizers: Sequence[Optimizer], done: int, config: Mapping[str, Any]
) -> None:
    """What the run's events begin with."""
    message = f"attached to {type(unwrapped(model)).__name__}"
    stream.event("log", done, {"level": "info", "message": message, "config": config})
    # by `torch.compile`, or by a module's own `compile`
    if any(hasattr(each, "_orig_mod") or each._compiled_call_impl is not None for each in model.modules()):
        stream.event("log", done, {"level": "info", "message": COMPILED})
    held = {id(each) for optimizer in optimizers for group in optimizer.param_groups for each in group["params"]}
    if held.isdisjoint(map(id, model.parameters())):
        stream.event("log", done, {"level": "warning", "message": STRANGERS})
        _log.warning("%s", STRANGERS)


def _settings(probes: Mapping[str, Any]) -> Probes:
    try:
        return Probes.model_validate(probes)
    except ValidationError as error:
        raise SpecError(list(described(error, Probes))) from None


def as_one(optimizers: Sequence[Optimizer]) -> Optimizer:
    """The only one, or what probes look at of all of them."""
    return optimizers[0] if len(optimizers) == 1 else cast(Optimizer, Together(optimizers))


class Together:
    """What probes look at of several optimizers: their parameter groups and states."""

    def __init__(self, optimizers: Sequence[Optimizer]) -> None:
        self._optimizers = optimizers

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """Of all of them."""
        return [group for optimizer in self._optimizers for group in optimizer.param_groups]

    @property
    def state(self) -> dict[Tensor, Any]:
        """Of all of them."""
        return {parameter: state for optimizer in self._optimizers for parameter, state in optimizer.state.items()}


def unwrapped(model: nn.Module) -> nn.Module:
    """The network itself, without `torch.compile` and without what spreads it over ranks or devices.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(model, nn.Module):
        raise ValueError(f"attach takes the model first, a torch.nn.Module, and then the optimizer; got {type(model)}")
    while True:
        inner = getattr(model, "_orig_mod", None)
        if inner is None and isinstance(model, nn.parallel.DistributedDataParallel | nn.DataParallel):
            inner = model.module
        if not isinstance(inner, nn.Module):
            return model
        model = inner


class _Heard:
    """Passes on what the backend's answers ask for, once there is a session."""

    def __init__(self) -> None:
        self.session: ProbeSession | None = None

    def __call__(self, answer: Acknowledgement) -> None:
        if answer.tighten and self.session is not None:
            self.session.tighten(TIGHTEN_STEPS)


def _passes_of_its_own(loss: Callable[..., Tensor] | None, batch: Sequence[Tensor] | None) -> dict[str, Any]:
    if loss is None:
        if batch is not None:
            raise ValueError("attach was given a batch and no loss; give loss=lambda inputs, targets: ... as well")
        return {}
    if batch is None:
        return {"probe_loss": loss}
    tensors = tuple(batch)
    return {"probe_batch": ProbeBatch(tensors=lambda: tensors, loss_of=lambda parts: loss(*parts))}


def _notes(config: Mapping[str, Any]) -> str:
    return "\n".join(f"{name}: {value}" for name, value in config.items()).replace("\0", "")[:20_000]


def _ranks() -> tuple[int, int]:
    """This one, and how many there are."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1
