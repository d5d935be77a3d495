"""What watching costs a training step, in CPU time: this project's probes beside bare training and naive hooks.

CPU time of the process, one torch thread, the variants interleaved in one process on equal copies of each net.
1.00 is bare training. The nets are those of other tools' published figures: an MLP of 8 x 512 with batches of 256, a
plain CNN of 20 layers on 3 x 32 x 32 with batches of 64, a transformer of 6 blocks of 256 on 8 x 128 tokens.
"""

import argparse
import time
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.ratios import Ratio, interleaved, table
from gyrostat.probes.session import ProbeSession
from gyrostat.spec.parse import parse
from gyrostat.spec.probes import Probes
from gyrostat.wire.layout import Layout
from gyrostat.wire.pending import PendingFrame
from trainer.models.build import build

Step = Callable[[], None]


class Discard:
    """A sink that fetches, as the stream's thread would, and keeps nothing."""

    def layout(self, layout: Layout) -> None: ...

    def emit(self, frame: PendingFrame) -> None:
        frame.fetch()

    def event(self, kind: str, step: int, data: dict[str, Any]) -> None:
        raise RuntimeError(f"{kind}: {data}")


def network(model: dict[str, Any], dataset: str, shape: tuple[int, ...], outputs: int) -> nn.Module:
    kind = "language_model" if dataset == "python_topics" else "classification"
    task = {"kind": kind, "dataset": dataset}
    document = {"task": task, "model": model, "optimizer": "sgd", "steps": 1, "data": {"sequence_length": 128}}
    spec = parse(document).spec
    return build(spec.model, spec.regularization, shape, outputs)


def cases() -> dict[str, tuple[nn.Module, Tensor, Tensor]]:
    """Each net with one batch of its data."""
    torch.manual_seed(0)
    mlp = network({"kind": "mlp", "depth": 8, "width": 512}, "digits", (64,), 10)
    cnn = network({"kind": "cnn", "depth": 20, "width": 16, "stages": 3}, "digits", (3, 32, 32), 10)
    attention = {"kind": "multi_head", "heads": 8}
    gpt = network(
        {"kind": "transformer", "depth": 6, "width": 256, "attention": attention}, "python_topics", (128,), 256
    )
    return {
        "MLP": (mlp, torch.randn(256, 64), torch.randint(10, (256,))),
        "CNN": (cnn, torch.randn(64, 3, 32, 32), torch.randint(10, (64,))),
        "GPT": (gpt, torch.randint(256, (8, 128)), torch.randint(256, (8, 128))),
    }


def loss_of(net: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    outputs = net(inputs)
    return nn.functional.cross_entropy(outputs.reshape(-1, outputs.shape[-1]), targets.reshape(-1))


def bare(net: nn.Module, inputs: Tensor, targets: Tensor) -> Step:
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-3, momentum=0.9)

    def step() -> None:
        optimizer.zero_grad()
        loss_of(net, inputs, targets).backward()
        optimizer.step()

    return step


def naive(net: nn.Module, inputs: Tensor, targets: Tensor) -> Step:
    """`abs().mean().item()` of every leaf module's output and the norm of every gradient, as written by hand."""
    seen: list[float] = []
    for module in net.modules():
        if not list(module.children()):
            module.register_forward_hook(lambda _m, _i, output: seen.append(output.detach().abs().mean().item()))
    plain = torch.optim.SGD(net.parameters(), lr=1e-3, momentum=0.9)

    def step() -> None:
        seen.clear()
        plain.zero_grad()
        loss_of(net, inputs, targets).backward()
        seen.extend(parameter.grad.norm().item() for parameter in net.parameters() if parameter.grad is not None)
        plain.step()

    return step


def watched(settings: Probes) -> Callable[[nn.Module, Tensor, Tensor], Step]:
    def make(net: nn.Module, inputs: Tensor, targets: Tensor) -> Step:
        optimizer = torch.optim.SGD(net.parameters(), lr=1e-3, momentum=0.9)
        session = ProbeSession(
            net,
            optimizer,
            settings,
            sink=Discard(),
            scalars=("loss.train",),
            probe_loss=lambda: loss_of(net, inputs[:64], targets[:64]),
        )
        session.__enter__()
        at = 0

        def step() -> None:
            nonlocal at
            at += 1
            session.begin_step(at)
            optimizer.zero_grad()
            loss = loss_of(net, inputs, targets)
            loss.backward()
            session.after_backward()
            optimizer.step()
            session.after_update()
            session.end_step({"loss.train": loss.detach()}, epoch=0.0)

        return step

    return make


def every(steps: int, *, curvature: bool) -> Probes:
    each = {"every": steps}
    return Probes.model_validate(
        {"budget": None, "gradients": each, "weights": each, "activations": each, "spectral": each,
         "curvature": {"every": steps, "enabled": curvature}}
    )  # fmt: skip


VARIANTS: dict[str, Callable[[nn.Module, Tensor, Tensor], Step]] = {
    "bare": bare,
    "naive hooks": naive,
    "first-order probes, every step": watched(every(1, curvature=False)),
    "first-order probes, every 10 steps": watched(every(10, curvature=False)),
    "all probes, default cadence and budget": watched(Probes()),
}


def measure(net: nn.Module, inputs: Tensor, targets: Tensor, rounds: int, steps: int) -> dict[str, Ratio]:
    def timed(make: Callable[[nn.Module, Tensor, Tensor], Step]) -> Callable[[], float]:
        step = make(deepcopy(net), inputs, targets)

        def run() -> float:
            before = time.process_time()
            for _ in range(steps):
                step()
            return time.process_time() - before

        return run

    return interleaved({name: timed(make) for name, make in VARIANTS.items()}, reference="bare", rounds=rounds)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--steps", type=int, default=10, help="training steps of one variant's turn")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    results = {name: measure(*case, options.rounds, options.steps) for name, case in cases().items()}
    print(table("CPU time of a training step, over bare training: median [middle half]", results))


if __name__ == "__main__":
    main()
