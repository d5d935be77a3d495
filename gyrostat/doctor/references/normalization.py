"""Batch normalization: statistics of what the layer was given, and two passes of the probe batch."""

from copy import deepcopy

import numpy as np
import torch

from gyrostat.doctor.moment import Array, Moment
from gyrostat.doctor.networks import loss_of
from gyrostat.doctor.references.registry import Values, reference

_EPSILON, _MOMENTUM = 1e-5, 0.1


def statistics(moment: Moment) -> tuple[Array, Array, Array, Array] | None:
    """Means and variances (ε added) of the step's batches and of before, by channel; batches weigh as they moved them.

    The layer `norm` is given what the layer `convolution` puts out.
    """
    if "norm" not in moment.running:
        return None
    calls = moment.outputs["convolution"]
    weights = np.array([(1 - _MOMENTUM) ** later for later in range(len(calls))][::-1])
    weights /= weights.sum()
    means = sum(weight * call.mean((0, 2, 3)) for weight, call in zip(weights, calls, strict=True))
    variances = sum(weight * call.var((0, 2, 3), ddof=1) for weight, call in zip(weights, calls, strict=True))
    mean, variance = moment.running["norm"]
    return np.asarray(means), np.asarray(variances) + _EPSILON, mean, variance + _EPSILON


@reference("normalization.statistic_gap")
def statistic_gap(moment: Moment) -> Values:
    """KL(B‖R) + KL(R‖B) of normal distributions, mean over channels."""
    if (found := statistics(moment)) is None:
        return None
    mean, variance, running_mean, running = found

    def divergence(m: Array, v: Array, n: Array, w: Array) -> Array:
        return np.asarray((np.log(w / v) + (v + (m - n) ** 2) / w - 1) / 2)

    there, back = (
        divergence(mean, variance, running_mean, running),
        divergence(running_mean, running, mean, variance),
    )
    return {"norm": float((there + back).mean())}


@reference("normalization.mean_gap")
def mean_gap(moment: Moment) -> Values:
    """Root mean square of (μ_B − μ_R)/σ_R."""
    if (found := statistics(moment)) is None:
        return None
    mean, _, running_mean, running = found
    return {"norm": float(np.sqrt(((mean - running_mean) ** 2 / running).mean()))}


@reference("normalization.scale_gap")
def scale_gap(moment: Moment) -> Values:
    """Root mean square of ln(σ_B/σ_R)."""
    if (found := statistics(moment)) is None:
        return None
    _, variance, _, running = found
    return {"norm": float(np.sqrt((np.log(np.sqrt(variance / running)) ** 2).mean()))}


def passes(moment: Moment) -> list[tuple[Array, float]]:
    """Outputs and loss of the probe batch in train and in eval mode."""
    found = []
    for training in (True, False):
        network = deepcopy(moment.network).train(training)
        with torch.no_grad():
            outputs, loss = network(moment.probe_batch[0]), loss_of(network, moment.probe_batch)
        found.append((outputs.numpy(), loss.item()))
    return found


@reference("normalization.output_gap")
def output_gap(moment: Moment) -> Values:
    """‖y_eval − y_train‖/‖y_train‖."""
    if not moment.running:
        return None
    (train, _), (evaluated, _) = passes(moment)
    return float(np.linalg.norm(evaluated - train) / np.linalg.norm(train))


@reference("normalization.loss_gap", least=0.1)
def loss_gap(moment: Moment) -> Values:
    """(L_eval − L_train)/|L_train|."""
    if not moment.running:
        return None
    (_, train), (_, evaluated) = passes(moment)
    return (evaluated - train) / abs(train)
