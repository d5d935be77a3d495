from typing import Any

import pytest
import torch
from torch import nn

from gyrostat.probes.base import PROBES, Probe
from gyrostat.probes.network import Network
from gyrostat.spec import probes as spec
from gyrostat.spec.metrics import METRICS


def test_every_probe_of_the_spec_has_its_class_and_every_class_its_settings() -> None:
    assert set(PROBES) == set(spec.PROBES)
    for name, kind in PROBES.items():
        assert kind.settings_type is spec.PROBES[name]


def test_settings_can_switch_on_every_probe_under_its_name() -> None:
    assert set(spec.Probes.model_fields) == {"budget", *spec.PROBES}


def test_every_metric_that_a_probe_names_is_in_the_catalogue() -> None:
    for kind in spec.PROBES.values():
        assert set(kind.metrics) <= set(METRICS)


def test_a_second_probe_of_the_same_name_is_an_error() -> None:
    with pytest.raises(TypeError, match="two probes are named 'gradients'"):
        type("Again", (Probe,), {"settings_type": spec.GradientsProbe})


def test_every_probe_has_state_that_a_checkpoint_can_hold(tmp_path: Any) -> None:
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    x = torch.randn(5, 3)
    network = Network(model, torch.optim.SGD(model.parameters(), lr=0.1), lambda: model(x).square().mean())
    for name, kind in PROBES.items():
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


def test_the_network_lists_tied_parameters_once_and_only_leaves() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 2), nn.ReLU()))
    model[1][0].weight = model[0].weight
    network = Network(model, torch.optim.SGD(model.parameters(), lr=0.1))
    assert list(network.parameters) == ["0.weight", "0.bias", "1.0.bias"]
    assert list(network.matrices) == ["0.weight"]
    assert list(network.leaves) == ["0", "1.0", "1.1"]
