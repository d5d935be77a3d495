from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gyrostat.probes.operators import convolved, convolved_back, is_matrix, of_convolutions, of_matrices
from gyrostat.probes.singular import largest_singular_values

LAYERS: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "one axis": (nn.Conv1d(3, 4, 5, padding=2), (9,)),
    "dilated": (nn.Conv1d(3, 4, 3, padding=2, dilation=2), (9,)),
    "two axes": (nn.Conv2d(2, 3, 3, padding=1), (6, 5)),
    "stride": (nn.Conv2d(2, 5, 3, stride=2, padding=1), (7, 8)),
    "no padding": (nn.Conv2d(3, 2, (2, 3)), (5, 6)),
    "same": (nn.Conv2d(2, 2, 3, dilation=2, padding="same"), (5, 6)),
    "groups": (nn.Conv2d(4, 6, 3, padding=1, groups=2), (5, 5)),
    "depthwise": (nn.Conv2d(4, 4, 3, padding=1, groups=4), (5, 5)),
    "circular": (nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular"), (5, 6)),
    "reflected": (nn.Conv2d(2, 3, 3, padding=1, padding_mode="reflect"), (5, 6)),
    "replicated": (nn.Conv1d(2, 3, 3, padding=2, padding_mode="replicate"), (8,)),
    "three axes": (nn.Conv3d(2, 2, 3, padding=1), (3, 4, 3)),
    "transposed": (nn.ConvTranspose2d(3, 2, 3, stride=2, padding=1, output_padding=1), (4, 5)),
    "transposed, grouped": (nn.ConvTranspose1d(4, 6, 3, stride=2, groups=2), (7,)),
    "transposed, three axes": (nn.ConvTranspose3d(2, 2, 2, dilation=2), (3, 3, 2)),
    "1 x 1": (nn.Conv2d(6, 4, 1), (3, 3)),
    "1 x 1, stride": (nn.Conv2d(6, 4, 1, stride=2), (3, 3)),
    "patches": (nn.Conv2d(3, 8, 2, stride=2), (5, 6)),
    "transposed patches": (nn.ConvTranspose2d(5, 3, 2, stride=3), (3, 4)),
}


@pytest.fixture(params=LAYERS)
def case(request: Any) -> tuple[Any, tuple[int, ...]]:
    layer, size = LAYERS[request.param]
    generator = torch.Generator().manual_seed(0)
    layer = layer.double()
    with torch.no_grad():
        layer.weight.copy_(torch.randn(layer.weight.shape, generator=generator))
    return layer, size


def dense(layer: nn.Module, size: tuple[int, ...]) -> np.ndarray:
    """The layer's matrix, column by column, by calling it with the unit vectors."""
    shape = (layer.in_channels, *size)
    units = torch.eye(int(np.prod(shape)), dtype=torch.float64).reshape(-1, *shape)
    with torch.no_grad():
        columns = layer(units) - layer(torch.zeros(1, *shape, dtype=torch.float64))
    return columns.flatten(1).T.numpy()


def test_of_convolutions_the_largest_singular_value_is_that_of_the_dense_matrix(case: Any) -> None:
    layer, size = case
    matrix = dense(layer, size)
    others = [layer.weight.detach() * scale for scale in (1, 3)]
    others.append(others[0].flip(0))
    gram = of_convolutions(layer, others, size)
    start = torch.randn(3, matrix.shape[1], generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    image, back = gram(start)
    np.testing.assert_allclose(image[0].numpy(), matrix @ start[0].numpy(), atol=1e-9)
    np.testing.assert_allclose(back[0].numpy(), matrix.T @ (matrix @ start[0].numpy()), atol=1e-9)
    found = largest_singular_values(gram, start, tolerance=1e-4, max_products=200)
    sigma = np.linalg.svd(matrix, compute_uv=False)[0]
    np.testing.assert_allclose(found.values[:2], [sigma, 3 * sigma], rtol=1e-4)


def test_the_transpose_is_the_transpose(case: Any) -> None:
    layer, size = case
    matrix = dense(layer, size)
    shape = (1, layer.in_channels, *size)
    outputs = convolved(layer, layer.weight.detach(), torch.zeros(shape, dtype=torch.float64))
    given = torch.randn(outputs.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    back = convolved_back(layer, layer.weight, given, shape)
    assert back.shape == shape
    np.testing.assert_allclose(back.flatten().numpy(), matrix.T @ given.flatten().numpy(), atol=1e-9)


def test_what_is_said_to_be_a_matrix_has_the_reshaped_kernel_s_largest_singular_value(case: Any) -> None:
    layer, size = case
    kernel = layer.weight.detach().flatten(1).numpy()
    of_kernel = np.linalg.svd(kernel, compute_uv=False)[0]
    of_map = np.linalg.svd(dense(layer, size), compute_uv=False)[0]
    if is_matrix(layer):
        assert of_map == pytest.approx(of_kernel)
    else:
        assert of_map != pytest.approx(of_kernel, rel=1e-3)


def test_a_circular_convolution_is_as_its_kernel_s_fourier_transform_says() -> None:
    """Sedghi, Gupta and Long 2018, arXiv 1805.10408, theorem 6."""
    layer = nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular", dtype=torch.float64)
    size = (6, 7)
    transform = np.fft.fft2(layer.weight.detach().numpy(), size, axes=(2, 3))
    sigma = np.linalg.svd(transform.transpose(2, 3, 0, 1), compute_uv=False).max()
    start = torch.randn(1, 3 * 42, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    gram = of_convolutions(layer, [layer.weight.detach()], size)
    assert largest_singular_values(gram, start, tolerance=1e-6, max_products=200).values[0] == pytest.approx(sigma)


@pytest.mark.parametrize("shape", [(40, 30), (200, 150)])
def test_matrices_stacked_or_one_by_one_give_the_same_products(shape: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    matrices = [torch.randn(shape, generator=generator) for _ in range(3)]
    vectors: Tensor = torch.randn(3, shape[1], generator=generator)
    image, back = of_matrices(matrices)(vectors)
    for at, matrix in enumerate(matrices):
        torch.testing.assert_close(image[at], matrix @ vectors[at], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(back[at], matrix.T @ (matrix @ vectors[at]), rtol=1e-4, atol=1e-3)
