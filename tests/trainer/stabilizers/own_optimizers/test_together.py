import copy

import pytest
import torch
from torch import nn

from gyrostat.spec.optimizers import AdamW, Muon, Sam, Sgd
from trainer.stabilizers import optimizers
from trainer.stabilizers.own_optimizers import Together


def parameters():
    torch.manual_seed(0)
    return [nn.Parameter(torch.randn(3, 2)), nn.Parameter(torch.randn(4))]


def give_gradients(held, seed):
    torch.manual_seed(seed)
    for p in held:
        p.grad = torch.randn_like(p)


def test_each_part_makes_its_own_step_at_the_rates_set_outside():
    ours, apart = parameters(), parameters()
    parts = [torch.optim.SGD([ours[0]], lr=1.0, momentum=0.9), torch.optim.AdamW([ours[1]], lr=1.0)]
    alone = [torch.optim.SGD([apart[0]], lr=0.1, momentum=0.9), torch.optim.AdamW([apart[1]], lr=0.01)]
    both = Together(parts)
    for group, rate in zip(both.param_groups, (0.1, 0.01), strict=True):
        group["lr"] = rate
    for seed in range(3):
        give_gradients(ours, seed)
        give_gradients(apart, seed)
        both.step()
        for part in alone:
            part.step()
    assert all(torch.equal(a, b) for a, b in zip(ours, apart, strict=True))
    assert both.kind == "Together(SGD, AdamW)"


@pytest.mark.parametrize("settings", [Muon(), Sam(base=AdamW()), Sam(base=Muon()), Sam(base=Sgd())])
def test_a_saved_state_goes_on_where_it_was_saved(settings):
    def network():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 5), nn.Linear(5, 2))

    uncut = network()
    optimizer = optimizers.build(settings, uncut)
    for step in range(4):
        if step == 2:
            resumed = network()
            resumed.load_state_dict(uncut.state_dict())
            saved = copy.deepcopy(optimizer.state_dict())
        give_gradients(uncut.parameters(), step)
        optimizer.step()
    again = optimizers.build(settings, resumed)
    again.load_state_dict(saved)
    for group in again.param_groups:
        group["lr"] *= 1.0
    for step in (2, 3):
        give_gradients(resumed.parameters(), step)
        again.step()
    for a, b in zip(uncut.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_rate_set_after_loading_is_the_parts_rate():
    (first, second) = parameters()
    both = Together([torch.optim.SGD([first], lr=1.0), torch.optim.SGD([second], lr=1.0)])
    both.load_state_dict(both.state_dict())
    for group in both.param_groups:
        group["lr"] = 0.0
    before = first.detach().clone()
    give_gradients([first, second], 0)
    both.step()
    assert torch.equal(first, before)


def test_a_closure_is_refused():
    with pytest.raises(ValueError, match="cannot share a closure"):
        Together([torch.optim.SGD(parameters(), lr=1.0)]).step(lambda: 1.0)
