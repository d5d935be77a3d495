import math

import numpy
import pytest
import torch

from gyrostat.spec.curriculum import LengthCurriculum, LossCurriculum, NoiseCurriculum
from trainer.stabilizers.curriculum import fraction, sample_scores, window_scores


def draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("pacing", "halfway"), [("linear", 0.6), ("root", math.sqrt(0.04 + 0.96 / 2)), ("step", 0.2)])
def test_the_pool_grows_as_its_pacing_says(pacing, halfway):
    settings = LossCurriculum(pacing=pacing, start_fraction=0.2, steps=100)
    parts = [fraction(settings, step, 1000) for step in range(130)]
    assert parts[0] == pytest.approx(0.2)
    assert parts[50] == pytest.approx(halfway)
    assert parts[100:] == [1.0] * 30
    assert parts == sorted(parts)


def test_without_a_number_of_steps_the_pool_is_whole_from_the_middle_of_the_run_on():
    parts = [fraction(LossCurriculum(), step, 60) for step in range(60)]
    assert parts[29] < 1 == parts[30] == parts[-1]
    assert fraction(LossCurriculum(), 0, 1) < 1


def test_the_teacher_s_loss_is_that_of_a_ridge_regression():
    x, y = torch.randn(40, 2, 3, generator=draw()), torch.randint(3, (40,), generator=draw(1))
    design = numpy.column_stack([x.flatten(1).double().numpy(), numpy.ones(40)])
    aims = numpy.eye(3)[y.numpy()]
    # the penalty as further rows of a plain least-squares problem
    rows = numpy.vstack([design, math.sqrt(0.1 * 40) * numpy.eye(7)])
    weights = numpy.linalg.lstsq(rows, numpy.vstack([aims, numpy.zeros((7, 3))]), rcond=None)[0]
    wanted = ((design @ weights - aims) ** 2).mean(1)
    assert sample_scores(LossCurriculum(), x, y).numpy() == pytest.approx(wanted, rel=1e-9)


def test_wrong_labels_are_difficult():
    centres = torch.tensor([[-3.0, 0.0], [3.0, 0.0]])
    y = torch.arange(200) % 2
    x = centres[y] + torch.randn(200, 2, generator=draw())
    wrong = y.clone()
    wrong[:20] = 1 - wrong[:20]
    hardest = sample_scores(LossCurriculum(), x, wrong).argsort(descending=True)[:20]
    assert (hardest < 20).float().mean() > 0.9


def test_more_inputs_than_the_teacher_takes_are_projected():
    x, y = torch.randn(30, 3, 24, 24, generator=draw()), torch.randn(30, 2, generator=draw(1))
    scores = sample_scores(LossCurriculum(), x, y)
    assert scores.shape == (30,)
    assert scores.isfinite().all()
    assert torch.equal(scores, sample_scores(LossCurriculum(), x, y))


def test_the_noise_of_images_is_measured_in_its_own_unit():
    slope = torch.arange(64.0).view(1, 1, 1, 64).expand(1, 2, 64, 64) / 10
    for sigma in (0.1, 1.0):
        noisy = slope + sigma * torch.randn(4, 2, 64, 64, generator=draw())
        assert sample_scores(NoiseCurriculum(), noisy, torch.zeros(4)).tolist() == pytest.approx([sigma] * 4, rel=0.05)
    assert sample_scores(NoiseCurriculum(), slope, torch.zeros(1)).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("length", [1, 2, 7])
def test_the_length_of_a_window_is_its_number_of_different_tokens(length):
    tokens = torch.randint(5, (60,), generator=draw())
    wanted = [len(set(tokens[start : start + length].tolist())) for start in range(60 - length)]
    assert window_scores(LengthCurriculum(), tokens, length).tolist() == wanted


def test_the_loss_of_a_window_is_that_of_its_bigrams():
    tokens = torch.randint(4, (50,), generator=draw())
    pairs = list(zip(tokens.tolist(), tokens.tolist()[1:], strict=False))
    size, length = max(tokens.tolist()) + 1, 6

    def surprise(pair: tuple[int, int]) -> float:
        before = sum(first == pair[0] for first, _ in pairs)
        return -math.log((pairs.count(pair) + 1) / (before + size))

    wanted = [sum(map(surprise, pairs[start : start + length])) / length for start in range(50 - length)]
    assert window_scores(LossCurriculum(), tokens, length).tolist() == pytest.approx(wanted)
