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


@reference("activation.nonfinite_count")
def nonfinite_count(moment: Moment) -> Values:
    """How many are NaN or infinite."""
    return {name: float((~np.isfinite(values)).sum()) for name, values in together(moment).items()}


@reference("activation.kurtosis")
def kurtosis(moment: Moment) -> Values:
    """Fourth central moment over the squared second."""
    found = {}
    for name, values in together(moment).items():
        deviations = values - values.mean()
        found[name] = float((deviations**4).mean() / (deviations**2).mean() ** 2)
    return found


@reference("activation.outlier_channels")
def outlier_channels(moment: Moment) -> Values:
    """Largest root mean square of a channel over the lower median of all."""
    found = {}
    for name, calls in moment.outputs.items():
        axis = 1 if calls[0].ndim == 4 else -1
        rows = np.concatenate([np.moveaxis(call, axis, 0).reshape(call.shape[axis], -1) for call in calls], axis=1)
        each = np.sort(np.sqrt((rows**2).mean(1)))
        median = each[(len(each) - 1) // 2]
        if median > 0:
            found[name] = float(each[-1] / median)
    return found
