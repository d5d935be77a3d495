"""The nets of other tools' published figures, each with one batch of its data."""

from typing import Any

import torch
from torch import Tensor, nn

from gyrostat.spec.parse import parse
from trainer.models.build import build


def cases() -> dict[str, tuple[nn.Module, Tensor, Tensor]]:
    """An MLP of 8 x 512, a plain CNN of 20 layers, a transformer of 6 blocks of 256."""
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


def network(model: dict[str, Any], dataset: str, shape: tuple[int, ...], outputs: int) -> nn.Module:
    """As the trainer builds it."""
    kind = "language_model" if dataset == "python_topics" else "classification"
    task = {"kind": kind, "dataset": dataset}
    document = {"task": task, "model": model, "optimizer": "sgd", "steps": 1, "data": {"sequence_length": 128}}
    spec = parse(document).spec
    return build(spec.model, spec.regularization, shape, outputs)


def loss_of(net: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy."""
    outputs = net(inputs)
    return nn.functional.cross_entropy(outputs.reshape(-1, outputs.shape[-1]), targets.reshape(-1))
