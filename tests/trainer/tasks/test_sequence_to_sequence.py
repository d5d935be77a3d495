import math
from typing import Any

import pytest
import torch
from torch import nn

from gyrostat.spec.parse import parse
from gyrostat.spec.run import RunSpec
from tests.trainer.recording import document, trained
from tests.trainer.tasks.training import CPU, train
from trainer import tasks


def spec_of(**changes: Any) -> RunSpec:
    whole = {
        "task": {
            "kind": "sequence_to_sequence",
            "dataset": {"kind": "transduction", "alphabet": 6, "length": 4, "rows": 500},
        },
        "model": {
            "kind": "transformer",
            "layout": "encoder_decoder",
            "depth": 1,
            "width": 32,
            "cross": "cross",
        },
        "init": {"kind": "xavier_uniform", "gain": 1.0},
        "optimizer": {"kind": "adamw", "learning_rate": 0.005},
        "data": {"batch_size": 50},
        "steps": 200,
    }
    return parse({**whole, **changes}).spec


def built(**changes: Any) -> tasks.Task:
    return tasks.build(spec_of(**changes), data_root=None, device=CPU)


def test_a_batch_is_the_source_what_stands_before_each_token_and_the_target():
    source, inputs, target = built().batch(0)
    assert source.shape == inputs.shape == target.shape == (50, 4)
    assert torch.equal(source.flip(1), target)
    assert (inputs[:, 0] == 6).all()
    assert torch.equal(inputs[:, 1:], target[:, :-1])


def test_held_out_pairs_are_no_training_pairs_and_every_one_comes_once():
    data = {"kind": "transduction", "alphabet": 1000, "length": 8, "rows": 500}
    task = built(task={"kind": "sequence_to_sequence", "dataset": data}, data={"batch_size": 30, "limit": 400})
    held_out = [tuple(row) for batch in task.held_out() for row in batch[0].tolist()]
    trained = {tuple(row) for step in range(10) for row in task.batch(step)[0].tolist()}
    assert len(held_out) == len(set(held_out)) == 80
    assert len(trained) == 300
    assert not trained & set(held_out)
    assert [len(batch[0]) for batch in task.held_out()] == [30, 30, 20]


def test_both_accuracies_are_those_of_a_count_by_hand():
    task = built()
    targets = torch.tensor([[1, 2, 3], [4, 5, 0]])
    outputs = nn.functional.one_hot(torch.tensor([[1, 2, 3], [4, 1, 0]]), 7).float()
    measured = task.measured(outputs, targets)
    assert measured["accuracy"].item() == pytest.approx(5 / 6)
    assert measured["sequence_accuracy"].item() == 0.5


def greedy(model: nn.Module, source: torch.Tensor, start: int) -> torch.Tensor:
    made = torch.full((len(source), 1), start)
    for _ in range(source.shape[1]):
        made = torch.cat((made, model(source, made)[:, -1].argmax(-1, keepdim=True)), 1)
    return made[:, 1:]


def test_cross_attention_solves_what_cannot_be_solved_without_it():
    task, losses, _ = train(spec_of(), 150)
    reached = task.validate(task.model)
    assert reached["accuracy.validation"] > 0.9
    assert losses[-1] < 0.5 * losses[0]
    blind, _, _ = train(spec_of(model={**spec_of().model.model_dump(mode="json"), "cross": None}), 150)
    assert blind.validate(blind.model)["accuracy.validation"] < 0.3
    # what is measured reading the true beginnings is what greedy decoding makes without them
    task.model.eval()
    source, _, target = (torch.cat(parts) for parts in zip(*task.held_out(), strict=True))
    right = (greedy(task.model, source, 6) == target).all(1).float().mean()
    assert right.item() == pytest.approx(reached["sequence_accuracy.validation"].item(), abs=1e-6)
    assert right > 0.2


def test_the_attention_probe_sees_every_head_and_changes_no_loss(tmp_path):
    small = {"steps": 4, "validation": {"every": 4, "max_batches": 1}, "data": {"batch_size": 8}}
    heads = {"attention": {"kind": "multi_head", "heads": 2}, "cross": {"kind": "cross", "heads": 1}}
    given = document("transduction", **small, model=heads, schedule={"warmup": {"steps": 2}})
    given["probes"] = {"budget": None, "attention": {"every": 2}}
    watched = trained(given, tmp_path / "watched")
    bare = trained({**given, "probes": {"attention": {"enabled": False}}}, tmp_path / "bare")
    assert watched.scalars("loss.train") == bare.scalars("loss.train")
    assert watched.scalars("loss.validation") == bare.scalars("loss.validation")
    assert "probe_disabled" not in watched.kinds()
    names = ["encoder.blocks.0.attention#0", "encoder.blocks.0.attention#1", "decoder.blocks.0.attention#0"]
    names += ["decoder.blocks.0.attention#1", "decoder.blocks.0.cross_attention#0"]
    assert watched.layouts[-1].axes["head"] == names
    for step in (1, 2, 4):
        entropies = watched.frames[step]["attention.entropy"]
        assert ((entropies > 0) & (entropies <= math.log(16) + 1e-6)).all()
    assert "attention.entropy" not in watched.frames[3]
