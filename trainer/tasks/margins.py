"""How far samples are from the boundary between their class and another."""

import torch
from torch import Tensor, nn

MIN_SLOPE = 1e-12
"""Where the model does not look at its input, margins are large and not infinite."""


def input_margins(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """(N,) signed distances (z_y − z_j)/‖∇ₓ(z_y − z_j)‖₂, j the likeliest class but the true one, y.

    To first order, how far a sample would have to be moved for its class to change, and exactly so for linear models;
    negative where it is classified wrongly. A factor on all logits changes nothing, as far as slopes are above 1e-12.

    Source: Elsayed et al. 2018, arXiv 1803.05598, section 3 (with its sign); margins that a network's scale is divided
    out of were related to generalization by Bartlett et al. 2017, arXiv 1706.08498.

    Args:
        model: in eval mode, where samples do not see one another.
        inputs: (N, ...), what the model is called with.
        targets: (N,) class numbers; the model answers (N, K) logits of at least two classes.
    """
    with torch.enable_grad():
        inputs = inputs.detach().clone().requires_grad_()
        logits = model(inputs).float()
        own = targets.unsqueeze(1)
        others = logits.scatter(1, own, -torch.inf)
        margins = logits.gather(1, own).squeeze(1) - others.amax(1)
        (gradients,) = torch.autograd.grad(margins.sum(), inputs)
    slopes = torch.linalg.vector_norm(gradients.flatten(1).float(), dim=1)
    return torch.div(margins.detach(), slopes.clamp_min(MIN_SLOPE))
