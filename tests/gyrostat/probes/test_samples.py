import copy
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gyrostat.probes.chunks import Float64Array
from gyrostat.probes.footprint import held_bytes
from gyrostat.probes.native import kernels
from gyrostat.probes.norms import norms
from gyrostat.probes.samples import LOOKS, WHOLE, Samples, spread
from gyrostat.probes.trail import Trail

CPU = torch.device("cpu")


pytestmark = pytest.mark.usefixtures("either_way")


def exact(tensors: Sequence[Tensor]) -> Float64Array:
    return np.array([float(np.linalg.norm(tensor.detach().double().numpy())) for tensor in tensors])


class Training:
    """Of a net with two large weights, by a linear teacher."""

    def __init__(self, seed: int, optimizer: Callable[[Any], torch.optim.Optimizer]) -> None:
        torch.manual_seed(seed)
        self.model = nn.Sequential(nn.Linear(260, 300), nn.Tanh(), nn.Linear(300, 280))
        self.parameters: list[Tensor] = list(self.model.parameters())
        self.optimizer = optimizer(self.model.parameters())
        self._teacher = torch.randn(260, 280) / 16

    def step(self) -> None:
        inputs = torch.randn(32, 260)
        self.optimizer.zero_grad()
        (self.model(inputs) - inputs @ self._teacher).square().mean().backward()
        self.optimizer.step()

    def errors(self, trail: Trail) -> tuple[Float64Array, Float64Array]:
        """Of one step more, those of the norms after it and of the norms of the ways."""
        trail.mark(self.parameters)
        before = [parameter.detach().double() for parameter in self.parameters]
        self.step()
        found = trail.way()
        ways = exact(
            [parameter.detach().double() - old for parameter, old in zip(self.parameters, before, strict=True)]
        )
        return found.now.numpy() / exact(self.parameters) - 1, found.moved.numpy() / ways - 1


def sgd(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.5, momentum=0.9, weight_decay=1e-3)


OPTIMIZERS = {
    "sgd": sgd,
    "adam": lambda parameters: torch.optim.Adam(parameters, lr=1e-3),
    "decay": lambda parameters: torch.optim.AdamW(parameters, lr=1e-4, weight_decay=30.0),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_norms_are_right_to_a_ten_thousandth_and_those_of_ways_to_six_thousandths(optimizer: str) -> None:
    errors = []
    for seed in range(3):
        training, trail = Training(seed, OPTIMIZERS[optimizer]), Trail(CPU)
        errors += [training.errors(trail) for _ in range(120)]
    sizes, ways = np.array(errors).transpose(1, 0, 2)
    large, small = sizes[:, [0, 2]], sizes[:, [1, 3]]
    assert np.sqrt(np.square(ways[:, [0, 2]]).mean()) < 6e-3
    assert np.abs(ways[:, [0, 2]]).max() < 0.024
    assert np.sqrt(np.square(large).mean()) < 1.1e-4
    assert np.abs(large).max() < 4e-4
    assert np.abs(small).max() < 1e-6, "those are read at each step"
    assert np.abs(large).max() > 1e-6, "and of these only a sample"


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_learning_rate_that_explodes_shows_at_once(optimizer: str) -> None:
    for seed in range(3):
        training, trail = Training(seed, OPTIMIZERS[optimizer]), Trail(CPU)
        for step in range(60):
            if step in (30, 45):
                training.optimizer.param_groups[0]["lr"] *= 10
            assert np.abs(training.errors(trail)[0]).max() < 4e-4, step


def test_a_training_that_was_resumed_begins_with_what_is_there() -> None:
    training, trail = Training(0, sgd), Trail(CPU)
    saved = copy.deepcopy(training.model.state_dict())
    for _ in range(5):
        training.errors(trail)
    with torch.no_grad():
        training.parameters[2][::2] *= 1.5
    assert np.abs(training.errors(trail)[0]).max() < 4e-4
    training.model.load_state_dict(saved)
    assert np.abs(training.errors(trail)[0]).max() < 4e-4
    assert np.abs(training.errors(Trail(CPU))[0]).max() < 4e-4


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e3])
def test_what_the_sample_does_not_hold_shows_within_some_steps(value: float) -> None:
    tensors = [torch.randn(300, 300, generator=torch.Generator().manual_seed(seed)) for seed in range(5)]
    outside = spread(WHOLE + 1).stride - 1
    trail, shown = Trail(CPU), set()
    for step in range(40):
        trail.mark(tensors)
        for tensor in tensors:
            tensor.mul_(1.0001)
            if step == 20:
                tensor.view(-1)[outside] = value
        told = trail.way().now.numpy()
        if step < 20:
            np.testing.assert_allclose(told, exact(tensors), rtol=1e-4)
        elif np.allclose(
            told, exact(tensors), rtol=2e-3, equal_nan=True
        ):  # of one element's way the sample knows nothing
            shown.add(step)
    assert set(range(20 + LOOKS - 1, 40)) <= shown
    assert 20 not in shown, "not all are read at each step"


def test_what_was_not_finite_is_forgotten_when_it_is_mended() -> None:
    tensors, trail = [torch.ones(300, 300)], Trail(CPU)
    for value in (math.nan, 1.0, 1.0, math.inf, 1.0, 1.0):
        trail.mark(tensors)
        tensors[0][0, 0] = value
        np.testing.assert_allclose(trail.way().now.numpy(), exact(tensors), rtol=1e-6)


@pytest.mark.parametrize("scale", [1e-30, 1e-15, 1e18, 1e25])
@pytest.mark.parametrize("factor", [1.002, 0.998, 3.0, 1e-6, 0.0])
def test_large_tensors_whose_squares_are_no_float32(scale: float, factor: float) -> None:
    tensor, trail = torch.randn(300, 300, generator=torch.Generator().manual_seed(0)) * scale, Trail(CPU)
    for _ in range(3):
        trail.mark([tensor])
        before = exact([tensor])
        tensor.mul_(factor)
        way = trail.way()
        np.testing.assert_allclose(way.now.numpy(), exact([tensor]), rtol=1e-4)
        np.testing.assert_allclose(way.moved.numpy(), before * abs(factor - 1), rtol=0.03)


@pytest.mark.parametrize("elements", [WHOLE + 1, 90_000, 128 * 1024, 512 * 512, 768 * 3072, 5_000_000, 50257 * 768])
def test_a_sample_is_spread_over_all_of_a_tensor(elements: int) -> None:
    found = spread(elements)
    ends = [at * found.stride + 32 for at in (0, found.runs - 1)]
    assert found.runs * 32 >= max(16_384, elements // 64)
    assert elements - found.stride < ends[1] <= elements
    assert found.stride % 16 == 0
    assert math.gcd(found.stride // 16, 2**10 * 3 * 5) == 1
    assert spread(WHOLE) == (0, 0)


def test_norms_of_small_tensors_are_the_very_ones_that_are_found_without_samples() -> None:
    """So that a run that was resumed goes on with the values that it would have had."""
    generator = torch.Generator().manual_seed(0)
    sizes = (1, 7, 300, 100_000, 4096, 2, 1000)
    tensors = [torch.randn(size, generator=generator) for size in sizes]
    samples, small = Samples(tensors), [at for at, size in enumerate(sizes) if size <= 4096]
    samples.take(tensors)
    for _ in range(5):
        for tensor in tensors:
            tensor.mul_(1.01)
        told = samples.ways(tensors)[0].float()
        assert torch.equal(told[small], norms(tensors, CPU).float()[small])


def test_the_memory_of_samples_is_counted() -> None:
    tensors = [torch.ones(2_000, 2_000), torch.ones(3_000)]
    samples = Samples(tensors)
    samples.take(tensors)
    samples.ways(tensors)
    copies = 1 if kernels.library is not None else 2
    assert held_bytes([samples]) == pytest.approx(copies * 4 * (4_000_000 / 64 + 3_000), rel=0.05)


def test_each_large_tensor_is_read_as_a_whole_in_its_turn() -> None:
    tensors = [torch.ones(size) for size in (WHOLE + 1, 5, 1_000_000, WHOLE + 2, 100_000, 0, 200_000)]
    samples = Samples(tensors)
    samples.take(tensors)
    turns = samples._due
    assert turns.sum(axis=0).tolist() == [1] * len(tensors)
    sizes = np.array([tensor.numel() for tensor in tensors])
    assert (turns @ np.where(sizes > WHOLE, sizes, 0)).max() == 1_000_000
