"""What each of two ranks finds: `python -m tests.trainer.two_ranks FOLDER RANK` writes `FOLDER/RANK.pt`."""

import os
import sys
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from gyrostat.spec.parse import parse
from gyrostat.spec.probes import PROBES
from tests.trainer.recording import Recording, document
from trainer import loop, tasks
from trainer.checkpoints import CheckpointStore
from trainer.control import Control
from trainer.errors import RanksDiffer
from trainer.models.synchronized import Switch, synchronize
from trainer.passes import Passes
from trainer.ranks import ALONE, Ranks, joined
from trainer.stabilizers import optimizers

CPU = torch.device("cpu")
SIZE = 2
ACCUMULATED = document(
    "digits-cnn", model={"norm": "batch", "width": 8}, data={"batch_size": 16}, schedule="constant",
    accumulation={"steps": 2}, distributed={"kind": "ddp", "ranks": 2},
)  # fmt: skip
IN_STEP = document(
    "digits-mlp",
    steps=20,
    distributed={"kind": "ddp", "ranks": 2, "digest_every": 4},
    probes={name: {"enabled": False} for name in PROBES},
)


def network(momentum=0.1):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, momentum=momentum), nn.Tanh(), nn.Flatten(), nn.Linear(36, 5),
        nn.BatchNorm1d(5, affine=False, momentum=momentum), nn.Tanh(), nn.Linear(5, 1),
    ).double()  # fmt: skip


def images():
    return torch.randn(12, 3, 5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def normalized(ranks: Ranks, momentum=0.1):
    """Outputs, gradients of a loss with an input gradient in it, and running statistics, of this rank's share."""
    model, inputs = network(momentum), ranks.share((images(),))[0].requires_grad_()
    switch = Switch()
    synchronize(model, switch)
    switch.on = ranks.size > 1
    for _ in range(2):
        model.zero_grad()
        outputs = model(inputs)
        (slope,) = torch.autograd.grad(outputs.sum(), inputs, create_graph=True)
        (outputs.square().mean() + slope.square().sum() / len(inputs)).backward()
    gradients = {name: p.grad / ranks.size for name, p in model.named_parameters()}
    summed = {name: ranks.rows(gradient.flatten()).sum(0).view_as(gradient) for name, gradient in gradients.items()}
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    _, tangent = joined_jvp(model, inputs, switch, on=ranks.size > 1)
    evaluated = model.eval()(inputs).detach()
    switch.on = False
    local = model.train()(inputs)  # changes the running statistics
    return {
        "outputs": outputs.detach(), "gradients": summed, "buffers": buffers, "local": local.detach(),
        "eval": evaluated, "tangent": tangent.detach(), "names": list(model.state_dict()),
    }  # fmt: skip


def joined_jvp(model, inputs, switch, *, on):
    """The derivative of the outputs where all inputs of all ranks move by themselves."""
    switch.on = on
    parameters = {name: p.detach() for name, p in model.named_parameters()}

    def outputs(x):
        buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}  # made in here, so free to change
        return torch.func.functional_call(model, {**parameters, **buffers}, (x,))

    result = torch.func.jvp(outputs, (inputs.detach(),), (inputs.detach(),))
    switch.on = False
    return result


def accumulated(ranks: Ranks):
    """The gradient of a step of micro-batches with synchronized batch normalization, and how often none was reduced."""
    spec = parse(ACCUMULATED).spec
    task = tasks.build(spec, data_root=None, device=CPU)
    task.model.double()
    ranks.synchronize(spec.distributed, task.model)
    passes = Passes(spec, task, optimizers.build(spec.optimizer, task.model), ranks)
    inputs, targets = task.batch(0)
    quiet = []
    with counted(quiet):
        measured = passes.run((inputs.double(), targets))
    gradients = {name: p.grad.clone() for name, p in task.model.named_parameters()}
    buffers = {name: buffer.clone() for name, buffer in task.model.named_buffers()}
    return {"gradients": gradients, "measured": measured, "buffers": buffers, "quiet": len(quiet)}


@contextmanager
def counted(entered):
    original = DistributedDataParallel.no_sync

    def no_sync(self):
        entered.append(True)
        return original(self)

    DistributedDataParallel.no_sync = no_sync
    try:
        yield
    finally:
        DistributedDataParallel.no_sync = original


def altered(ranks: Ranks, folder: Path):
    """A training whose rank 1 is altered after step 10: frames and layouts of rank 0."""
    task = tasks.build(parse(IN_STEP).spec, data_root=None, device=CPU)

    def alter(step):
        if step == 10 and ranks.rank == 1:
            with torch.no_grad():
                next(task.model.parameters()).mul_(1.01)

    recording = trained(task, ranks, folder, alter)
    return {
        "frames": [(step, values) for step, values in recording.frames.items()],
        "axes": [layout.axes.get("rank") for layout in recording.layouts],
    }


def different(ranks: Ranks, folder: Path):
    """What a training says whose rank 1 begins with other weights."""
    task = tasks.build(parse(IN_STEP).spec, data_root=None, device=CPU)
    if ranks.rank == 1:
        nn.init.ones_(next(task.model.parameters()))
    try:
        trained(task, ranks, folder, lambda step: None)
    except RanksDiffer as error:
        return str(error)
    return ""


def trained(task, ranks, folder, progress):
    recording = Recording()
    loop.train(
        task.spec,
        run="r1",
        task=task,
        stream=recording,
        checkpoints=CheckpointStore(folder),
        control=Control(),
        progress=progress,
        ranks=ranks,
    )
    return recording


def main(folder: Path, rank: int) -> None:
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    torch.set_num_threads(1)
    with joined(rank, SIZE, device=CPU, store=folder / "store") as ranks:
        found = {
            "normalized": normalized(ranks),
            "cumulative": normalized(ranks, momentum=None),
            "accumulated": accumulated(ranks),
            "altered": altered(ranks, folder / "checkpoints"),
            "different": different(ranks, folder / "checkpoints"),
        }
    found["alone"] = {"normalized": normalized(ALONE), "cumulative": normalized(ALONE, momentum=None)}
    found["alone"]["accumulated"] = accumulated(ALONE)
    torch.save(found, folder / f"{rank}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
