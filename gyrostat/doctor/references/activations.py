"""What modules put out, from all of it."""

import numpy as np

from gyrostat.doctor.moment import Array, Moment
from gyrostat.doctor.references.registry import Values, reference


def together(moment: Moment) -> dict[str, Array]:
    """All elements of all calls of each module."""
    return {name: np.concatenate([call.ravel() for call in calls]) for name, calls in moment.outputs.items()}


@reference("activation.mean", floor=0.1)
def mean(moment: Moment) -> Values:
    """Mean."""
    return {name: float(values.mean()) for name, values in together(moment).items()}


@reference("activation.rms")
def rms(moment: Moment) -> Values:
    """Root of the mean square."""
    return {name: float(np.sqrt((values**2).mean())) for name, values in together(moment).items()}


@reference("activation.max_abs")
def max_abs(moment: Moment) -> Values:
    """Largest magnitude."""
    return {name: float(np.abs(values).max()) for name, values in together(moment).items()}


@reference("activation.zero_fraction")
def zero_fraction(moment: Moment) -> Values:
    """Share of zeros."""
    return {name: float((values == 0).mean()) for name, values in together(moment).items()}
