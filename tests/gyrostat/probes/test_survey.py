"""Against numpy in float64: sizes exactly, samples by the error that they state."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gyrostat.probes.activations import Activations
from gyrostat.probes.native import kernels
from gyrostat.probes.network import Network
from gyrostat.probes.survey import SAMPLE, powers, sample_of, size_of
from gyrostat.spec.probes import ActivationsProbe

SHAPES = [(256, 512, 1), (64, 16, 1024), (70, 33, 49), (3, 5, 5000), (9000, 7, 1), (2, 40_000, 1), (1200, 1024, 1)]


@pytest.fixture
def _no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "library", None)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.0), (1e-4, 0.0), (1e6, 0.0), (1.0, 100.0), (0.0, 0.0)])
def test_sizes_are_those_of_all_elements(shape: tuple[int, int, int], scale: float, shift: float) -> None:
    array = (np.random.default_rng(0).normal(size=shape) * scale + shift).astype(np.float32)
    found, x = size_of(array), array.astype(np.float64)
    assert found is not None
    assert found.total == pytest.approx(x.sum(), abs=1e-6 * np.abs(x).sum())
    np.testing.assert_allclose(found.squares, (x**2).sum((0, 2)), rtol=1e-5)
    assert found.largest == np.abs(x).max()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e-20, -1e20])
@pytest.mark.parametrize("at", [0, -1])
def test_what_these_passes_cannot_tell_they_do_not(value: float, at: int) -> None:
    array = np.full((5000, 300, 1), 0.0, dtype=np.float32)
    array[at, at] = value
    assert size_of(array) is None


@pytest.mark.parametrize(
    "shape", [*SHAPES, (64, 64, 64), (8, 128, 257), (1, 16, 50_176), (1024, 256, 1), (64, 512, 49)]
)
def test_a_sample_has_as_much_of_every_channel_from_all_over_the_output(shape: tuple[int, int, int]) -> None:
    positions = np.arange(np.prod(shape)).reshape(shape)[sample_of(*shape)]
    outer, channels, inner = shape
    assert positions.shape[1] == channels
    assert SAMPLE / 2 <= positions.size <= max(2.5 * SAMPLE, 20 * channels)
    for place, length in ((positions // (channels * inner), outer), (positions % inner, inner)):
        ends = place.min(), length - 1 - place.max()
        assert max(ends) <= max(length / 4, 1), (ends, length)
    if inner in (1024, 64, 50_176):  # of images no column is left out or seen alone
        columns = np.unique(positions % inner % int(inner**0.5))
        assert len(columns) >= min(4, positions.shape[2])


@pytest.mark.parametrize("mean", [0.0, 1.0, 100.0])
def test_powers_keep_central_moments(mean: float) -> None:
    samples = np.random.default_rng(1).normal(mean, 1, size=(3, 9001)).astype(np.float32)
    m1, m2, m3, m4 = powers(samples, np.full(3, mean + 0.01)).T
    away = samples.astype(np.float64) - samples.astype(np.float64).mean(1, keepdims=True)
    np.testing.assert_allclose(m2 - m1**2, (away**2).mean(1), rtol=1e-5)
    fourth = m4 - 4 * m1 * m3 + 6 * m1**2 * m2 - 3 * m1**4
    np.testing.assert_allclose(fourth, (away**4).mean(1), rtol=1e-4)


def probe(*modules: nn.Module) -> Activations:
    model = nn.Sequential(*modules)
    return Activations(ActivationsProbe(window=2), Network(model, torch.optim.SGD([nn.Parameter(torch.ones(1))])))


def measured(of: Activations, *outputs: Tensor) -> dict[str, np.ndarray]:
    of.begin()
    for output in outputs:
        of.output(0, output)
    return {name.removeprefix("activation."): torch.as_tensor(v).numpy() for name, v in of.after_backward().items()}


def normal(seed: int) -> Tensor:
    return torch.randn(2048, 96, generator=torch.Generator().manual_seed(seed))


@pytest.mark.usefixtures("_no_compiler")
@pytest.mark.parametrize(
    ("metric", "draw", "error", "truth"),
    [
        ("zero_fraction", lambda seed: normal(seed).relu(), 0.0055, lambda x: (x == 0).mean()),
        ("kurtosis", normal, (24 / SAMPLE) ** 0.5, lambda x: (x**4).mean() / (x**2).mean() ** 2),
        ("saturated_fraction", lambda seed: normal(seed).tanh(), 0.0016, lambda x: (np.abs(x) >= 0.98).mean()),
    ],
)
def test_estimates_of_independent_elements_meet_the_error_that_they_state(
    metric: str, draw: Callable[[int], Tensor], error: float, truth: Callable[[np.ndarray], float]
) -> None:
    module = nn.Tanh()
    errors = []
    for seed in range(40):
        output = draw(seed)
        errors.append((measured(probe(module), output)[metric][0] - truth(output.double().numpy())) / error)
    assert np.abs(errors).max() < 4
    assert 0.6 < np.sqrt(np.mean(np.square(errors))) < 1.3


@pytest.mark.usefixtures("_no_compiler")
def test_images_with_a_border_and_sequences_with_an_odd_start_are_seen_in_their_proportions() -> None:
    images = torch.ones(64, 16, 32, 32)
    images[..., 0] = images[..., 0, :] = images[..., -1] = images[..., -1, :] = 0
    assert measured(probe(nn.Conv2d(1, 1, 1)), images)["zero_fraction"][0] == pytest.approx(124 / 1024, abs=0.03)
    sequences = torch.ones(8, 128, 300)
    sequences[:, :16] = 0
    assert measured(probe(nn.Linear(1, 1)), sequences)["zero_fraction"][0] == pytest.approx(1 / 8, abs=0.05)


@pytest.mark.usefixtures("_no_compiler")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_sizes_outliers_and_dead_units_are_exact_over_all_calls(dtype: torch.dtype) -> None:
    draw = np.random.default_rng(2).normal
    calls = [torch.tensor(draw(size=(n, 512))).relu().to(dtype) for n in (300, 300, 5, 290)]
    for call in calls:
        call[:, :40] = 0
        call[:, 50] *= 20
    calls[3][0, 0] = 1
    found = measured(probe(nn.Linear(1, 1)), *calls)
    x = np.concatenate([call.double().numpy() for call in calls])
    rms = np.sort(np.sqrt((x**2).mean(0)))
    for metric, truth in {
        "mean": x.mean(), "rms": np.sqrt((x**2).mean()), "max_abs": x.max(), "nonfinite_count": 0,
        "outlier_channels": rms[-1] / rms[255], "dead_fraction": 39 / 512,
    }.items():  # fmt: skip
        assert found[metric][0] == pytest.approx(truth, rel=1e-5), metric


@pytest.mark.usefixtures("_no_compiler")
def test_a_large_output_that_is_not_finite_tells_and_counts() -> None:
    output = normal(0)
    output[2000, 90], output[7, 7] = torch.nan, -torch.inf
    found = measured(probe(nn.Linear(1, 1)), output)
    assert found["nonfinite_count"][0] == 2
    assert np.isnan(found["max_abs"][0])
    assert found["zero_fraction"][0] == 0


@pytest.mark.usefixtures("_no_compiler")
def test_more_calls_than_are_held_add_up() -> None:
    found = measured(probe(nn.Linear(1, 1)), *[torch.full((40, 1024), float(n)) for n in range(150)])
    assert found["mean"][0] == pytest.approx(74.5)
    assert found["max_abs"][0] == 149
    assert found["zero_fraction"][0] == pytest.approx(1 / 150)


def test_the_kernel_takes_over_what_is_known_of_silent_units(monkeypatch: pytest.MonkeyPatch) -> None:
    kernels.prepare(wait=True)
    library = kernels.library
    if library is None:
        pytest.skip("there is no C compiler")
    output = normal(0)
    output[:, :24] = 0
    monkeypatch.setattr(kernels, "library", None)
    of = probe(nn.Linear(1, 1))
    assert measured(of, normal(1))["dead_fraction"][0] == 0
    assert measured(of, output)["dead_fraction"][0] == 0
    monkeypatch.setattr(kernels, "library", library)
    assert measured(of, output)["dead_fraction"][0] == 0.25
    assert of.state_dict()["measured"] == {"0": 3}
