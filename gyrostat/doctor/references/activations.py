"""What modules put out, from all of it."""

from collections.abc import Sequence

import numpy as np
from torch import nn

from gyrostat.doctor.moment import Array, Moment
from gyrostat.doctor.networks import Join
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


@reference("activation.saturated_fraction")
def saturated_fraction(moment: Moment) -> Values:
    """Share at 0.98 and beyond, of tanh, whose range is 2 wide."""
    return {
        name: float((np.abs(values) >= 0.98).mean())
        for name, values in together(moment).items()
        if isinstance(moment.network.get_submodule(name), nn.Tanh)
    }


def by_channel(calls: Sequence[Array]) -> Array:
    """(channels, elements) of all calls: the second axis of images, the last of everything else."""
    axis = 1 if calls[0].ndim == 4 else -1
    return np.concatenate([np.moveaxis(call, axis, 0).reshape(call.shape[axis], -1) for call in calls], axis=1)


@reference("activation.dead_fraction")
def dead_fraction(moment: Moment) -> Values:
    """Share of the channels that were zero at every step, of which there are fewer than the window has."""
    return {
        name: float(np.mean([not channel.any() for channel in by_channel(_at_every_step(moment, name))]))
        for name in moment.outputs
    }


def _at_every_step(moment: Moment, name: str) -> list[Array]:
    return [call for outputs in moment.history for call in outputs[name]]


@reference("activation.outlier_channels")
def outlier_channels(moment: Moment) -> Values:
    """Largest root mean square of a channel over the lower median of all."""
    found = {}
    for name, calls in moment.outputs.items():
        each = np.sort(np.sqrt((by_channel(calls) ** 2).mean(1)))
        median = each[(len(each) - 1) // 2]
        if median > 0:
            found[name] = float(each[-1] / median)
    return found


@reference("activation.gradient_rms")
def gradient_rms(moment: Moment) -> Values:
    """Root of the mean square of the loss's gradient with respect to all outputs."""
    return {
        name: float(np.sqrt((np.concatenate([call.ravel() for call in calls]) ** 2).mean()))
        for name, calls in moment.signals.items()
    }


@reference("activation.branch_to_trunk")
def branch_to_trunk(moment: Moment) -> Values:
    """Root mean square of what the branch adds over that of what it is added to."""
    found = {}
    for name, calls in moment.joined.items():
        branches, trunks = (np.concatenate([call[which].ravel() for call in calls]) for which in (0, 1))
        found[name] = Join.gain * float(np.sqrt((branches**2).mean() / (trunks**2).mean()))
    return found


def singular_values(moment: Moment) -> dict[str, Array]:
    """Falling, of each module's first output as a matrix of rows by channels; none has more than is looked at."""
    return {
        name: np.asarray(np.linalg.svd(by_channel(calls[:1]), compute_uv=False))
        for name, calls in moment.outputs.items()
    }


@reference("activation.effective_rank")
def effective_rank(moment: Moment) -> Values:
    """Exponential of the entropy of σ/Σσ; 0 of zeros."""
    found = {}
    for name, values in singular_values(moment).items():
        shares = values[values > 0] / values.sum()
        found[name] = float(np.exp(-(shares * np.log(shares)).sum())) if len(shares) else 0.0
    return found


@reference("activation.stable_rank")
def stable_rank(moment: Moment) -> Values:
    """Σσ²/σ₁²; 0 of zeros."""
    return {
        name: float((values**2).sum() / values[0] ** 2) if values[0] else 0.0
        for name, values in singular_values(moment).items()
    }
