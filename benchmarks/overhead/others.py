"""What this project's probes are held against: nothing, hand-written hooks, limits, and peers where installed."""

import importlib.util
import os
import tempfile
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.overhead.cases import loss_of
from gyrostat.probes.moments import moments
from gyrostat.probes.native import kernels

Step = Callable[[], None]
Variant = Callable[[nn.Module, Tensor, Tensor], Step]


def bare(net: nn.Module, inputs: Tensor, targets: Tensor, after: Callable[[Tensor], None] = lambda loss: None) -> Step:
    """A training step, and something after its backward pass."""
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-3, momentum=0.9)

    def step() -> None:
        optimizer.zero_grad()
        loss = loss_of(net, inputs, targets)
        loss.backward()
        after(loss)
        optimizer.step()

    return step


def hooked(net: nn.Module, look: Callable[[Tensor], Any]) -> list[Any]:
    """Looks at the output of every module without children; answers the list of what was seen."""
    seen: list[Any] = []
    for module in net.modules():
        if not list(module.children()):
            module.register_forward_hook(lambda _m, _i, output: seen.append(look(output.detach())))
    return seen


def naive(net: nn.Module, inputs: Tensor, targets: Tensor) -> Step:
    """`abs().mean().item()` of every output and the norm of every gradient, as written by hand."""
    seen = hooked(net, lambda output: output.abs().mean().item())

    def look(loss: Tensor) -> None:
        seen.extend(parameter.grad.norm().item() for parameter in net.parameters() if parameter.grad is not None)
        seen.clear()

    return bare(net, inputs, targets, look)


def one_read(net: nn.Module, inputs: Tensor, targets: Tensor) -> Step:
    """The floor: every output is read once."""
    seen = hooked(net, torch.sum)
    return bare(net, inputs, targets, lambda loss: seen.clear())


def fused_kernel(net: nn.Module, inputs: Tensor, targets: Tensor) -> Step:
    """The pass that forms all moments of an output at once, without a session around it."""
    kernels.prepare(wait=True)
    seen = hooked(net, moments)
    return bare(net, inputs, targets, lambda loss: seen.clear())


def wandb_watch(net: nn.Module, inputs: Tensor, targets: Tensor) -> Step:
    """wandb.watch(log="all") at every step, offline."""
    import wandb

    wandb.finish()  # it watches for one run at a time
    run = wandb.init(mode="offline", dir=tempfile.mkdtemp(), settings=wandb.Settings(silent=True))
    run.watch(net, log="all", log_freq=1)
    return bare(net, inputs, targets, lambda loss: run.log({"loss": loss.item()}))


def tensorboard(net: nn.Module, inputs: Tensor, targets: Tensor) -> Step:
    """Histograms of all weights and gradients at every step."""
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(tempfile.mkdtemp())
    at = 0

    def look(loss: Tensor) -> None:
        nonlocal at
        at += 1
        for name, parameter in net.named_parameters():
            writer.add_histogram(name, parameter, at)
            if parameter.grad is not None:
                writer.add_histogram(f"{name}.grad", parameter.grad, at)

    return bare(net, inputs, targets, look)


def trainscope(net: nn.Module, inputs: Tensor, targets: Tensor) -> Step:
    """Its default: gradients, weights, activations and histograms at every step."""
    from trainscope import TrainScope
    from trainscope.core.config import TrainScopeConfig

    optimizer = torch.optim.SGD(net.parameters(), lr=1e-3, momentum=0.9)
    scope = TrainScope(net, optimizer, TrainScopeConfig(run_dir=tempfile.mkdtemp())).attach()

    def step() -> None:
        optimizer.zero_grad()
        loss = loss_of(net, inputs, targets)
        loss.backward()
        scope.step(loss.item())
        optimizer.step()

    return step


PEERS: dict[str, tuple[str, Variant]] = {
    "wandb.watch(log='all'), every step": ("wandb", wandb_watch),
    "TensorBoard histograms, every step": ("tensorboard", tensorboard),
    "trainscope, default, every step": ("trainscope", trainscope),
}


def peers() -> dict[str, Variant]:
    """Those that are installed."""
    os.environ.setdefault("WANDB_SILENT", "true")
    return {name: variant for name, (package, variant) in PEERS.items() if importlib.util.find_spec(package)}


def missing() -> list[str]:
    """Those that are not."""
    return [package for package, _ in PEERS.values() if not importlib.util.find_spec(package)]
