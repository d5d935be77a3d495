"""Trains one of the networks for some steps in one of the modes, watched by every probe, and keeps the last moment."""

from collections.abc import Mapping
from contextlib import nullcontext
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from gyrostat.doctor.modes import MODES, Mode
from gyrostat.doctor.moment import Arrays, Batch, Moment, as_array, calls_of, gradients_of, parameters_of
from gyrostat.doctor.networks import NETWORKS, batch_of, loss_of, optimizer_of
from gyrostat.probes.probe_batch import ProbeBatch
from gyrostat.probes.session import ProbeSession
from gyrostat.spec.probes import PROBES, GradientNoiseProbe, Probes, Recorder
from gyrostat.wire.layout import Layout
from gyrostat.wire.messages import EventKind
from gyrostat.wire.pending import PendingFrame
from gyrostat.wire.values import is_absent

STEPS = 4
SHARE = 8
"""Samples of a micro-batch."""
CLIP = 0.5
_PROBED = 32
EIGENVALUES = 3
TRACE_SAMPLES = 64
"""Random signs that the trace is estimated from: so many that its error tells something."""
_SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "curvature": {"every": 2, "eigenvalues": EIGENVALUES, "max_products": 100, "trace_samples": TRACE_SAMPLES},
    "block_curvature": {"blocks": 64},
}
"""What by default is left out, or takes turns."""

Measured = dict[str, dict[str, float]]
"""By metric and name along its axis; scalars have the empty name. What is absent is missing."""


class Kept:
    """A sink that keeps the newest frame by names."""

    def __init__(self) -> None:
        self._layouts: dict[int, Layout] = {}
        self.measured: Measured = {}
        self.disabled: dict[str, str] = {}

    def layout(self, layout: Layout) -> None:
        """Keeps it."""
        self._layouts[layout.version] = layout

    def emit(self, frame: PendingFrame) -> None:
        """Reads it."""
        layout, vector = self._layouts[frame.layout], frame.fetch()
        axis_of = {metric.name: metric.axis for metric in layout.metrics}
        self.measured = {}
        for metric, (start, stop) in frame.slices.items():
            axis, values = axis_of[metric], vector[start:stop]
            names = [""] if axis == "run" else layout.axes[axis]
            there = ~is_absent(values)
            self.measured[metric] = {
                name: float(value) for name, value, is_there in zip(names, values, there, strict=True) if is_there
            }

    def event(self, kind: EventKind, step: int, data: dict[str, Any]) -> None:
        """Keeps what was switched off."""
        if kind == "probe_disabled":
            self.disabled[data["probe"]] = data["reason"]


def watched(name: str, mode: Mode, rank: int = 0) -> tuple[Moment, Kept]:
    """Trains as this rank; of others than rank 0 what is kept is empty."""
    torch.manual_seed(0)
    network = NETWORKS[name]()
    start, initial = deepcopy(network).double(), parameters_of(network)
    wrapped: nn.Module = network
    if mode.ranks > 1:
        # `idle` never has a gradient, which has to be found out anew in every step
        wrapped = DistributedDataParallel(network, find_unused_parameters=hasattr(network, "idle"))
    optimizer = optimizer_of(network)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10, enabled=mode.scales)
    images, targets = batch_of(0, _PROBED)
    kept = Kept()
    probe_batch = ProbeBatch(tensors=lambda: (images, targets), loss_of=lambda batch: loss_of(network, batch))
    settings = _every_probe(rank == 0)
    known: dict[str, Any] = {"history": [], "parts": []}
    with ProbeSession(
        network,
        optimizer,
        settings,
        sink=kept,
        scalars=["loss.train"],
        probe_batch=probe_batch,
        ranks=mode.ranks,
        loss_scale=scaler.get_scale,
    ) as session:
        for step in range(1, STEPS + 1):
            shares = [share.chunk_of(step) for share in _shares(mode)]
            mine = [batch for share, batch in zip(_shares(mode), shares, strict=True) if share.rank == rank]
            _note(known, step, network, shares, mine, mode, (images, targets))
            session.begin_step(step)
            optimizer.zero_grad()
            _backward(wrapped, mine, mode, scaler, session)
            scaler.unscale_(optimizer)
            session.after_backward()
            nn.utils.clip_grad_norm_(network.parameters(), CLIP)
            session.after_clip()
            scaler.step(optimizer)
            scaler.update()
            session.after_update()
            session.end_step({"loss.train": 0.0}, epoch=0.0)
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    moment = Moment(
        initial=initial,
        after=parameters_of(network),
        network=deepcopy(network).double().train(),
        start=start,
        probe_batch=(images.double(), targets),
        state={names[id(parameter)]: deepcopy(state) for parameter, state in optimizer.state.items()},
        group={key: value for key, value in optimizer.param_groups[0].items() if key != "params"},
        clip=CLIP,
        measured=kept.measured,
        **known,
    )
    return moment, kept


class _Share:
    """A micro-batch of a rank: a part of each step's batch."""

    def __init__(self, rank: int, position: int, parts: int) -> None:
        self.rank, self._position, self._parts = rank, position, parts

    def chunk_of(self, step: int) -> Batch:
        """Its samples at a step."""
        images, targets = batch_of(step, SHARE * self._parts)
        part = slice(self._position * SHARE, (self._position + 1) * SHARE)
        return images[part], targets[part]


def _shares(mode: Mode) -> list[_Share]:
    parts = mode.ranks * mode.micro_batches
    return [_Share(position // mode.micro_batches, position, parts) for position in range(parts)]


def _note(
    known: dict[str, Any],
    step: int,
    network: nn.Module,
    shares: list[Batch],
    mine: list[Batch],
    mode: Mode,
    probed: Batch,
) -> None:
    """What a moment takes of before a step."""
    calls = calls_of(network, mine, mode, of=len(shares))
    known["history"].append(calls.outputs)
    known["part_size"], parts = _parts(network, mine, mode, probed)
    known["parts"].append(parts)
    if step >= STEPS - 1:
        known["last_gradients"] = known.get("gradients", {})
        known["gradients"] = gradients_of(network, shares, mode)
    if step == STEPS:
        known["before"], known["running"] = parameters_of(network), _running(network)
        known["previous"] = deepcopy(network).double()
        known |= {"signals": calls.signals, "attended": calls.attended, "joined": calls.joined}


def _parts(network: nn.Module, mine: list[Batch], mode: Mode, probed: Batch) -> tuple[int, list[Arrays]]:
    """Samples of a part, and the gradients of all parts; see `Moment.parts`."""
    if len(mine) > 1:
        return SHARE, [gradients_of(network, [part], mode) for part in mine]
    count = GradientNoiseProbe().parts
    parts = list(zip(*(tensor.chunk(count) for tensor in probed), strict=True))
    return len(parts[0][0]), [gradients_of(network, [part], MODES["fp32"]) for part in parts]


def _backward(
    wrapped: nn.Module, mine: list[Batch], mode: Mode, scaler: torch.amp.GradScaler, session: ProbeSession
) -> None:
    for number, batch in enumerate(mine, 1):
        last = number == len(mine)
        with nullcontext() if last or not isinstance(wrapped, DistributedDataParallel) else wrapped.no_sync():
            with mode.numbers():
                loss = loss_of(wrapped, batch) / len(mine)
            scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        session.after_micro_batch(len(batch[0]), scale=scaler.get_scale(), reduced=last and mode.ranks > 1)


def _every_probe(leading: bool) -> Probes:
    probes: dict[str, Any] = {name: kind(every=1, enabled=leading) for name, kind in PROBES.items()}
    for name, own in _SETTINGS.items():
        probes[name] = probes[name].model_copy(update=own)
    return Probes(budget=None, recorder=Recorder(enabled=False), **probes)


def _running(network: nn.Module) -> dict[str, tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]:
    return {
        name: (as_array(module.running_mean), as_array(module.running_var))
        for name, module in network.named_modules()
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None and module.running_var is not None
    }
