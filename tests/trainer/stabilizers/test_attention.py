import math

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from gyrostat.spec.attention import MultiHead
from trainer.stabilizers import attention
from trainer.stabilizers.attention import MultiHeadSelfAttention


def by_the_formula(layer: MultiHeadSelfAttention, x: torch.Tensor, *, causal: bool) -> torch.Tensor:
    """Head by head, row by row."""
    query, key, value = layer.query(x), layer.key(x), layer.value(x)
    size = x.shape[-1] // layer.heads
    heads = []
    for h in range(layer.heads):
        q, k, v = (each[..., h * size : (h + 1) * size] for each in (query, key, value))
        rows = []
        for t in range(x.shape[1]):
            seen = t + 1 if causal else x.shape[1]
            weights = torch.softmax(torch.einsum("nd,nsd->ns", q[:, t], k[:, :seen]) / math.sqrt(size), -1)
            rows.append(torch.einsum("ns,nsd->nd", weights, v[:, :seen]))
        heads.append(torch.stack(rows, 1))
    return layer.output(torch.cat(heads, -1))


@pytest.fixture
def x():
    return torch.randn(3, 7, 12, generator=torch.Generator().manual_seed(0)).double()


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("heads", [1, 3, 12])
def test_it_equals_the_formula_in_float64(x, heads, causal):
    torch.manual_seed(0)
    layer = attention.build(MultiHead(heads=heads), 12, causal=causal).double()
    torch.testing.assert_close(layer(x), by_the_formula(layer, x, causal=causal), rtol=1e-12, atol=1e-12)


def test_the_causal_mask_leaks_nothing(x):
    layer = MultiHeadSelfAttention(12, MultiHead(heads=3)).double()
    changed = x.clone()
    changed[:, 4:] += 1000.0
    assert torch.equal(layer(x)[:, :4], layer(changed)[:, :4])
    x.requires_grad_()
    layer(x)[:, :4].sum().backward()
    assert torch.equal(x.grad[:, 4:], torch.zeros_like(x.grad[:, 4:]))


def test_without_the_mask_every_position_sees_every_other(x):
    layer = MultiHeadSelfAttention(12, MultiHead(heads=3), causal=False).double()
    changed = x.clone()
    changed[:, -1] += 1.0
    assert not torch.allclose(layer(x)[:, 0], layer(changed)[:, 0])


def test_it_can_be_differentiated_twice_under_the_math_kernel(x):
    layer = MultiHeadSelfAttention(12, MultiHead(heads=3)).float()
    with sdpa_kernel(SDPBackend.MATH):
        loss = layer(x.float()).square().mean()
        gradients = torch.autograd.grad(loss, tuple(layer.parameters()), create_graph=True)
        squares = torch.stack([g.square().sum() for g in gradients]).sum()
        products = torch.autograd.grad(squares, tuple(layer.parameters()))
    assert all(product.isfinite().all() for product in products)
