"""How much of the gradient is noise, from the sample covariance of the gradients of parts."""

import numpy as np

from gyrostat.doctor.moment import Arrays, Moment
from gyrostat.doctor.references.registry import Values, reference
from gyrostat.spec.probes import GradientNoiseProbe


def traces_and_signals(parts: list[Arrays], size: int) -> dict[str, tuple[float, float]]:
    """By parameter tr Σ of one sample's gradient, b·Σ‖gᵢ − G‖²/(k − 1), and ‖G‖² − tr Σ/B."""
    found = {}
    for name in parts[0]:
        gradients = np.stack([part[name].ravel() for part in parts])
        mean = gradients.mean(0)
        trace = size * float(((gradients - mean) ** 2).sum()) / (len(parts) - 1)
        found[name] = trace, float((mean**2).sum()) - trace / (size * len(parts))
    return found


def totals(moment: Moment) -> list[tuple[float, float]]:
    """Of all parameters, at each step."""
    found = [traces_and_signals(list(parts), moment.part_size) for parts in moment.parts]
    return [(sum(t for t, _ in each.values()), sum(s for _, s in each.values())) for each in found]


@reference("gradient.signal_to_noise", floor=0.1)
def signal_to_noise(moment: Moment) -> Values:
    """‖μ‖²/(tr Σ/B) of each parameter with noise."""
    parts = list(moment.parts[-1])
    batch = moment.part_size * len(parts)
    found = traces_and_signals(parts, moment.part_size)
    return {name: signal * batch / trace for name, (trace, signal) in found.items() if trace > 0}


@reference("gradient.noise_trace")
def noise_trace(moment: Moment) -> Values:
    """Of the last step."""
    return totals(moment)[-1][0]


@reference("gradient.signal", error=1e-3)
def signal(moment: Moment) -> Values:
    """‖μ‖² of the last step: a difference, which can be much smaller than its parts."""
    return totals(moment)[-1][1]


@reference("gradient.noise_scale", error=1e-3)
def noise_scale(moment: Moment) -> Values:
    """The one over the other, each averaged over the steps with weights that fall."""
    weights = GradientNoiseProbe().memory ** np.arange(len(moment.parts))[::-1]
    trace, true = (float(weights @ column) for column in np.array(totals(moment)).T)
    return trace / true if true > 0 else None
