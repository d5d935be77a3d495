"""Noise against explicit gradients of single samples, closed forms, and its own expectation."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from gyrostat.probes import ProbeSession
from gyrostat.probes.gradient_noise import estimate
from gyrostat.probes.probe_batch import ProbeBatch
from gyrostat.wire.values import is_absent

Gradients = dict[str, np.ndarray[Any, Any]]


class Net(nn.Module):
    """A tied matrix, a frozen layer, one without gradient, a table with sparse gradients, and one number."""

    def __init__(self, *, sparse: bool = False) -> None:
        super().__init__()
        self.table = nn.Embedding(9, 4, sparse=sparse)
        self.mix = nn.Linear(4, 4, bias=False)
        self.frozen = nn.Linear(4, 4).requires_grad_(False)
        self.unused = nn.Linear(2, 2)
        self.gain = nn.Parameter(torch.tensor(0.5))
        self.again = nn.Linear(4, 4, bias=False)
        self.again.weight = self.mix.weight

    def forward(self, tokens: Tensor) -> Tensor:
        return self.again(torch.tanh(self.gain * self.frozen(self.mix(self.table(tokens)))))  # type: ignore[no-any-return]


def loss_of(model: nn.Module, tokens: Tensor, targets: Tensor) -> Tensor:
    return nn.functional.mse_loss(model(tokens), targets)


def drawn(samples: int, kind: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(9, (samples,), generator=generator), torch.randn(samples, 4, generator=generator, dtype=kind)


def per_sample(model: nn.Module, tokens: Tensor, targets: Tensor) -> Gradients:
    """(samples, elements) by parameter, each sample's own gradient, in float64."""
    twin = Net().double()
    twin.load_state_dict(model.state_dict())
    wanted = {n for n, p in model.named_parameters() if p.requires_grad and not n.startswith("unused")}
    parameters = {n: p.detach() for n, p in twin.named_parameters() if n in wanted}

    def of_one(values: dict[str, Tensor], token: Tensor, target: Tensor) -> Tensor:
        return nn.functional.mse_loss(functional_call(twin, values, (token.unsqueeze(0),)), target.unsqueeze(0))

    found = vmap(grad(of_one), in_dims=(None, 0, 0))(parameters, tokens, targets)
    return {n: g.reshape(len(tokens), -1).numpy() for n, g in found.items()}


def by_hand(singles: Gradients, sizes: list[int]) -> dict[str, tuple[float, float]]:
    """tr Σ and ‖μ‖² of each parameter from the groups' means, in the words of the sample covariance."""
    total = sum(sizes)
    found = {}
    for name, g in singles.items():
        groups = np.split(g, np.cumsum(sizes)[:-1])
        mean = g.mean(0)
        trace = sum(len(of) * ((of.mean(0) - mean) ** 2).sum() for of in groups) / (len(groups) - 1)
        found[name] = trace, (mean**2).sum() - trace / total
    return found


def check(sink: Any, step: int, expected: dict[str, tuple[float, float]], samples: int, rel: float) -> None:
    ratios = sink.at(step, "gradient.signal_to_noise")
    for name, ratio in ratios.items():
        if name in expected:
            trace, signal = expected[name]
            assert ratio == pytest.approx(signal * samples / trace, rel=rel, abs=rel), name
        else:
            assert is_absent(np.asarray(ratio))[()], name
    trace, signal = (sum(column) for column in zip(*expected.values(), strict=True))
    assert sink.frames[step]["gradient.noise_trace"][0] == pytest.approx(trace, rel=rel)
    assert sink.frames[step]["gradient.signal"][0] == pytest.approx(signal, rel=rel, abs=rel * trace / samples)


def accumulate(
    session: ProbeSession, step: int, model: nn.Module, data: tuple[Tensor, Tensor], sizes: list[int], scale: float = 1
) -> None:
    """A step's gradient from micro-batches of these sizes, with a loss scale that is taken out at its end."""
    session.begin_step(step)
    model.zero_grad()
    for part in zip(*(tensor.split(sizes) for tensor in data), strict=True):
        (loss_of(model, *part) * (len(part[0]) / sum(sizes)) * scale).backward()
        session.after_micro_batch(len(part[0]), scale=torch.tensor(scale))
    for parameter in model.parameters():
        if parameter.grad is not None:
            parameter.grad /= scale
    session.after_backward()
    session.after_update()
    session.end_step({}, epoch=0)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("sizes", [[1] * 12, [3] * 4, [5, 4, 3], [10, 2]])
def test_micro_batches_give_the_covariance_of_explicit_per_sample_gradients(
    sink: Any, only: Any, sizes: list[int], sparse: bool
) -> None:
    torch.manual_seed(0)
    model, data = Net(sparse=sparse).double(), drawn(12)
    expected = by_hand(per_sample(model, *data), sizes)
    session = ProbeSession(model, torch.optim.SGD(model.parameters()), only("gradient_noise"), sink=sink, scalars=[])
    with session:
        accumulate(session, 1, model, data, sizes, scale=2.0**10)
    assert not sink.events
    check(sink, 1, expected, 12, 1e-6)
    trace, signal = (sum(column) for column in zip(*expected.values(), strict=True))
    scale = sink.frames[1]["gradient.noise_scale"]
    if signal > 0:
        assert scale[0] == pytest.approx(trace / signal, rel=1e-5)
    else:
        assert is_absent(scale)[0]


@pytest.mark.parametrize(("number_format", "rel"), [(torch.float32, 1e-4), (torch.bfloat16, 0.1)])
def test_micro_batches_in_fewer_digits(sink: Any, only: Any, number_format: torch.dtype, rel: float) -> None:
    torch.manual_seed(0)
    model = Net().to(number_format)
    data = drawn(12, number_format)
    expected = by_hand(per_sample(model, data[0], data[1].double()), [3] * 4)
    session = ProbeSession(model, torch.optim.SGD(model.parameters()), only("gradient_noise"), sink=sink, scalars=[])
    with session:
        accumulate(session, 1, model, data, [3] * 4)
    trace = sum(trace for trace, _ in expected.values())
    assert sink.frames[1]["gradient.noise_trace"][0] == pytest.approx(trace, rel=rel)


@pytest.mark.parametrize(("samples", "sizes"), [(16, [2] * 8), (19, [2, 2, 3, 2, 2, 3, 2, 3]), (5, [2, 3])])
def test_without_micro_batches_parts_of_the_probe_batch_are_compared_and_nothing_is_touched(
    sink: Any, only: Any, run_step: Callable[..., Tensor], samples: int, sizes: list[int]
) -> None:
    torch.manual_seed(0)
    model, data = Net().double(), drawn(samples)
    batch = ProbeBatch(tensors=lambda: data, loss_of=lambda part: loss_of(model, *part))
    expected = by_hand(per_sample(model, *data), sizes)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    settings = only("gradient_noise")
    with ProbeSession(model, optimizer, settings, sink=sink, scalars=["loss.train"], probe_batch=batch) as session:
        run_step(session, 1, model, optimizer, lambda: loss_of(model, *drawn(3)))
        mine = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    check(sink, 1, expected, samples, 1e-6)
    assert set(mine) == set(expected), "its own passes leave no gradient"


def test_one_micro_batch_and_no_probe_batch_say_nothing(sink: Any, only: Any, run_step: Callable[..., Tensor]) -> None:
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with ProbeSession(model, optimizer, only("gradient_noise"), sink=sink, scalars=["loss.train"]) as session:
        run_step(session, 1, model, optimizer, lambda: loss_of(model, *drawn(4, torch.float32)))
        accumulate(session, 2, model, drawn(4, torch.float32), [4])
    assert {frozenset(frame) for frame in sink.frames.values()} == {frozenset({"loss.train"})}
    assert not sink.events


@pytest.mark.parametrize(("sizes", "samples"), [([2, 2, 2, 2], 8), ([1, 3, 4], 8), ([2, 2], 16), ([4], 16)])
def test_both_estimates_are_right_on_average_whatever_the_parts_and_when_not_all_are_seen(
    sizes: list[int], samples: int
) -> None:
    deviations, mean = np.array([1.0, 2.0, 0.5]), np.array([0.3, -0.2, 0.0])
    rng = np.random.default_rng(0)
    repeats = 20_000
    g = mean + deviations * rng.standard_normal((repeats, samples, 3))
    ends = np.cumsum([0, *sizes])
    groups = [(g[:, a:b].mean(1) ** 2).sum(-1) for a, b in pairwise(ends)]
    whole = (g.mean(1) ** 2).sum(-1)
    found = estimate(torch.tensor(np.stack(groups)), sizes, torch.tensor(whole), samples)
    for values, true, most in ((found.trace, (deviations**2).sum(), 0.1), (found.signal, (mean**2).sum(), 0.01)):
        error = float(values.std()) / np.sqrt(repeats)
        assert float(values.mean()) == pytest.approx(true, abs=4 * error)
        assert error < most, "or the test could not fail"


def test_the_ratio_of_a_linear_model_is_that_of_its_closed_form(sink: Any, only: Any) -> None:
    # ½(wx − y)² with y = x + noise at w = 0 has the gradient −x(x + noise), of mean −1 and variance 2 + σ²
    sigma, samples = 2.0, 400_000
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(samples, generator=generator, dtype=torch.float64)
    y = x + sigma * torch.randn(samples, generator=generator, dtype=torch.float64)
    model = nn.Linear(1, 1, bias=False).double()
    nn.init.zeros_(model.weight)
    session = ProbeSession(model, torch.optim.SGD(model.parameters()), only("gradient_noise"), sink=sink, scalars=[])
    with session:
        session.begin_step(1)
        for a, b in zip(x.tensor_split(400), y.tensor_split(400), strict=True):
            (0.5 * (model(a.unsqueeze(1)).squeeze(1) - b).square().mean() / 400).backward()
            session.after_micro_batch(len(a))
        session.after_backward()
        session.end_step({}, epoch=0)
    # a variance estimated from 400 groups has a relative standard deviation of √(2/399) = 0.07
    assert sink.frames[1]["gradient.noise_trace"][0] == pytest.approx(2 + sigma**2, rel=0.25)
    assert sink.frames[1]["gradient.noise_scale"][0] == pytest.approx(2 + sigma**2, rel=0.25)
    assert sink.frames[1]["gradient.signal_to_noise"][0] == pytest.approx(samples / (2 + sigma**2), rel=0.25)


def test_the_noise_scale_is_the_ratio_of_averages_which_a_broken_step_does_not_spoil_and_a_cut_keeps(
    sink: Any, only: Any
) -> None:
    torch.manual_seed(0)
    model = Net().double()
    optimizer = torch.optim.SGD(model.parameters())
    settings = only("gradient_noise", memory=0.5)
    parts: list[tuple[float, float]] = []
    state: dict[str, Any] = {}
    for step, cut in ((1, False), (2, False), (3, True), (4, False)):
        with ProbeSession(model, optimizer, settings, sink=sink, scalars=[]) as session:
            if state:
                session.load_state_dict(state)
            tokens, targets = drawn(12)
            # one target for all: signal enough
            accumulate(session, step, model, (tokens, 0 * targets + (torch.inf if cut else 3.0 + step)), [3] * 4)
            state = session.state_dict()
        frame = sink.frames[step]
        if cut:
            assert np.isnan(frame["gradient.noise_trace"][0])
        else:
            parts.append((float(frame["gradient.noise_trace"][0]), float(frame["gradient.signal"][0])))
    weights = np.array([0.25, 0.5, 1.0])
    trace, signal = weights @ np.array(parts)
    assert sink.frames[4]["gradient.noise_scale"][0] == pytest.approx(trace / signal, rel=1e-5)
    assert sink.frames[3]["gradient.noise_scale"][0] == sink.frames[2]["gradient.noise_scale"][0]


@pytest.mark.parametrize("sizes", [[3, 3], [2, 2, 2]])
def test_of_several_ranks_the_micro_batches_before_the_last_are_held_against_the_whole_reduced_batch(
    sink: Any, only: Any, sizes: list[int]
) -> None:
    torch.manual_seed(0)
    model, data = Net().double(), drawn(12)
    singles = per_sample(model, *data)
    mine = sum(sizes)
    session = ProbeSession(
        model, torch.optim.SGD(model.parameters()), only("gradient_noise"), sink=sink, scalars=[], ranks=2
    )
    with session:
        session.begin_step(1)
        parts = list(zip(*(tensor[:mine].split(sizes) for tensor in data), strict=True))
        for number, part in enumerate(parts, start=1):
            (loss_of(model, *part) * (len(part[0]) / mine)).backward()
            if number == len(parts):  # what the other rank's samples make of it
                model.zero_grad()
                loss_of(model, *data).backward()
            session.after_micro_batch(len(part[0]), reduced=number == len(parts))
        session.after_backward()
        session.end_step({}, epoch=0)
    seen, ends = sizes[:-1], np.cumsum([0, *sizes[:-1]])
    trace = 0.0
    for g in singles.values():
        small = [((g[a:b].mean(0)) ** 2).sum() for a, b in pairwise(ends)]
        # B_small and B_big of the paper
        trace += (np.mean(small) - (g.mean(0) ** 2).sum()) / (1 / seen[0] - 1 / 12)
    assert sink.frames[1]["gradient.noise_trace"][0] == pytest.approx(trace, rel=1e-6)
