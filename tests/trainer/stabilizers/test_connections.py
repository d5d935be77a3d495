import pytest
import torch
from torch import nn

from gyrostat.spec.connections import Residual
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
