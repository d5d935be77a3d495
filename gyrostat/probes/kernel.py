"""The neural tangent kernel: pure functions of a model, inputs and parameters.

K outputs for each of N samples are numbered sample by sample, so that a kernel is (N·K, N·K). The model should be in
eval mode or inside `undisturbed`: a kernel of dropout masks is none.

Source: Jacot, Gabriel and Hongler 2018, arXiv 1806.07572, section 4.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

Parameters = Mapping[str, Tensor]


def ntk(model: nn.Module, inputs: tuple[Tensor, ...], *, parameters: Parameters | None = None) -> Tensor:
    """Θ = J·Jᵀ, J the Jacobian of all outputs with respect to all parameters; symmetric, positive semi-definite.

    One backward pass for each of the N·K outputs, whose gradients are held together: keep the batch small.

    Args:
        model: its first axis of outputs is the samples'.
        inputs: what the model is called with, N samples.
        parameters: by name; None takes the model's own. Names that are missing keep the model's own values.

    Returns:
        (N·K, N·K), detached, on the model's device, in its type.
    """
    own = dict(model.named_parameters()) | dict(parameters or {})
    leaves = {name: value.detach().clone().requires_grad_() for name, value in own.items()}
    with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
        outputs = functional_call(model, leaves, inputs).flatten()
        rows = [
            torch.autograd.grad(output, list(leaves.values()), retain_graph=True, materialize_grads=True)
            for output in outputs
        ]
    kernel: Tensor = outputs.new_zeros(len(rows), len(rows), requires_grad=False)
    for gradients in zip(*rows, strict=True):
        part = torch.stack([gradient.flatten() for gradient in gradients])
        kernel.addmm_(part, part.mT)
    return kernel


def kernel_change(before: Tensor, after: Tensor) -> Tensor:
    """‖Θ₁ − Θ₀‖_F/‖Θ₀‖_F of two kernels of one shape, a 0-dim tensor; 0 where training is linear.

    Source: Lee et al. 2019, arXiv 1902.06720, whose relative change in Frobenius norm this is.
    """
    change: Tensor = torch.linalg.matrix_norm(after - before) / torch.linalg.matrix_norm(before)
    return change


def kernel_distance(before: Tensor, after: Tensor) -> Tensor:
    """1 − ⟨Θ₀, Θ₁⟩/(‖Θ₀‖_F·‖Θ₁‖_F), a 0-dim tensor in [0, 1]: how far a kernel has turned, whatever its size.

    Source: Fort et al. 2020, arXiv 2010.15110 (kernel distance).
    """
    sizes = torch.linalg.matrix_norm(before) * torch.linalg.matrix_norm(after)
    distance: Tensor = 1 - (before * after).sum() / sizes
    return distance


def kernel_drift(model: nn.Module, inputs: tuple[Tensor, ...], before: Parameters, after: Parameters) -> Tensor:
    """`kernel_change` of the model's kernel from one set of parameters to another, a 0-dim tensor."""
    return kernel_change(ntk(model, inputs, parameters=before), ntk(model, inputs, parameters=after))
