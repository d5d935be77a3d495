"""The loss as a function of its inputs, sample by sample."""

from copy import deepcopy

import torch

from gyrostat.doctor.moment import Moment
from gyrostat.doctor.networks import loss_of
from gyrostat.doctor.references.registry import Values, reference


def norms(moment: Moment) -> list[float]:
    """‖∂loss/∂x‖₂ of each sample by itself, eval mode."""
    network, (images, targets) = deepcopy(moment.network).eval(), moment.probe_batch
    found = []
    for at in range(len(images)):
        image = images[at : at + 1].clone().requires_grad_()
        (gradient,) = torch.autograd.grad(loss_of(network, (image, targets[at : at + 1])), [image])
        found.append(gradient.norm().item())
    return found


@reference("lipschitz.input_gradient_norm")
def mean(moment: Moment) -> Values:
    """Their mean."""
    found = norms(moment)
    return sum(found) / len(found)


@reference("lipschitz.input_gradient_max")
def largest(moment: Moment) -> Values:
    """The largest."""
    return max(norms(moment))
