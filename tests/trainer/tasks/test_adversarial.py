"""What critics and generators are asked, and what is measured of them, against formulas written out."""

import numpy as np
import torch

from trainer.tasks import adversarial


def _scores() -> tuple[torch.Tensor, torch.Tensor]:
    real, fake = torch.randn(2, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return real, fake


def test_the_objectives_are_those_of_the_papers() -> None:
    real, fake = _scores()
    x, y = real.numpy(), fake.numpy()
    assert np.isclose(float(adversarial.critic_loss("wasserstein", real, fake)), y.mean() - x.mean())
    assert np.isclose(float(adversarial.generator_loss("wasserstein", fake)), -y.mean())
    data, sample = 1 / (1 + np.exp(-x)), 1 / (1 + np.exp(-y))
    expected = -np.log(data).mean() - np.log(1 - sample).mean()
    assert np.isclose(float(adversarial.critic_loss("non_saturating", real, fake)), expected)
    assert np.isclose(float(adversarial.generator_loss("non_saturating", fake)), -np.log(sample).mean())


def test_the_energy_distance_is_its_definition_pair_by_pair() -> None:
    source = np.random.default_rng(0)
    x, y = source.normal(size=(5, 2, 3)), source.normal(size=(4, 2, 3)) + 1

    def mean_distance(first: np.ndarray, second: np.ndarray) -> float:
        return float(np.mean([np.linalg.norm((a - b).ravel()) for a in first for b in second]))

    expected = np.sqrt(2 * mean_distance(x, y) - mean_distance(x, x) - mean_distance(y, y))
    measured = adversarial.energy_distance(torch.from_numpy(x), torch.from_numpy(y))
    assert np.isclose(float(measured), expected, rtol=1e-6)
    assert float(adversarial.energy_distance(torch.from_numpy(x), torch.from_numpy(x))) < 1e-6


def test_a_mode_is_hit_by_a_sample_within_three_deviations() -> None:
    centres = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    spreads = torch.tensor([1.0, 1.0, 0.1])
    samples = torch.tensor([[0.0, 2.9], [7.1, 0.0], [0.0, 9.6], [100.0, 100.0]])
    assert int(adversarial.modes_hit(samples, centres, spreads)) == 2
