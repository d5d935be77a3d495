"""Diffusion noise against the published formulas in float64, and the sampler against a model that knows the answer."""

import numpy as np
import pytest
import torch

from gyrostat.spec.diffusion import CosineNoise, LinearNoise, NoiseSchedule
from trainer.stabilizers import diffusion


def test_the_linear_schedule_is_that_of_the_paper() -> None:
    betas = np.linspace(1e-4, 0.02, 1000)
    kept = diffusion.kept(LinearNoise(timesteps=1000)).numpy()
    np.testing.assert_allclose(kept, np.cumprod(1 - betas), rtol=1e-12)


def test_the_cosine_schedule_is_that_of_the_paper() -> None:
    t = np.arange(401) / 400
    f = np.cos((t + 0.008) / 1.008 * np.pi / 2) ** 2
    kept = diffusion.kept(CosineNoise(timesteps=400)).numpy()
    np.testing.assert_allclose(kept[:-1], (f / f[0])[1:-1], rtol=1e-9)
    np.testing.assert_allclose(kept[-1], kept[-2] * 0.001, rtol=1e-9)  # the last β would be 1, and is 0.999


@pytest.mark.parametrize("settings", [LinearNoise, CosineNoise])
@pytest.mark.parametrize("timesteps", [10, 25, 200, 10_000])
def test_every_step_leaves_less_and_the_last_nearly_nothing(settings: type[NoiseSchedule], timesteps: int) -> None:
    kept = diffusion.kept(settings(timesteps=timesteps))
    assert kept.shape == (timesteps,)
    assert (kept.diff() < 0).all()
    assert 0 < kept[-1] < 1e-3
    assert kept[0] < 1


@pytest.mark.parametrize("settings", [LinearNoise(timesteps=50), CosineNoise(timesteps=50)])
def test_data_of_variance_one_keeps_it_at_every_step(settings: NoiseSchedule) -> None:
    source = torch.Generator().manual_seed(0)
    kept = diffusion.kept(settings)
    data, noise = torch.randn(2, 50, 4000, dtype=torch.float64, generator=source)
    noisy = diffusion.noised(data, noise, kept)
    assert (noisy.var(1) - 1).abs().max() < 0.12  # 5 standard errors of a variance of 4000 values
    signal = (noisy * data).mean(1) / data.square().mean(1)
    assert (signal - kept.sqrt()).abs().max() < 0.08


def test_the_sampler_finds_the_data_where_the_model_knows_it() -> None:
    kept = diffusion.kept(CosineNoise(timesteps=100))
    target = torch.linspace(-0.9, 0.9, 6, dtype=torch.float64).reshape(3, 2)

    def knows(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        share = kept[t].reshape(-1, 1)
        return (x - share.sqrt() * target) / (1 - share).sqrt()

    noise = torch.randn(20, 3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(diffusion.denoised(knows, noise, kept, limit=1.0), target)


def test_over_all_steps_the_sampler_is_the_ancestral_one() -> None:
    kept = diffusion.kept(LinearNoise(timesteps=30))
    noise = torch.randn(30, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))

    def predict(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return 0.3 * x + 0.01 * t.reshape(-1, 1)

    # Ho et al. 2020, algorithm 2, with the variance of eq. 7, written out
    alphas = torch.cat([kept[:1], kept[1:] / kept[:-1]])
    before = torch.cat([torch.ones(1, dtype=torch.float64), kept[:-1]])
    x = noise[0]
    for place, t in enumerate(range(29, -1, -1)):
        epsilon = predict(x, torch.full((2,), t))
        mean = (x - (1 - alphas[t]) / (1 - kept[t]).sqrt() * epsilon) / alphas[t].sqrt()
        variance = (1 - before[t]) / (1 - kept[t]) * (1 - alphas[t])
        x = mean if t == 0 else mean + variance.sqrt() * noise[place + 1]
    torch.testing.assert_close(diffusion.denoised(predict, noise, kept, limit=1e9), x)
