"""Layers whose outputs are almost all exact zeros: their units have died."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, ClassVar

import msgspec
import numpy as np
import numpy.typing as npt
from pydantic import Field

from app.alerts import reading
from app.alerts.base import Detector, Memory
from app.alerts.model import Evidence, FrameView, RunContext, Verdict
from app.alerts.streaks import Streaks


class DeadMemory(Memory):
    """For each module, how long its outputs have been almost all zero."""

    streaks: Streaks = msgspec.field(default_factory=Streaks)


class DeadUnits(Detector):
    """Share of exact zeros in a module's output, sustained."""

    kind: ClassVar[str] = "dead_units"
    title: ClassVar[str] = "Units are dead"
    metrics: ClassVar[tuple[str, ...]] = ("activation.zero_fraction", "activation.nonfinite_count")
    explanation: ClassVar[str] = (
        "Nearly every output of a layer is exactly zero, step after step. A ReLU whose input is negative for every "
        "sample passes no gradient, so it stays dead, and a layer of dead units stops everything before it from "
        "learning. About half zeros is normal for ReLU, and the share rises as a net learns; dropout modules are "
        "left out, and the MLPs of transformers, which become sparse when they are well, are judged by a stricter "
        "share. Usual causes are one update that was much too large, or an initialization that does not fit."
    )
    source: ClassVar[str] = (
        "Share of zeros in a ReLU's output of 0.95: DLCheck; sustained dead share: torchmortem; sparsity of "
        "healthy transformers: Li et al. 2022, arXiv 2210.06313"
    )
    quiet: ClassVar[int] = 10
    memory: ClassVar[type[Memory]] = DeadMemory

    share: float = Field(0.95, gt=0.5, le=1)
    """Exact zeros in a module's output from which it counts as dead."""
    transformer_share: float = Field(0.995, gt=0.5, le=1)
    """The same, for transformers."""
    evaluations: int = Field(3, ge=1, le=10_000)
    """Evaluations in a row that a module must be so."""
    steps: int = Field(20, ge=0, le=1_000_000)
    """Steps that this must span, since probes measure every step when they look closer."""

    def observe(self, memory: DeadMemory, frame: FrameView, context: RunContext) -> Verdict | None:
        """Judges every module but dropout; one that did not run, or put out what is no number, keeps its count."""
        zeros = reading.vector(frame, "activation.zero_fraction", context)
        if zeros is None:
            return None
        names = reading.names_of("activation.zero_fraction", context)
        judged = np.isfinite(zeros) & _judged(names)
        broken = reading.vector(frame, "activation.nonfinite_count", context)
        if broken is not None:
            judged &= ~(broken > 0)  # NaN is no zero, and no sign that a unit came back
        if not judged.any():
            return None
        limit = self.transformer_share if _is_transformer(context.spec) else self.share
        lengths = memory.streaks.extend(judged & (zeros >= limit), frame.step, judged)
        dead = memory.streaks.lasting(len(zeros), frame.step, evaluations=self.evaluations, steps=self.steps)
        if not dead.any():
            return Verdict(breached=False, suspicious=bool(lengths.any()))
        if not (dead & judged).any():
            return None
        onset = memory.streaks.first_step(dead)
        return _breach(frame.step, names, np.where(judged, zeros, 0.0), dead, limit, onset)


def _breach(
    step: int,
    names: tuple[str, ...],
    zeros: npt.NDArray[np.float32],
    dead: npt.NDArray[np.bool_],
    limit: float,
    onset: int | None,
) -> Verdict:
    where = np.flatnonzero(dead)
    where = where[np.argsort(-zeros[where], kind="stable")][: reading.MAX_NAMES]
    chosen = tuple(names[i] for i in where)
    whole = int((dead & (zeros >= 1.0)).sum())
    summary = (
        f"Since step {onset} the outputs of {int(dead.sum())} of {len(names)} modules have been at least "
        f"{limit:.3g} exact zeros: {reading.listed(chosen)}."
        + (f" {whole} of them put out nothing but zeros, so no gradient passes them at all." if whole else "")
    )
    evidence = tuple(
        Evidence(
            metric="activation.zero_fraction",
            name=names[i],
            step=step,
            value=float(zeros[i]),
            threshold=limit,
            text=f"{zeros[i]:.1%} of the outputs of {names[i]} were exactly zero at step {step}",
        )
        for i in where[:5]
        if zeros[i] >= limit
    )
    return Verdict(
        breached=True,
        names=chosen,
        onset_step=onset,
        severity="critical" if whole else None,
        summary=summary,
        evidence=evidence,
    )


@lru_cache(maxsize=64)
def _judged(names: tuple[str, ...]) -> npt.NDArray[np.bool_]:
    """Dropout makes zeros on purpose."""
    return np.array(["drop" not in name.rpartition(".")[2].lower() for name in names], dtype=np.bool_)


def _is_transformer(spec: Mapping[str, Any] | None) -> bool:
    model = (spec or {}).get("model")
    return (model.get("kind") if isinstance(model, Mapping) else model) == "transformer"
