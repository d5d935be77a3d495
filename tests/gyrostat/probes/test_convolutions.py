"""Second derivatives of convolutions, against torch's own and against finite differences."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import forward_ad

from gyrostat.probes.convolutions import TwiceDifferentiable
from gyrostat.probes.estimators import GradientGraph

LAYERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "plain": (lambda: nn.Conv2d(3, 4, 3), (2, 3, 7, 6)),
    "padded": (lambda: nn.Conv2d(3, 4, 3, padding=1), (2, 3, 5, 5)),
    "strided": (lambda: nn.Conv2d(3, 4, 3, stride=2, padding=(0, 2)), (2, 3, 8, 7)),
    "dilated": (lambda: nn.Conv2d(3, 4, (3, 2), dilation=2), (2, 3, 7, 8)),
    "grouped": (lambda: nn.Conv2d(4, 6, 3, groups=2, bias=False), (2, 4, 5, 6)),
    "depthwise": (lambda: nn.Conv2d(4, 4, 3, groups=4), (2, 4, 5, 6)),
    "pointwise": (lambda: nn.Conv2d(3, 4, 1), (2, 3, 4, 4)),
    "circular": (lambda: nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular"), (2, 3, 5, 5)),
    "one dimension": (lambda: nn.Conv1d(3, 4, 3, stride=2), (2, 3, 9)),
    "three dimensions": (lambda: nn.Conv3d(2, 3, 2), (2, 2, 4, 3, 4)),
    "padded by name": (lambda: nn.Conv2d(3, 4, 3, padding="same"), (2, 3, 5, 5)),
    "transposed": (lambda: nn.ConvTranspose2d(3, 4, 3, stride=2), (2, 3, 4, 4)),
}


class Between(nn.Module):
    """The layer between two others, so that its input and its output have a curvature of their own."""

    def __init__(self, layer: nn.Module, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.rand(channels) + 0.5)
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        shaped = self.scale.view(1, -1, *(1,) * (x.ndim - 2))
        return torch.tanh(self.layer(torch.sin(shaped * x))).square().sum()


def product(model: nn.Module, x: Tensor, mode: Any, seed: int = 1) -> tuple[Tensor, Tensor]:
    """The gradient and Hv with a random v."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    with mode:
        loss = model(x)
    graph = GradientGraph(loss, parameters)
    generator = torch.Generator().manual_seed(seed)
    return graph.gradient, graph.product(torch.randn(len(graph.gradient), generator=generator, dtype=x.dtype))


@pytest.mark.parametrize("frozen", ["nothing", "scale", "layer.weight", "layer.bias"])
@pytest.mark.parametrize(("make", "shape"), LAYERS.values(), ids=LAYERS)
def test_gradient_and_products_are_those_of_torch(
    make: Callable[[], nn.Module], shape: tuple[int, ...], frozen: str
) -> None:
    torch.manual_seed(0)
    model = Between(make(), shape[1]).double()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name != frozen)
    x = torch.randn(shape, dtype=torch.float64)
    for own, theirs in zip(product(model, x, TwiceDifferentiable()), product(model, x, nullcontext()), strict=True):
        assert own.abs().max() > 0
        torch.testing.assert_close(own, theirs)


def test_a_layer_that_is_used_twice_and_has_its_weight_from_elsewhere() -> None:
    torch.manual_seed(0)
    layer = nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 3, 3, padding=1)).double()
    model = Between(nn.Sequential(layer, nn.Tanh(), layer), 3).double()
    x = torch.randn(2, 3, 5, 5, dtype=torch.float64)
    for own, theirs in zip(product(model, x, TwiceDifferentiable()), product(model, x, nullcontext()), strict=True):
        torch.testing.assert_close(own, theirs)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")  # of forward mode itself
def test_what_it_is_not_for_is_left_to_torch() -> None:
    kernel, image = torch.randn(4, 3, 3, 3, requires_grad=True), torch.randn(2, 3, 5, 5)
    with TwiceDifferentiable():
        assert "Convolution" in type(F.conv2d(image, kernel).grad_fn).__name__
        assert type(F.conv2d(image, kernel).grad_fn) is not type(F.conv2d(image[0], kernel).grad_fn)
        # of torch.func, where an autograd function of one's own does not take part
        there = torch.func.grad(lambda w: F.conv2d(image, w).square().sum())(kernel.detach())
        (here,) = torch.autograd.grad(F.conv2d(image, kernel).square().sum(), kernel)
        torch.testing.assert_close(there, here)
        assert torch.func.vmap(lambda x: F.conv2d(x, kernel))(image[:, None]).shape == (2, 1, 4, 3, 3)
        with forward_ad.dual_level():
            dual = forward_ad.make_dual(kernel.detach(), torch.ones_like(kernel))  # type: ignore[no-untyped-call]
            change = forward_ad.unpack_dual(F.conv2d(image, dual)).tangent  # type: ignore[no-untyped-call]
        torch.testing.assert_close(change, F.conv2d(image, torch.ones_like(kernel)))
        with torch.autocast("cpu", torch.bfloat16):
            assert F.conv2d(image, kernel).dtype == torch.bfloat16


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")  # of torch.compile itself
def test_modules_that_are_compiled_keep_their_graph() -> None:
    torch.manual_seed(0)
    model, x = Between(nn.Conv2d(3, 4, 3), 3).double(), torch.randn(2, 3, 5, 5, dtype=torch.float64)
    expected = product(model, x, nullcontext())
    model.layer.compile(backend="eager")
    for own, theirs in zip(product(model, x, TwiceDifferentiable()), expected, strict=True):
        torch.testing.assert_close(own, theirs)


def test_values_and_gradients_are_bit_for_bit_those_of_torch_in_float32() -> None:
    torch.manual_seed(0)
    model = Between(nn.Conv2d(3, 8, 3, padding=1), 3)
    x = torch.randn(4, 3, 9, 9)
    assert torch.equal(product(model, x, TwiceDifferentiable())[0], product(model, x, nullcontext())[0])


def test_a_third_derivative_is_refused_instead_of_wrong() -> None:
    torch.manual_seed(0)
    weight, x = torch.randn(4, 3, 3, 3, requires_grad=True), torch.randn(2, 3, 5, 5, requires_grad=True)
    with TwiceDifferentiable():
        value = F.conv2d(x, weight).tanh().sum()
    (first,) = torch.autograd.grad(value, weight, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        second.sum().backward()
