"""Ways to train that make watching hard; losses, weights and random numbers are those of the unwatched training."""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from gyrostat.probes import ProbeSession
from gyrostat.probes.probe_batch import ProbeBatch
from gyrostat.spec.probes import PROBES, Probes, Recorder


class Images(nn.Module):
    """Convolutions, in the memory format channels-last unless told otherwise."""

    def __init__(self, memory_format: torch.memory_format = torch.channels_last) -> None:
        super().__init__()
        self.format = memory_format
        self.body = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU(inplace=True))
        self.head = nn.Linear(4, 3)
        self.to(memory_format=memory_format)  # type: ignore[call-overload]

    def forward(self, x: Tensor) -> Tensor:
        images = x.view(-1, 2, 3, 3).to(memory_format=self.format)
        return cast(Tensor, self.head(self.body(images).mean((2, 3))))


class Recomputed(nn.Module):
    """A part whose outputs are made again in the backward pass (None: they are not), with dropout in it."""

    def __init__(self, use_reentrant: bool | None) -> None:
        super().__init__()
        self.reentrant = use_reentrant
        self.first = nn.Linear(18, 8)
        self.part = nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.3), nn.Tanh())
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.first(x)
        if self.reentrant is None:
            hidden = self.part(hidden)
        else:
            hidden = checkpoint(self.part, hidden, use_reentrant=self.reentrant)
        return cast(Tensor, self.head(hidden))


class Shared(nn.Module):
    """Two layers with one weight, one layer that is called three times and one that never is."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.again, self.idle = nn.Linear(18, 6), nn.Linear(6, 6), nn.Linear(4, 4)
        self.tied = nn.Linear(6, 6)
        self.tied.weight = self.again.weight
        self.act, self.head = nn.ReLU(inplace=True), nn.Linear(6, 3)
        self.first.bias.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for _ in range(3):
            x = self.act(self.again(x))
        return cast(Tensor, self.head(self.tied(x)))


@dataclass(frozen=True, kw_only=True)
class Way:
    """How a model is trained."""

    make: Callable[[], nn.Module]
    autocast: torch.dtype | None = None
    micro_batches: int = 1
    compiler: str | None = None


WAYS = {
    "channels last": Way(make=Images),
    "checkpointed": Way(make=lambda: Recomputed(False)),
    "checkpointed, reentrant": Way(make=lambda: Recomputed(True)),
    "tied and called often": Way(make=Shared),
    "bf16": Way(make=Images, autocast=torch.bfloat16),
    "fp16 and accumulation": Way(make=Shared, autocast=torch.float16, micro_batches=3),
    "compiled": Way(make=Shared, compiler="eager"),
    "compiled by autograd's compiler": Way(make=Images, compiler="aot_eager"),
}


@pytest.fixture(autouse=True)
def _nothing_compiled() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def batch() -> tuple[Tensor, Tensor]:
    return torch.randn(8, 18), torch.randint(0, 3, (8,))


def trained(way: Way, sink: Any, *, watched: bool) -> tuple[list[float], dict[str, Any], list[int]]:
    torch.manual_seed(0)
    model = way.make()
    called = torch.compile(model, backend=way.compiler) if way.compiler else model
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.02)
    scaler = torch.amp.GradScaler("cpu", enabled=way.autocast == torch.float16)
    fixed = batch()
    settings: dict[str, Any] = {name: kind(every=2, enabled=watched) for name, kind in PROBES.items()}
    criterion, losses = nn.CrossEntropyLoss(), []
    with ProbeSession(
        model,
        optimizer,
        Probes(budget=None, recorder=Recorder(steps=4), **settings),
        sink=sink,
        scalars=["loss.train"],
        probe_batch=ProbeBatch(tensors=lambda: fixed, loss_of=lambda parts: criterion(model(parts[0]), parts[1])),
    ) as session:
        for step in range(1, 9):
            session.begin_step(step)
            optimizer.zero_grad()
            for _ in range(way.micro_batches):
                inputs, targets = batch()
                with torch.autocast("cpu", dtype=way.autocast) if way.autocast else nullcontext():
                    loss = criterion(called(inputs).float(), targets) / way.micro_batches
                scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
                losses.append(loss.item())
            scaler.unscale_(optimizer)
            session.after_backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            session.after_clip()
            scaler.step(optimizer)
            scaler.update()
            session.after_update()
            session.end_step({"loss.train": loss}, epoch=0.0)
            if step == 6:
                session.tighten(2)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    state = {name: value.tolist() for name, value in model.state_dict().items()}
    return losses, state, torch.get_rng_state().tolist()


@pytest.mark.parametrize("name", WAYS)
def test_watching_changes_nothing(name: str, sink: Any) -> None:
    bare = trained(WAYS[name], sink, watched=False)
    sink.clear()
    watched = trained(WAYS[name], sink, watched=True)
    assert watched == bare
    assert {"gradient.norm", "weight.norm"} <= sink.frames[8].keys()
    if "reentrant" in name:  # which autograd.grad refuses: what needs it is switched off, and says so
        assert {kind for kind, _, _ in sink.events} == {"probe_disabled"}
        assert "use_reentrant" in sink.events[0][2]["reason"]
    else:
        assert not sink.events
        assert "curvature.sharpness" in sink.frames[8]
    assert ("activation.rms" in sink.frames[8]) == (WAYS[name].compiler is None)


def test_what_checkpointing_makes_again_does_not_count_twice(sink: Any, only: Any, run_step: Any) -> None:
    torch.manual_seed(0)
    model = Recomputed(False)
    calls = []
    model.part[0].register_forward_hook(lambda *_: calls.append(1))
    inputs = torch.randn(4, 18)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    settings = only("activations")
    with ProbeSession(model, optimizer, settings, sink=sink, scalars=["loss.train"]) as session:
        seen = session._probes["activations"]
        counted: list[int] = []
        output = seen.output
        seen.output = lambda leaf, tensor: (counted.append(leaf), output(leaf, tensor))[1]  # type: ignore[method-assign]
        run_step(session, 1, model, optimizer, lambda: model(inputs).square().mean())
    assert len(calls) == 2, "once forward, once more in the backward pass"
    assert sorted(counted) == sorted(set(counted))
    assert len(counted) == 5


def test_hooks_leave_a_compiled_model_its_graph_which_is_made_at_most_twice(sink: Any, only: Any) -> None:
    torch.manual_seed(0)
    model = Shared()
    graphs: list[int] = []

    def backend(graph: Any, inputs: Any) -> Any:
        graphs.append(len(graph.graph.nodes))
        return graph.forward

    compiled = torch.compile(model, backend=backend)
    bare_model = Shared()
    torch.compile(bare_model, backend=backend)(torch.ones(8, 18)).sum().backward()
    bare = list(graphs)
    graphs.clear()
    torch._dynamo.reset()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.0)
    with ProbeSession(model, optimizer, only("activations", every=2), sink=sink, scalars=["loss.train"]) as session:
        for step in range(1, 5):
            session.begin_step(step)
            compiled(torch.ones(8, 18)).sum().backward()
            session.after_backward()
            session.end_step({"loss.train": 0.0}, epoch=0.0)
    assert set(graphs) == set(bare)
    assert len(graphs) <= 2, "once with hooks there, once without"


def test_ten_thousand_layers_are_watched_in_bounded_frames_and_idle_steps_do_not_see_them(sink: Any) -> None:
    class Deep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(1, 1) for _ in range(10_000))
            self.empty = nn.Parameter(torch.zeros(0, 3))

        def forward(self, x: Tensor) -> Tensor:
            for layer in self.layers[:100]:  # type: ignore[union-attr]
                x = layer(x)
            return x

    model = Deep()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    dear = {name: kind(enabled=False) for name, kind in PROBES.items() if kind.cost != "cheap"}
    settings = Probes(budget=None, recorder=Recorder(steps=2), **dear)  # type: ignore[arg-type]
    with ProbeSession(model, optimizer, settings, sink=sink, scalars=["loss.train"]) as session:
        for step in (1, 2, 3):
            session.begin_step(step)
            loss = model(torch.ones(2, 1)).sum()
            loss.backward()
            session.after_backward()
            session.after_update()
            session.end_step({"loss.train": loss}, epoch=0.0)
        assert session._recorder is not None
        assert session._recorder.num_bytes <= 2 * 4 * 20 * 20_003
    assert not sink.events
    assert len(sink.frames[1]["weight.norm"]) == 20_000
    assert len(sink.frames[1]["activation.rms"]) == 100
    assert set(sink.frames[2]) == {"loss.train"}


def test_hooks_are_gone_after_the_backward_pass_though_the_only_probe_was_switched_off_in_one(
    sink: Any, only: Callable[..., Probes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise MemoryError("in a hook")

    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU())
    with ProbeSession(
        model, torch.optim.SGD(model.parameters()), only("activations"), sink=sink, scalars=[]
    ) as session:
        monkeypatch.setattr("gyrostat.probes.activations.Activations.output", broken)
        session.begin_step(1)
        model(torch.ones(2, 3)).sum().backward()
        assert [kind for kind, _, _ in sink.events] == ["probe_disabled"]
        session.after_backward()
        assert not any(module._forward_hooks for module in model.modules())
