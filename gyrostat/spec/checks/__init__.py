"""What must hold between the parts of a spec (problems), and what usually should (warnings).

One file per concern. Each offers `problems` or `warnings`, or both: generators over a spec whose fields are each valid.
"""

from gyrostat.spec.checks import (
    attention,
    connections,
    data,
    general,
    generative,
    linearized,
    losses,
    norms,
    optimization,
    systems,
    weights,
)
from gyrostat.spec.checks.problem import SATURATING, Problem, nearest_divisor
from gyrostat.spec.run import RunSpec

__all__ = ["SATURATING", "Problem", "nearest_divisor", "problems", "warnings"]

_PROBLEMS = (
    general.problems,
    norms.problems,
    connections.problems,
    attention.problems,
    losses.problems,
    optimization.problems,
    data.problems,
    systems.problems,
    generative.problems,
    weights.problems,
    linearized.problems,
)
_WARNINGS = (
    general.warnings,
    attention.warnings,
    losses.warnings,
    optimization.warnings,
    systems.warnings,
    generative.warnings,
    weights.warnings,
)


def problems(spec: RunSpec) -> list[Problem]:
    """Everything about `spec` that cannot be trained, though each field alone is valid."""
    return [problem for check in _PROBLEMS for problem in check(spec)]


def warnings(spec: RunSpec) -> list[Problem]:
    """What is expected to go wrong with `spec`, in terms of the toolkit."""
    return [warning for check in _WARNINGS for warning in check(spec)]
