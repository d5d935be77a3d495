"""Gradients, from those of the mean loss over all shares, made again."""

import numpy as np

from gyrostat.doctor.moment import Array, Arrays, Moment
from gyrostat.doctor.references.registry import Values, reference


def euclid(array: Array) -> float:
    """‖a‖₂."""
    return float(np.sqrt((array**2).sum()))


def total(arrays: Arrays) -> float:
    """√Σ‖a‖²."""
    return float(np.sqrt(sum((array**2).sum() for array in arrays.values())))


@reference("gradient.norm")
def norm(moment: Moment) -> Values:
    """‖g‖₂."""
    return {name: euclid(gradient) for name, gradient in moment.gradients.items()}


@reference("gradient.global_norm")
def global_norm(moment: Moment) -> Values:
    """√Σ‖g‖²."""
    return total(moment.gradients)


@reference("gradient.clipped_norm")
def clipped_norm(moment: Moment) -> Values:
    """The smaller of the norm and the limit."""
    return min(total(moment.gradients), moment.clip)


@reference("gradient.max_abs")
def max_abs(moment: Moment) -> Values:
    """Largest |g|."""
    return {name: float(np.abs(gradient).max()) for name, gradient in moment.gradients.items()}


@reference("gradient.nonfinite_count")
def nonfinite_count(moment: Moment) -> Values:
    """How many are infinite or NaN."""
    return {name: float((~np.isfinite(gradient)).sum()) for name, gradient in moment.gradients.items()}


@reference("gradient.zero_fraction")
def zero_fraction(moment: Moment) -> Values:
    """Share of zeros."""
    return {name: float((gradient == 0).mean()) for name, gradient in moment.gradients.items()}


@reference("gradient.weight_ratio")
def weight_ratio(moment: Moment) -> Values:
    """‖g‖/‖w‖, where w is not zero."""
    return {
        name: euclid(gradient) / euclid(moment.before[name])
        for name, gradient in moment.gradients.items()
        if moment.before[name].any()
    }


@reference("gradient.depth_slope", least=0.1)
def depth_slope(moment: Moment) -> Values:
    """Slope of a fitted line of ln‖g‖ over the places of matrices."""
    matrices = [name for name, weight in moment.before.items() if weight.ndim >= 2]
    places = [at for at, name in enumerate(matrices) if name in moment.gradients and moment.gradients[name].any()]
    return float(np.polyfit(places, [np.log(euclid(moment.gradients[matrices[at]])) for at in places], 1)[0])


@reference("gradient.direction_change", least=0.1)
def direction_change(moment: Moment) -> Values:
    """1 − cos of two steps' gradients."""
    found = {}
    for name, gradient in moment.gradients.items():
        before = moment.last_gradients[name]
        if gradient.any() and before.any():
            found[name] = 1 - float((gradient * before).sum()) / euclid(gradient) / euclid(before)
    return found
