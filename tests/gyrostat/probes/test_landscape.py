"""Landscapes against a forward pass by hand in numpy, parabolas of quadratic losses, and weights left as found."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gyrostat.probes.landscape import filter_normalized, landscape


def net(dtype: torch.dtype = torch.float64) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2)).to(dtype)


def by_hand(weights: list[np.ndarray], biases: list[np.ndarray], x: np.ndarray, y: np.ndarray) -> float:
    hidden = np.tanh(x @ weights[0].T + biases[0])
    return float(((hidden @ weights[1].T + biases[1] - y) ** 2).mean())


@pytest.mark.parametrize("dimensions", [1, 2])
def test_a_landscape_is_that_of_a_forward_pass_by_hand(dimensions: int) -> None:
    model, rng = net(), np.random.default_rng(1)
    x, y = rng.normal(size=(7, 3)), rng.normal(size=(7, 2))
    inputs, targets = torch.from_numpy(x), torch.from_numpy(y)
    weights = [model[0].weight, model[2].weight]
    biases = [model[0].bias.detach().numpy(), model[2].bias.detach().numpy()]
    start = [weight.detach().numpy().copy() for weight in weights]
    source = torch.Generator().manual_seed(3)
    directions = []
    for _ in range(dimensions):
        drawn = [torch.randn(weight.shape, generator=source).double().numpy() for weight in weights]
        directions.append([
            d / np.sqrt((d**2).sum(1, keepdims=True)) * np.sqrt((w**2).sum(1, keepdims=True))
            for d, w in zip(drawn, start, strict=True)
        ])  # fmt: skip

    found = landscape(
        lambda: nn.functional.mse_loss(model(inputs), targets),
        weights,
        dimensions=dimensions,
        reach=1.5,
        points=5,
        seed=3,
    )

    np.testing.assert_array_equal(found.positions, [-1.5, -0.75, 0, 0.75, 1.5])
    assert found.losses.shape == (5,) * dimensions
    for place in np.ndindex(found.losses.shape):
        # the last index runs along the first direction
        multiples = found.positions[list(place[::-1])]
        moved = [w + sum(m * d[at] for m, d in zip(multiples, directions, strict=True)) for at, w in enumerate(start)]
        assert found.losses[place] == pytest.approx(by_hand(moved, biases, x, y), rel=1e-12)


def test_along_a_direction_a_quadratic_loss_is_its_parabola() -> None:
    generator = torch.Generator().manual_seed(5)
    factor = torch.randn(6, 6, generator=generator, dtype=torch.float64)
    matrix, slope = factor @ factor.mT, torch.randn(6, generator=generator, dtype=torch.float64)
    weight = torch.randn(2, 3, generator=generator, dtype=torch.float64)

    def loss() -> Tensor:
        flat = weight.flatten()
        return flat @ matrix @ flat / 2 + slope @ flat

    found = landscape(loss, [weight], dimensions=1, reach=2, points=21, seed=0)
    (direction,) = filter_normalized([weight], torch.Generator().manual_seed(0))
    d, w, hessian = direction.flatten().numpy(), weight.flatten().numpy(), matrix.numpy()
    along = (hessian @ w + slope.numpy()) @ d
    expected = loss().item() + along * found.positions + d @ hessian @ d / 2 * found.positions**2
    np.testing.assert_allclose(found.losses, expected, rtol=1e-12)


@pytest.mark.parametrize("shape", [(4, 6), (5, 3, 2, 2), (7, 1)])
def test_each_filter_of_a_direction_is_as_long_as_the_filter_it_moves(shape: tuple[int, ...]) -> None:
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(1)) * torch.logspace(-3, 3, shape[0]).view(
        -1, *[1] * (len(shape) - 1)
    )
    weight[1] = 0
    (direction,) = filter_normalized([weight], torch.Generator().manual_seed(2))
    rows = weight.double().numpy().reshape(shape[0], -1)
    found = direction.double().numpy().reshape(shape[0], -1)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), np.linalg.norm(rows, axis=1), rtol=1e-6)
    assert not found[1].any()


def test_a_seed_is_a_direction_and_another_seed_another() -> None:
    model, x = net(), torch.ones(2, 3, dtype=torch.float64)

    def losses(seed: int) -> list[float]:
        return landscape(
            lambda: model(x).square().mean(), [model[0].weight], dimensions=1, reach=1, points=3, seed=seed
        ).losses.tolist()

    assert losses(1) == losses(1)
    assert losses(1)[1] == losses(2)[1] == model(x).square().mean().item()
    assert losses(1) != losses(2)


@pytest.mark.parametrize("breaks_at", [None, 0, 4])
def test_weights_are_put_back_bit_for_bit_even_after_a_failure(breaks_at: int | None) -> None:
    model, calls = net(torch.float32), []
    with torch.no_grad():
        model[0].weight[0, 0] = -0.0
    before = [parameter.detach().clone() for parameter in model.parameters()]

    def loss() -> Tensor:
        if len(calls) == breaks_at:
            raise RuntimeError("out of memory")
        calls.append(model[0].weight.detach().clone())
        return model(torch.ones(1, 3)).sum()

    def measured() -> None:
        landscape(loss, [model[0].weight, model[2].weight], dimensions=2, reach=1, points=3, seed=0)

    if breaks_at is None:
        measured()
        assert len({tuple(seen.flatten().tolist()) for seen in calls}) == 9
    else:
        with pytest.raises(RuntimeError, match="out of memory"):
            measured()
    for parameter, kept in zip(model.parameters(), before, strict=True):
        assert parameter.grad is None
        assert torch.equal(parameter.view(torch.int32), kept.view(torch.int32))


def test_what_is_not_finite_far_out_is_told_and_the_rest_is_as_it_is() -> None:
    weight = torch.full((1, 1), 60.0)
    found = landscape(lambda: torch.exp(weight).sum(), [weight], dimensions=1, reach=1, points=3, seed=0)
    assert sorted(np.isfinite(found.losses)) == [False, True, True]
    assert found.losses[1] == pytest.approx(np.exp(60.0))


def test_tied_and_low_precision_weights_are_moved_once_and_in_their_own_type() -> None:
    weight = torch.randn(4, 4, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)
    kept = weight.clone()
    seen = []

    def loss() -> Tensor:
        seen.append(weight.clone())
        return (weight @ weight).float().square().sum()

    landscape(loss, [weight], dimensions=1, reach=1, points=3, seed=0)
    assert torch.equal(seen[1], kept)
    assert torch.equal(weight, kept)
    assert not torch.equal(seen[0], kept)
