"""Muon: against singular value decompositions, and against torch's own for matrices."""

import pytest
import torch
from torch import nn

from gyrostat.probes.stability import limit
from gyrostat.spec.optimizers import Muon
from trainer.stabilizers import optimizers
from trainer.stabilizers.own_optimizers.matrices import Matrices, hidden_matrices, orthogonalized


@pytest.mark.parametrize("shape", [(6, 6), (4, 9), (9, 4)])
def test_orthogonalized_keeps_the_singular_vectors_and_makes_the_values_about_one(shape):
    torch.manual_seed(0)
    matrix = torch.randn(shape, dtype=torch.float64)
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    inside = left.T @ orthogonalized(matrix) @ right.T
    values = inside.diagonal()
    assert ((values > 0.65) & (values < 1.25)).all()
    torch.testing.assert_close(inside, torch.diag(values), rtol=0, atol=1e-9)


def test_nothing_stays_nothing():
    assert torch.equal(orthogonalized(torch.zeros(3, 4)), torch.zeros(3, 4))


@pytest.mark.parametrize("shape", [(5, 8), (8, 5)])
def test_its_steps_are_those_of_torchs_muon_but_for_the_rounding_of_bfloat16(shape):
    torch.manual_seed(0)
    ours = nn.Parameter(torch.randn(shape))
    theirs = nn.Parameter(ours.detach().clone())
    start = ours.detach().clone()
    settings = {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1}
    own, reference = (
        Matrices([ours], **settings),
        torch.optim.Muon([theirs], adjust_lr_fn="match_rms_adamw", **settings),
    )
    for factor in (1.0, 0.5, 0.25):
        for optimizer in (own, reference):
            optimizer.param_groups[0]["lr"] = 0.1 * factor
        ours.grad = torch.randn(shape)
        theirs.grad = ours.grad.clone()
        own.step()
        reference.step()
    torch.testing.assert_close(ours.detach(), theirs.detach(), rtol=0, atol=0.02 * (ours - start).abs().max().item())


def test_three_steps_by_hand_in_float64():
    torch.manual_seed(0)
    weight = nn.Parameter(torch.randn(3, 5, dtype=torch.float64))
    value, momentum = weight.detach().clone(), torch.zeros(3, 5, dtype=torch.float64)
    optimizer = Matrices([weight], lr=0.1, momentum=0.8, weight_decay=0.2)
    for factor in (1.0, 0.5, 0.25):
        optimizer.param_groups[0]["lr"] = 0.1 * factor
        weight.grad = 3 * weight.detach()  # the quadratic of curvature 3
        gradient = 3 * value
        momentum = 0.8 * momentum + 0.2 * gradient
        ahead = 0.8 * momentum + 0.2 * gradient
        x = ahead / ahead.norm()
        for _ in range(5):
            gram = x @ x.T
            x = 3.4445 * x - 4.775 * gram @ x + 2.0315 * gram @ gram @ x
        value = value - 0.1 * factor * (0.2 * 5**0.5 * x + 0.2 * value)
        optimizer.step()
    torch.testing.assert_close(weight.detach(), value, rtol=1e-10, atol=1e-12)


def test_a_kernel_moves_as_the_matrix_that_it_is():
    torch.manual_seed(0)
    kernel = nn.Parameter(torch.randn(4, 3, 2, 2))
    matrix = nn.Parameter(kernel.detach().flatten(1).clone())
    kernel.grad = torch.randn(4, 3, 2, 2)
    matrix.grad = kernel.grad.flatten(1).clone()
    for parameter in (kernel, matrix):
        Matrices([parameter], lr=0.1, momentum=0.9).step()
    assert torch.equal(kernel.flatten(1), matrix)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(7, 4)
        self.convolution = nn.Conv2d(3, 4, 3)
        self.depthwise = nn.Conv2d(4, 4, 1, groups=4)
        self.norm = nn.LayerNorm(4)
        self.linear = nn.utils.parametrizations.weight_norm(nn.Linear(4, 5))
        self.output = nn.Linear(5, 2)


def test_it_is_for_hidden_matrices_and_kernels():
    net = Net()
    chosen = {id(p) for p in hidden_matrices(net)}
    names = {name for name, p in net.named_parameters() if id(p) in chosen}
    assert names == {"convolution.weight", "linear.parametrizations.weight.original1"}


def test_all_that_it_is_not_for_is_adamws():
    net = Net()
    optimizer = optimizers.build(Muon(weight_decay=0.1), net)
    matrices, rest = optimizer.parts
    assert isinstance(rest, torch.optim.AdamW)
    held = [p for group in optimizer.param_groups for p in group["params"]]
    assert len(held) == len({id(p) for p in held}) == len(list(net.parameters()))
    assert {id(p) for group in matrices.param_groups for p in group["params"]} == {id(p) for p in hidden_matrices(net)}
    decayed = {id(p) for group in optimizer.param_groups if group["weight_decay"] for p in group["params"]}
    assert decayed == {id(p) for p in net.parameters() if p.ndim > 1}


def test_a_net_without_hidden_matrices_is_all_adamws():
    net = nn.Linear(3, 2)
    (part,) = optimizers.build(Muon(), net).parts
    assert isinstance(part, torch.optim.AdamW)


def walk(curvature, *, steps, momentum=0.9):
    """Where ½·curvature·‖W‖² takes Muon's step: the singular values of W after each, (steps, 3)."""
    torch.manual_seed(0)
    weight = nn.Parameter(torch.randn(3, 5, dtype=torch.float64))
    optimizer = Matrices([weight], lr=0.1, momentum=momentum)
    assert limit(optimizer) is None
    assert limit(torch.optim.Muon([nn.Parameter(torch.ones(3, 5))], lr=0.1)) is None
    seen = []
    for _ in range(steps):
        weight.grad = curvature * weight.detach()
        optimizer.step()
        seen.append(torch.linalg.svdvals(weight.detach()))
    return torch.stack(seen)


def test_its_path_on_a_quadratic_is_the_same_at_every_curvature_so_that_none_is_its_limit():
    # powers of two, which round nothing: far below the limit 20 of gradient descent at this rate, around it, far above
    paths = [walk(2.0**power, steps=300) for power in (-10, 4, 5, 30)]
    assert all(torch.equal(paths[0], other) for other in paths[1:])


@pytest.mark.parametrize("momentum", [0.0, 0.9, 0.95])
@pytest.mark.parametrize("curvature", [0.98 * 20, 1.02 * 20, 1e6])
def test_it_ends_in_an_oscillation_of_the_length_of_its_step_where_gradient_descent_would_blow_up(momentum, curvature):
    late = walk(curvature, steps=1000, momentum=momentum)[-500:]
    step = 1.25 * 0.1 * 0.2 * 5**0.5  # the largest singular value of an update
    assert late.max() <= step * (1 + momentum**2 / (1 - momentum))
    assert late.max() >= 0.2 * step
