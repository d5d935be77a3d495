from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from gyrostat.probes.native import kernels
from gyrostat.probes.trail import Trail

CPU = torch.device("cpu")


pytestmark = pytest.mark.usefixtures("either_way")


def weights(dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = {"matrix": (300, 70), "bias": (5,), "nothing": (0, 4), "number": ()}
    return {name: torch.randn(shape, generator=generator).to(dtype) for name, shape in shapes.items()}


def check(trail: Trail, tensors: dict[str, Tensor], move: Callable[[], object]) -> None:
    """One step, against numpy in float64."""
    before = {name: tensor.double().numpy().copy() for name, tensor in tensors.items()}
    trail.mark(list(tensors.values()))
    move()
    found = trail.way()
    after = [tensor.double().numpy() for tensor in tensors.values()]
    moved = [np.linalg.norm(a - b) for a, b in zip(after, before.values(), strict=True)]
    np.testing.assert_allclose(found.now.numpy(), [np.linalg.norm(a) for a in after], rtol=1e-5)
    np.testing.assert_allclose(found.before.numpy(), [np.linalg.norm(b) for b in before.values()], rtol=1e-5)
    np.testing.assert_allclose(found.moved.numpy(), moved, rtol=2e-3 if tensors["bias"].itemsize == 2 else 1e-5)


def scaled(tensors: dict[str, Tensor], factor: float) -> Callable[[], None]:
    return lambda: [tensor.mul_(factor) for tensor in tensors.values()] and None


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_steps_in_a_row_and_steps_apart_are_numpys(dtype: torch.dtype) -> None:
    tensors, trail = weights(dtype), Trail(CPU)
    for factor in (1.01, 1.0, 0.5, 1 + 1e-4 if dtype != torch.bfloat16 else 1.5, 1.1):
        check(trail, tensors, scaled(tensors, factor))
    scaled(tensors, 1.3)()
    check(trail, tensors, scaled(tensors, 0.9))


@pytest.mark.parametrize("scale", [1e-30, 1e25])
def test_ways_whose_squares_are_no_float32(scale: float) -> None:
    tensors, trail = weights(), Trail(CPU)
    scaled(tensors, scale)()
    for factor in (1.5, 1.002, 0.998):
        check(trail, tensors, scaled(tensors, factor))


def test_what_happens_between_two_steps_is_not_the_steps() -> None:
    tensors, trail = weights(), Trail(CPU)
    for _ in range(3):
        check(trail, tensors, scaled(tensors, 1.01))
        tensors["matrix"][7] += 1  # the tensor's version tells
    for _ in range(3):
        check(trail, tensors, scaled(tensors, 1.01))
        tensors["matrix"].data.mul_(2)  # and where it does not, a look at the elements
    for _ in range(3):
        check(trail, tensors, scaled(tensors, 1.01))
        tensors["matrix"] = torch.randn(4, 3)


def test_a_step_that_never_ended_leaves_nothing() -> None:
    tensors, trail = weights(), Trail(CPU)
    for _ in range(3):
        check(trail, tensors, scaled(tensors, 1.01))
    trail.mark(list(tensors.values()))
    scaled(tensors, 5)()
    trail.begin(unfinished=True)
    check(trail, tensors, scaled(tensors, 1.01))


def test_of_nothing_there_is_nothing() -> None:
    trail = Trail(CPU)
    trail.mark([])
    assert all(len(part) == 0 for part in trail.way())


def test_what_is_not_finite_shows() -> None:
    tensors, trail = {"a": torch.ones(3000), "b": torch.ones(2)}, Trail(CPU)
    trail.mark(list(tensors.values()))
    tensors["a"][2000], tensors["b"][0] = torch.nan, torch.inf
    found = trail.way()
    np.testing.assert_array_equal(found.moved.numpy(), [np.nan, np.inf])
    np.testing.assert_array_equal(found.now.numpy(), [np.nan, np.inf])


@pytest.mark.parametrize(
    ("shape", "draw", "error"),
    [
        ((512, 512), lambda g, t: torch.randn(t.shape, generator=g), 0.0055),
        ((300, 700), lambda g, t: torch.randn(t.shape, generator=g) ** 3, 0.027),  # kurtosis 46
        ((4096, 64), lambda g, t: torch.randn(t.shape, generator=g) * (torch.rand(4096, 1, generator=g) < 0.25), 0.035),
        ((4096, 1024), lambda g, t: torch.randn(t.shape, generator=g), 0.0028),
    ],
    ids=["normal", "heavy tails", "a quarter of the rows", "larger"],
)
def test_the_way_of_a_large_tensor_is_told_within_its_error(
    shape: tuple[int, int], draw: Callable[[torch.Generator, Tensor], Tensor], error: float
) -> None:
    """√((κ − 1)/16384)/2 where elements are independent; rows that stand still come in runs of the sample's 32."""
    errors = []
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        tensors, trail = {"matrix": torch.randn(shape, generator=generator)}, Trail(CPU)
        for _ in range(2):  # the second follows on the first
            step = 1e-3 * draw(generator, tensors["matrix"])
            before = tensors["matrix"].double().norm()
            trail.mark(list(tensors.values()))
            tensors["matrix"] += step
            found = trail.way()
            errors.append(float(found.moved[0] / step.double().norm()) - 1)
            assert float(found.before[0]) == pytest.approx(float(before), rel=1e-4)
            assert float(found.now[0]) == pytest.approx(float(tensors["matrix"].double().norm()), rel=1e-4)
    assert 0.5 * error < np.sqrt(np.mean(np.square(errors))) < 1.3 * error
    assert np.abs(errors).max() < 4 * error


def test_what_is_written_to_a_large_tensor_between_steps_is_not_the_steps() -> None:
    generator = torch.Generator().manual_seed(0)
    tensors, trail = {"matrix": torch.randn(400, 300, generator=generator)}, Trail(CPU)
    for _ in range(3):
        trail.mark(list(tensors.values()))
        tensors["matrix"].mul_(1.01)
        moved = tensors["matrix"].double().norm() * 0.01 / 1.01
        assert float(trail.way().moved[0]) == pytest.approx(float(moved), rel=0.03)
        trail.begin(unfinished=False)
        tensors["matrix"].data.mul_(2)


def test_a_parameter_that_lies_elsewhere_after_the_step_is_followed_and_one_of_another_size_is_not() -> None:
    generator = torch.Generator().manual_seed(0)
    tensors, trail = {"matrix": torch.randn(400, 300, generator=generator), "few": torch.ones(5)}, Trail(CPU)

    def replace() -> None:
        for tensor in tensors.values():
            tensor.data = tensor * 1.1

    for _ in range(3):
        trail.mark(list(tensors.values()))
        before = [float(tensor.double().norm()) for tensor in tensors.values()]
        replace()
        found = trail.way()
        np.testing.assert_allclose(found.moved.numpy(), [0.1 * size for size in before], rtol=0.03)
        np.testing.assert_allclose(found.now.numpy(), [1.1 * size for size in before], rtol=1e-5)
    trail.mark(list(tensors.values()))
    where_it_was = tensors["few"].data
    tensors["few"].data = torch.ones(6)
    with pytest.raises(ValueError, match="another size"):
        trail.way()
    assert not trail.holds(), f"what lies in {where_it_was.data_ptr()} is looked at no more"


def test_the_kernel_takes_over_between_two_steps_and_within_one(monkeypatch: pytest.MonkeyPatch) -> None:
    library = kernels.library
    for arrives in (1, 2, 3):
        tensors, trail = {"matrix": torch.ones(400, 300), "few": torch.ones(5)}, Trail(CPU)
        for step in range(5):
            monkeypatch.setattr(kernels, "library", library if step > arrives else None)
            trail.mark(list(tensors.values()))
            monkeypatch.setattr(kernels, "library", library if step >= arrives else None)
            before = tensors["matrix"].double().norm()
            scaled(tensors, 0.5)()
            found = trail.way()
            np.testing.assert_allclose(found.moved.numpy(), [float(before) / 2, 5**0.5 * 0.5 ** (step + 1)], rtol=1e-5)
