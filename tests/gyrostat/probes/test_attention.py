import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from gyrostat.probes import ProbeSession
from gyrostat.probes.attention import entropy
from gyrostat.probes.network import Network
from gyrostat.spec.attention import CrossAttention, LogitSoftCap, MultiHead, QkNorm
from gyrostat.wire.values import is_absent
from trainer.stabilizers import attention

Array = np.ndarray[Any, np.dtype[np.float64]]


def reference(query: Tensor, key: Tensor, *, causal: bool, cap: float | None = None) -> tuple[Array, Array]:
    """Entropy and largest logit of each head in numpy: (N, heads, T, d) and (N, heads, S, d) to twice (heads,)."""
    q, k = (each.detach().double().numpy() for each in (query, key))
    count, heads, length, size = q.shape
    entropies, largest = np.zeros(heads), np.full(heads, -np.inf)
    for n in range(count):
        for h in range(heads):
            for t in range(length):
                logits = k[n, h, : t + 1 if causal else None] @ q[n, h, t] / math.sqrt(size)
                logits = logits if cap is None else cap * np.tanh(logits / cap)
                weights = np.exp(logits) / np.exp(logits).sum()
                entropies[h] -= (weights * np.log(weights)).sum() / (count * length)
                largest[h] = max(largest[h], logits.max())
    return entropies, largest


class Net(nn.Module):
    """Two layers of causal self-attention, then cross-attention to the first input of another length."""

    def __init__(self, cap: float | None = None, normalized: bool = False) -> None:
        super().__init__()
        stages = {
            "qk_norm": QkNorm() if normalized else None,
            "logit_soft_cap": None if cap is None else LogitSoftCap(cap=cap),
        }
        self.first = attention.build(MultiHead(heads=2, **stages), 8, causal=True)
        self.second = attention.build(MultiHead(heads=4, **stages), 8, causal=True)
        self.unused = attention.build(MultiHead(heads=1), 8)
        self.cross = attention.build(CrossAttention(heads=2, **stages), 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.cross(self.second(self.first(x)), x[:, :3])  # type: ignore[no-any-return]


def captured(net: Net) -> dict[str, list[tuple[Tensor, Tensor]]]:
    """What each core is called with, by a way of its own."""
    calls: dict[str, list[tuple[Tensor, Tensor]]] = {}
    for name, layer in net.named_children():
        layer.core.register_forward_hook(  # type: ignore[operator, union-attr]
            lambda core, read, output, name=name: calls.setdefault(name, []).append((read[0], read[1]))
        )
    return calls


def measure(net: nn.Module, sink: Any, settings: Any, inputs: list[Tensor]) -> None:
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    with ProbeSession(net, optimizer, settings, sink=sink, scalars=[]) as session:
        session.begin_step(1)
        for x in inputs:
            net(x).square().mean().backward()
        session.after_backward()
        optimizer.step()
        session.after_update()
        session.end_step({}, epoch=0)


def inputs(count: int = 6, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(count, 5, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("cap", [None, 0.3])
@pytest.mark.parametrize("normalized", [False, True])
def test_entropy_and_largest_logit_are_numpy_s_of_the_queries_and_keys_as_used(
    sink: Any, only: Any, cap: float | None, normalized: bool
) -> None:
    torch.manual_seed(0)
    net = Net(cap, normalized)
    calls = captured(net)
    measure(net, sink, only("attention", sequences=4), [inputs(scale=3.0)])
    assert not sink.events
    entropies, largest = sink.at(1, "attention.entropy"), sink.at(1, "attention.max_logit")
    for name, causal in (("first", True), ("second", True), ("cross", False)):
        query, key = (each[:4] for each in calls[name][0])
        expected = reference(query, key, causal=causal, cap=cap)
        for head in range(query.shape[1]):
            assert entropies[f"{name}#{head}"] == pytest.approx(expected[0][head], rel=1e-4, abs=1e-6)
            assert largest[f"{name}#{head}"] == pytest.approx(expected[1][head], rel=1e-4)
    if cap is not None:
        assert max(value for name, value in largest.items() if not name.startswith("unused")) <= cap


def test_the_axis_holds_every_layer_s_heads_in_order_and_what_was_not_called_is_absent(sink: Any, only: Any) -> None:
    measure(Net(), sink, only("attention"), [inputs()])
    names = ["first#0", "first#1", "second#0", "second#1", "second#2", "second#3", "unused#0", "cross#0", "cross#1"]
    assert [layout.axes for layout in sink.layouts] == [{"head": names}]
    for metric in ("attention.entropy", "attention.max_logit"):
        assert is_absent(sink.frames[1][metric]).tolist() == [name == "unused#0" for name in names]


def test_only_the_first_sequences_of_the_first_micro_batch_count(sink: Any, only: Any) -> None:
    torch.manual_seed(0)
    net, x = Net(), inputs()
    measure(net, sink, only("attention", sequences=2), [x[:3], 1000 * x[3:]])
    alone = sink.at(1, "attention.max_logit")
    sink.clear()
    torch.manual_seed(0)
    measure(Net(), sink, only("attention", sequences=2), [x[:2]])
    for name, value in sink.at(1, "attention.max_logit").items():
        assert name == "unused#0" or value == alone[name]


def test_even_weights_have_the_logarithm_of_what_is_read_and_a_single_one_has_nothing() -> None:
    torch.testing.assert_close(entropy(torch.zeros(2, 3, 4, 7)), torch.full((2, 3, 4), math.log(7)))
    hidden = torch.tensor([0.0, -math.inf, -math.inf])
    assert entropy(hidden).item() == 0.0
    assert entropy(torch.tensor([1000.0, 0.0])).item() == 0.0
    assert entropy(torch.tensor([-math.inf, 3.0, -400.0, 3.0])).item() == pytest.approx(math.log(2))
    drawn = 20 * torch.randn(30, 50, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    plain = -(drawn.softmax(-1) * drawn.log_softmax(-1)).sum(-1)
    torch.testing.assert_close(entropy(drawn.float()).double(), plain, rtol=1e-4, atol=1e-6)
    assert entropy(torch.tensor([math.nan, 0.0])).isnan()


def test_models_without_attention_and_validation_passes_have_no_such_metrics(sink: Any, only: Any) -> None:
    measure(nn.Sequential(nn.Linear(8, 8)), sink, only("attention"), [inputs()])
    measure(Net().eval(), sink, only("attention"), [inputs()])
    assert sink.frames == {}
    assert not sink.events


class Foreign(nn.Module):
    """An attention layer of somebody else's: called by keywords, and its own core."""

    def __init__(self, heads: int = 2, made: int = 2) -> None:
        super().__init__()
        self.heads, self.made = heads, made
        self.project = nn.Linear(8, 8)

    @property
    def core(self) -> nn.Module:
        return self

    def logits(self, *, x: Tensor, sharpness: float) -> Tensor:
        split = x.unflatten(-1, (self.made, -1)).transpose(1, 2)
        return sharpness * split @ split.mT

    def forward(self, *, x: Tensor, sharpness: float) -> Tensor:
        weights = self.logits(x=x, sharpness=sharpness).softmax(-1).mean(1)
        return self.project(weights @ x)  # type: ignore[no-any-return]


class Around(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x=x, sharpness=2.0)  # type: ignore[no-any-return]


def test_a_layer_of_somebody_else_s_joins_by_two_attributes(sink: Any, only: Any) -> None:
    x = inputs(2)
    measure(Around(Foreign()), sink, only("attention"), [x])
    split = x.unflatten(-1, (2, -1)).transpose(1, 2)
    logits = 2.0 * split @ split.mT
    found = sink.at(1, "attention.max_logit")
    assert found == pytest.approx({f"layer#{head}": logits[:, head].max().item() for head in range(2)})


def test_a_layer_that_says_another_number_of_heads_switches_the_probe_off_and_no_more(sink: Any, only: Any) -> None:
    measure(Around(Foreign(heads=3)), sink, only("attention", "gradients"), [inputs(2)])
    ((kind, step, data),) = sink.events
    assert (kind, step, data["probe"]) == ("probe_disabled", 1, "attention")
    assert "logits of 'layer' have shape (2, 2, 5, 5); expected (N, 3, T, S)" in data["reason"]
    assert "gradient.norm" in sink.frames[1]


def test_modules_with_other_things_of_these_names_are_no_attention() -> None:
    class Odd(nn.Module):
        heads = 3
        core = nn.Linear(1, 1)

    net = nn.Sequential(Odd(), nn.MultiheadAttention(8, 2))
    network = Network(net, torch.optim.SGD(net.parameters(), lr=0.1))
    assert network.attentions == {}
    assert network.heads == []


def test_it_measures_in_float32_what_autocast_computes_in_bfloat16(sink: Any, only: Any) -> None:
    torch.manual_seed(0)
    net = Net()
    calls = captured(net)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    with ProbeSession(net, optimizer, only("attention", sequences=6), sink=sink, scalars=[]) as session:
        session.begin_step(1)
        with torch.autocast("cpu", torch.bfloat16):
            loss = functional.mse_loss(net(inputs()).float(), torch.zeros(6, 5, 8))
        loss.backward()
        session.after_backward()
        session.end_step({}, epoch=0)
    query, key = calls["first"][0]
    assert query.dtype == torch.bfloat16
    expected = reference(query, key, causal=True)[0]
    found = sink.at(1, "attention.entropy")
    assert [found["first#0"], found["first#1"]] == pytest.approx(expected.tolist(), rel=1e-5)
