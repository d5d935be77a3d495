"""Hugging Face's Trainer, for real: its own gradient norm and loss are the reference."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments, set_seed

from gyrostat.integrations.transformers import GyrostatCallback
from tests.gyrostat.watching.conftest import EVERY
from tests.gyrostat.watching.folders import left_in

BLOCKS = torch.randint(0, 32, (24, 16), generator=torch.Generator().manual_seed(0))

Train = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def train(tmp_path: Path) -> Train:
    """Trains for an epoch and a half of twelve micro-batches, two a step; answers what the Trainer logged."""

    def train(*callbacks: Any) -> list[dict[str, Any]]:
        set_seed(3)
        model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=32, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
                max_position_embeddings=16, attention_dropout=0.1,
            )
        )  # fmt: skip
        arguments = TrainingArguments(
            output_dir=str(tmp_path / "out"), max_steps=9, per_device_train_batch_size=2,
            gradient_accumulation_steps=2, learning_rate=0.01, max_grad_norm=0.5, logging_steps=1, eval_steps=3,
            eval_strategy="steps", save_strategy="no", report_to=[], disable_tqdm=True, use_cpu=True,
        )  # fmt: skip
        data = [{"input_ids": block, "labels": block} for block in BLOCKS]
        trainer = Trainer(model, arguments, train_dataset=data, eval_dataset=data[:2], callbacks=list(callbacks))
        trainer.train()
        history: list[dict[str, Any]] = trainer.state.log_history
        return history

    return train


def test_what_is_measured_is_what_the_trainer_logs(train: Train, tmp_path: Path) -> None:
    callback = GyrostatCallback(server="", folder=tmp_path / "runs", probes=EVERY, name="tiny")
    bare, history = train(), train(callback)

    def logged(records: list[dict[str, Any]], name: str) -> dict[int, float]:
        return {record["step"]: record[name] for record in records if name in record}

    assert logged(history, "loss") == logged(bare, "loss")
    left = left_in(callback.watch.folder)
    assert list(left.frames) == list(range(1, 10))
    norms = logged(history, "grad_norm")
    assert left.scalars("gradient.global_norm") == pytest.approx(norms, rel=1e-4)
    assert left.scalars("trainer.grad_norm") == pytest.approx(norms, rel=1e-6)
    assert max(left.scalars("gradient.clipped_norm").values()) == pytest.approx(0.5, rel=1e-4)
    assert left.scalars("loss.train") == pytest.approx(logged(history, "loss"), rel=1e-6)
    assert left.scalars("loss.validation") == pytest.approx(logged(history, "eval_loss"), rel=1e-6)
    assert left.epochs[9] == pytest.approx(1.5)
    assert left.layouts[-1].axes["module"]
    assert left.events[-1] == ("finished", 9, {})
    assert len(left.logged()) == 1
