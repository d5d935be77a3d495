import math

import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from gyrostat.spec.attention import AttentionTechnique, CrossAttention, LogitSoftCap, MultiHead, QkNorm, SelfAttention
from trainer.stabilizers import attention
from trainer.stabilizers.attention import AttentionLayer, soft_cap

STAGES = {
    "plain": {},
    "qk_norm": {"qk_norm": QkNorm()},
    "soft_cap": {"logit_soft_cap": LogitSoftCap(cap=0.5)},
    "both": {"qk_norm": QkNorm(), "logit_soft_cap": LogitSoftCap(cap=0.5)},
}
WIDTH = 12


def built(settings: AttentionTechnique, causal: bool = False) -> AttentionLayer:
    """In float64, with gains that are not one."""
    torch.manual_seed(0)
    layer = attention.build(settings, WIDTH, causal=causal).double()
    with torch.no_grad():
        for parameter in layer.parameters():
            if parameter.ndim == 1:
                parameter += 0.3 * torch.randn_like(parameter)
    return layer


def by_the_formula(layer: AttentionLayer, settings: AttentionTechnique, x: Tensor, memory: Tensor, causal: bool):
    """Head by head, row by row."""
    query, key, value = layer.query(x), layer.key(memory), layer.value(memory)
    size = x.shape[-1] // settings.heads
    heads = []
    for h in range(settings.heads):
        q, k, v = (each[..., h * size : (h + 1) * size] for each in (query, key, value))
        if settings.qk_norm is not None:
            eps = settings.qk_norm.eps
            q = layer.query_norm.weight * q / (q.square().mean(-1, keepdim=True) + eps).sqrt()
            k = layer.key_norm.weight * k / (k.square().mean(-1, keepdim=True) + eps).sqrt()
        rows = []
        for t in range(x.shape[1]):
            seen = t + 1 if causal else memory.shape[1]
            logits = torch.einsum("nd,nsd->ns", q[:, t], k[:, :seen]) / math.sqrt(size)
            if settings.logit_soft_cap is not None:
                cap = settings.logit_soft_cap.cap
                logits = cap * (logits / cap).tanh()
            weights = logits.exp() / logits.exp().sum(-1, keepdim=True)
            rows.append(torch.einsum("ns,nsd->nd", weights, v[:, :seen]))
        heads.append(torch.stack(rows, 1))
    return layer.output(torch.cat(heads, -1))


@pytest.fixture
def x() -> Tensor:
    return torch.randn(3, 7, WIDTH, generator=torch.Generator().manual_seed(0)).double()


@pytest.fixture
def memory() -> Tensor:
    return torch.randn(3, 5, WIDTH, generator=torch.Generator().manual_seed(1)).double()


every_stage = pytest.mark.parametrize("stage", STAGES)


@every_stage
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("heads", [1, 3, 12])
def test_multi_head_equals_the_formula_in_float64(x, heads, causal, stage):
    settings = MultiHead(heads=heads, **STAGES[stage])
    layer = built(settings, causal)
    expected = by_the_formula(layer, settings, x, x, causal)
    torch.testing.assert_close(layer(x), expected, rtol=1e-12, atol=1e-12)


@every_stage
@pytest.mark.parametrize("causal", [True, False])
def test_self_attention_equals_the_formula_with_one_head(x, causal, stage):
    settings = SelfAttention(**STAGES[stage])
    layer = built(settings, causal)
    assert layer.heads == 1
    expected = by_the_formula(layer, settings, x, x, causal)
    torch.testing.assert_close(layer(x), expected, rtol=1e-12, atol=1e-12)


@every_stage
@pytest.mark.parametrize("heads", [1, 4])
def test_cross_attention_equals_the_formula(x, memory, heads, stage):
    settings = CrossAttention(heads=heads, **STAGES[stage])
    layer = built(settings)
    expected = by_the_formula(layer, settings, x, memory, causal=False)
    torch.testing.assert_close(layer(x, memory), expected, rtol=1e-12, atol=1e-12)


@every_stage
def test_what_is_attended_to_changes_the_output_of_cross_attention_and_its_order_does_not(x, memory, stage):
    layer = built(CrossAttention(heads=3, **STAGES[stage]))
    changed = memory.clone()
    changed[:, -1] += 1.0
    assert not torch.allclose(layer(x, memory), layer(x, changed))
    torch.testing.assert_close(layer(x, memory), layer(x, memory.flip(1)))


@every_stage
def test_the_causal_mask_leaks_nothing(x, stage):
    layer = built(MultiHead(heads=3, **STAGES[stage]), causal=True)
    changed = x.clone()
    changed[:, 4:] += 1000.0
    assert torch.equal(layer(x)[:, :4], layer(changed)[:, :4])
    x.requires_grad_()
    layer(x)[:, :4].sum().backward()
    assert torch.equal(x.grad[:, 4:], torch.zeros_like(x.grad[:, 4:]))


@every_stage
def test_without_the_mask_every_position_sees_every_other(x, stage):
    layer = built(MultiHead(heads=3, **STAGES[stage]))
    changed = x.clone()
    changed[:, -1] += 1.0
    assert not torch.allclose(layer(x)[:, 0], layer(changed)[:, 0])


def largest_logit(layer: AttentionLayer, x: Tensor) -> float:
    seen: list[float] = []
    layer.core.register_forward_hook(lambda core, read, output: seen.append(core.logits(*read).abs().max().item()))
    layer(x)
    return seen[0]


def test_normalized_queries_and_keys_bound_the_logits_however_large_the_inputs(x):
    size = WIDTH // 3
    plain, normalized = (
        attention.build(MultiHead(heads=3, **STAGES[stage]), WIDTH).double() for stage in ("plain", "qk_norm")
    )
    assert largest_logit(plain, 1000 * x) > 1e4
    assert largest_logit(normalized, 1000 * x) <= math.sqrt(size) * (1 + 1e-12)
    with torch.no_grad():
        normalized.query_norm.weight.fill_(3.0)
        normalized.key_norm.weight[0] = 2.0
    assert math.sqrt(size) < largest_logit(normalized, 1000 * x) <= math.sqrt(size) * 6 * (1 + 1e-12)


def test_normalized_queries_and_keys_do_not_feel_the_scale_of_the_weights(x):
    layer = built(MultiHead(heads=3, qk_norm=QkNorm(eps=1e-12)))
    with torch.no_grad():
        layer.query.bias.zero_()
    before = layer(x)
    with torch.no_grad():
        layer.query.weight *= 7.0
        layer.key.weight *= 0.2
    torch.testing.assert_close(layer(x), before)


@pytest.mark.parametrize("cap", [0.5, 20.0])
def test_the_soft_cap_bounds_the_logits_and_leaves_small_ones_alone(x, cap):
    layer = built(MultiHead(heads=3, logit_soft_cap=LogitSoftCap(cap=cap)))
    assert 0.99 * cap < largest_logit(layer, 1000 * x) <= cap
    small = torch.linspace(-0.01, 0.01, 11).double() * cap
    torch.testing.assert_close(soft_cap(small, cap), small, rtol=1e-4, atol=0)
    assert torch.equal(soft_cap(torch.tensor([-math.inf, math.inf]), cap), torch.tensor([-cap, cap]))


def test_a_cap_far_above_the_logits_changes_nothing_but_the_path(x):
    plain = built(MultiHead(heads=3), causal=True)
    capped = built(MultiHead(heads=3, logit_soft_cap=LogitSoftCap(cap=1e4)), causal=True)
    torch.testing.assert_close(capped(x), plain(x), rtol=1e-6, atol=1e-8)


@every_stage
@pytest.mark.parametrize("settings", [MultiHead(heads=3), CrossAttention(heads=3)], ids=["self", "cross"])
def test_it_can_be_differentiated_twice_under_the_math_kernel(x, memory, settings, stage):
    settings = settings.model_copy(update=STAGES[stage])
    layer = attention.build(settings, WIDTH, causal=settings.kind == "multi_head").double()
    inputs = (x,) if settings.kind == "multi_head" else (x, memory)
    parameters = dict(layer.named_parameters())

    def loss(values):
        return torch.func.functional_call(layer, values, inputs).square().mean()

    with sdpa_kernel(SDPBackend.MATH):
        direction = {name: torch.randn_like(p) for name, p in parameters.items()}
        gradients = torch.autograd.grad(loss(parameters), list(parameters.values()), create_graph=True)
        along = sum((g * direction[name]).sum() for name, g in zip(parameters, gradients, strict=True))
        products = torch.autograd.grad(along, list(parameters.values()))
        ahead, behind = (gradient_at(loss, parameters, direction, step) for step in (1e-5, -1e-5))
    for product, after, before in zip(products, ahead, behind, strict=True):
        torch.testing.assert_close(product, (after - before) / 2e-5, rtol=1e-5, atol=1e-7)


def gradient_at(loss, parameters, direction, step):
    moved = {name: (p + step * direction[name]).detach().requires_grad_() for name, p in parameters.items()}
    return torch.autograd.grad(loss(moved), list(moved.values()))


@every_stage
def test_state_makes_the_round_trip(x, stage):
    settings = MultiHead(heads=3, **STAGES[stage])
    one, other = built(settings), attention.build(settings, WIDTH).double()
    assert not torch.equal(one(x), other(x))
    other.load_state_dict(one.state_dict())
    assert torch.equal(one(x), other(x))


@every_stage
@pytest.mark.parametrize("causal", [True, False])
def test_it_works_under_autocast_close_to_float32(x, causal, stage):
    layer = attention.build(MultiHead(heads=3, **STAGES[stage]), WIDTH, causal=causal)
    exact = layer(x.float())
    with torch.autocast("cpu", torch.bfloat16):
        rounded = layer(x.float())
    assert rounded.dtype == torch.bfloat16
    torch.testing.assert_close(rounded.float(), exact, rtol=0.05, atol=0.05)
    rounded.float().square().mean().backward()
    assert all(p.grad.isfinite().all() and p.grad.dtype == torch.float32 for p in layer.parameters())
