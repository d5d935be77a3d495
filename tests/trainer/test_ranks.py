"""Two ranks joined in one process group: normalization, micro-batches and digests, against one process."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from app.alerts.engine import Engine
from app.alerts.model import FrameView, RunContext
from app.alerts.rules import effective
from gyrostat.spec.metrics import METRICS
from trainer.errors import DeviceError
from trainer.ranks import ALONE, Ranks, Sketch, check_devices, relative_gaps


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What rank 0 and rank 1 found."""
    folder = tmp_path_factory.mktemp("ranks")
    started = [
        subprocess.Popen([sys.executable, "-m", "tests.trainer.two_ranks", str(folder), str(rank)]) for rank in (0, 1)
    ]
    try:
        assert [process.wait(200) for process in started] == [0, 0]
    finally:
        for process in started:
            process.kill()
            process.wait()
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in (0, 1)]


def close(one, other):
    torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("momentum", ["normalized", "cumulative"])
def test_synchronized_batch_norm_is_that_of_the_joined_batch(found, momentum):
    alone = found[0]["alone"][momentum]
    shares = [rank[momentum] for rank in found]
    for what in ("outputs", "eval", "tangent"):
        close(torch.cat([share[what] for share in shares]), alone[what])
    for share in shares:
        assert share["names"] == alone["names"]
        for part in ("gradients", "buffers"):
            for name, expected in alone[part].items():
                close(share[part][name], expected)
    for share in shares:
        assert not torch.allclose(share["local"], share["outputs"]), "outside of a training pass: its own statistics"


def test_micro_batches_of_two_ranks_leave_the_gradient_of_the_whole_batch_on_both(found):
    alone = found[0]["alone"]["accumulated"]
    for rank in found:
        mine = rank["accumulated"]
        assert mine["quiet"] == 1, "of two micro-batches, one is not sent over the network"
        assert found[0]["alone"]["accumulated"]["quiet"] == 0
        assert float(mine["measured"]["loss.train"]) == pytest.approx(float(alone["measured"]["loss.train"]), rel=1e-6)
        for part in ("gradients", "buffers"):
            for name, expected in alone[part].items():
                close(mine[part][name], expected)
    assert alone["gradients"].keys() == found[0]["accumulated"]["gradients"].keys()
    for name, gradient in found[0]["accumulated"]["gradients"].items():
        assert torch.equal(found[1]["accumulated"]["gradients"][name], gradient)


def test_a_rank_altered_on_purpose_is_reported_with_its_number(found):
    assert found[0]["altered"]["axes"][-1] == ["rank 0", "rank 1"]
    frames = [FrameView(step=step, values=values) for step, values in found[0]["altered"]["frames"]]
    gaps = {view.step: view.values["rank.parameter_digest_gap"] for view in frames
            if "rank.parameter_digest_gap" in view.values}  # fmt: skip
    assert list(gaps) == [4, 8, 12, 16, 20]
    assert not np.any([gaps[4], gaps[8]]), "in step: equal bit for bit"
    assert gaps[12][0] == 0
    assert 1e-3 < gaps[12][1] < 1e-1
    context = RunContext(
        axes={"rank": ("rank 0", "rank 1")}, axis_of={name: metric.axis for name, metric in METRICS.items()}, spec=None
    )
    changes = [change for change in Engine(effective(), context, None).observe(frames)
               if change.kind == "rank_divergence"]  # fmt: skip
    assert changes[0].names == ("rank 1",)
    assert changes[0].onset_step == 12
    assert changes[0].severity == "critical"


def test_ranks_that_begin_differently_are_refused_by_number(found):
    for rank in found:
        assert "the weights of rank 1 differ from those of rank 0 before the first step" in rank["different"]


def test_equal_tensors_have_equal_sketches_and_distances_are_kept():
    torch.manual_seed(0)
    tensors = [torch.randn(100, 30), torch.randn(7)]
    moved = [tensor + 1e-3 * torch.randn_like(tensor) for tensor in tensors]
    sketch = Sketch()
    assert torch.equal(sketch(tensors), Sketch()([tensor.clone() for tensor in tensors]))
    distance = torch.cat([(a - b).flatten() for a, b in zip(tensors, moved, strict=True)]).norm()
    assert (sketch(tensors) - sketch(moved)).norm() == pytest.approx(float(distance), rel=0.3)
    one = [tensors[0], tensors[1].clone()]
    one[1][3] += 1e-6
    assert relative_gaps(torch.stack([sketch(tensors), sketch(one)]))[1] > 0
    assert torch.equal(sketch([]), torch.zeros(64, dtype=torch.float64))


def test_gaps_of_what_is_no_number_are_0_where_alike_and_infinite_otherwise():
    nan, inf = float("nan"), float("inf")
    rows = torch.tensor([[nan, 1.0], [nan, 1.0], [nan, 2.0], [1.0, 1.0]])
    assert relative_gaps(rows).tolist() == [0, 0, inf, inf]
    assert relative_gaps(torch.tensor([[0.0, 0.0], [0.0, 0.0], [0.0, 1.0]])).tolist() == [0, 0, inf]
    assert relative_gaps(torch.tensor([[3.0, 4.0], [3.0, 5.25], [inf, 4.0]])).tolist() == [0, 0.25, inf]


def test_one_rank_is_alone_with_everything():
    batch = (torch.arange(4), torch.arange(4))
    assert ALONE.share(batch) is batch
    assert ALONE.led([1.0, 2.0]) == [1.0, 2.0]
    assert ALONE.gathered("state") == ["state"]
    assert Ranks(1, 3).threads(7) == 2
    assert Ranks(1, 3).threads(1) == 1
    assert [part.tolist() for part in Ranks(1, 2).share(batch)] == [[2, 3], [2, 3]]


def test_fewer_devices_than_ranks_are_told_at_the_start(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(DeviceError, match=r"distributed\.ranks is 2, but this machine has 1 CUDA device;"):
        check_devices(torch.device("cuda"), 2)
    check_devices(torch.device("cpu"), 2)
