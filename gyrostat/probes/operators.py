"""Weights as the linear maps that layers make of them."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.modules.conv import _ConvNd

from gyrostat.probes.singular import Gram

_STACKED = 2**13
"""Elements of a matrix up to which one batched product of many costs less than many products; on a CPU."""

_CONVOLUTIONS: dict[int, tuple[Callable[..., Tensor], Callable[..., Tensor]]] = {
    1: (functional.conv1d, functional.conv_transpose1d),
    2: (functional.conv2d, functional.conv_transpose2d),
    3: (functional.conv3d, functional.conv_transpose3d),
}


def of_matrices(matrices: Sequence[Tensor]) -> Gram:
    """B matrices of one shape (m, n), dtype and device."""
    if len(matrices) > 1 and (matrices[0].numel() <= _STACKED or matrices[0].device.type != "cpu"):
        joined = torch.stack(list(matrices))

        def gram(vectors: Tensor) -> tuple[Tensor, Tensor]:
            image = torch.bmm(joined, vectors.unsqueeze(2))
            return image.squeeze(2), torch.bmm(joined.mT, image).squeeze(2)

        return gram

    def each(vectors: Tensor) -> tuple[Tensor, Tensor]:
        images = [matrix @ vector for matrix, vector in zip(matrices, vectors, strict=True)]
        backs = [matrix.mT @ image for matrix, image in zip(matrices, images, strict=True)]
        return torch.stack(images), torch.stack(backs)

    return each


def of_convolutions(layer: _ConvNd, weights: Sequence[Tensor], size: tuple[int, ...]) -> Gram:
    """B convolutions of one geometry, that of `layer`, on images of `size`: as one of B times the groups."""
    joined = torch.cat(list(weights))

    def gram(vectors: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            images = vectors.detach().reshape(1, -1, *size).requires_grad_()
            outputs = convolved(layer, joined, images, layers=len(weights))
            (back,) = torch.autograd.grad(outputs, images, outputs.detach())
        return outputs.detach().reshape(len(weights), -1), back.reshape(len(weights), -1)

    return gram


def convolved(layer: _ConvNd, weight: Tensor, images: Tensor, *, layers: int = 1) -> Tensor:
    """What `layer` makes of `images` (N, C, ...) with `weight` for its own and no bias: linear in both.

    For `layers` of one geometry side by side, weights are joined along their first axis, and so are channels.
    """
    convolve, transposed = _CONVOLUTIONS[len(layer.kernel_size)]
    groups = layer.groups * layers
    if layer.transposed:
        return transposed(
            images, weight, None, layer.stride, layer.padding, layer.output_padding, groups, layer.dilation
        )
    padding = layer.padding
    if layer.padding_mode != "zeros":
        images = functional.pad(images, layer._reversed_padding_repeated_twice, layer.padding_mode)
        padding = (0,) * len(layer.kernel_size)
    return convolve(images, weight, None, layer.stride, padding, layer.dilation, groups)


def convolved_back(layer: _ConvNd, weight: Tensor, outputs: Tensor, shape: Sequence[int]) -> Tensor:
    """The transpose of `convolved`, applied to `outputs`; `shape` is that of the images."""
    with torch.enable_grad():
        images = torch.zeros(tuple(shape), dtype=outputs.dtype, device=outputs.device, requires_grad=True)
        (back,) = torch.autograd.grad(convolved(layer, weight.detach(), images), images, outputs)
    return back


def is_matrix(layer: _ConvNd) -> bool:
    """Whether the layer's singular values are those of its reshaped kernel, each several times.

    So it is where no two places of the kernel overlap: of 1 x 1 convolutions, and where patches are embedded.
    """
    patches = all(
        step >= reach * (length - 1) + 1
        for step, reach, length in zip(layer.stride, layer.dilation, layer.kernel_size, strict=True)
    )
    return patches and layer.groups == 1 and not isinstance(layer.padding, str) and not any(layer.padding)


def geometry(layer: _ConvNd) -> tuple[object, ...]:
    """What two layers have to share for `convolved` to do the same with one weight."""
    return (
        layer.transposed, layer.stride, layer.padding, layer.dilation, layer.groups, layer.padding_mode,
        layer.output_padding,
    )  # fmt: skip
