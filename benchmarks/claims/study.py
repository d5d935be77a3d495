"""What a study is: specs that differ in one thing, a number of each run, and what is claimed of the numbers."""

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from scipy import stats

from benchmarks.claims.results import Run
from gyrostat.spec.catalogue import STABILIZERS, merge_patch

Document = dict[str, Any]
Measure = Callable[[Sequence[Run]], float]
"""The runs of one arm and one seed, in the order of the arm's documents, to one number."""


def last(metric: str) -> Measure:
    """A scalar's newest value, of an arm of one document."""
    return lambda runs: runs[0].last(metric)


CONFIDENCE = 0.95


@dataclass(frozen=True, kw_only=True)
class Statement:
    """One thing that is claimed.

    `effect` is what the numbers of arm `on` are against those of arm `off` of the same seed: their `ratio`, their
    `difference`, or, with no `off`, the plain `value`. Ratios, and values where `log`, are averaged as logarithms.

    Attributes:
        text: what is claimed, a sentence with the bound in it.
        measure: the number; larger than any float where a run came to nothing is `math.inf`, and taken as 1e30.
        quantity: what the number is, with its unit, for the figure's axis.
        at_least, at_most: the bound that the effect must keep; one of them.
    """

    text: str
    on: str
    off: str | None = None
    effect: Literal["ratio", "difference", "value"] = "ratio"
    measure: Measure
    quantity: str
    at_least: float | None = None
    at_most: float | None = None
    log: bool = False

    def __post_init__(self) -> None:
        if (self.at_least is None) == (self.at_most is None):
            raise TypeError(f"{self.text!r} needs one of at_least and at_most")
        if (self.off is None) != (self.effect == "value"):
            raise TypeError(f"{self.text!r}: a value has no `off`, a ratio and a difference need one")


@dataclass(frozen=True, kw_only=True)
class Study:
    """A claim of the toolkit and how it is tried.

    Attributes:
        id: of its section and its figure in the page; the decorator gives it.
        section: of the brief.
        shows: ids of the catalogue's entries whose claim it is.
        claim: one sentence.
        setting: what is trained, and what else a reader must know: what was tried before, what was chosen and why.
        arms: by name, one document or several (a sweep) without seed.
        seeds: every arm is trained with seeds 0, 1 ... of this number.
    """

    id: str = ""
    section: str
    shows: tuple[str, ...]
    claim: str
    setting: str
    arms: dict[str, Document | list[Document]]
    statements: tuple[Statement, ...]
    seeds: int = 3

    def __post_init__(self) -> None:
        if unknown := [name for name in self.shows if name not in STABILIZERS]:
            raise TypeError(f"study {self.id} shows {unknown}, which the catalogue does not hold")
        named = {name for statement in self.statements for name in (statement.on, statement.off) if name is not None}
        if named != set(self.arms):
            raise TypeError(f"study {self.id} has the arms {set(self.arms)} and speaks of {named}")

    def documents(self, arm: str, seed: int) -> list[Document]:
        """The specs of one arm with this seed."""
        given = self.arms[arm]
        return [merge_patch(one, {"seed": seed}) for one in (given if isinstance(given, list) else [given])]


STUDIES: dict[str, Callable[[], Study]] = {}
"""Every study by its id, in the order of definition."""


def study(build: Callable[[], Study]) -> Callable[[], Study]:
    """Registers the function's study under its name, with dashes."""
    name = build.__name__.replace("_", "-")
    if name in STUDIES:
        raise TypeError(f"two studies are named {name!r}")
    STUDIES[name] = lambda: replace(build(), id=name)
    return build


Decision = Literal["holds", "does not hold", "not decided"]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the numbers say of a statement.

    Attributes:
        effect: mean over seeds. low, high: its confidence interval (Student's t, one effect for each seed).
        numbers: by arm, one for each seed.
    """

    statement: Statement
    decision: Decision
    effect: float
    low: float
    high: float
    numbers: dict[str, list[float]] = field(default_factory=dict)


def judged(statement: Statement, numbers: dict[str, list[float]]) -> Verdict:
    """The verdict: it holds where the whole interval keeps the bound, and does not where the whole breaks it.

    Raises:
        ValueError: a number is NaN, so that nothing was measured.
    """
    own = {name: [_finite(value) for value in numbers[name]] for name in (statement.on, statement.off) if name}
    if any(math.isnan(value) for values in own.values() for value in values):
        raise ValueError(f"{statement.text!r}: a number is NaN: {own}")
    logarithmic = statement.effect == "ratio" or statement.log
    effects = _effects(statement, own)
    low, mean, high = interval([_log(effect) for effect in effects] if logarithmic else effects)
    if logarithmic:
        low, mean, high = _exp(low), _exp(mean), _exp(high)
    return Verdict(
        statement=statement, decision=_decision(statement, low, high), effect=mean, low=low, high=high, numbers=own
    )


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Lower end, mean and upper end of the confidence interval of the mean (Student's t)."""
    mean = statistics.fmean(values)
    if len(values) < 2:
        return -math.inf, mean, math.inf
    half = stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return mean - float(half), mean, mean + float(half)


def _effects(statement: Statement, numbers: dict[str, list[float]]) -> list[float]:
    on = numbers[statement.on]
    if statement.off is None:
        return on
    off = numbers[statement.off]
    if statement.effect == "difference":
        return [a - b for a, b in zip(on, off, strict=True)]
    return [a / b if b else _finite(math.inf) for a, b in zip(on, off, strict=True)]


def _decision(statement: Statement, low: float, high: float) -> Decision:
    if statement.at_least is not None:
        return "holds" if low >= statement.at_least else "does not hold" if high < statement.at_least else "not decided"
    assert statement.at_most is not None
    return "holds" if high <= statement.at_most else "does not hold" if low > statement.at_most else "not decided"


def overall(verdicts: Sequence[Verdict]) -> Decision:
    """Of the whole claim: it holds where every statement does, and does not where one does not."""
    decisions = {verdict.decision for verdict in verdicts}
    return "does not hold" if "does not hold" in decisions else "not decided" if "not decided" in decisions else "holds"


def _finite(value: float) -> float:
    return math.copysign(1e30, value) if math.isinf(value) else value


def _log(value: float) -> float:
    return math.log(max(value, 1e-30))


def _exp(value: float) -> float:
    return math.exp(min(700.0, max(-700.0, value))) if math.isfinite(value) else (0.0 if value < 0 else math.inf)
