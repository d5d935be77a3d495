import pytest
import torch
from torch import nn

from gyrostat.spec.optimizers import Adam, AdamW, Lion, Muon, RmsProp, Sam, ScheduleFree, Sgd
from gyrostat.spec.weight_decay import CoupledDecay, DecoupledDecay
from trainer.stabilizers import optimizers

RATE, DECAY = 0.01, 0.3
EVERY = [
    Sgd(learning_rate=RATE),
    Sgd(learning_rate=RATE, nesterov=True),
    RmsProp(learning_rate=RATE),
    Adam(learning_rate=RATE),
    AdamW(learning_rate=RATE),
    Lion(learning_rate=RATE),
    Muon(learning_rate=RATE),
    ScheduleFree(learning_rate=RATE),
    ScheduleFree(base="sgd", learning_rate=RATE),
    Sam(base=Adam(learning_rate=RATE)),
]
IDS = ["sgd", "nesterov", "rmsprop", "adam", "adamw", "lion", "muon", "schedule-free", "schedule-free sgd", "sam"]


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 3), nn.LayerNorm(3), nn.Linear(3, 5), nn.Linear(5, 2)).double()


def stepped(settings, decay, *, factor=1.0, gradient=None, steps=1):
    """The weights after a step with a fixed gradient, or `gradient(parameter)`."""
    model = network()
    optimizer = optimizers.build(settings, model, decay)
    torch.manual_seed(1)
    given = [torch.randn_like(p) for p in model.parameters()]
    for _ in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = RATE * factor
        for p, fixed in zip(model.parameters(), given, strict=True):
            p.grad = fixed.clone() if gradient is None else gradient(p.detach(), fixed)
        optimizer.step()
    return {name: p.detach() for name, p in model.named_parameters()}


NONE = DecoupledDecay(rate=0.0)


@pytest.mark.parametrize("settings", EVERY, ids=IDS)
@pytest.mark.parametrize("factor", [1.0, 0.25])
def test_decoupled_decay_takes_the_scheduled_rates_share_of_each_matrix_beside_any_optimizer(settings, factor):
    before = {name: p.detach() for name, p in network().named_parameters()}
    plain, decayed = (stepped(settings, one, factor=factor) for one in (NONE, DecoupledDecay(rate=DECAY)))
    for name, weight in before.items():
        expected = plain[name] - (factor * RATE * DECAY * weight if weight.ndim > 1 else 0)
        torch.testing.assert_close(decayed[name], expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("settings", EVERY, ids=IDS)
def test_coupled_decay_is_a_part_of_the_gradient_beside_any_optimizer(settings):
    decayed = stepped(settings, CoupledDecay(rate=DECAY), steps=3)
    by_hand = stepped(settings, NONE, steps=3, gradient=lambda p, g: g + DECAY * p if p.ndim > 1 else g.clone())
    for name, expected in by_hand.items():
        torch.testing.assert_close(decayed[name], expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("settings", EVERY, ids=IDS)
@pytest.mark.parametrize("decay", [CoupledDecay, DecoupledDecay])
def test_vectors_decay_where_that_is_asked_for(settings, decay):
    before = dict(network().named_parameters())
    only_matrices, everything = (stepped(settings, decay(rate=DECAY, vectors=on)) for on in (False, True))
    for name, weight in before.items():
        if weight.ndim > 1:
            torch.testing.assert_close(everything[name], only_matrices[name], rtol=1e-12, atol=1e-14)
    assert not torch.equal(everything["1.weight"], only_matrices["1.weight"]) or settings.kind == "lion"


@pytest.mark.parametrize(
    ("native", "technique"),
    [
        ((Sgd, {"momentum": 0.5}), CoupledDecay(rate=DECAY, vectors=True)),
        ((RmsProp, {}), CoupledDecay(rate=DECAY, vectors=True)),
        ((Adam, {}), CoupledDecay(rate=DECAY, vectors=True)),
        ((AdamW, {}), DecoupledDecay(rate=DECAY)),
        ((Lion, {}), DecoupledDecay(rate=DECAY)),
        ((Muon, {}), DecoupledDecay(rate=DECAY)),
        ((ScheduleFree, {}), DecoupledDecay(rate=DECAY)),
    ],
)
def test_it_is_what_the_optimizers_that_have_it_do_themselves(native, technique):
    kind, more = native
    own = stepped(kind(learning_rate=RATE, weight_decay=DECAY, **more), None, steps=3)
    replaced = stepped(kind(learning_rate=RATE, **more), technique, steps=3)
    for name, expected in own.items():
        torch.testing.assert_close(replaced[name], expected, rtol=1e-12, atol=1e-14)


def test_the_optimizers_own_default_decay_is_replaced():
    assert AdamW().weight_decay > 0
    plain = stepped(AdamW(learning_rate=RATE, weight_decay=0.0), None)
    replaced = stepped(AdamW(learning_rate=RATE), NONE)
    for name, expected in plain.items():
        assert torch.equal(replaced[name], expected)


def test_what_has_no_gradient_does_not_decay_and_a_step_that_is_not_made_decays_nothing():
    model = network()
    optimizer = optimizers.build(Sgd(), model, DecoupledDecay(rate=DECAY))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    model[0].weight.grad = torch.zeros_like(model[0].weight)
    for name, weight in model.named_parameters():
        assert torch.equal(weight, before[name])
    optimizer.step()
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {"0.weight"}
