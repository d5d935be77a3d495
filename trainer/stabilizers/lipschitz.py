"""Lipschitz control: spectral normalization, gradient penalties, weight clipping (brief section 12)."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.utils import parametrize

from gyrostat.probes.operators import convolved, convolved_back
from gyrostat.probes.undisturbed import undisturbed
from gyrostat.spec.lipschitz import GradientPenalty, InputGradient, OneCentred, SpectralNorm, WeightClip
from trainer.stabilizers.normalization import weighted_layers
from trainer.stabilizers.registry import Registry

PARAMETRIZATIONS: Registry[None] = Registry("parametrization")
PENALTIES: Registry[Tensor] = Registry("gradient penalty")
CLIPS: Registry[None] = Registry("lipschitz")

WARM_UP = 50
"""Power iterations before the first step; torch's own spectral normalization makes 15."""

WeightMap = Callable[[Tensor, Tensor], Tensor]
"""(weight, vector) to a vector: what a layer does to its input, or the transpose of that."""


class Normalized(nn.Module):
    """A parametrization: c·W/σ(W), σ the largest singular value of the linear map A that W stands for.

    In training every use makes its power iterations u ← A·v/‖A·v‖, v ← Aᵀ·u/‖Aᵀ·u‖ from where the last ended, and
    σ = uᵀ·A·v. u and v are buffers, and constants to the gradient, as in Miyato et al. 2018, arXiv 1802.05957,
    section 2.2. In eval they rest. It computes in the weight's own precision, under autocast too.

    Args:
        shape: of what the map takes, v.
        stretch, transpose: the map and its transpose.
    """

    stochastic = True  # a use in training changes what the next one gives: for `undisturbed`, it rests
    u: Tensor
    v: Tensor

    def __init__(
        self, settings: SpectralNorm, weight: Tensor, shape: tuple[int, ...], stretch: WeightMap, transpose: WeightMap
    ) -> None:
        super().__init__()
        self.max_norm, self.iterations = settings.max_norm, settings.power_iterations
        self._stretch, self._transpose = stretch, transpose
        self.register_buffer("v", _unit(torch.randn(shape, dtype=weight.dtype, device=weight.device)))
        self.register_buffer("u", _unit(stretch(weight, self.v)))

    @torch.no_grad()
    def _iterate(self, weight: Tensor, times: int) -> None:
        for _ in range(times):
            self.u.copy_(_unit(self._stretch(weight, self.v)))
            self.v.copy_(_unit(self._transpose(weight, self.u)))

    def right_inverse(self, weight: Tensor) -> Tensor:
        """A weight is its own original; the vectors are warmed up for it."""
        self._iterate(weight, WARM_UP)
        return weight

    def forward(self, weight: Tensor) -> Tensor:
        """The weight with which the layer works."""
        with torch.autocast(weight.device.type, enabled=False):
            if self.training:
                self._iterate(weight, self.iterations)
            # copies: another forward pass of the same step writes to the buffers that this one's graph would hold
            sigma = torch.sum(self.u.clone() * self._stretch(weight, self.v.clone()))
            return weight * (self.max_norm / sigma)


def _unit(vector: Tensor) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(vector)
    return vector / length.clamp(min=torch.finfo(vector.dtype).tiny)


@PARAMETRIZATIONS.implements(SpectralNorm)
@torch.no_grad()
def spectral_norm(settings: SpectralNorm, model: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    """Puts c·W/σ(W) in the place of the weight of every linear layer and convolution.

    The operator norm of a convolution with zero padding depends on the size of its images: that of the largest that the
    layer is given when the model is called with `inputs` is taken. It bounds the smaller ones too, since an image with
    zeros around it is one of the larger ones. A convolution that is not called then is normalized by its kernel.

    Source: Miyato et al. 2018, arXiv 1802.05957, algorithm 1; for the operator Gouk et al. 2018, arXiv 1804.04368.
    """
    sizes = _image_sizes(model, inputs) if settings.norm == "operator" else {}
    for layer in list(weighted_layers(model)):
        weight = layer.get_parameter("weight").detach()
        if layer in sizes and isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d):
            shape = (1, layer.in_channels, *sizes[layer])
            normalized = Normalized(settings, weight, shape, *_convolution(layer, shape))
        else:
            length = weight[0].numel()
            normalized = Normalized(settings, weight, (length,), _matrix, _matrix_transpose)
        parametrize.register_parametrization(layer, "weight", normalized)


def _matrix(weight: Tensor, v: Tensor) -> Tensor:
    return weight.flatten(1) @ v


def _matrix_transpose(weight: Tensor, u: Tensor) -> Tensor:
    return weight.flatten(1).mT @ u


def _convolution(layer: nn.Conv1d | nn.Conv2d | nn.Conv3d, shape: tuple[int, ...]) -> tuple[WeightMap, WeightMap]:
    return (
        lambda weight, v: convolved(layer, weight, v),
        lambda weight, u: convolved_back(layer, weight, u, shape),
    )


def _image_sizes(model: nn.Module, inputs: tuple[Tensor, ...]) -> dict[nn.Module, tuple[int, ...]]:
    """Height and width (or however many axes) of the largest image that each convolution is given."""
    sizes: dict[nn.Module, tuple[int, ...]] = {}

    def look(layer: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        size = tuple(arguments[0].shape[2:])
        sizes[layer] = tuple(map(max, size, sizes.get(layer, size)))

    convolutions = [layer for layer in weighted_layers(model) if not isinstance(layer, nn.Linear)]
    handles = [layer.register_forward_pre_hook(look) for layer in convolutions]
    try:
        with undisturbed(model), torch.no_grad():
            model(*(tensor.to(next(model.parameters()).device) for tensor in inputs))
    finally:
        for handle in handles:
            handle.remove()
    return sizes


def gradient_penalty(settings: GradientPenalty, *arguments: object) -> Tensor:
    """λ times the penalty of `arguments`, a 0-dim tensor to differentiate; see `one_centred` and `input_gradient`."""
    return settings.weight * PENALTIES.of(settings)(*arguments)


@contextmanager
def differentiable(batch: tuple[Tensor, ...]) -> Iterator[tuple[Tensor, ...]]:
    """Inside, losses of the batch can be differentiated by its first tensor, and twice: attention is not fused."""
    inputs = batch[0] if batch[0].requires_grad else batch[0].detach().requires_grad_()
    with sdpa_kernel(SDPBackend.MATH):
        yield inputs, *batch[1:]


@PENALTIES.implements(OneCentred)
def one_centred(critic: Callable[[Tensor], Tensor], points: Tensor) -> Tensor:
    """mean_n (‖∂D(x_n)/∂x_n‖₂ − 1)² at `points` (N, ...); its gradient reaches the critic's parameters.

    The critic's value of a sample may depend on that sample only: no batch normalization.

    Source: Gulrajani et al. 2017, arXiv 1704.00028, eq. 3.
    """
    points = points.detach().requires_grad_()
    (slopes,) = torch.autograd.grad(critic(points).sum(), points, create_graph=True)
    steepness: Tensor = torch.linalg.vector_norm(slopes.flatten(1), dim=1)
    return (steepness - 1).square().mean()


@PENALTIES.implements(InputGradient)
def input_gradient(loss: Tensor, inputs: Tensor) -> Tensor:
    """mean_n ‖∂L_n/∂x_n‖₂² of the mean `loss` = mean_n L_n over `inputs` (N, ...), which require a gradient.

    Compute `loss` inside `differentiable`.

    Source: Drucker and Le Cun 1992, IEEE Transactions on Neural Networks 3(6).
    """
    (slopes,) = torch.autograd.grad(loss, inputs, create_graph=True)
    return slopes.square().sum() * len(inputs)  # ∂L/∂x_n is 1/N of ∂L_n/∂x_n


def clip_weights(settings: WeightClip | None, model: nn.Module) -> None:
    """Brings every weight into ±c in place, after the optimizer's step; None leaves them.

    Weights are the parameters with two or more dimensions: matrices, kernels and embeddings. Under weight normalization
    g is clipped and the directions are not, so that no unit is longer than c.

    Source: Arjovsky, Chintala and Bottou 2017, arXiv 1701.07875, algorithm 1.
    """
    if settings is not None:
        CLIPS.of(settings)(settings, model)


@CLIPS.implements(WeightClip)
@torch.no_grad()
def _weight_clip(settings: WeightClip, model: nn.Module) -> None:
    weights: list[Tensor] = [
        parameter
        for name, parameter in model.named_parameters()
        if parameter.ndim > 1 and not name.endswith("parametrizations.weight.original1")
    ]
    if weights:
        torch._foreach_clamp_min_(weights, -settings.limit)
        torch._foreach_clamp_max_(weights, settings.limit)
