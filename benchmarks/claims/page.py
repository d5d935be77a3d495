"""The page of the studies, their figures, and the verdicts that the catalogue shows."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib

from benchmarks.claims.study import Decision, Study, Verdict
from gyrostat.spec.claims import FILE

matplotlib.use("svg")
matplotlib.rcParams["svg.hashsalt"] = "gyrostat"  # the same figure is the same file
from matplotlib import pyplot  # noqa: E402

MARKS: dict[Decision, str] = {"holds": "✓ holds", "does not hold": "✗ does not hold", "not decided": "? not decided"}


HOW = """\
Written by `make claims`; do not edit. Every claim of the toolkit is tried by a small study: specs that differ in one
thing are trained through the service with several seeds, each run gives a number, and the numbers give an effect with
its 95 % confidence interval (Student's t over seeds; ratios as logarithms). A claim *holds* where the whole interval
keeps the bound, *does not hold* where the whole interval breaks it, and is *not decided* otherwise. These are small
nets on small data: what fails here may hold at scale, and the reverse."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A study and what came of it."""

    study: Study
    decision: Decision
    verdicts: list[Verdict]


def write(outcomes: Sequence[Outcome], *, runs: int, minutes: float, docs: Path, whole: bool) -> None:
    """Writes the figures, and, where the `whole` set was run, the page and the catalogue's verdicts."""
    figures = docs / "claims"
    figures.mkdir(parents=True, exist_ok=True)
    for outcome in outcomes:
        draw(outcome, figures / f"{outcome.study.id}.svg")
    if whole:
        (docs / "claims.md").write_text(page(outcomes, runs=runs, minutes=minutes), encoding="utf-8")
        FILE.write_text(json.dumps(catalogued(outcomes), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def page(outcomes: Sequence[Outcome], *, runs: int, minutes: float) -> str:
    """The whole of docs/claims.md."""
    counts = {mark: sum(outcome.decision == mark for outcome in outcomes) for mark in MARKS}
    rows = [
        f"| {o.study.section} | [{o.study.claim}](#{o.study.id}) | {MARKS[o.decision]} | {_effects(o.verdicts)} |"
        for o in outcomes
    ]
    return "\n".join(
        [
            "# What the toolkit does, measured",
            "",
            *HOW.splitlines(),
            "",
            f"{len(outcomes)} studies, {runs} runs, {minutes:.0f} minutes on the machine that wrote this page: "
            + ", ".join(f"{number} {mark}" for mark, number in counts.items())
            + ".",
            "",
            "| § | claim | verdict | effect [95 % interval] |",
            "| --- | --- | --- | --- |",
            *rows,
            "",
            *[line for outcome in outcomes for line in _section(outcome)],
        ]
    )


def _section(outcome: Outcome) -> list[str]:
    study = outcome.study
    lines = [f'<a id="{study.id}"></a>', "", f"## {study.claim}", "", f"**{MARKS[outcome.decision]}.** {study.setting}"]
    lines += ["", f"Shows: {', '.join(f'`{name}`' for name in study.shows)}. Seeds: {study.seeds}.", ""]
    lines += ["| statement | verdict | effect | numbers |", "| --- | --- | --- | --- |"]
    for verdict in outcome.verdicts:
        numbers = "; ".join(f"{arm}: {', '.join(_short(n) for n in each)}" for arm, each in verdict.numbers.items())
        lines.append(f"| {verdict.statement.text} | {MARKS[verdict.decision]} | {_effect(verdict)} | {numbers} |")
    return [*lines, "", f"![Numbers of each arm](claims/{study.id}.svg)", ""]


def _effects(verdicts: Sequence[Verdict]) -> str:
    return "<br>".join(_effect(verdict) for verdict in verdicts)


def _effect(verdict: Verdict) -> str:
    sign = "×" if verdict.statement.effect == "ratio" else ""
    return f"{sign}{_short(verdict.effect)} [{_short(verdict.low)}, {_short(verdict.high)}]"


def _short(value: float) -> str:
    if abs(value) >= 9e29:
        return "diverged" if value > 0 else "−∞"
    return "∞" if math.isinf(value) else f"{value:.3g}"


def catalogued(outcomes: Sequence[Outcome]) -> dict[str, list[dict[str, Any]]]:
    """By technique, the studies that show it."""
    found: dict[str, list[dict[str, Any]]] = {}
    for outcome in outcomes:
        entry = {
            "study": outcome.study.id,
            "claim": outcome.study.claim,
            "decision": outcome.decision,
            "effect": "; ".join(_effect(verdict) for verdict in outcome.verdicts),
        }
        for name in outcome.study.shows:
            found.setdefault(name, []).append(entry)
    return found


def draw(outcome: Outcome, path: Path) -> None:
    """One strip of points for each arm of each statement, a point a seed, with the bound where it is one of values."""
    height = sum(0.75 + 0.32 * len(verdict.numbers) for verdict in outcome.verdicts)
    figure, axes = pyplot.subplots(len(outcome.verdicts), 1, figsize=(7.2, height), squeeze=False, layout="constrained")
    for axis, verdict in zip(axes[:, 0], outcome.verdicts, strict=True):
        _strip(axis, verdict)
    figure.savefig(path, metadata={"Date": None}, facecolor="white")
    pyplot.close(figure)


def _strip(axis: Any, verdict: Verdict) -> None:
    statement = verdict.statement
    every = [abs(value) for values in verdict.numbers.values() for value in values]
    positive = all(value > 0 for values in verdict.numbers.values() for value in values)
    for row, (arm, values) in enumerate(verdict.numbers.items()):
        colour = "#0b6e99" if arm == statement.on else "#8a8f98"
        axis.plot(values, [row] * len(values), "o", color=colour, alpha=0.75, markersize=6)
    if statement.effect == "value":
        bound = statement.at_least if statement.at_least is not None else statement.at_most
        axis.axvline(bound, color="#b3261e", linestyle="--", linewidth=1)
    if positive and max(every) > 20 * min(every):
        axis.set_xscale("log")
    axis.set_yticks(range(len(verdict.numbers)), list(verdict.numbers))
    axis.set_ylim(-0.6, len(verdict.numbers) - 0.4)
    axis.set_xlabel(statement.quantity, fontsize=9)
    axis.tick_params(labelsize=9)
    axis.grid(axis="x", color="#dddddd", linewidth=0.6)
    for side in ("top", "right", "left"):
        axis.spines[side].set_visible(False)
