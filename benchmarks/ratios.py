"""Interleaved timing: every variant once a round, in turn, so that a machine whose speed drifts drifts for all."""

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Ratio:
    """Cost of a variant over the reference's, round by round: median and the middle half."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.3f} [{self.low:.3f}-{self.high:.3f}]"


def interleaved(variants: Mapping[str, Callable[[], float]], *, reference: str, rounds: int) -> dict[str, Ratio]:
    """Ratios of each variant's cost to the reference's, pair by pair; a variant answers its own cost in seconds."""
    costs: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds + 1):
        for name, measure in variants.items():
            costs[name].append(measure())
    pairs = {name: [a / b for a, b in zip(of[1:], costs[reference][1:], strict=True)] for name, of in costs.items()}
    return {name: Ratio(statistics.median(of), *_middle_half(of)) for name, of in pairs.items()}


def _middle_half(values: list[float]) -> tuple[float, float]:
    quarters = statistics.quantiles(values, n=4)
    return quarters[0], quarters[2]


def table(title: str, columns: Mapping[str, Mapping[str, Ratio | str]]) -> str:
    """A Markdown table: a row per variant, a column per case."""
    rows = list(next(iter(columns.values())))
    lines = [f"### {title}", "", f"| | {' | '.join(columns)} |", f"| --- |{' --- |' * len(columns)}"]
    lines += [f"| {row} | {' | '.join(str(columns[case][row]) for case in columns)} |" for row in rows]
    return "\n".join(lines) + "\n"
