"""Against numpy in float64: what all elements tell exactly, samples by the error that they state."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gyrostat.probes.activations import Activations
from gyrostat.probes.footprint import held_bytes
from gyrostat.probes.native import kernels
from gyrostat.probes.network import Network
from gyrostat.probes.survey import SAMPLE, WHOLE, Sample, look_at, sample_of
from gyrostat.spec.probes import ActivationsProbe

SHAPES = [
    (256, 512, 1), (64, 16, 1024), (70, 33, 49), (3, 5, 5000), (9000, 7, 1), (2, 40_000, 1), (1200, 1024, 1),
    (64, 64, 64), (8, 128, 257), (1, 16, 50_176), (1024, 256, 1), (64, 512, 49), (1024, 8, 32), (40, 4096, 1),
]  # fmt: skip


@pytest.fixture
def _no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "library", None)


def table_of(array: np.ndarray, sample: Sample) -> np.ndarray:
    """(positions, channels), as the sample lies."""
    strides = [array.itemsize * stride for stride in sample.strides]
    view = np.lib.stride_tricks.as_strided(array.reshape(-1)[sample.offset :], sample.shape, strides)
    return view.reshape(sample.positions, -1)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_sample_has_as_much_of_every_channel_from_all_over_the_output(shape: tuple[int, int, int]) -> None:
    outer, channels, inner = shape
    sample = sample_of(*shape)
    places = table_of(np.arange(np.prod(shape)), sample)
    assert places.max() < np.prod(shape)
    assert len(np.unique(places)) == places.size
    assert places.shape[1] == channels
    assert SAMPLE / 2 <= places.size <= 2.5 * max(SAMPLE, 16 * channels)
    here = places // inner % channels
    assert (here == here[0]).all()
    found = here[0].reshape(-1, channels if sample.order is None else channels // len(sample.order))
    in_order = found if sample.order is None else found[list(sample.order)]
    np.testing.assert_array_equal(in_order.reshape(-1), np.arange(channels))
    for place, length in ((places // (channels * inner), outer), (places % inner, inner)):
        ends = place.min(), length - 1 - place.max()
        assert max(ends) <= max(length / 3, 1), (ends, length)
    if inner in (1024, 64, 50_176):  # of images no column is left out or seen alone
        assert len(np.unique(places % inner % int(inner**0.5))) == int(inner**0.5)
    if (
        inner == 1 and outer > 2 * sample.positions
    ):  # hardly a row is seen twice by the same channels, and most are seen
        assert len(np.unique(places // channels)) >= min(outer / 2, places.size / 16)


@pytest.mark.parametrize("shape", [(8, 768, 25), (2048, 144, 100), (36, 200, 36), (256, 1024, 16), *SHAPES])
def test_a_sample_has_the_size_that_its_errors_are_stated_for(shape: tuple[int, int, int]) -> None:
    sample = sample_of(*shape)
    assert sample.positions >= min(12, shape[0] * shape[2])
    assert sample.positions * shape[1] >= 0.7 * SAMPLE


@pytest.mark.parametrize("shape", [(256, 512, 1), (64, 16, 1024), (70, 33, 49), (30, 64, 1), (5, 8, 100)])
@pytest.mark.parametrize("mean", [0.0, 1.0, 100.0])
def test_what_is_looked_at_is_what_numpy_finds_in_float64(shape: tuple[int, int, int], mean: float) -> None:
    draw, sample = np.random.default_rng(1), sample_of(*shape)
    outputs = [draw.normal(mean, 1, size=shape).astype(np.float32) for _ in range(20)]
    for output in outputs:
        output[:, 3] = 0
    found = look_at(np.stack([table_of(output, sample) for output in outputs]), sample)
    for at, output in enumerate(outputs):
        x = table_of(output, sample).astype(np.float64)
        m1, m2, m3, m4 = found.powers[at]
        assert m1 == pytest.approx(x.mean(), rel=1e-5, abs=1e-6)
        assert m2 - m1**2 == pytest.approx(x.var(), rel=1e-5)
        fourth = m4 - 4 * m1 * m3 + 6 * m1**2 * m2 - 3 * m1**4
        assert fourth == pytest.approx(((x - x.mean()) ** 4).mean(), rel=1e-4)
        assert found.zeros[at] == (x == 0).mean()
        squares, channels = (x**2).sum(0), table_of(np.arange(np.prod(shape)), sample)[0] // shape[2] % shape[1]
        np.testing.assert_allclose(found.squares[at, channels], squares, rtol=1e-5)
        np.testing.assert_array_equal(found.alive[at, channels], squares != 0)
        expected = 0 if sample.whole else len(x) * ((x**4).mean() - ((x**2).mean(0) ** 2).mean())
        assert found.variances[at] == pytest.approx(expected, rel=0.01)  # a difference of float32


def probe(*modules: nn.Module) -> Activations:
    model = nn.Sequential(*modules)
    return Activations(ActivationsProbe(window=2), Network(model, torch.optim.SGD([nn.Parameter(torch.ones(1))])))


def measured(of: Activations, *outputs: Tensor) -> dict[str, np.ndarray]:
    of.begin()
    for output in outputs:
        of.output(0, output)
    return {name.removeprefix("activation."): torch.as_tensor(v).numpy() for name, v in of.after_backward().items()}


def truth(outputs: Sequence[Tensor], axis: int = 1) -> dict[str, float]:
    """Of all elements, channels along `axis`."""
    tables = [output.double().numpy() for output in outputs]
    x = np.concatenate([np.moveaxis(table, axis, 0).reshape(table.shape[axis], -1) for table in tables], axis=1)
    rms, away = np.sort(np.sqrt((x**2).mean(1))), x - x.mean()
    return {
        "mean": x.mean(), "rms": np.sqrt((x**2).mean()), "max_abs": np.abs(x).max(), "zero_fraction": (x == 0).mean(),
        "nonfinite_count": 0, "kurtosis": (away**4).mean() / (away**2).mean() ** 2,
        "dead_fraction": (x == 0).all(1).mean(), "outlier_channels": rms[-1] / rms[(len(rms) - 1) // 2],
    }  # fmt: skip


def assert_exact(found: dict[str, np.ndarray], outputs: Sequence[Tensor], axis: int = 1) -> None:
    for name, value in truth(outputs, axis).items():
        assert found[name][0] == pytest.approx(value, rel=1e-5, abs=1e-7), name


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape or (2048, 96), generator=torch.Generator().manual_seed(seed))


@pytest.mark.usefixtures("_no_compiler")
@pytest.mark.parametrize(
    ("metric", "draw", "error"),
    [
        ("mean", normal, SAMPLE**-0.5),
        ("rms", normal, (2 / (4 * SAMPLE)) ** 0.5),
        ("zero_fraction", lambda seed: normal(seed).relu(), 0.5 * SAMPLE**-0.5),
        ("kurtosis", normal, (24 / SAMPLE) ** 0.5),
        ("saturated_fraction", lambda seed: normal(seed).tanh(), 0.0016),
    ],
)
def test_estimates_of_independent_elements_meet_the_error_that_they_state(
    metric: str, draw: Callable[[int], Tensor], error: float
) -> None:
    of, errors = probe(nn.Tanh()), []
    measured(of, draw(40))
    for seed in range(40):
        output = draw(seed)
        saturated = float((output.double().abs() >= 0.98).double().mean())
        expected = (truth([output]) | {"saturated_fraction": saturated})[metric]
        errors.append((measured(of, output)[metric][0] - expected) / error)
    assert np.abs(errors).max() < 4
    assert 0.6 < np.sqrt(np.mean(np.square(errors))) < 1.3


@pytest.mark.usefixtures("_no_compiler")
@pytest.mark.parametrize("shape", [(256, 512), (1024, 256), (64, 16, 32, 32), (4096, 64)])
@pytest.mark.parametrize("spread", [0.0, 0.1, 0.3, 0.6])
@pytest.mark.parametrize("outlier", [1, 20])
def test_outlier_channels_meet_their_error(shape: tuple[int, ...], spread: float, outlier: int) -> None:
    of, errors = probe(nn.BatchNorm2d(1)), []
    for seed in range(12):
        scales = (spread * normal(seed + 100, shape[1])).exp()
        scales[5] *= outlier
        output = normal(seed, *shape) * scales.view(-1, *(1,) * (len(shape) - 2))
        expected = truth([output])["outlier_channels"]
        errors.append(measured(of, output)["outlier_channels"][0] / expected - 1)
    assert abs(errors[0]) < 1e-5  # the first is read as a whole
    assert np.sqrt(np.mean(np.square(errors[1:]))) < 1.25 * (shape[1] * 2 / (2 * SAMPLE)) ** 0.5


@pytest.mark.usefixtures("_no_compiler")
@pytest.mark.parametrize("shape", [(512, 128), (8, 64, 20, 20), (20, 100), (4, 8, 16), (1, 50_000), (1, 300), (3, 1)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_a_first_output_and_every_small_one_is_exact(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    of = probe(nn.BatchNorm2d(1))
    for seed in range(3):
        output = normal(seed, *shape).relu().to(dtype)
        found = measured(of, output)
        if seed == 0 or output.numel() <= WHOLE:
            for name, value in truth([output]).items():
                if name != "dead_fraction" and np.isfinite(value):  # which is of two steps
                    assert found[name][0] == pytest.approx(value, rel=1e-5), name
    assert found["max_abs"][0] == truth([output])["max_abs"]


@pytest.mark.usefixtures("_no_compiler")
def test_a_huge_element_or_token_is_not_missed() -> None:
    of = probe(nn.Linear(1, 1))
    measured(of, normal(0, 1024, 256))
    one, token = normal(1, 1024, 256), normal(2, 1024, 256)
    one[1000, 201] = 150
    token[::128, [3, 77]] *= 40
    for output in (one, token, one):
        assert_exact(measured(of, output), [output])
    calm = normal(3, 1024, 256)
    assert measured(of, calm)["kurtosis"][0] == pytest.approx(3, abs=0.2)


@pytest.mark.usefixtures("_no_compiler")
def test_heavy_tails_are_told_to_a_tenth() -> None:
    draw, of = np.random.default_rng(7), probe(nn.Linear(1, 1))
    for _ in range(20):
        output = torch.tensor(draw.standard_t(3, size=(1024, 256)), dtype=torch.float32)
        found, expected = measured(of, output), truth([output])
        assert found["rms"][0] == pytest.approx(expected["rms"], rel=0.1)
        assert found["max_abs"][0] == np.float32(expected["max_abs"])
        assert 0.3 < found["kurtosis"][0] / expected["kurtosis"] < 3


@pytest.mark.usefixtures("_no_compiler")
@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_an_output_that_changes_its_size_beyond_what_float32_holds_the_powers_of_is_exact(scale: float) -> None:
    of = probe(nn.Linear(1, 1))
    for size in (1.0, scale, scale, 1.0):
        output = size * normal(1, 512, 128)
        found = measured(of, output)
        assert found["rms"][0] == pytest.approx(truth([output])["rms"], rel=0.04)
        assert found["kurtosis"][0] == pytest.approx(3, abs=0.25)
        assert found["dead_fraction"][0] == 0


@pytest.mark.usefixtures("_no_compiler")
@pytest.mark.parametrize("shape", [(512, 256), (16, 64, 12, 12)])
def test_dead_units_are_those_of_all_elements(shape: tuple[int, ...]) -> None:
    of = probe(nn.BatchNorm2d(1))
    counts = np.zeros(shape[1], dtype=int)
    dead = [0, 0, 5, 9, 9, 9, 2, 2]
    for seed, silent in enumerate(dead):
        output = normal(seed, *shape).relu()
        output[:, :silent] = 0
        if silent == 9:
            output[3, 8] = 0.5  # one of its elements or positions: alive
        alive = np.moveaxis(output.numpy() != 0, 1, 0).reshape(shape[1], -1).any(1)
        counts = np.where(alive, 0, counts + 1)
        assert measured(of, output)["dead_fraction"][0] == (counts >= min(seed + 1, 2)).mean(), seed


@pytest.mark.usefixtures("_no_compiler")
def test_units_below_zero_are_alive() -> None:
    of = probe(nn.Linear(1, 1))
    output = normal(0, 1024, 64)
    output[:, :8] = 0
    measured(of, output)
    output[1023, 0] = -1
    assert measured(of, output)["dead_fraction"][0] == 7 / 64


@pytest.mark.usefixtures("_no_compiler")
def test_images_with_a_border_and_sequences_with_an_odd_start_are_seen_in_their_proportions() -> None:
    images = torch.ones(64, 16, 32, 32)
    images[..., 0] = images[..., 0, :] = images[..., -1] = images[..., -1, :] = 0
    of = probe(nn.Conv2d(1, 1, 1))
    for _ in range(2):
        assert measured(of, images)["zero_fraction"][0] == pytest.approx(124 / 1024, abs=0.03)
    sequences, of = torch.ones(8, 128, 300), probe(nn.Linear(1, 1))
    sequences[:, :16] = 0
    for _ in range(2):
        assert measured(of, sequences)["zero_fraction"][0] == pytest.approx(1 / 8, abs=0.02)


@pytest.mark.usefixtures("_no_compiler")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_channels_last_images_and_transposed_sequences_are_read_as_they_lie(dtype: torch.dtype) -> None:
    scales = torch.linspace(1, 3, 48)
    for forward in (
        lambda x: x.to(memory_format=torch.channels_last),
        lambda x: x.transpose(2, 3).contiguous().transpose(2, 3),
        lambda x: x[::2],
    ):
        of = probe(nn.Conv2d(1, 1, 1))
        for seed in range(2):
            output = forward((normal(seed, 40, 48, 16, 16) * scales.view(-1, 1, 1)).to(dtype))
            expected, found = truth([output]), measured(of, output)
            assert found["max_abs"][0] == expected["max_abs"]
            assert found["rms"][0] == pytest.approx(expected["rms"], rel=0.04)
            assert found["outlier_channels"][0] == pytest.approx(expected["outlier_channels"], rel=0.15)


@pytest.mark.usefixtures("_no_compiler")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_calls_of_a_step_count_as_one_output(dtype: torch.dtype) -> None:
    draw = np.random.default_rng(2).normal
    of = probe(nn.Linear(1, 1))
    for _ in range(2):
        calls = [torch.tensor(draw(size=(n, 512))).relu().to(dtype) for n in (300, 300, 5, 290)]
        for call in calls:
            call[:, :40] = 0
            call[:, 50] *= 5
        calls[3][0, 0] = 1
        found, expected = measured(of, *calls), truth(calls)
        for metric, error in {
            "mean": 0.03, "rms": 0.03, "max_abs": 0, "nonfinite_count": 0, "outlier_channels": 0.4, "dead_fraction": 0,
        }.items():  # fmt: skip
            assert found[metric][0] == pytest.approx(expected[metric], rel=error + 1e-7), metric


@pytest.mark.usefixtures("_no_compiler")
def test_a_large_output_that_is_not_finite_tells_and_counts() -> None:
    of = probe(nn.Linear(1, 1))
    for seed in range(3):
        output = normal(seed)
        if seed:
            output[2000, 90], output[7, 7] = torch.nan, -torch.inf
        found = measured(of, output)
        assert found["nonfinite_count"][0] == (2 if seed else 0)
        assert np.isnan(found["max_abs"][0]) == bool(seed)
        assert found["zero_fraction"][0] == 0
    assert_exact(measured(of, normal(9)), [normal(9)])


@pytest.mark.usefixtures("_no_compiler")
def test_more_calls_than_are_held_add_up() -> None:
    of = probe(nn.Linear(1, 1))
    for rows in (40, 20, 40):  # the second is small
        found = measured(of, *[torch.full((rows, 1024), float(n)) for n in range(150)])
        assert found["mean"][0] == pytest.approx(74.5)
        assert found["max_abs"][0] == 149
        assert found["zero_fraction"][0] == pytest.approx(1 / 150)


@pytest.mark.usefixtures("_no_compiler")
def test_lengths_that_come_once_are_not_kept() -> None:
    of = probe(nn.Linear(1, 1))
    for rows in range(300, 340):
        measured(of, normal(rows, rows, 256))
    assert 4 * SAMPLE < held_bytes([of]) < 2 * 16 * SAMPLE  # room for four samples, of the last length alone


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
