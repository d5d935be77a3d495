"""Numbers that studies take of a trained net."""

import math

import numpy as np
import pytest
import torch
from torch.autograd.functional import hessian
from torch.func import functional_call

from benchmarks.claims import measures
from benchmarks.claims.bases import digits_mlp
from gyrostat.spec.parse import parse
from gyrostat.spec.presets import PRESETS
from trainer import tasks

CPU = torch.device("cpu")


@pytest.fixture
def small() -> tasks.Task:
    return tasks.build(parse(digits_mlp(model={"depth": 1, "width": 4})).spec, data_root=None, device=CPU)


def test_what_a_validation_tallies_by_bin_is_no_number_of_a_batch() -> None:
    task = tasks.build(PRESETS["digits-mlp"].spec, data_root=None, device=CPU)
    batch = task.batches.fixed(64)
    found = measures.evaluated(task, batch)
    with torch.no_grad():
        logits = task.model.eval()(batch[0])
    assert found["loss"] == torch.nn.functional.cross_entropy(logits, batch[1]).item()
    assert found["accuracy"] == (logits.argmax(1) == batch[1]).float().mean().item()
    assert all(math.isfinite(value) for value in found.values())


def test_the_trace_is_that_of_the_dense_hessian(small: tasks.Task) -> None:
    inputs, labels = small.batches.fixed(256)
    names, values = zip(*small.model.named_parameters(), strict=True)

    def loss(*parameters: torch.Tensor) -> torch.Tensor:
        logits = functional_call(small.model, dict(zip(names, parameters, strict=True)), (inputs,))
        return torch.nn.functional.cross_entropy(logits, labels)

    blocks = hessian(loss, values)
    exact = sum(float(blocks[at][at].reshape(p.numel(), -1).trace()) for at, p in enumerate(values))
    assert measures.hessian_trace(small, draws=40, samples=256) == pytest.approx(exact, rel=0.1)


def test_the_noise_scale_is_that_of_single_samples_gradients(small: tasks.Task) -> None:
    inputs, labels = small.batches.fixed(64 * 20)
    trace = signal = 0.0
    for at in range(0, 64 * 20, 64):
        rows = []
        for sample in range(at, at + 64):
            _, gradient = measures.gradients(small, (inputs[sample : sample + 1], labels[sample : sample + 1]))
            rows.append(torch.cat([part.flatten() for part in gradient]).double().numpy())
        samples = np.stack(rows)
        trace += samples.var(0, ddof=1).sum()
        signal += (samples.mean(0) ** 2).sum() - samples.var(0, ddof=1).sum() / 64
    assert measures.gradient_noise_scale(small, small=8, large=64) == pytest.approx(trace / signal, rel=0.15)
    assert measures.gradient_noise_scale(small, small=1, large=64) == pytest.approx(trace / signal, rel=1e-4)


def test_margins_are_divided_by_the_product_of_the_layers_norms(small: tasks.Task) -> None:
    before = measures.normalized_margins(small)
    with torch.no_grad():
        small.model.get_parameter("output.weight").mul_(3)
        small.model.get_parameter("output.bias").mul_(3)
    torch.testing.assert_close(measures.normalized_margins(small), before, rtol=1e-4, atol=1e-6)


def test_rank_and_alignment_of_known_features() -> None:
    rotation = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(0)).double()).Q
    features = torch.cat([torch.eye(6), -torch.eye(6)]).double()
    assert measures.effective_rank(features + 5) == pytest.approx(6)
    assert measures.cka(features, 2 * features @ rotation + 1) == pytest.approx(1)
