"""Training with all probes is, to the last bit, training without them."""

import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gyrostat.probes import ProbeSession
from gyrostat.probes.probe_batch import ProbeBatch
from gyrostat.spec.attention import LogitSoftCap, MultiHead, QkNorm
from gyrostat.spec.connections import Highway
from gyrostat.spec.probes import PROBES, Probes
from trainer.stabilizers import attention, connections


def perceptron() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(inplace=True), nn.Dropout(0.3), nn.Linear(16, 3))


def convolutional() -> nn.Module:
    return nn.Sequential(
        nn.Unflatten(1, (1, 2, 3)), nn.Conv2d(1, 4, 2), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3)
    )


class Attentive(nn.Module):
    """Causal attention that the attention probe looks into, with a fused kernel and with a cap, in a gated branch."""

    def __init__(self) -> None:
        super().__init__()
        cap = {"qk_norm": QkNorm(), "logit_soft_cap": LogitSoftCap(cap=2.0)}
        self.first = attention.build(MultiHead(heads=2), 6, causal=True)
        self.second = attention.build(MultiHead(heads=3, **cap), 6, causal=True)
        self.join = connections.build(Highway(), 6, dims=1, survival=0.5)
        self.drop = nn.Dropout(0.2)
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = x.unsqueeze(1) * torch.arange(1.0, 4.0).unsqueeze(1)
        return self.head(self.drop(self.join(self.second(self.first(x)), x)).mean(1))  # type: ignore[no-any-return]


class Recurrent(nn.Module):
    """Attention with dropout inside, and a tied embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(6, 2, dropout=0.2, batch_first=True)
        self.norm = nn.LayerNorm(6)
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = x.unsqueeze(1).expand(-1, 3, -1)
        return self.head(self.norm(x + self.attention(x, x, x)[0]).mean(1))  # type: ignore[no-any-return]


MODELS = {"mlp": perceptron, "cnn": convolutional, "attention": Recurrent, "own attention": Attentive}
OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01),
}


def train(sink: Any, make: Any, make_optimizer: Any, budget: float | None, watched: bool) -> dict[str, Any]:
    torch.manual_seed(0)
    model = make()
    optimizer = make_optimizer(model.parameters())
    inputs, targets = torch.randn(40, 6), torch.randint(0, 3, (40,))
    every = {name: kind(every=1 if budget is None else 2) for name, kind in PROBES.items()}
    every["curvature"] = every["curvature"].model_copy(update={"eigenvalues": 2})
    off = {name: kind(enabled=False) for name, kind in PROBES.items()}
    settings = Probes(budget=budget, **(every if watched else off))
    criterion = nn.CrossEntropyLoss()
    losses: list[float] = []
    gradients: list[Any] = []
    with ProbeSession(
        model,
        optimizer,
        settings,
        sink=sink,
        scalars=["loss.train"],
        probe_batch=ProbeBatch(
            tensors=lambda: (inputs[:20], targets[:20]), loss_of=lambda batch: criterion(model(batch[0]), batch[1])
        ),
    ) as session:
        for step in range(1, 13):
            session.begin_step(step)
            optimizer.zero_grad()
            for _ in range(2):
                batch = torch.randint(0, 40, (8,))
                loss = criterion(model(inputs[batch]), targets[batch])
                loss.backward()
                losses.append(loss.item())
            session.after_backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            session.after_clip()
            optimizer.step()
            session.after_update()
            gradients.append([None if p.grad is None else p.grad.tolist() for p in model.parameters()])
            session.end_step({"loss.train": loss}, epoch=0)
    state = {name: value.tolist() for name, value in model.state_dict().items()}
    return {"losses": losses, "gradients": gradients, "state": state, "random": torch.get_rng_state().tolist()}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("model", MODELS)
def test_losses_gradients_weights_buffers_and_random_numbers_are_bit_identical(
    sink: Any, model: str, optimizer: str
) -> None:
    bare = train(sink, MODELS[model], OPTIMIZERS[optimizer], None, watched=False)
    assert all(set(frame) == {"loss.train"} for frame in sink.frames.values())
    sink.clear()
    watched = train(sink, MODELS[model], OPTIMIZERS[optimizer], None, watched=True)
    assert bare == watched
    assert not sink.events
    measured = set().union(*sink.frames.values())
    expected = {metric for kind in PROBES.values() for metric in kind.metrics}
    expected -= {"curvature.preconditioned_sharpness", "update.second_moment_lag"} if optimizer == "sgd" else set()
    expected -= {"curvature.effective_smoothness_over_limit"} if optimizer == "adamw" else set()
    # vectors are no maps, and sequences of equal places have no frequency
    expected -= {"representation.frequency_centroid"} if model in ("mlp", "attention") else set()
    lacking = set() if model == "own attention" else {*PROBES["attention"].metrics, *PROBES["branches"].metrics}
    lacking |= set() if model == "cnn" else {metric for metric in expected if metric.startswith("normalization.")}
    lacking |= {"weight.lipschitz_bound"} if "attention" in model else set()
    assert measured >= expected - lacking


def test_a_budget_changes_cadences_but_no_number(sink: Any) -> None:
    bare = train(sink, perceptron, OPTIMIZERS["sgd"], None, watched=False)
    sink.clear()
    assert train(sink, perceptron, OPTIMIZERS["sgd"], 0.01, watched=True) == bare


def test_the_graph_of_the_curvature_pass_is_freed(sink: Any, only: Any) -> None:
    graphs: list[weakref.ref[Any]] = []

    class Watched(torch.autograd.Function):
        @staticmethod
        def forward(context: Any, x: Tensor) -> Tensor:
            context.save_for_backward(x)
            return x * x

        @staticmethod
        def backward(context: Any, *gradients: Tensor) -> Tensor:
            graphs.append(weakref.ref(context))
            (x,) = context.saved_tensors
            return 2 * x * gradients[0]

    model = nn.Linear(3, 1)
    gc.disable()
    try:
        with ProbeSession(
            model,
            torch.optim.SGD(model.parameters(), lr=0.1),
            only("curvature"),
            sink=sink,
            scalars=[],
            probe_loss=lambda: Watched.apply(model(torch.ones(2, 3))).sum(),
        ) as session:
            session.begin_step(1)
            session.after_update()
            session.end_step({}, epoch=0)
            assert graphs
            assert all(reference() is None for reference in graphs)
    finally:
        gc.enable()
    assert not sink.events
