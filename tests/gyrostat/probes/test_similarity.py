import numpy as np
import pytest
import torch
from torch import Tensor

from gyrostat.probes.similarity import alignment, signature


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def hsic(k: np.ndarray, m: np.ndarray) -> float:
    """The unbiased estimate as Song et al. 2012 print it, eq. 5."""
    n, ones = len(k), np.ones(len(k))
    k, m = k - np.diag(np.diag(k)), m - np.diag(np.diag(m))
    total = np.trace(k @ m) + (ones @ k @ ones) * (ones @ m @ ones) / ((n - 1) * (n - 2))
    return float(total - 2 / (n - 2) * (ones @ k @ m @ ones)) / (n * (n - 3))


def cka(x: np.ndarray, y: np.ndarray) -> float:
    k, m = x @ x.T, y @ y.T
    return hsic(k, m) / float(np.sqrt(hsic(k, k) * hsic(m, m)))


@pytest.mark.parametrize("samples", [4, 5, 30])
@pytest.mark.parametrize("width", [3, 100])
def test_it_is_the_formula_of_the_paper(samples: int, width: int) -> None:
    x, y = drawn(samples, width), drawn(samples, 7, seed=1) + 3
    y[:, :3] += x[:, :3]
    got = alignment(signature(x), signature(y)).item()
    assert got == pytest.approx(cka(x.numpy(), y.numpy()), rel=1e-9)


def test_rotated_scaled_and_shifted_features_are_the_same_and_stretched_ones_are_not() -> None:
    x = drawn(20, 12)
    rotation, _ = torch.linalg.qr(drawn(12, 12, seed=1))
    assert alignment(signature(x), signature(-7 * x @ rotation + drawn(12, seed=2))).item() == pytest.approx(1)
    assert alignment(signature(x), signature(x * torch.arange(1.0, 13) ** 3)).item() < 0.95


def test_independent_features_are_unlike_however_many_there_are() -> None:
    """Where the plain estimate says 0.86: its bias is the samples' own similarity to themselves."""
    values, biased = [], []
    for seed in range(40):
        x, y = drawn(16, 100, seed=seed), drawn(16, 100, seed=1000 + seed)
        values.append(alignment(signature(x), signature(y)).item())
        k, m = (np.cov(each.numpy(), rowvar=True, bias=True) for each in (x - x.mean(0), y - y.mean(0)))
        biased.append((k * m).sum() / np.linalg.norm(k) / np.linalg.norm(m))
    assert np.mean(biased) > 0.8
    error = np.std(values) / np.sqrt(len(values))
    assert abs(np.mean(values)) < 3 * error
    assert error < 0.03


def test_features_that_do_not_vary_have_no_signature_even_beside_rounding() -> None:
    offset = torch.full((10, 5), 1e6 / 3, dtype=torch.float64)
    assert not signature(offset).any()
    assert not signature(torch.zeros(10, 5)).any()
    alone = offset.clone()
    alone[3] += 1e6  # one sample that differs says nothing of how alike the others are
    assert not signature(alone).any()
    assert signature(offset + drawn(10, 5)).any()


def test_what_is_not_finite_has_a_signature_that_is_not() -> None:
    for value in (torch.nan, torch.inf):
        x = drawn(6, 3)
        x[2, 1] = value
        assert signature(x).isnan().any()
        assert alignment(signature(x), signature(drawn(6, 3))).isnan()
