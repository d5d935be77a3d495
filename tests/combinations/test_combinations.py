"""No spec that validates may crash: random specs over the whole space train, stream, and resume bit for bit.

`make test` draws 300; `make fuzz` more (GYROSTAT_FUZZ=5000). Each technique of the catalogue leads an equal share of
them. A failure names its seed: `GYROSTAT_FUZZ_ONLY=123 make fuzz` runs that one alone.
"""

import math
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from gyrostat.spec.catalogue import STABILIZERS
from gyrostat.spec.parse import SpecError, parse
from tests.combinations.drawing import STEPS, anything, drawn, parts
from tests.trainer.recording import trained
from trainer.checkpoints import CheckpointStore

COUNT = int(os.environ.get("GYROSTAT_FUZZ", "300"))
ONLY = os.environ.get("GYROSTAT_FUZZ_ONLY")
SEEDS = range(COUNT) if ONLY is None else [int(ONLY)]

PROCESSES = {"distributed.ddp"}
"""Techniques that need several processes: tests/trainer/launch runs them."""
LEADERS = [name for name in STABILIZERS if name not in PROCESSES]


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


IN_PIECES = {"precision": {"kind": "bf16"}, "accumulation": {"kind": "micro_batches", "steps": 2}}
"""Every technique works under autocast to bf16 and in micro-batches."""


FULL_PRECISION = {name for name, technique in STABILIZERS.items() if "full precision" in technique.entry.when}
"""Techniques whose entry says that they cannot work under autocast; the spec's checks refuse it."""


def document_of(seed: int) -> dict[str, Any]:
    """The seed's document: the techniques take turns to lead, the second time round in bf16 and in micro-batches."""
    turn, place = divmod(seed, len(LEADERS))
    name = LEADERS[place]
    together = turn == 1 and not name.startswith(("precision.", "accumulation.")) and name not in FULL_PRECISION
    return drawn(seed, holding=name, also=IN_PIECES if together else None)


def told(recording: Any) -> dict[int, dict[str, bytes]]:
    """The exact bytes of everything that the training itself computes."""
    names = ("loss.train", "loss.validation", "optimizer.learning_rate")
    return {
        step: {name: values[name].tobytes() for name in names if name in values}
        for step, values in recording.frames.items()
    }


@pytest.mark.parametrize("seed", SEEDS)
def test_a_random_valid_spec_trains_streams_and_resumes_bit_for_bit(seed: int, tmp_path: Path) -> None:
    document = document_of(seed)
    whole = trained(document, tmp_path)
    assert sorted(whole.frames) == list(range(1, STEPS + 1))
    for step, loss in whole.scalars("loss.train").items():
        assert math.isfinite(loss), f"loss {loss} at step {step} of {document}"
    assert whole.layouts, "frames were streamed with their layout"
    assert [kind for kind in whole.kinds() if kind in ("failed", "probe_disabled")] == []

    weights = CheckpointStore(tmp_path).load("r1", STEPS).model
    rest = trained(document, tmp_path, start=CheckpointStore(tmp_path).load("r1", 1))
    assert told(rest) == {step: values for step, values in told(whole).items() if step > 1}
    again = CheckpointStore(tmp_path).load("r1", STEPS).model
    assert weights.keys() == again.keys()
    for name, tensor in weights.items():
        assert torch.equal(tensor, again[name]) or (tensor.isnan() == again[name].isnan()).all(), name


def test_the_drawing_reaches_every_technique() -> None:
    found = {type(part) for name in LEADERS for part in parts(parse(drawn(1, holding=name)).spec)}
    assert {STABILIZERS[name] for name in LEADERS} <= found


def test_whatever_is_drawn_is_valid_or_refused_with_a_mend() -> None:
    refused = 0
    for seed in range(2000):
        try:
            parse(anything(seed))
        except SpecError as error:
            refused += 1
            for problem in error.problems:
                assert problem.path
                assert problem.message
                assert problem.mend
    assert 0 < refused < 2000
