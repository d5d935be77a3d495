"""What may be asked of a metric: which rows and columns, how coarse, and how many values one answer holds."""

from collections.abc import Sequence
from typing import NamedTuple

from app.errors import Invalid
from gyrostat.spec.checks import Problem

AGGREGATES = ("min", "mean", "max", "last")
MAX_POINTS = 100_000
MAX_VALUES = 5_000_000
"""Rows times names of one answer, which is made in memory; exports are not bounded."""


class Asked(NamedTuple):
    """Which rows and columns of a metric, how coarse, and how many values at most."""

    names: str | None
    from_step: int | None
    to_step: int | None
    points: int | None
    aggregate: Sequence[str]
    max_values: int

    def check(self) -> None:
        """Refuses a bad range, and what is no aggregate.

        Raises:
            Invalid: it is; all problems are listed.
        """
        points, first, last = self.points, self.from_step, self.to_step
        problems = []
        if points is not None and not 1 <= points <= MAX_POINTS:
            problems.append(
                Problem(
                    path="points",
                    value=points,
                    message="is out of range",
                    mend=f"ask for 1 to {MAX_POINTS}, or leave it out for all",
                )
            )
        if first is not None and last is not None and first > last:
            problems.append(
                Problem(
                    path="from", value=first, message=f"is after `to`, {last}", mend="give the smaller step as `from`"
                )
            )
        problems += [
            Problem(
                path="aggregate", value=name, message="is no aggregate", mend=f"choose from {', '.join(AGGREGATES)}"
            )
            for name in self.aggregate
            if name not in AGGREGATES
        ]
        if problems:
            raise Invalid("the series cannot be made as asked for", problems=problems)

    def check_size(self, run_id: str, metric: str, stored: int, width: int) -> None:
        """Refuses an answer of too many values, before any row is read; blocks at the edges of the range count whole.

        Raises:
            Invalid: they are more than `max_values`.
        """
        points, max_values = self.points, self.max_values
        rows = stored if points is None else min(stored, points)
        if rows * width <= max_values:
            return
        problem = Problem(
            path="points",
            value=points,
            message=f"{rows} rows of {width} names are {rows * width} values; {max_values} more fit into this answer",
            mend=f"ask for fewer with `points=`, for a shorter range with `from` and `to`, or get everything from "
            f"/v1/runs/{run_id}/export",
        )
        raise Invalid(f"the series of {metric} is too large for one answer", problems=[problem])
