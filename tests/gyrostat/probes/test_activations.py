from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from gyrostat.probes import ProbeSession
from gyrostat.wire.values import is_absent

METRICS = (
    "activation.mean",
    "activation.rms",
    "activation.max_abs",
    "activation.zero_fraction",
    "activation.nonfinite_count",
    "activation.kurtosis",
    "activation.outlier_channels",
)


def statistics(outputs: list[Tensor]) -> list[float]:
    x = np.concatenate([o.detach().double().numpy().ravel() for o in outputs])
    away = x - x.mean()
    kurtosis = (away**4).mean() / (away**2).mean() ** 2
    channels = np.concatenate([o.detach().double().numpy().reshape(-1, o.shape[-1]) for o in outputs])
    rms = np.sqrt((channels**2).mean(0))
    median = np.sort(rms)[(len(rms) - 1) // 2]
    outliers = rms.max() / median if median else np.nan
    return [
        x.mean(), np.sqrt((x**2).mean()), np.abs(x).max(), (x == 0).mean(), (~np.isfinite(x)).sum(), kurtosis, outliers
    ]  # fmt: skip


class Twice(nn.Module):
    """Calls one layer twice, never calls another, and has an in-place ReLU behind a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = nn.Linear(4, 4)
        self.relu = nn.ReLU(inplace=True)
        self.unused = nn.Linear(4, 4)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        h: Tensor = self.relu(self.shared(x))
        return self.head(self.drop(self.relu(self.shared(h))))  # type: ignore[no-any-return]


def captured(model: nn.Module) -> dict[str, list[Tensor]]:
    """Copies of all outputs, by a way of its own; to be made before the session's hooks are."""
    outputs: dict[str, list[Tensor]] = {}
    for name, module in model.named_modules():
        if not list(module.children()):
            module.register_forward_hook(lambda m, a, o, n=name: outputs.setdefault(n, []).append(o.detach().clone()))
    return outputs


def test_statistics_are_numpys_over_all_calls_and_micro_batches(
    sink: Any, only: Any, run_step: Callable[..., Tensor]
) -> None:
    torch.manual_seed(0)
    model = Twice()
    outputs = captured(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with ProbeSession(model, optimizer, only("activations"), sink=sink, scalars=["loss.train"]) as session:
        run_step(session, 1, model, optimizer, lambda: model(torch.randn(5, 4)).square().mean(), micro_batches=2)
    assert len(outputs["shared"]) == 4
    assert sink.layouts[0].axes["module"] == ["shared", "relu", "drop", "head"]
    for position, metric in enumerate(METRICS):
        for name, value in sink.at(1, metric).items():
            expected = statistics(outputs[name])[position]
            assert value == pytest.approx(expected, rel=1e-5, abs=1e-7, nan_ok=True), (metric, name)
            assert is_absent(value) == np.isnan(expected)
    assert is_absent(sink.frames[1]["activation.saturated_fraction"]).all()


def test_what_is_not_called_in_a_step_is_absent_and_a_module_called_later_makes_a_new_layout(
    sink: Any, only: Any, run_step: Callable[..., Tensor]
) -> None:
    model = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(2, 2)})
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with ProbeSession(model, optimizer, only("activations"), sink=sink, scalars=["loss.train"]) as session:
        for step, used in enumerate(("b", "a", "b"), start=1):
            run_step(session, step, model, optimizer, lambda used=used: model[used](torch.ones(3, 2)).sum())
    assert [layout.axes["module"] for layout in sink.layouts] == [["b"], ["a", "b"]]
    assert sink.order == ["layout 1", "frame 1", "layout 2", "frame 2", "frame 3"]
    for metric in METRICS:
        assert is_absent(sink.frames[2][metric]).tolist() == [False, True]
        assert is_absent(sink.frames[3][metric]).tolist() == [True, False]


def test_validation_passes_are_not_measured(sink: Any, only: Any) -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with ProbeSession(model, optimizer, only("activations"), sink=sink, scalars=[]) as session:
        session.begin_step(1)
        model(torch.ones(1, 2)).sum().backward()
        model.eval()
        model(torch.full((1, 2), 1e6))
        model.train()
        session.after_backward()
        model(torch.full((1, 2), 1e6))
        session.after_update()
        session.end_step({}, epoch=0)
    assert sink.frames[1]["activation.max_abs"][0] < 1e3


def test_passes_in_transformations_are_not_measured_and_switch_nothing_off(sink: Any, only: Any) -> None:
    """As gradients of each sample, which private training takes."""
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    parameters = {name: parameter.detach() for name, parameter in model.named_parameters()}
    probes = only("activations", "ranks", "signals", "representation")
    of_one = lambda parameters, x: functional_call(model, parameters, (x,)).sum()  # noqa: E731
    with ProbeSession(model, torch.optim.SGD(model.parameters()), probes, sink=sink, scalars=[]) as session:
        session.begin_step(1)
        gradients = vmap(grad(of_one), in_dims=(None, 0))(parameters, torch.full((5, 2), 1e6))
        assert gradients["0.weight"].shape == (5, 3, 2)
        model(torch.ones(4, 2)).sum().backward()
        session.after_backward()
        session.end_step({}, epoch=0)
    assert not sink.events
    assert sink.frames[1]["activation.max_abs"].max() < 1e3


class Outputs(nn.Module):
    """Puts out whatever it is told to."""

    def __init__(self, output: Any) -> None:
        super().__init__()
        self.output = output

    def forward(self, x: Tensor) -> Any:
        return self.output


@pytest.mark.parametrize(
    ("output", "largest"),
    [
        ((torch.tensor([3.0]), torch.tensor([9.0])), 3.0),
        ({"logits": torch.tensor([-4.0]), "loss": torch.tensor(9.0)}, 4.0),
        ([None, torch.tensor([5.0])], 5.0),
        (torch.tensor([7.0], dtype=torch.bfloat16), 7.0),
        (torch.tensor([1, 2]), None),
        ("text", None),
        (None, None),
        (torch.zeros(0), np.nan),
    ],
)
def test_of_a_structured_output_the_first_tensor_counts_and_what_does_not_float_is_left_out(
    sink: Any, only: Any, output: Any, largest: float | None
) -> None:
    model = nn.Sequential(nn.Linear(1, 1), Outputs(output))
    with ProbeSession(
        model, torch.optim.SGD(model.parameters()), only("activations"), sink=sink, scalars=[]
    ) as session:
        session.begin_step(1)
        model(torch.ones(1, 1))
        session.after_backward()
        session.after_update()
        session.end_step({}, epoch=0)
    assert not sink.events
    found = sink.at(1, "activation.max_abs")
    assert set(found) == ({"0"} if largest is None else {"0", "1"})
    if largest is not None:
        np.testing.assert_equal(float(found["1"]), largest)
        assert is_absent(found["1"])[()] == np.isnan(largest)


def test_outputs_with_nan_and_infinity_are_told_from_what_was_not_measured(sink: Any, only: Any) -> None:
    model = nn.Sequential(Outputs(torch.tensor([0.0, torch.nan])), Outputs(torch.tensor([0.0, torch.inf])))
    model.weight = nn.Parameter(torch.ones(1))
    with ProbeSession(
        model, torch.optim.SGD(model.parameters()), only("activations"), sink=sink, scalars=[]
    ) as session:
        session.begin_step(1)
        model(torch.ones(1))
        session.after_backward()
        session.end_step({}, epoch=0)
    frame = sink.frames[1]
    for metric in METRICS[:3]:
        np.testing.assert_array_equal(frame[metric], [np.nan, np.inf])
        assert not is_absent(frame[metric]).any()
    assert frame["activation.nonfinite_count"].tolist() == [1, 1]
    assert np.isnan(frame["activation.kurtosis"]).all()
    assert not is_absent(frame["activation.kurtosis"]).any()
    np.testing.assert_array_equal(frame["activation.zero_fraction"], [0.5, 0.5])


def test_thousands_of_calls_are_added_up_on_the_way(sink: Any, only: Any) -> None:
    model = nn.Sequential(nn.Identity())
    model.weight = nn.Parameter(torch.ones(1))
    with ProbeSession(
        model, torch.optim.SGD(model.parameters()), only("activations"), sink=sink, scalars=[]
    ) as session:
        session.begin_step(1)
        for value in range(5000):
            model(torch.tensor([float(value), 0.0]))
        session.after_backward()
        session.end_step({}, epoch=0)
    found = [float(sink.frames[1][metric][0]) for metric in METRICS[:5]]
    squares = sum(value**2 for value in range(5000)) / 10_000
    assert found == pytest.approx([4999 / 4, squares**0.5, 4999, 5001 / 10_000, 0])


class Fed(nn.Module):
    """Puts out what it is fed, as a module of some kind."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.unit = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.unit(x) * self.weight  # type: ignore[no-any-return]


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("images", [False, True])
def test_a_unit_is_dead_when_it_was_zero_all_over_the_window(
    sink: Any, only: Any, run_step: Callable[..., Tensor], images: bool
) -> None:
    """Against the definition, on random patterns: the last 3 measurements, or all of fewer."""
    generator = np.random.default_rng(0)
    on = generator.random((12, 4, 8)) < 0.08  # steps, samples, units
    on[:, 0, 0] = False
    fed = torch.where(torch.from_numpy(on), 1.0, -1.0)
    fed = fed[..., None, None].expand(12, 4, 8, 2, 3) if images else fed
    model = Fed()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with ProbeSession(model, optimizer, only("activations", window=3), sink=sink, scalars=["loss.train"]) as session:
        for step in range(1, 13):
            halves = iter(fed[step - 1].split(2))
            run_step(session, step, model, optimizer, lambda h=halves: model(next(h)).sum(), micro_batches=2)
    for step in range(1, 13):
        expected = (~on[max(0, step - 3) : step].any((0, 1))).mean()
        assert sink.at(step, "activation.dead_fraction")["unit"] == pytest.approx(expected), step
    assert len({sink.at(step, "activation.dead_fraction")["unit"] for step in range(1, 13)}) == 3


def test_how_long_units_have_been_silent_goes_on_after_a_resumption(
    sink: Any, only: Any, run_step: Callable[..., Tensor]
) -> None:
    def steps(session: ProbeSession, model: nn.Module, first: int, last: int) -> None:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for step in range(first, last + 1):
            fed = torch.tensor([[1.0, -1.0 if step > 1 else 1.0]])
            run_step(session, step, model, optimizer, lambda f=fed: model(f).sum())

    settings = only("activations", window=3)
    state: dict[str, Any] = {}
    for first, last in ((1, 2), (3, 4)):
        model = Fed()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        with ProbeSession(model, optimizer, settings, sink=sink, scalars=["loss.train"]) as session:
            if state:
                session.load_state_dict(state)
            steps(session, model, first, last)
            state = session.state_dict()
    found = [sink.at(step, "activation.dead_fraction")["unit"] for step in range(1, 5)]
    assert found == [0, 0, 0, 0.5]


@pytest.mark.usefixtures("either_way")
def test_saturation_of_bounded_activations_alone(sink: Any, only: Any, run_step: Callable[..., Tensor]) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 40), nn.Tanh(), nn.Linear(40, 30), nn.Sigmoid(), nn.Hardtanh(), nn.Softmax(-1))
    nn.init.normal_(model[0].weight, std=2)  # type: ignore[arg-type]
    nn.init.normal_(model[2].weight, std=0.5)  # type: ignore[arg-type]
    outputs = captured(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    feed = lambda: model(3 * torch.randn(50, 6)).square().mean()  # noqa: E731
    settings = only("activations", saturation=0.05)
    with ProbeSession(model, optimizer, settings, sink=sink, scalars=["loss.train"]) as session:
        run_step(session, 1, model, optimizer, feed, micro_batches=2)
    found = sink.at(1, "activation.saturated_fraction")
    tanh, sigmoid, hard = (torch.cat(outputs[name]).numpy() for name in ("1", "3", "4"))
    assert found["1"] == pytest.approx((np.abs(tanh) >= 0.9).mean())
    assert found["3"] == pytest.approx(((sigmoid <= 0.05) | (sigmoid >= 0.95)).mean())
    assert found["4"] == pytest.approx((np.abs(hard) >= 1).mean())
    assert 0 < found["3"] < found["1"] < 1
    assert {name for name, value in found.items() if is_absent(value)} == {"0", "2", "5"}


@pytest.mark.usefixtures("either_way")
def test_shapeless_and_unitless_outputs_are_absent(sink: Any, only: Any) -> None:
    dead = torch.tensor([[0.0, 0.0, 5.0]])
    model = nn.Sequential(Outputs(torch.full((3, 2), 0.1)), Outputs(torch.tensor([1.0, 2.0])), Outputs(dead))
    model.weight = nn.Parameter(torch.ones(1))
    with ProbeSession(
        model, torch.optim.SGD(model.parameters()), only("activations"), sink=sink, scalars=[]
    ) as session:
        session.begin_step(1)
        model(torch.ones(1))
        session.after_backward()
        session.end_step({}, epoch=0)
    assert not sink.events
    frame = sink.frames[1]
    assert is_absent(frame["activation.kurtosis"]).tolist() == [True, False, False]
    assert is_absent(frame["activation.dead_fraction"]).tolist() == [False, True, False]
    assert is_absent(frame["activation.outlier_channels"]).tolist() == [False, True, True]
    assert frame["activation.dead_fraction"][2] == pytest.approx(2 / 3)


@pytest.mark.usefixtures("either_way")
def test_the_kurtosis_of_what_hardly_varies_is_absent_rather_than_that_of_rounding(sink: Any, only: Any) -> None:
    noise = torch.randn(64, 500, generator=torch.Generator().manual_seed(0))
    offsets = (0, 30, 300, 900, 1100, 10_000, 90_000)
    model = nn.Sequential(*[Outputs(noise + offset) for offset in offsets])
    model.weight = nn.Parameter(torch.ones(1))
    with ProbeSession(
        model, torch.optim.SGD(model.parameters()), only("activations"), sink=sink, scalars=[]
    ) as session:
        session.begin_step(1)
        model(torch.ones(1))
        session.after_backward()
        session.end_step({}, epoch=0)
    found = sink.frames[1]["activation.kurtosis"]
    exact = ((noise.double() - noise.double().mean()) ** 4).mean() / noise.double().var(correction=0) ** 2
    assert found[:4] == pytest.approx([exact.item()] * 4, rel=5e-3)
    assert is_absent(found[4:]).all()
