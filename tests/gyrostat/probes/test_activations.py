from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gyrostat.probes import ProbeSession
from gyrostat.wire.values import is_absent

METRICS = ("activation.mean", "activation.rms", "activation.max_abs", "activation.zero_fraction")


def statistics(outputs: list[Tensor]) -> list[float]:
    x = np.concatenate([o.detach().double().numpy().ravel() for o in outputs])
    return [x.mean(), np.sqrt((x**2).mean()), np.abs(x).max(), (x == 0).mean()]


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
            assert value == pytest.approx(statistics(outputs[name])[position], rel=1e-5, abs=1e-7), (metric, name)


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
    found = [float(sink.frames[1][metric][0]) for metric in METRICS]
    squares = sum(value**2 for value in range(5000)) / 10_000
    assert found == pytest.approx([4999 / 4, squares**0.5, 4999, 5001 / 10_000])
