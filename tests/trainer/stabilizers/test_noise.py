import pytest
import torch

from gyrostat.spec.noise import InputNoise, MultiplicativeNoise
from trainer.stabilizers.noise import INPUT_NOISES


def noisy(settings, x, seed=0):
    return INPUT_NOISES.of(settings)(settings, x, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("sigma", [0.05, 0.5, 2.0])
def test_input_noise_has_its_variance_whatever_the_input_is(sigma):
    x = torch.linspace(-5, 5, 40_000)
    added = noisy(InputNoise(sigma=sigma), x) - x
    assert added.var().item() == pytest.approx(sigma**2, rel=0.05)
    assert added.mean().item() == pytest.approx(0, abs=0.03 * sigma)
    for half in added.chunk(2):
        assert half.var().item() == pytest.approx(sigma**2, rel=0.05)


@pytest.mark.parametrize("sigma", [0.05, 0.5])
def test_multiplicative_noise_has_a_variance_in_proportion_to_the_input_s_square(sigma):
    for size in (0.1, 1.0, -7.0):
        changed = noisy(MultiplicativeNoise(sigma=sigma), torch.full((40_000,), size))
        assert changed.var().item() == pytest.approx((sigma * size) ** 2, rel=0.05)
        assert changed.mean().item() == pytest.approx(size, abs=0.03 * sigma * abs(size))
    assert noisy(MultiplicativeNoise(sigma=sigma), torch.zeros(10)).tolist() == [0] * 10


@pytest.mark.parametrize("settings", [InputNoise(), MultiplicativeNoise()], ids=lambda settings: settings.kind)
def test_noise_is_a_function_of_the_seed_in_the_input_s_type(settings):
    for dtype in (torch.float32, torch.float64):
        x = torch.ones(8, 3, dtype=dtype)
        assert noisy(settings, x).dtype == dtype
        assert torch.equal(noisy(settings, x, 1), noisy(settings, x, 1))
        assert not torch.equal(noisy(settings, x, 1), noisy(settings, x, 2))
