"""From an alert and the run's spec to changes that may cure it, ranked. Each is an experiment, to be judged by its run.

The order within a kind follows the evidence collected from trainers' practice and repair studies (docs/alerts.md). A
remedy is offered only where the changed spec is valid and differs: what the run already has is not offered again.
"""

import copy
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from app.alerts import reading
from app.alerts.model import AlertChange, Remedy
from gyrostat.spec.architectures import Mlp, ResNet, Transformer, UNet
from gyrostat.spec.catalogue import STABILIZERS, merge_patch
from gyrostat.spec.checks import SATURATING, nearest_divisor
from gyrostat.spec.gradients import ClipNorm
from gyrostat.spec.normalization import GroupNorm
from gyrostat.spec.optimizers import Adam, AdamW, RmsProp, Sam, ScheduleFree, Stepping
from gyrostat.spec.parse import SpecError, parse
from gyrostat.spec.run import RunSpec
from gyrostat.spec.schedules import LinearWarmup, OneCycle

MOST = 4
"""Remedies offered for one alert."""

_TUNING = (
    "Godbole et al. 2023, Deep Learning Tuning Playbook, 'How can optimization failures be debugged and mitigated?'"
)
_AUTOTRAINER = "order of repairs: Zhang et al. 2021, AutoTrainer, ICSE, arXiv 2002.08562"


@dataclass(frozen=True, kw_only=True)
class Case:
    """An alert on a run whose spec is known."""

    alert: AlertChange
    spec: RunSpec

    @property
    def early(self) -> bool:
        """Whether it began in the first tenth of the run."""
        onset = self.alert.onset_step if self.alert.onset_step is not None else self.alert.step
        return onset <= max(20, self.spec.steps // 10)

    @property
    def far_too_fast(self) -> bool:
        """Whether warmup cannot help: the rate is unusual for its optimizer, or it blew up within ten steps."""
        onset = self.alert.onset_step
        return self.spec.optimizer.learning_rate >= self.spec.optimizer.high_rate or (onset is not None and onset <= 10)

    @property
    def stepping(self) -> Stepping:
        """The optimizer that makes the steps: that around which sharpness-aware minimization is, or the only one."""
        return self.spec.optimizer.base if isinstance(self.spec.optimizer, Sam) else self.spec.optimizer

    def optimizer_patch(self, changes: dict[str, Any]) -> dict[str, Any]:
        """Changes settings, or the kind, of the optimizer that makes the steps."""
        return {"optimizer": {"base": changes} if isinstance(self.spec.optimizer, Sam) else changes}

    def value(self, metric: str) -> float | None:
        """The finite value of the alert's first evidence of `metric`."""
        for item in self.alert.evidence:
            if item.metric == metric and item.value - item.value == 0:
                return item.value
        return None

    def threshold(self, metric: str) -> float | None:
        """The threshold of the alert's first evidence of `metric`."""
        return next((item.threshold for item in self.alert.evidence if item.metric == metric), None)


Propose = Callable[[Case], Iterator[Remedy]]


def remedies_for(alert: AlertChange, spec: Mapping[str, Any] | None) -> tuple[Remedy, ...]:
    """Ranked remedies, best first, at most `MOST`; none for an attached run, whose spec is not ours to change."""
    proposals = PROPOSALS.get(alert.kind, ())
    if spec is None or not proposals:
        return ()
    try:
        case = Case(alert=alert, spec=parse(spec).spec)
    except SpecError:
        # stored by an older version whose spec this one does not read any more: it cannot be forked either
        return ()
    document = case.spec.model_dump(mode="json")
    offered: list[Remedy] = []
    for remedy in itertools.chain.from_iterable(proposal(case) for proposal in proposals):
        if _changes(document, remedy.patch) and all(remedy.patch != other.patch for other in offered):
            offered.append(remedy)
    return tuple(offered[:MOST])


def _changes(document: dict[str, Any], patch: dict[str, Any]) -> bool:
    try:
        changed = parse(merge_patch(copy.deepcopy(document), patch)).spec
    except SpecError:
        return False
    return changed.model_dump(mode="json") != document


def _technique(id: str, patch: dict[str, Any], reason: str, **more: Any) -> Remedy:
    entry = STABILIZERS[id].entry
    values: dict[str, Any] = {"title": entry.title, "control": None, "source": entry.source, **more}
    return Remedy(stabilizer=id, patch=patch, reason=reason, **values)


def smaller_rate(case: Case, factor: float = 0.1) -> Iterator[Remedy]:
    """The same training with smaller steps; possible on the running one."""
    rate = case.spec.optimizer.learning_rate
    yield Remedy(
        title=f"Learning rate times {factor:g}",
        stabilizer=None,
        patch=case.optimizer_patch({"learning_rate": _rounded(rate * factor)}),
        control={"learning_rate_factor": factor},
        reason=(
            f"The rate is {rate:g}. {_facts(case)} Steps of {factor:g} times the length stay where the loss is "
            "still curved as the gradient says."
        ),
        source=_TUNING,
    )


def warmup(case: Case) -> Iterator[Remedy]:
    """A rate that rises slowly, for a tenth of the run; a longer one where there is one."""
    ratio = case.value("update.ratio")
    if ratio is not None and ratio < 1e-3:
        return
    schedule = case.spec.schedule
    if isinstance(schedule, OneCycle):
        return  # it begins with a warmup of its own
    had = schedule.warmup
    steps = max(1, case.spec.steps // 10) if had is None else min(had.steps * 3, case.spec.steps // 3)
    if had is not None and steps <= had.steps:
        return
    now = "There is no warmup." if had is None else f"Warmup takes {had.steps} steps."
    longer = {"kind": "linear_warmup", "steps": steps}
    patch = {"schedule": longer if isinstance(schedule, LinearWarmup) else {"warmup": longer}}
    reason = (
        f"{now} Curvature is highest in the first steps; {steps} steps of warmup let it fall before the full rate "
        "is used."
    )
    yield _technique("schedule.linear_warmup", patch, reason, source=_TUNING)


def clip(case: Case) -> Iterator[Remedy]:
    """Clipping at the norm that the run's own healthy steps have; possible on the running one."""
    healthy = _healthy_norm(case)
    had = case.spec.gradients.clip
    if isinstance(had, ClipNorm) and had.max_norm <= 2 * healthy:
        return
    patch = {"gradients": {"clip": {"kind": "norm", "max_norm": healthy}}}
    reason = (
        f"{_facts(case)} Clipped at {healthy:g}, a single large gradient can move the weights no further than a "
        "usual one."
    )
    yield _technique("clip.norm", patch, reason, control={"clip_norm": healthy})


def normalize(case: Case) -> Iterator[Remedy]:
    """The normalization that fits the architecture and the batch."""
    if case.spec.model.norm is not None:
        return
    kind, patch = _fitting_norm(case.spec)
    reason = (
        f"The {case.spec.model.kind} of depth {case.spec.model.depth} has no normalization. It sets every layer's "
        "scale anew, so factors do not multiply over depth, and larger rates are stable."
    )
    yield _technique(f"norm.{kind}", {"model": {"norm": patch}}, reason)


def residual(case: Case) -> Iterator[Remedy]:
    """Skip connections, where the architecture has room for them."""
    model = case.spec.model
    if not isinstance(model, Mlp | ResNet | Transformer | UNet) or model.connection is not None or model.depth < 2:
        return
    reason = (
        f"{model.depth} layers without a skip connection: with one, the gradient also reaches the first layer "
        "undiminished."
    )
    yield _technique("connection.residual", {"model": {"connection": {"kind": "residual", "placement": "pre"}}}, reason)


def fitting_activation(case: Case) -> Iterator[Remedy]:
    """ReLU with He initialization instead of an activation that saturates, with a tenth of the rate for SGD."""
    kind = case.spec.model.activation.kind
    if kind not in SATURATING:
        return
    slope = "at most 1/4" if kind == "sigmoid" else "below 1 away from zero"
    reason = (
        f"The slope of {kind} is {slope}, and {case.spec.model.depth} layers multiply it. ReLU's is 1 where it is "
        "active, and He initialization keeps the signal's scale under it."
    )
    patch: dict[str, Any] = {"model": {"activation": {"kind": "relu"}}, "init": {"kind": "he_normal"}}
    if case.stepping.kind == "sgd":
        # a rate that did nothing while no gradient arrived is too large as soon as one does
        patch |= case.optimizer_patch({"learning_rate": _rounded(case.stepping.learning_rate / 10)})
        reason += " The rate is made ten times smaller, since it was tuned to a gradient that hardly arrived."
    yield _technique("activation.relu", patch, reason, title="ReLU with He initialization", source=_AUTOTRAINER)


def smooth_activation(case: Case) -> Iterator[Remedy]:
    """GELU, whose units cannot die."""
    if case.spec.model.activation.kind != "relu":
        return
    reason = (
        "A ReLU that is negative for every sample passes no gradient and stays dead; GELU's slope is not zero there."
    )
    yield _technique("activation.gelu", {"model": {"activation": {"kind": "gelu"}}}, reason)


def fitting_init(case: Case) -> Iterator[Remedy]:
    """The initialization derived for the activation; where that is there, one that is measured on data."""
    law = "xavier_normal" if case.spec.model.activation.kind in SATURATING else "he_normal"
    now = case.spec.init.kind if case.spec.init is not None else "torch's default"
    if now == "lsuv":
        return
    kind, scale = (law, "keeps") if not now.startswith(law.partition("_")[0]) else ("lsuv", "measures and sets")
    activation = case.spec.model.activation.kind
    reason = f"The weights start by {now}; {kind} {scale} the scale of signals over depth under {activation}."
    yield _technique(f"init.{kind}", {"init": {"kind": kind}}, reason)


def shallower(case: Case) -> Iterator[Remedy]:
    """Half the depth: fewer factors to multiply."""
    depth = case.spec.model.depth
    if depth < 4:
        return
    yield Remedy(
        title="Half the depth",
        stabilizer=None,
        patch={"model": {"depth": depth // 2}},
        control=None,
        reason=f"The gradient passes {depth} layers, each of which multiplies it; half as many compound half as far.",
        source=_AUTOTRAINER,
    )


def adaptive(case: Case) -> Iterator[Remedy]:
    """AdamW, which scales each weight's step by its own gradients."""
    if case.stepping.kind != "sgd":
        return  # all others scale each weight's, or each matrix's, step already, or average in their own way
    patch = case.optimizer_patch({"kind": "adamw", "learning_rate": 0.001})
    reason = "Gradients differ by orders of magnitude between layers; AdamW scales each weight's step by its own."
    yield _technique("optimizer.adamw", patch, reason)


def faster_second_moment(case: Case) -> Iterator[Remedy]:
    """A smaller β₂, whose second moment follows the gradient sooner."""
    optimizer = _with_second_moment(case.stepping)
    if optimizer is None or optimizer.beta2 <= 0.95:
        return
    yield Remedy(
        title="Smaller β₂",
        stabilizer=optimizer.id(),
        patch=case.optimizer_patch({"beta2": 0.95}),
        control=None,
        reason=(
            f"β₂ is {optimizer.beta2:g}: the second moment lags behind a gradient that grows, and the step is then "
            "too long."
        ),
        source="Wortsman et al. 2023, arXiv 2304.13013, section 3",
    )


def larger_epsilon(case: Case) -> Iterator[Remedy]:
    """A larger ε in the denominator."""
    stepping = case.stepping
    optimizer = stepping if isinstance(stepping, RmsProp) else _with_second_moment(stepping)
    if optimizer is None or optimizer.eps >= 1e-6:
        return
    yield Remedy(
        title="Larger ε",
        stabilizer=optimizer.id(),
        patch=case.optimizer_patch({"eps": 1e-6}),
        control=None,
        reason=(
            f"ε is {optimizer.eps:g}: where the second moment is near zero, the step is a quotient of two tiny numbers."
        ),
        source="Kingma and Ba 2014, arXiv 1412.6980, section 2",
    )


def rate_in_proportion(case: Case) -> Iterator[Remedy]:
    """The rate that makes updates a thousandth of the weights; not where only some layers move too little."""
    ratio = case.value("update.ratio")
    if not ratio or (ratio < 1e-3 and len(case.alert.names) < min(case.spec.model.depth, reading.MAX_NAMES)):
        return
    factor = float(f"{min(max(1e-3 / ratio, 0.01), 10.0):.1g}")
    rate = case.spec.optimizer.learning_rate
    yield Remedy(
        title=f"Learning rate times {factor:g}",
        stabilizer=None,
        patch=case.optimizer_patch({"learning_rate": _rounded(rate * factor)}),
        control={"learning_rate_factor": factor},
        reason=(
            f"{_facts(case)} A step usually moves a matrix by about 0.001 of its norm; {factor:g} times the rate of "
            f"{rate:g} brings it near that."
        ),
        source="Chen et al. 2022, TheDeepChecker, arXiv 2204.00694",
    )


def larger_batch(case: Case) -> Iterator[Remedy]:
    """Twice the batch: less noise in every step."""
    size = case.spec.data.batch_size
    yield Remedy(
        title="Batch twice as large",
        stabilizer=None,
        patch={"data": {"batch_size": 2 * size}},
        control=None,
        reason=(
            f"With batches of {size} a few odd samples can dominate a step; twice as many halve the variance of the "
            "gradient."
        ),
        source="McCandlish et al. 2018, arXiv 1812.06162",
    )


def smaller_steps(case: Case) -> Iterator[Remedy]:
    """Warmup, a tenth of the rate, clipping; the rate first where it is far too large or the run is well under way."""
    order = (smaller_rate, warmup, clip) if case.far_too_fast or not case.early else (warmup, smaller_rate, clip)
    for proposal in order:
        yield from proposal(case)


def half_rate(case: Case) -> Iterator[Remedy]:
    """Half the rate; possible on the running training."""
    yield from smaller_rate(case, 0.5)


def wider_range(case: Case) -> Iterator[Remedy]:
    """Numbers of float32's range, where the run computes in float16."""
    if case.spec.precision.kind != "fp16":
        return
    reason = f"{_facts(case)} float16 ends at 65504; bfloat16 has float32's range, and needs no loss scale."
    yield _technique("precision.bf16", {"precision": {"kind": "bf16"}}, reason)


def one_process(case: Case) -> Iterator[Remedy]:
    """The same batch in one process, in as many pieces of the same size: there is nobody to be out of step with."""
    distributed = case.spec.distributed
    if distributed is None:
        return
    pieces = distributed.ranks * case.spec.accumulation.steps
    reason = (
        f"{_facts(case)} One process that adds up the gradients of {pieces} micro-batches makes the same step from the "
        "same batch in the memory of one rank. If the fork trains well, look at the device of the rank named."
    )
    patch = {"distributed": None, "accumulation": {"kind": "micro_batches", "steps": pieces}}
    yield _technique("accumulation.micro_batches", patch, reason)


PROPOSALS: dict[str, tuple[Propose, ...]] = {
    "non_finite": (smaller_steps, wider_range, normalize, residual, larger_epsilon),
    "rank_divergence": (one_process,),
    "divergence": (smaller_steps, normalize, residual),
    "exploding_gradient": (smaller_steps, normalize, residual),
    "vanishing_gradient": (residual, fitting_activation, normalize, fitting_init, adaptive, shallower),
    "dead_units": (smaller_rate, normalize, smooth_activation, fitting_init, clip),
    "loss_spike": (clip, faster_second_moment, half_rate, warmup),
    "sharpness": (warmup, smaller_rate, normalize, larger_batch),
    "update_ratio": (rate_in_proportion, warmup, residual, fitting_activation, adaptive),
}
"""Kind of alert -> what may cure it, best first."""


def _with_second_moment(optimizer: Stepping) -> Adam | AdamW | ScheduleFree | None:
    """The optimizer, if it divides by the root of a second moment with a β₂."""
    if isinstance(optimizer, ScheduleFree):
        return optimizer if optimizer.base == "adamw" else None
    return optimizer if isinstance(optimizer, Adam | AdamW) else None


def _rounded(rate: float) -> float:
    return float(f"{rate:.6g}")


def _facts(case: Case) -> str:
    return f"Seen: {case.alert.evidence[0].text}." if case.alert.evidence else ""


def _healthy_norm(case: Case) -> float:
    """The gradient norm to clip at: what the run had before the explosion, to one digit, or the usual 1."""
    threshold = case.threshold("gradient.global_norm")
    return float(f"{min(max(threshold / 10, 0.1), 10.0):.1g}") if threshold else 1.0


def _fitting_norm(spec: RunSpec) -> tuple[str, dict[str, Any]]:
    if isinstance(spec.model, Transformer):
        return "layer", {"kind": "layer"}
    if spec.data.batch_size // spec.accumulation.steps >= 16:
        return "batch", {"kind": "batch"}
    if isinstance(spec.model, Mlp):
        return "layer", {"kind": "layer"}
    groups = nearest_divisor(spec.model.hidden, GroupNorm.model_fields["groups"].default)
    return "group", {"kind": "group", "groups": groups}
