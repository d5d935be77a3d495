"""Measurements on demand: of the right parameters, fit to travel, and the network left as found."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from gyrostat.probes import ProbeSession, on_demand
from gyrostat.probes.estimators import hessian
from gyrostat.probes.kernel import signs
from gyrostat.probes.network import Network
from gyrostat.probes.on_demand import measure
from gyrostat.probes.probe_batch import ProbeBatch
from gyrostat.probes.undisturbed import undisturbed
from gyrostat.spec.measurements import Alignment, Kernel, Landscape, Measurement, SpectralDensity
from gyrostat.wire.measurements import AlignmentValues, KernelValues, LandscapeValues, Report, SpectralDensityValues

SMALL: list[Measurement] = [
    Landscape(points=5),
    Landscape(dimensions=2, points=3, reach=0.5),
    SpectralDensity(probes=2, steps=4),
    Alignment(samples=12),
    Kernel(samples=6),
]


class Net(nn.Module):
    """Tied, frozen and unused weights, a parametrization, batch statistics, dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.first = weight_norm(nn.Linear(6, 6))
        self.norm = nn.BatchNorm1d(6)
        self.drop = nn.Dropout(0.5)
        self.tied = nn.Linear(6, 6)
        self.again = nn.Linear(6, 6)
        self.again.weight = self.tied.weight
        self.frozen = nn.Linear(6, 6).requires_grad_(False)
        self.unused = nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        return self.again(torch.tanh(self.frozen(self.tied(self.drop(self.norm(self.first(x)))))))


def network(model: nn.Module | None = None) -> Network:
    torch.manual_seed(4)
    model = model or Net()
    x, y = torch.randn(16, 6), torch.randn(16, 6)

    def loss_of(tensors: tuple[Tensor, ...]) -> Tensor:
        return nn.functional.mse_loss(model(tensors[0]), tensors[1])

    batch = ProbeBatch(tensors=lambda: (x, y), loss_of=loss_of)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    return Network(model, optimizer, batch.loss, batch)


def state(model: nn.Module) -> dict[str, Any]:
    return {
        "tensors": {name: value.clone() for name, value in model.state_dict().items()},
        "gradients": [None if p.grad is None else p.grad.clone() for p in model.parameters()],
        "modes": [module.training for module in model.modules()],
        "random": torch.get_rng_state(),
        "hooks": [len(module._forward_hooks) for module in model.modules()],
    }


def assert_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    for name, value in one["tensors"].items():
        assert torch.equal(value, other["tensors"][name]), name
    for before, after in zip(one["gradients"], other["gradients"], strict=True):
        assert (before is None) == (after is None)
        assert before is None or torch.equal(before, after)
    assert one["modes"] == other["modes"]
    assert torch.equal(one["random"], other["random"])
    assert one["hooks"] == other["hooks"]


@pytest.mark.parametrize("settings", SMALL, ids=lambda settings: f"{settings.kind} {len(settings.model_dump())}")
@pytest.mark.parametrize("fails", [False, True])
def test_the_network_is_as_found_whatever_becomes_of_it(settings: Measurement, fails: bool) -> None:
    watched = network()
    watched.model(torch.randn(16, 6)).sum().backward()
    before, calls = state(watched.model), 0

    def check() -> None:
        nonlocal calls
        calls += 1
        if fails and calls == (1 if isinstance(settings, Kernel) else 3):
            raise InterruptedError("over")

    if fails:
        with pytest.raises(InterruptedError):
            measure(settings, watched, check)
    else:
        found = measure(settings, watched, check)
        report = {"id": "m1", "settings": settings.model_dump(), "seconds": 0.1, "samples": found.samples}
        Report.model_validate({**report, "values": found.values.model_dump(mode="json")})
    assert_same(before, state(watched.model))


def test_the_middle_of_a_landscape_is_the_loss_and_only_trained_matrices_move() -> None:
    watched, seen = network(), []
    model = watched.model
    assert isinstance(model, Net)
    handle = model.register_forward_hook(
        lambda *_: seen.append({n: p.detach().clone() for n, p in model.named_parameters()})
    )
    found = measure(SMALL[0], watched).values
    handle.remove()
    assert isinstance(found, LandscapeValues)
    model.drop.eval()
    assert watched.probe_loss is not None
    assert found.losses[2] == pytest.approx(watched.probe_loss().item(), rel=1e-6)
    assert len(set(found.losses)) == 5
    moved = {name for name, value in seen[0].items() if not torch.equal(value, dict(model.named_parameters())[name])}
    assert moved == {"first.parametrizations.weight.original1", "tied.weight", "unused.weight"}
    assert found.positions == [-1, -0.5, 0, 0.5, 1]


def test_a_spectrum_is_of_all_trained_parameters_tied_ones_once() -> None:
    watched = network()
    found = measure(SpectralDensity(probes=4, steps=30), watched).values
    assert isinstance(found, SpectralDensityValues)
    trained = [p for p in watched.model.parameters() if p.requires_grad]
    assert found.parameters == sum(p.numel() for p in trained)
    assert np.sum(found.weights) == pytest.approx(1, abs=1e-5)
    assert watched.probe_loss is not None
    with undisturbed(watched.model):
        product = hessian(watched.probe_loss(), trained)
        dense = torch.stack([product(column) for column in torch.eye(found.parameters)]).double()
    eigenvalues = np.linalg.eigvalsh(dense.numpy())
    assert found.eigenvalues[-1] == pytest.approx(eigenvalues[-1], rel=1e-3)
    assert found.eigenvalues[0] == pytest.approx(eigenvalues[0], rel=1e-3)
    assert abs(found.trace - eigenvalues.sum()) < 4 * found.trace_error
    assert abs(found.square - (eigenvalues**2).sum()) < 4 * found.square_error


def hsic(one: np.ndarray, other: np.ndarray) -> float:
    """The unbiased estimate as Song et al. 2012 write it, equation 5."""
    n, ones = len(one), np.ones(len(one))
    k, h = one @ one.T, other @ other.T
    np.fill_diagonal(k, 0)
    np.fill_diagonal(h, 0)
    whole = (ones @ k @ ones) * (ones @ h @ ones) / ((n - 1) * (n - 2))
    return float((np.trace(k @ h) + whole - 2 / (n - 2) * (ones @ k @ h @ ones)) / (n * (n - 3)))


def test_likenesses_are_those_of_the_unbiased_formula_on_features_in_eval_mode() -> None:
    watched = network()
    model, batch = watched.model, watched.probe_batch
    assert isinstance(model, Net)
    assert batch is not None
    samples, found = measure(Alignment(samples=12), watched)
    assert samples == 12
    assert isinstance(found, AlignmentValues)
    assert found.names == ["first", "norm", "drop", "tied", "frozen", "again"], "in the order of their calls"
    features: list[np.ndarray] = []
    for name in found.names:
        model.get_submodule(name).register_forward_hook(lambda _, __, out: features.append(out.double().numpy()))
    with torch.no_grad():
        model.eval()(batch.part(0, 12)[0])
    own = [hsic(each, each) for each in features]
    for row, one in enumerate(features):
        for column, other in enumerate(features):
            expected = hsic(one, other) / np.sqrt(own[row] * own[column])
            assert found.alignment[row][column] == pytest.approx(expected, abs=1e-5)


def test_the_spectrum_of_a_kernel_is_that_of_explicit_gradients() -> None:
    watched = network(nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 6)))
    samples, found = measure(Kernel(samples=8), watched)
    assert samples == 8
    assert isinstance(found, KernelValues)
    batch = watched.probe_batch
    assert batch is not None
    rows = []
    for x in batch.part(0, 8)[0]:
        gradients = torch.autograd.grad(watched.model(x) @ signs(6).float() / 6**0.5, list(watched.model.parameters()))
        rows.append(torch.cat([gradient.flatten() for gradient in gradients]).double().numpy())
    singular = np.linalg.svd(np.stack(rows), compute_uv=False)
    np.testing.assert_allclose(found.kernel_eigenvalues[::-1], singular**2, rtol=1e-4, atol=1e-5)
    gone = network()
    assert isinstance(gone.model, Net)
    with torch.no_grad():
        gone.model.tied.weight[0, 0] = torch.nan
    with pytest.raises(FloatingPointError, match="gradient is not finite"):
        measure(Kernel(), gone)
    with pytest.raises(ValueError, match="an output for each sample"):
        measure(Kernel(), Network(gone.model, gone.optimizer, gone.probe_loss))


def test_of_a_deep_net_evenly_spread_modules_are_told() -> None:
    rotations = [nn.Linear(6, 6) for _ in range(200)]  # others would shrink the features to nothing
    for rotation in rotations:
        nn.init.orthogonal_(rotation.weight)
    watched = network(nn.Sequential(*rotations))
    found = measure(Alignment(), watched).values
    assert isinstance(found, AlignmentValues)
    assert len(found.names) == 64
    gaps = np.diff([int(name) for name in found.names])
    assert (found.names[0], found.names[-1]) == ("0", "199")
    assert set(gaps) <= {3, 4}


def test_a_spectrum_of_a_large_net_makes_as_many_steps_as_memory_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = network()
    length = sum(p.numel() for p in watched.model.parameters() if p.requires_grad)
    monkeypatch.setattr(on_demand, "BASIS_BYTES", 5 * 4 * length)
    found = measure(SpectralDensity(probes=2, steps=30), watched).values
    assert isinstance(found, SpectralDensityValues)
    assert found.steps == 5
    assert len(found.eigenvalues) == 10


def test_what_cannot_be_measured_says_why() -> None:
    bare = nn.LayerNorm(6)
    with pytest.raises(ValueError, match="two or more dimensions"):
        measure(SMALL[0], network(bare))
    frozen = network()
    frozen.model.requires_grad_(False)
    with pytest.raises(ValueError, match="trained parameters"):
        measure(SMALL[2], frozen)
    with pytest.raises(ValueError, match="no probe loss"):
        measure(SMALL[0], Network(bare, torch.optim.SGD(bare.parameters())))
    loss_alone = network()
    with pytest.raises(ValueError, match="at least 4 samples, and there are 0"):
        measure(SMALL[3], Network(loss_alone.model, loss_alone.optimizer, loss_alone.probe_loss))
    flat = nn.Sequential(nn.Linear(6, 6))
    nn.init.zeros_(flat[0].weight)
    with pytest.raises(ValueError, match="vary over samples"):
        measure(SMALL[3], network(flat))
    broken = network()
    assert isinstance(broken.model, Net)
    with torch.no_grad():
        broken.model.tied.weight[0, 0] = torch.nan
    with pytest.raises(FloatingPointError, match="not finite"):
        measure(SMALL[2], broken)
    lost = measure(SMALL[0], broken).values
    assert isinstance(lost, LandscapeValues)
    assert lost.losses == ["NaN"] * 5


def test_a_session_measures_between_two_steps(sink: Any, only: Any, run_step: Any) -> None:
    watched = network()
    model, optimizer = watched.model, watched.optimizer
    session = ProbeSession(
        model, optimizer, only("activations"), sink=sink, scalars=["loss.train"], probe_batch=watched.probe_batch
    )
    with session:
        run_step(session, 1, model, optimizer, watched.probe_loss)
        assert isinstance(session.aside(lambda network: measure(SMALL[1], network).values), LandscapeValues)
        run_step(session, 2, model, optimizer, watched.probe_loss)
    assert sink.events == []
    assert sorted(sink.frames) == [1, 2]
    assert sink.frames[2].keys() == sink.frames[1].keys(), "its passes are not measured as the training's"
