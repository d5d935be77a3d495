import pytest
import torch
from torch import nn

from gyrostat.spec.connections import Dense, Highway, LayerScale, Residual, ReZero
from trainer.stabilizers import connections
from trainer.stabilizers.connections import Block


@pytest.fixture
def x():
    return torch.randn(5, 4, generator=torch.Generator().manual_seed(0))


def zeroed() -> nn.Linear:
    linear = nn.Linear(4, 4)
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear


def test_the_join_is_the_sum(x):
    assert torch.equal(connections.build(Residual(), 4, dims=1)(2 * x, x), 3 * x)


@pytest.mark.parametrize("after", [{}, {"activation": nn.ReLU()}])
def test_with_a_zeroed_branch_the_block_is_the_identity(x, after):
    block = Block({"linear": zeroed()}, after, connection=Residual(), features=4, dims=1)
    x = x.abs() if after else x
    assert torch.equal(block(x), x)


def test_without_a_connection_the_input_is_not_added(x):
    block = Block({"linear": zeroed()}, {}, connection=None, features=4, dims=1, shortcut=nn.Linear(4, 4))
    assert torch.equal(block(x), torch.zeros_like(x))
    assert [name for name, _ in block.named_children()] == ["linear"]


def test_the_shortcut_brings_the_input_to_the_branch_s_shape(x):
    shortcut = nn.Linear(4, 2)
    branch = nn.Linear(4, 2)
    block = Block({"linear": branch}, {}, connection=Residual(), features=2, dims=1, shortcut=shortcut)
    torch.testing.assert_close(block(x), branch(x) + shortcut(x))


def test_parts_are_named_in_the_order_in_which_they_run_and_those_that_do_nothing_are_left_out(x):
    block = Block(
        {"linear": nn.Linear(4, 4), "norm": nn.Identity()},
        {"activation": nn.ReLU(), "dropout": nn.Identity()},
        connection=Residual(),
        features=4,
        dims=1,
    )
    seen = []
    for name, part in block.named_children():
        part.register_forward_hook(lambda module, arguments, output, name=name: seen.append(name))
    block(x)
    assert seen == [name for name, _ in block.named_children()] == ["linear", "connection", "activation"]


def test_the_gradient_reaches_the_input_undiminished_past_a_zeroed_branch(x):
    x.requires_grad_()
    net = nn.Sequential(
        *(Block({"linear": zeroed()}, {}, connection=Residual(), features=4, dims=1) for _ in range(50))
    )
    net(x).sum().backward()
    assert torch.equal(x.grad, torch.ones_like(x))


def gated(bias: float, *, dims: int) -> connections.Join:
    join = connections.build(Highway(), 4, dims=dims)
    with torch.no_grad():
        join.weight.zero_()
        join.bias.fill_(bias)
    return join


@pytest.mark.parametrize(("shape", "dims"), [((5, 4), 1), ((5, 3, 4), 1), ((5, 4, 6, 6), 2)])
def test_a_closed_highway_gate_is_the_identity_and_an_open_one_the_branch(shape, dims):
    source = torch.Generator().manual_seed(0)
    branch, skipped = torch.randn(shape, generator=source), torch.randn(shape, generator=source)
    torch.testing.assert_close(gated(-50.0, dims=dims)(branch, skipped), skipped)
    torch.testing.assert_close(gated(50.0, dims=dims)(branch, skipped), branch)
    torch.testing.assert_close(gated(0.0, dims=dims)(branch, skipped), (branch + skipped) / 2)


def test_a_highway_gate_is_its_formula_and_starts_near_the_identity(x):
    join = connections.build(Highway(gate_bias=-2.0), 4, dims=1)
    gate = 1 / (1 + torch.exp(-(x @ join.weight.T - 2.0)))
    torch.testing.assert_close(join(3 * x, x), 3 * x * gate + x * (1 - gate))
    assert connections.build(Highway(gate_bias=-2.0), 4, dims=1).gate(torch.zeros(1, 4)).max() < 0.12


@pytest.mark.parametrize(("shape", "dims"), [((5, 4), 1), ((5, 4, 6, 6), 2)])
def test_rezero_starts_as_the_identity_and_adds_the_scaled_branch(shape, dims):
    source = torch.Generator().manual_seed(0)
    branch, skipped = torch.randn(shape, generator=source), torch.randn(shape, generator=source)
    join = connections.build(ReZero(), 4, dims=dims)
    assert torch.equal(join(branch, skipped), skipped)
    join.scale.data.fill_(0.5)
    torch.testing.assert_close(join(branch, skipped), skipped + branch / 2)


@pytest.mark.parametrize(("shape", "dims"), [((5, 4), 1), ((5, 3, 4), 1), ((5, 4, 6, 6), 2)])
def test_layer_scale_weighs_each_feature_of_the_branch(shape, dims):
    source = torch.Generator().manual_seed(0)
    branch, skipped = torch.randn(shape, generator=source), torch.randn(shape, generator=source)
    join = connections.build(LayerScale(start=0.1), 4, dims=dims)
    torch.testing.assert_close(join(branch, skipped), skipped + 0.1 * branch)
    weights = torch.tensor([0.0, 1.0, 2.0, 3.0])
    join.scale.data.copy_(weights.view_as(join.scale))
    axis = 1 if dims == 2 else -1
    expected = (skipped.movedim(axis, -1) + weights * branch.movedim(axis, -1)).movedim(-1, axis)
    torch.testing.assert_close(join(branch, skipped), expected)


def test_a_dense_join_holds_all_earlier_features_first_come_first(x):
    join = connections.build(Dense(), 4, dims=1)
    assert torch.equal(join(2 * x, x), torch.cat([x, 2 * x], 1))
    images = torch.randn(2, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    joined = connections.build(Dense(), 4, dims=2)(images[:, :2], images)
    assert torch.equal(joined, torch.cat([images, images[:, :2]], 1))
    assert connections.joined_features(Dense(), 4, 2) == joined.shape[1] == 6


def test_a_dropped_branch_leaves_what_it_skips_and_a_kept_one_is_scaled_up():
    torch.manual_seed(0)
    join = connections.build(Residual(), 1, dims=1, survival=0.8)
    branch, skipped = torch.ones(50_000, 1), torch.full((50_000, 1), 3.0)
    joined = join(branch, skipped)
    kept = joined != 3.0
    assert abs(kept.double().mean().item() - 0.8) < 4 * (0.8 * 0.2 / 50_000) ** 0.5
    torch.testing.assert_close(joined[kept], torch.full_like(joined[kept], 3.0 + 1 / 0.8))
    assert torch.equal(join.eval()(branch, skipped), branch + skipped)
