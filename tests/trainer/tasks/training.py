"""A training loop in its shortest form, for tests of what the real one is made of."""

from typing import NamedTuple

import torch

from gyrostat.spec.run import RunSpec
from trainer import tasks
from trainer.stabilizers import gradients, optimizers, schedules, systems

CPU = torch.device("cpu")


class Trained(NamedTuple):
    task: tasks.Task
    losses: list[float]
    gradient_norms: list[dict[str, float]]


def train(spec: RunSpec, steps: int) -> Trained:
    """The first `steps` steps of the spec's run, from a global generator seeded as the real loop does."""
    task = tasks.build(spec, data_root=None, device=CPU)
    torch.manual_seed(spec.seed)
    optimizer = optimizers.build(spec.optimizer, task.model)
    trained = Trained(task, [], [])
    for step in range(steps):
        rate = spec.optimizer.learning_rate * schedules.factor(spec.schedule, step, spec.steps)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad()
        total = 0.0
        for batch, weight in systems.micro_batches(spec.accumulation, task.batch(step)):
            loss, _ = task.loss(task.model, batch)
            (loss * weight).backward()
            total += loss.item() * weight
        trained.losses.append(total)
        trained.gradient_norms.append(
            {n: p.grad.norm().item() for n, p in task.model.named_parameters() if p.grad is not None}
        )
        gradients.clip(task.model.parameters(), spec.gradients.clip)
        optimizer.step()
    return trained
