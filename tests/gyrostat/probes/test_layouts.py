import torch
from torch import nn

from gyrostat.probes.layouts import LayoutBook, wire_names
from gyrostat.probes.network import Network
from gyrostat.spec.metrics import METRICS
from gyrostat.wire.layout import MAX_NAMES


def book(model: nn.Module, scalars: list[str]) -> LayoutBook:
    return LayoutBook(Network(model, torch.optim.SGD(model.parameters(), lr=0.1)), scalars)


def test_a_version_is_made_only_when_something_is_new() -> None:
    layouts = book(nn.Sequential(nn.Linear(2, 2), nn.ReLU()), ["loss.train"])
    first = layouts.renewed(["loss.train"])
    assert first is not None
    assert (first.version, first.axes, [m.name for m in first.metrics]) == (1, {}, ["loss.train"])
    assert layouts.renewed(["loss.train"]) is None
    layouts.see(1)
    second = layouts.renewed(["activation.rms", "weight.norm"])
    assert second is not None
    assert second.axes == {"module": ["1"], "parameter": ["0.weight", "0.bias"]}
    layouts.see(1)
    assert layouts.renewed(["loss.train", "weight.norm"]) is None
    layouts.see(0)
    third = layouts.renewed([])
    assert third is not None
    assert third.axes["module"] == ["0", "1"]
    assert layouts.version == third.version == 3


def test_metrics_are_declared_as_the_catalogue_has_them() -> None:
    layout = book(nn.Linear(2, 2), []).renewed(["gradient.norm"])
    assert layout is not None
    known, declared = METRICS["gradient.norm"], layout.metrics[0]
    assert (declared.unit, declared.axis, declared.description) == (known.unit, known.axis, known.description)


def test_vectors_are_cut_to_the_modules_that_were_seen() -> None:
    layouts = book(nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Tanh()), [])
    layouts.see(2)
    layouts.see(0)
    layouts.renewed(["activation.rms"])
    cut = layouts.cut({"activation.rms": torch.tensor([1.0, 2.0, 3.0]), "loss.train": 5.0})
    assert torch.is_tensor(cut["activation.rms"])
    assert cut["activation.rms"].tolist() == [1, 3]
    assert cut["loss.train"] == 5


def test_more_parameters_than_the_wire_takes_are_cut_to_the_first() -> None:
    model = nn.ParameterList([nn.Parameter(torch.ones(1)) for _ in range(MAX_NAMES + 3)])
    layouts = book(model, [])
    layout = layouts.renewed(["weight.norm"])
    assert layout is not None
    assert len(layout.axes["parameter"]) == MAX_NAMES
    cut = layouts.cut({"weight.norm": torch.ones(MAX_NAMES + 3)})["weight.norm"]
    assert torch.is_tensor(cut)
    assert len(cut) == MAX_NAMES


def test_awkward_names_become_ones_that_the_wire_takes() -> None:
    names = wire_names(
        ["", "a" * 300 + ".x", "b" * 300 + ".x", "層.重み", "tab\there", "tab\nhere", "\ud800", "é" * 200]
    )
    assert names[0] == "(model)"
    assert all(0 < len(name.encode()) <= 256 for name in names)
    assert names[1].startswith("…aaa")
    assert names[1].endswith(".x")
    assert names[3:7] == ["層.重み", "tab?here", "tab?here#2", "?"]
    assert len(set(names)) == len(names)
    long = wire_names(["x" * 300, "x" * 301, "x" * 302])
    assert len(set(long)) == 3
    assert all(len(name.encode()) <= 256 for name in long)
