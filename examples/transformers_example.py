"""The Trainer of Hugging Face's transformers, watched by a callback: one line. Needs `gyrostat[transformers]`."""

import tempfile

import torch
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments, set_seed

from gyrostat.integrations.transformers import GyrostatCallback

text = "".join(f"{number} squared is {number * number}. " for number in range(400)).encode()
blocks = torch.tensor(list(text[: len(text) // 64 * 64])).view(-1, 64)

set_seed(0)
config = LlamaConfig(
    vocab_size=256, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
    max_position_embeddings=64,
)  # fmt: skip
model = LlamaForCausalLM(config)
with tempfile.TemporaryDirectory() as folder:
    trainer = Trainer(
        model,
        TrainingArguments(
            output_dir=folder,
            max_steps=20,
            per_device_train_batch_size=8,
            gradient_accumulation_steps=2,
            learning_rate=3e-3,
            logging_steps=1,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            use_cpu=True,
        ),
        train_dataset=[{"input_ids": block, "labels": block} for block in blocks],
        callbacks=[GyrostatCallback(name="transformers")],
    )
    trainer.train()
