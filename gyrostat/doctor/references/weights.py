"""Weights and what the optimizer does to them, from copies of before and after."""

import numpy as np
import torch

from gyrostat.doctor.moment import Moment
from gyrostat.doctor.networks import Chain
from gyrostat.doctor.references.gradients import euclid, total
from gyrostat.doctor.references.registry import Values, reference


@reference("weight.norm")
def norm(moment: Moment) -> Values:
    """‖w‖₂ after the step."""
    return {name: euclid(weight) for name, weight in moment.after.items()}


@reference("update.ratio")
def ratio(moment: Moment) -> Values:
    """‖w_after − w_before‖/‖w_before‖ of what the optimizer holds."""
    held = {name for name, parameter in moment.network.named_parameters() if parameter.requires_grad}
    return {
        name: euclid(moment.after[name] - before) / euclid(before)
        for name, before in moment.before.items()
        if name in held and before.any()
    }


@reference("update.second_moment_lag")
def second_moment_lag(moment: Moment) -> Values:
    """√mean(g²/max(v̂, ε²)) of the clipped gradient; v̂ = v/(1 − β₂ᵗ) of AdamW, the mean square itself of RMSprop."""
    factor = min(1.0, moment.clip / total(moment.gradients))
    found = {}
    for name, state in moment.state.items():
        if "square_avg" in state:
            second = state["square_avg"].double().numpy()
        elif "exp_avg_sq" in state:
            second = state["exp_avg_sq"].double().numpy() / (1 - moment.group["betas"][1] ** float(state["step"]))
        else:
            continue
        squares = (factor * moment.gradients[name]) ** 2 / np.maximum(second, moment.group["eps"] ** 2)
        found[name] = float(np.sqrt(squares.mean()))
    return found


@reference("weight.distance_from_init")
def distance(moment: Moment) -> Values:
    """‖w − w₀‖/‖w₀‖."""
    return {
        name: euclid(weight - moment.initial[name]) / euclid(moment.initial[name])
        for name, weight in moment.after.items()
        if moment.initial[name].any()
    }


@reference("weight.stable_rank", error=5e-3)
def stable_rank(moment: Moment) -> Values:
    """‖W‖_F²/σ₁² of a full decomposition."""
    return {
        name: float((weight**2).sum() / np.linalg.svd(weight.reshape(len(weight), -1), compute_uv=False)[0] ** 2)
        for name, weight in moment.after.items()
        if weight.ndim >= 2 and weight.any()
    }


@reference("weight.condition_number", error=1e-3)
def condition_number(moment: Moment) -> Values:
    """σ₁/σ_min of a full decomposition; the nets' weights are drawn at random and none is singular."""
    found = {}
    for name, weight in moment.after.items():
        if weight.ndim >= 2:
            values = np.linalg.svd(weight.reshape(len(weight), -1), compute_uv=False)
            found[name] = float(values[0] / values[-1])
    return found


@reference("weight.operator_norm", error=5e-3)
def operator_norm(moment: Moment) -> Values:
    """Largest singular value of the layer's map written out as a matrix: of a convolution, image by image."""
    found = {}
    for name, weight in moment.after.items():
        layer = moment.network.get_submodule(name.rpartition(".")[0])
        if weight.ndim >= 2:
            matrix = weight
            if isinstance(layer, torch.nn.Conv2d):
                images = torch.eye(layer.in_channels * 16, dtype=torch.float64).view(-1, layer.in_channels, 4, 4)
                with torch.no_grad():
                    matrix = layer(images).flatten(1).numpy()
            found[name] = float(np.linalg.svd(matrix, compute_uv=False)[0])
    return found


@reference("weight.spectral_norm", error=2e-3)
def spectral_norm(moment: Moment) -> Values:
    """Largest singular value of the matrix (out, rest), of a full decomposition."""
    return {
        name: float(np.linalg.svd(weight.reshape(len(weight), -1), compute_uv=False)[0])
        for name, weight in moment.after.items()
        if weight.ndim >= 2
    }


@reference("weight.lipschitz_bound", error=5e-3, least=0.1)
def lipschitz_bound(moment: Moment) -> Values:
    """log₁₀ Πσ₁ of the one net whose layers run one after the other; its activations have slopes of 1 at most."""
    if not isinstance(moment.network, Chain):
        return None
    norms = operator_norm(moment)
    assert isinstance(norms, dict)
    return float(sum(np.log10(value) for value in norms.values()))
