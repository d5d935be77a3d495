"""What a watched loop sends is what a session sends that is told every stage by hand, and the loop does not notice."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import gyrostat
from gyrostat.probes import ProbeSession
from tests.gyrostat.probes.conftest import Recorder
from tests.gyrostat.watching.conftest import EVERY
from tests.gyrostat.watching.folders import Left, left_in, measured

STEPS = 6


def network() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.2), nn.Linear(8, 2))


def batches(count: int = STEPS, micro: int = 1) -> list[list[tuple[Tensor, Tensor]]]:
    generator = torch.Generator().manual_seed(7)
    return [
        [(torch.randn(6, 4, generator=generator), torch.randint(0, 2, (6,), generator=generator)) for _ in range(micro)]
        for _ in range(count)
    ]


FIXED = batches(1)[0][0]


def loss_of(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return nn.functional.cross_entropy(model(x), y)


def num_hooks(model: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    modules = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())
    parameters = sum(len(p._post_accumulate_grad_hooks or ()) for p in model.parameters())
    return modules + parameters + len(optimizer._optimizer_step_pre_hooks) + len(optimizer._optimizer_step_post_hooks)


class Loop:
    """A training in a user's own way; `watch` is None where nobody watches."""

    def __init__(self, *, micro: int = 1, clip: float | None = None, adam: bool = True) -> None:
        self.micro, self.clip = micro, clip
        self.model = network()
        kind = torch.optim.AdamW if adam else torch.optim.SGD
        self.optimizer = kind(self.model.parameters(), lr=0.01)
        torch.manual_seed(11)

    def run(self, watch: gyrostat.Watch | None = None) -> list[float]:
        losses = []
        for step in batches(micro=self.micro):
            total = torch.zeros(())
            self.optimizer.zero_grad()
            for x, y in step:
                loss = loss_of(self.model, x, y) / self.micro
                loss.backward()
                total += loss.detach()
            if self.clip is not None:
                nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
            self.optimizer.step()
            if watch is not None:
                watch.log({"loss.train": total})
            losses.append(total.item())
        return losses

    def by_hand(self) -> Recorder:
        """The same, watched by a session that is told every stage."""
        recorder = Recorder()
        with ProbeSession(
            self.model,
            self.optimizer,
            EVERY,
            sink=recorder,
            scalars=["loss.train", "optimizer.learning_rate"],
            probe_loss=lambda: loss_of(self.model, *FIXED),
        ) as session:
            for number, step in enumerate(batches(micro=self.micro), start=1):
                total = torch.zeros(())
                self.optimizer.zero_grad()
                session.begin_step(number)
                for x, y in step:
                    loss = loss_of(self.model, x, y) / self.micro
                    loss.backward()
                    total += loss.detach()
                    if self.micro > 1:
                        session.after_micro_batch(len(x))
                session.after_backward()
                if self.clip is not None:
                    nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
                    session.after_clip()
                self.optimizer.step()
                session.after_update()
                rate = self.optimizer.param_groups[0]["lr"]
                session.end_step({"loss.train": total, "optimizer.learning_rate": rate}, epoch=0.0)
        return recorder


def check_same(left: Left, recorder: Recorder) -> None:
    assert list(left.frames) == list(recorder.frames) == list(range(1, STEPS + 1))
    for step, frame in recorder.frames.items():
        assert measured(left.frames[step]) == measured(frame)
    assert left.layouts[-1].axes == recorder.layouts[-1].axes


@pytest.mark.parametrize("adam", [True, False])
@pytest.mark.parametrize("clip", [None, 0.1])
@pytest.mark.parametrize("micro", [1, 3])
def test_every_value_is_that_of_a_session_told_by_hand(
    attach: Callable[..., gyrostat.Watch], micro: int, clip: float | None, adam: bool
) -> None:
    bare = Loop(micro=micro, clip=clip, adam=adam).run()
    loop = Loop(micro=micro, clip=clip, adam=adam)
    with attach(loop.model, loop.optimizer, lambda: loss_of(loop.model, *FIXED), accumulation=micro) as watch:
        assert loop.run(watch) == bare
    left = left_in(watch.folder)
    check_same(left, Loop(micro=micro, clip=clip, adam=adam).by_hand())
    assert ("gradient.clipped_norm" in left.frames[1]) == (clip is not None)
    assert ("gradient.noise_scale" in left.frames[1]) == (micro > 1)
    assert left.logged() == ["attached to Sequential"]
    assert left.events[-1] == ("finished", STEPS, {})
    assert num_hooks(loop.model, loop.optimizer) == 0
