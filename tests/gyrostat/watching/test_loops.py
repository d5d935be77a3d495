"""Loops of many kinds: what the hooks make of each."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import gyrostat
from gyrostat.probes import pace
from gyrostat.spec.probes import PROBES
from tests.gyrostat.watching.folders import Left, left_in
from tests.gyrostat.watching.test_watch import batches, loss_of, network, num_hooks

Attach = Callable[..., gyrostat.Watch]
BATCHES = [step[0] for step in batches(8)]


def norm(model: nn.Module) -> float:
    return float(torch.stack([p.grad.norm() for p in model.parameters() if p.grad is not None]).norm())


def global_norms(left: Left) -> dict[int, Any]:
    return {step: pytest.approx(value, rel=1e-5) for step, value in left.scalars("gradient.global_norm").items()}


def test_gradients_are_read_before_they_are_clipped(attach: Attach) -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before, after = {}, {}
    with attach(model, optimizer) as watch:
        for step, (x, y) in enumerate(BATCHES, start=1):
            optimizer.zero_grad(set_to_none=step % 2 == 0)
            loss_of(model, x, y).backward()
            before[step] = norm(model)
            nn.utils.clip_grad_norm_(model.parameters(), 0.01)
            after[step] = norm(model)
            optimizer.step()
    left = left_in(watch.folder)
    assert before == global_norms(left)
    clipped = left.scalars("gradient.clipped_norm")
    assert clipped == pytest.approx(after, rel=1e-5)
    assert max(clipped.values()) < 0.0101 < min(before.values())


@pytest.mark.parametrize("micro", [1, 2])
def test_gradients_are_those_of_the_unscaled_loss(attach: Attach, micro: int) -> None:
    """Steps 3 and 4 overflow: the scaler leaves them out."""
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=2)
    before: dict[int, float] = {}
    scales: dict[int, float] = {}
    with attach(model, optimizer, scaler=scaler, accumulation=micro) as watch:
        for step, (x, y) in enumerate(BATCHES, start=1):
            scales[step] = scaler.get_scale()
            optimizer.zero_grad()
            for _ in range(micro):
                loss = loss_of(model, x, y) / micro
                scaler.scale(loss * (torch.inf if step in (3, 4) else 1.0)).backward()
            scaler.unscale_(optimizer)
            before[step] = norm(model)
            if step % 2:
                nn.utils.clip_grad_norm_(model.parameters(), 0.01)
            scaler.step(optimizer)
            scaler.update()
            watch.log({"loss.train": loss})
    left = left_in(watch.folder)
    assert list(left.frames) == list(before)
    found = left.scalars("gradient.global_norm")
    assert [step for step in found if not np.isfinite(found[step])] == [3, 4]
    assert {step: value for step, value in found.items() if step not in (3, 4)} == pytest.approx(
        {step: value for step, value in before.items() if step not in (3, 4)}, rel=1e-5
    )
    assert left.scalars("precision.loss_scale") == scales
    assert left.scalars("precision.overflow") == {step: float(step in (3, 4)) for step in before}
    assert list(left.scalars("loss.train")) == list(before)
    assert list(left.scalars("gradient.clipped_norm")) == [1, 5, 7]
    assert left.logged() == ["attached to Sequential"]


@pytest.mark.parametrize("named", [False, True])
def test_values_are_those_of_the_unscaled_loss(attach: Attach, named: bool) -> None:
    """Noise of micro-batches and signals at modules too, which are read while everything is scaled."""

    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network()

        def forward(self, inputs: dict[str, Tensor]) -> Tensor:
            found: Tensor = self.network(inputs["x"])
            return found

    found = []
    for scale in (1.0, 1024.0):
        model = Named() if named else network()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        scaler = torch.amp.GradScaler("cpu", init_scale=scale)
        torch.manual_seed(5)
        with attach(model, optimizer, scaler=scaler, accumulation=2) as watch:
            for first, second in zip(BATCHES[:4:2], BATCHES[1:4:2], strict=True):
                optimizer.zero_grad()
                for x, y in (first, second):
                    outputs = model(inputs={"x": x}) if named else model(x)
                    scaler.scale(nn.functional.cross_entropy(outputs, y) / 2).backward()
                scaler.step(optimizer)
                scaler.update()
        frame = left_in(watch.folder).frames[2]
        assert {"gradient.signal_to_noise", "gradient.noise_scale", "activation.gradient_rms"} <= frame.keys()
        found.append(
            {name: values for name, values in frame.items() if name.split(".")[0] in ("gradient", "activation")}
        )
    for name, values in found[0].items():
        np.testing.assert_allclose(found[1][name], values, rtol=1e-5, err_msg=name)


def test_pace_and_memory_are_told(attach: Attach, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "SECONDS", 0.0)
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with attach(model, optimizer, accumulation=2) as watch:
        for (x, y), (other, wanted) in zip(BATCHES[::2], BATCHES[1::2], strict=True):
            optimizer.zero_grad()
            with watch.paused():
                time.sleep(0.05)
            model(x)  # another look at the same samples
            loss_of(model, x, y).backward()
            loss_of(model, other, wanted).backward()
            optimizer.step()
    left = left_in(watch.folder)
    seconds, samples = (left.scalars(f"throughput.{name}") for name in ("step_seconds", "samples_per_second"))
    assert list(seconds) == list(samples) == [1, 2, 3, 4]
    assert all(samples[step] == pytest.approx(12 / seconds[step], rel=1e-5) for step in samples)
    assert all(value > 1e7 for value in left.scalars("memory.resident_bytes").values())


def test_more_backward_passes_than_told_spoil_one_step_and_are_learnt(attach: Attach) -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before = {}
    with attach(model, optimizer) as watch:
        for step in range(1, 5):
            optimizer.zero_grad()
            for x, y in BATCHES[:3]:
                loss_of(model, x, y).backward()
            before[step] = norm(model)
            optimizer.step()
            watch.log({"loss.train": 1.0})
    left = left_in(watch.folder)
    assert set(left.frames[1]) == {"loss.train", "optimizer.learning_rate"}
    assert global_norms(left) == {step: before[step] for step in (2, 3, 4)}
    assert [message for message in left.logged() if "accumulation=3" in message] == left.logged()[1:]


def test_fewer_backward_passes_than_told_are_read_unless_they_were_clipped(attach: Attach) -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before = {}
    with attach(model, optimizer, accumulation=3) as watch:
        for step, (count, clip) in enumerate([(3, True), (2, False), (2, True), (3, True)], start=1):
            optimizer.zero_grad()
            for x, y in BATCHES[:count]:
                loss_of(model, x, y).backward()
            before[step] = norm(model)
            if clip:
                nn.utils.clip_grad_norm_(model.parameters(), 0.01)
            optimizer.step()
    left = left_in(watch.folder)
    assert global_norms(left) == {step: before[step] for step in (1, 2, 4)}
    assert "clipped before they could be read, after 2 of 3" in left.logged()[-1]


def test_passes_of_others_are_left_out(attach: Attach) -> None:
    """Adversarial training: the critic's gradients of the generator's loss are none of the critic's."""
    critic, generator = network(), nn.Linear(3, 4)
    optimizers = [torch.optim.SGD(module.parameters(), lr=0.1) for module in (critic, generator)]
    noise = torch.randn(6, 3, generator=torch.Generator().manual_seed(1))
    before: dict[int, list[float]] = {}
    watches = [attach(critic, optimizers[0], name="critic"), attach(generator, optimizers[1], name="generator")]
    for step, (x, _) in enumerate(BATCHES, start=1):
        optimizers[0].zero_grad()
        with watches[1].paused():
            fake = generator(noise).detach()
        (critic(fake).mean() - critic(x).mean()).backward()
        before[step] = [norm(critic)]
        optimizers[0].step()
        with watches[0].paused():
            optimizers[1].zero_grad()
            (-critic(generator(noise)).mean()).backward()
            before[step].append(norm(generator))
            optimizers[1].step()
    for which, watch in enumerate(watches):
        watch.finish()
        left = left_in(watch.folder)
        assert global_norms(left) == {step: both[which] for step, both in before.items()}
        assert len(left.logged()) == 1
        assert left.layouts[-1].axes["module"]


def test_passes_of_others_that_are_not_left_out_give_no_wrong_value(attach: Attach) -> None:
    critic, other = network(), network()
    optimizer = torch.optim.SGD(critic.parameters(), lr=0.1)
    with attach(critic, optimizer) as watch:
        for x, y in BATCHES:
            loss_of(critic, x, y).backward()  # somebody else's
            optimizer.zero_grad()
            loss_of(critic, x + 1, y).backward()
            optimizer.step()
    left = left_in(watch.folder)
    assert not left.scalars("gradient.global_norm")
    assert len(left.frames) == len(BATCHES)
    assert ["watch.paused()" in message for message in left.logged()] == [False, True]
    assert num_hooks(other, optimizer) == 0


def test_an_optimizer_that_evaluates_several_times_makes_one_step(attach: Attach) -> None:
    torch.manual_seed(0)
    model = nn.Linear(4, 2)
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=4)
    firsts: list[float] = []
    with attach(model, optimizer) as watch:
        for x, y in BATCHES[:3]:
            evaluations: list[float] = []

            def closure(
                x: Tensor = x, y: Tensor = y, evaluations: list[float] = evaluations, model: nn.Module = model
            ) -> float:
                optimizer.zero_grad()
                loss = loss_of(model, x, y)
                loss.backward()
                evaluations.append(norm(model))
                return float(loss.detach())

            optimizer.step(closure)
            assert len(evaluations) > 1
            firsts.append(evaluations[0])
    left = left_in(watch.folder)
    assert global_norms(left) == dict(enumerate(firsts, start=1))
    assert left.frames[3]["update.ratio"].max() > 0


def test_several_optimizers_make_one_step_together(attach: Attach) -> None:
    model = network()
    first, last = model[0], nn.ModuleList(list(model)[1:])
    optimizers = [torch.optim.AdamW(first.parameters(), lr=0.01), torch.optim.SGD(last.parameters(), lr=0.1)]
    before = {}
    with attach(model, optimizers) as watch:
        for step, (x, y) in enumerate(BATCHES, start=1):
            for optimizer in optimizers:
                optimizer.zero_grad()
            loss_of(model, x, y).backward()
            before[step] = norm(model)
            for optimizer in optimizers:
                optimizer.step()
    left = left_in(watch.folder)
    assert global_norms(left) == before
    assert np.all(left.frames[2]["update.ratio"] > 0)


def test_validation_is_not_measured_and_belongs_to_the_step_before(attach: Attach) -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    with attach(model, optimizer, steps_per_epoch=4) as watch:
        for step, (x, y) in enumerate(BATCHES, start=1):
            optimizer.zero_grad()
            loss_of(model, x, y).backward()
            optimizer.step()
            model.eval()
            with torch.no_grad():
                watch.log({"loss.validation": loss_of(model, 1000 * x, y), "my/Hit rate": step / 8})
            model.train()
            with torch.no_grad():
                model(1000 * x)
    left = left_in(watch.folder)
    assert list(left.scalars("loss.validation")) == list(range(1, 9))
    assert left.scalars("my.hit_rate") == {step: step / 8 for step in range(1, 9)}
    assert left.epochs[6] == 1.5
    assert max(frame["activation.rms"][0] for frame in left.frames.values()) < 10
    own = next(metric for metric in left.layouts[-1].metrics if metric.name == "my.hit_rate")
    assert (own.axis, own.description) == ("run", "Logged as 'my/Hit rate' by the training itself.")


@pytest.mark.parametrize("plan", ["miss", "frozen"])
def test_parameters_that_come_and_go(attach: Attach, plan: str) -> None:
    """Branches take turns, so that no parameter has a gradient at every step; the first step of each may go unread."""
    model = nn.ModuleDict({"a": nn.Linear(4, 2), "b": nn.Linear(4, 2)})
    model.forward = lambda x, which: model[which](x)  # type: ignore[method-assign]
    if plan == "frozen":
        model["b"].requires_grad_(False)
        model["a"].weight.requires_grad_(False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before = {}
    with attach(model, optimizer) as watch:
        for step, (x, y) in enumerate(BATCHES, start=1):
            optimizer.zero_grad()
            which = "b" if plan == "miss" and step % 2 else "a"
            nn.functional.cross_entropy(model(x, which), y).backward()
            before[step] = norm(model)
            nn.utils.clip_grad_norm_(model.parameters(), 0.01)
            optimizer.step()
    left = left_in(watch.folder)
    found = left.scalars("gradient.global_norm")
    assert found == pytest.approx({step: before[step] for step in found}, rel=1e-5)
    assert len(found) == 8 if plan == "frozen" else len(found) >= 1


def test_a_compiled_model_is_watched_from_outside(attach: Attach) -> None:
    model = network()
    compiled = torch.compile(model, backend="eager")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before = {}
    with attach(compiled, optimizer) as watch:
        for step, (x, y) in enumerate(BATCHES, start=1):
            optimizer.zero_grad()
            nn.functional.cross_entropy(compiled(x), y).backward()
            before[step] = norm(model)
            optimizer.step()
    left = left_in(watch.folder)
    assert global_norms(left) == before
    assert left.layouts[-1].axes["parameter"][0] == "0.weight"
    assert [message for message in left.logged() if "the model is compiled" in message] == left.logged()[1:]


def test_a_step_of_which_there_is_nothing_to_tell_sends_nothing(attach: Attach) -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.25)
    off = {name: {"enabled": False} for name in PROBES}
    with attach(model, optimizer, probes={"budget": None, **off}) as watch:
        for step, (x, y) in enumerate(BATCHES, start=1):
            optimizer.zero_grad()
            loss_of(model, x, y).backward()
            optimizer.step()
            if step in (3, 8):
                watch.log({"loss.train": 1.0})
    assert left_in(watch.folder).scalars("optimizer.learning_rate") == {3: 0.25, 8: 0.25}


def test_what_goes_wrong_in_watching_ends_the_watching_alone(attach: Attach, monkeypatch: pytest.MonkeyPatch) -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    watch = attach(model, optimizer)
    seen: list[int] = []  # hooks after ours are still called, and cannot be if ours go while they are called
    last = optimizer.register_step_post_hook(lambda *_: seen.append(1))
    monkeypatch.setattr("gyrostat.probes.session.ProbeSession.after_update", lambda self: 1 / 0)
    for x, y in BATCHES:
        optimizer.zero_grad()
        loss_of(model, x, y).backward()
        optimizer.step()
        watch.log({"loss.train": 1.0})
    assert len(seen) == len(BATCHES)
    last.remove()
    assert num_hooks(model, optimizer) == 0
    watch.finish()
    left = left_in(watch.folder)
    assert left.logged()[-1] == "watching ended: ZeroDivisionError: division by zero"
    assert left.events[-1][0] == "finished"
