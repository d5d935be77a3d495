from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import RidgeClassifier
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from gyrostat.probes import ProbeSession, representation
from gyrostat.probes.features import MAX_FEATURES, features
from gyrostat.probes.linear_probe import RIDGE
from gyrostat.probes.probe_batch import ProbeBatch
from gyrostat.wire.values import is_absent
from tests.gyrostat.probes.test_similarity import cka

INPUTS = torch.randn(40, 1, 6, 6, generator=torch.Generator().manual_seed(3))
LABELS = torch.arange(40) % 3


def batch_of(model: nn.Module, inputs: Tensor = INPUTS, targets: Tensor = LABELS) -> ProbeBatch:
    return ProbeBatch(
        tensors=lambda: (inputs, targets),
        loss_of=lambda tensors: nn.functional.cross_entropy(model(tensors[0]), tensors[-1]),
    )


def convolutional() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(inplace=True),
        nn.Dropout(0.5),
        nn.Flatten(),
        nn.Linear(64, 8),
        nn.Tanh(),
        nn.Linear(8, 3),
    )


def session_of(sink: Any, settings: Any, model: nn.Module, batch: ProbeBatch | None = None) -> ProbeSession:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    return ProbeSession(model, optimizer, settings, sink=sink, scalars=[], probe_batch=batch or batch_of(model))


def measure(session: ProbeSession, step: int) -> None:
    session.begin_step(step)
    session.after_backward()
    session.after_update()
    session.end_step({}, epoch=0)


def outputs(model: nn.Sequential, inputs: Tensor = INPUTS) -> list[np.ndarray]:
    """By calling module after module oneself."""
    found, x = [], inputs
    model.eval()
    with torch.no_grad():
        for module in model:
            x = module(x.clone())
            found.append(x.flatten(1).double().numpy().copy())
    model.train()
    return found


@pytest.fixture
def moved() -> Callable[[nn.Module], None]:
    def move(model: nn.Module) -> None:
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(8))

    return move


def test_all_is_that_of_the_features_computed_module_by_module(
    sink: Any, only: Any, moved: Callable[[nn.Module], None]
) -> None:
    model = convolutional()
    model[1].running_mean.fill_(0.2)
    first = outputs(model)
    with session_of(sink, only("representation"), model) as session:
        moved(model)
        measure(session, 1)
    now = outputs(model)
    assert not sink.events
    before = sink.at(1, "representation.cka_previous")
    assert is_absent(np.float32([before.pop("0")])).all()
    assert list(before.values()) == pytest.approx([cka(now[at - 1], now[at]) for at in range(1, 8)], rel=1e-5)
    initial = sink.at(1, "representation.cka_initial")
    assert list(initial.values()) == pytest.approx([cka(first[at], now[at]) for at in range(8)], rel=1e-5)
    assert min(initial.values()) < 0.9
    accuracies = []
    for found in now:
        scaler = StandardScaler().fit(found[::2])
        ridge = RidgeClassifier(alpha=RIDGE * 20).fit(scaler.transform(found[::2]), LABELS[::2].numpy())
        accuracies.append(ridge.score(scaler.transform(found[1::2]), LABELS[1::2].numpy()))
    assert list(sink.at(1, "representation.probe_accuracy").values()) == pytest.approx(accuracies)
    centroid = sink.frames[1]["representation.frequency_centroid"]
    assert is_absent(centroid).tolist() == [False] * 4 + [True] * 4
    assert (centroid[:4] > 0.3).all()


def test_the_model_is_left_as_it_was_at_the_start_and_at_each_measurement(sink: Any, only: Any) -> None:
    model = convolutional()
    model[3].eval()
    state, random = {k: v.clone() for k, v in model.state_dict().items()}, torch.get_rng_state()
    modes = [module.training for module in model.modules()]
    with session_of(sink, only("representation"), model) as session:
        measure(session, 1)
    assert not sink.events
    assert modes == [module.training for module in model.modules()]
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert torch.equal(random, torch.get_rng_state())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(not m._forward_hooks and not m._forward_pre_hooks for m in model.modules())


def test_a_pass_that_fails_switches_the_probe_off_and_leaves_no_hook_and_no_mode_behind(sink: Any, only: Any) -> None:
    model = convolutional()
    broken = ProbeBatch(tensors=lambda: (INPUTS, LABELS), loss_of=lambda tensors: model(tensors[0]) @ torch.ones(5))
    with session_of(sink, only("representation"), model, broken):
        pass
    assert [(kind, step, data["probe"]) for kind, step, data in sink.events] == [
        ("probe_disabled", 0, "representation")
    ]
    assert all(module.training and not module._forward_hooks for module in model.modules())
    assert not model._forward_pre_hooks


class Shared(nn.Module):
    """A layer called twice, one shared with another, one never called, one that cuts samples into parts."""

    def __init__(self) -> None:
        super().__init__()
        self.twice, self.never, self.parts = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(3, 4)
        self.one, self.tied = nn.Linear(6, 6, bias=False), nn.Linear(6, 6, bias=False)
        self.tied.weight = self.one.weight
        self.whole = nn.Identity()

    def forward(self, x: Tensor, scale: Tensor) -> Tensor:
        x = self.one(self.twice(self.twice(x) * scale.unsqueeze(1)))
        parts = self.parts(x.view(-1, 3))
        return self.tied(x) + self.whole(parts.reshape(len(x), -1))[:, :6]  # type: ignore[no-any-return]


def test_modules_called_twice_tied_never_or_with_other_rows(sink: Any, only: Any) -> None:
    torch.manual_seed(0)
    model, x, scale = Shared(), torch.randn(12, 6), torch.rand(12)
    batch = ProbeBatch(
        tensors=lambda: (x, scale, torch.randn(12, 1)), loss_of=lambda t: (model(t[0], t[1]) - t[2]).square().mean()
    )
    with session_of(sink, only("representation"), model, batch) as session:
        measure(session, 1)
    assert not sink.events
    got = sink.at(1, "representation.cka_previous")
    assert set(got) == {"twice", "one", "tied", "whole", "parts"}
    with torch.no_grad():
        first = model.twice(x)
        one = model.one(model.twice(first * scale.unsqueeze(1)))
        tied, whole = model.tied(one), model.parts(one.view(-1, 3)).view(12, -1)
    found = {"twice": first, "one": one, "tied": tied, "whole": whole}
    values = {name: value.double().numpy() for name, value in found.items()}
    assert got["one"] == pytest.approx(cka(values["twice"], values["one"]), rel=1e-5)  # the first call's features
    assert got["tied"] == pytest.approx(cka(values["one"], values["tied"]), rel=1e-5)
    assert got["whole"] == pytest.approx(cka(values["tied"], values["whole"]), rel=1e-5)
    assert is_absent(np.float32([got["twice"], got["parts"]])).all()
    assert "representation.probe_accuracy" not in sink.frames[1]


def test_initial_features_are_kept_over_a_checkpoint(sink: Any, only: Any, moved: Callable[[nn.Module], None]) -> None:
    model = convolutional()
    with session_of(sink, only("representation"), model) as session:
        kept = session.state_dict()
        moved(model)
        measure(session, 1)
    whole = sink.frames[1]["representation.cka_initial"]
    sink.clear()
    resumed = session_of(sink, only("representation"), model)
    resumed.load_state_dict(kept)
    with resumed as session:
        measure(session, 2)
    assert (sink.frames[2]["representation.cka_initial"] == whole).all()


def test_samples_are_at_most_as_many_as_set_and_as_memory_allows(
    sink: Any, only: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, seen = convolutional(), []
    model.register_forward_hook(lambda module, arguments, output: seen.append(len(output)))
    with session_of(sink, only("representation", samples=16), model):
        pass
    monkeypatch.setattr(representation, "MAX_SIGNATURE_BYTES", 8 * 4 * 45)  # of eight modules
    with session_of(sink, only("representation"), model) as session:
        state = session.state_dict()["probes"]["representation"]["initial"]
    assert seen == [16, 9]
    assert sum(each.numel() * each.element_size() for each in state.values()) <= 8 * 4 * 45


def test_dead_modules_and_features_that_are_not_finite(sink: Any, only: Any) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 5), nn.ReLU(), nn.Linear(5, 3))
    with torch.no_grad():
        model[1].bias.fill_(-100)
    with session_of(sink, only("representation"), model) as session:
        measure(session, 1)
        dead = sink.frames[1]["representation.cka_previous"]
        assert is_absent(dead).tolist() == [True, False, True, True]
        commonest = LABELS[::2].bincount().argmax()
        assert sink.at(1, "representation.probe_accuracy")["2"] == pytest.approx(
            (LABELS[1::2] == commonest).float().mean()
        )
        with torch.no_grad():
            model[1].bias.fill_(torch.nan)
        measure(session, 2)
    assert not sink.events
    broken = sink.frames[2]["representation.cka_previous"]
    assert np.isnan(broken[1:]).all()
    assert not is_absent(broken[1:3]).any()


@pytest.mark.parametrize(
    ("targets", "told"),
    [
        (LABELS - 1, True),
        (torch.arange(40), False),
        (torch.zeros(40, dtype=torch.long), False),
        (LABELS.float(), False),
        (torch.zeros(40, 2, dtype=torch.long), False),
    ],
    ids=["any three numbers", "one sample a class", "one class", "not whole", "sequences"],
)
def test_class_numbers_are_told_from_other_targets(sink: Any, only: Any, targets: Tensor, told: bool) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 40))
    batch = ProbeBatch(tensors=lambda: (INPUTS, targets), loss_of=lambda tensors: model(tensors[0]).square().mean())
    with session_of(sink, only("representation"), model, batch) as session:
        measure(session, 1)
    assert ("representation.probe_accuracy" in sink.frames[1]) == told


def test_of_many_features_the_gram_matrix_is_met_by_those_that_are_drawn() -> None:
    output = torch.randn(6, 3, 100, 100, generator=torch.Generator().manual_seed(0)) * torch.arange(1, 4).view(3, 1, 1)
    some = features(output)
    assert some.shape == (6, MAX_FEATURES)
    assert torch.equal(some, features(output))
    whole = output.flatten(1).double()
    error = (some @ some.mT / MAX_FEATURES - whole @ whole.mT / whole.shape[1]).abs().max()
    assert error < 5 * (14 / 3) * (2 / MAX_FEATURES) ** 0.5
    assert torch.equal(features(output[:, :, :5, :5]), output[:, :, :5, :5].flatten(1).double())
