from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from gyrostat.probes.base import PROBES, Probe
from gyrostat.probes.network import Network
from gyrostat.probes.probe_batch import ProbeBatch
from gyrostat.spec import probes as spec
from gyrostat.spec.metrics import METRICS


def test_every_probe_of_the_spec_has_its_class_and_every_class_its_settings() -> None:
    assert set(PROBES) == set(spec.PROBES)
    for name, kind in PROBES.items():
        assert kind.settings_type is spec.PROBES[name]


def test_settings_can_switch_on_every_probe_under_its_name() -> None:
    assert set(spec.Probes.model_fields) == {"budget", "recorder", *spec.PROBES}


def test_every_metric_that_a_probe_names_is_in_the_catalogue() -> None:
    for kind in spec.PROBES.values():
        assert set(kind.metrics) <= set(METRICS)


def test_a_second_probe_of_the_same_name_is_an_error() -> None:
    with pytest.raises(TypeError, match="two probes are named 'gradients'"):
        type("Again", (Probe,), {"settings_type": spec.GradientsProbe})


def test_every_probe_has_state_that_a_checkpoint_can_hold(tmp_path: Any) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    x = torch.randn(5, 3)
    batch = ProbeBatch(tensors=lambda: (x,), loss_of=lambda batch: model(batch[0]).square().mean())
    network = Network(model, torch.optim.Adam(model.parameters(), lr=0.1), batch.loss, batch)
    concerned = {name: kind for name, kind in PROBES.items() if kind.concerns(network)}
    assert set(PROBES) - set(concerned) == {"attention", "branches"}  # which keep nothing between steps
    for name, kind in concerned.items():
        probe = kind(spec.PROBES[name](), network)
        probe.begin()
        model(x).sum().backward()
        with torch.no_grad():
            probe.after_backward()
            probe.after_update()
        torch.save(probe.state_dict(), tmp_path / name)
        again = kind(spec.PROBES[name](), network)
        again.load_state_dict(torch.load(tmp_path / name, weights_only=True))
        torch.testing.assert_close(again.state_dict(), probe.state_dict())


def test_probes_that_a_network_has_nothing_for_are_left_out() -> None:
    plain, normal = nn.Linear(3, 2), nn.BatchNorm1d(2)
    left_out = {
        name
        for name, kind in PROBES.items()
        if not kind.concerns(Network(plain, torch.optim.SGD(plain.parameters(), lr=0.1)))
    }
    assert left_out == {"attention", "branches", "statistics", "modes", "second_moment"}
    forgetful = nn.BatchNorm1d(2, track_running_stats=False)
    for model, kept in ((normal, {"statistics", "modes"}), (forgetful, set())):
        network = Network(model, torch.optim.SGD(model.parameters(), lr=0.1))
        assert {name for name in left_out if PROBES[name].concerns(network)} == kept


def test_the_network_lists_tied_parameters_once_and_only_leaves() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 2), nn.ReLU()))
    model[1][0].weight = model[0].weight
    network = Network(model, torch.optim.SGD(model.parameters(), lr=0.1))
    assert list(network.parameters) == ["0.weight", "0.bias", "1.0.bias"]
    assert list(network.matrices) == ["0.weight"]
    assert list(network.leaves) == ["0", "1.0", "1.1"]


def test_a_parametrized_layer_is_one_leaf_and_its_weight_one_matrix_as_the_layer_works_with_it() -> None:
    torch.manual_seed(0)
    plain, weighted, spectral = nn.Linear(3, 3), nn.Linear(3, 4), nn.Conv1d(4, 5, 2)
    model = nn.Sequential(plain, parametrizations.weight_norm(weighted), parametrizations.spectral_norm(spectral))
    network = Network(model, torch.optim.SGD(model.parameters(), lr=0.1))
    assert list(network.leaves) == ["0", "1", "2"]
    assert set(network.parameters) == {
        "0.weight", "0.bias", "1.bias", "1.weight.original0", "1.weight.original1", "2.bias", "2.weight",
    }  # fmt: skip
    assert set(network.matrices) == {"0.weight", "1.weight.original1", "2.weight"}
    nn.init.normal_(network.parameters["1.weight.original0"])
    nn.init.normal_(network.parameters["2.weight"])
    vectors = [buffer.clone() for buffer in model.buffers()]
    measured = {name: matrix() for name, matrix in network.matrices.items()}
    assert all(torch.equal(a, b) for a, b in zip(vectors, model.buffers(), strict=True))  # no power iteration was made
    assert all(module.training for module in model.modules())
    assert torch.equal(measured["1.weight.original1"], weighted.weight)
    torch.testing.assert_close(measured["2.weight"], spectral.eval().weight)
    assert not any(tensor.requires_grad for tensor in measured.values())
