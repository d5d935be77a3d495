import pytest
import torch
from torch.optim import lr_scheduler

from gyrostat.spec.schedules import (
    Constant,
    Cosine,
    CosineWarmRestarts,
    LinearWarmup,
    OneCycle,
    Schedule,
    WarmupStableDecay,
)
from trainer.stabilizers.schedules import factor


def torchs(make, steps):
    """The rates that one of torch's schedulers gives to a rate of 1, step by step."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler, rates = make(optimizer), []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def test_constant_is_one_throughout():
    assert [factor(Constant(), step, 10) for step in (0, 5, 9, 10)] == [1, 1, 1, 1]


def test_cosine_falls_from_one_over_one_half_in_the_middle_to_its_end():
    assert [factor(Cosine(), step, 100) for step in (0, 50, 100)] == pytest.approx([1, 0.5, 0])
    assert factor(Cosine(), 25, 100) == pytest.approx((1 + 2**-0.5) / 2)
    assert 0 < factor(Cosine(), 99, 100) < 1e-3


def test_cosine_ends_at_its_final_factor_and_stays_there():
    settings = Cosine(final_factor=0.1)
    assert [factor(settings, step, 100) for step in (0, 50, 100, 1000)] == pytest.approx([1, 0.55, 0.1, 0.1])


@pytest.mark.parametrize("start", [0.0, 0.2])
def test_warmup_rises_linearly_to_one(start):
    settings = Constant(warmup=LinearWarmup(steps=4, start_factor=start))
    expected = [start + (1 - start) * part for part in (0, 0.25, 0.5, 0.75, 1, 1)]
    assert [factor(settings, step, 10) for step in range(6)] == pytest.approx(expected)


def test_the_schedule_proper_is_counted_from_the_end_of_warmup():
    settings = Cosine(warmup=LinearWarmup(steps=20))
    assert [factor(settings, step, 120) for step in (10, 20, 70, 120)] == pytest.approx([0.5, 1, 0.5, 0])
    for step in range(100):
        assert factor(settings, 20 + step, 120) == factor(Cosine(), step, 100)


def test_a_run_of_one_step_has_the_full_rate():
    assert factor(Cosine(), 0, 1) == 1


def test_warmup_alone_rises_and_stays():
    settings = LinearWarmup(steps=4, start_factor=0.2)
    assert [factor(settings, step, 10) for step in (0, 2, 4, 7, 10)] == pytest.approx([0.2, 0.6, 1, 1, 1])
    linear = torchs(lambda o: lr_scheduler.LinearLR(o, start_factor=0.2, total_iters=4), 10)
    assert [factor(settings, step, 10) for step in range(10)] == pytest.approx(linear)


@pytest.mark.parametrize(("period", "multiplier"), [(7, 1), (5, 2), (1, 3)])
@pytest.mark.parametrize("final", [0.0, 0.1])
def test_warm_restarts_are_torchs(period, multiplier, final):
    settings = CosineWarmRestarts(period=period, multiplier=multiplier, final_factor=final)
    reference = torchs(
        lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, T_0=period, T_mult=multiplier, eta_min=final), 60
    )
    assert [factor(settings, step, 60) for step in range(60)] == pytest.approx(reference, abs=1e-12)


def test_each_cycle_begins_at_the_full_rate_and_ends_near_its_last():
    settings = CosineWarmRestarts(period=10, multiplier=2)
    starts = [0, 10, 30, 70]
    assert [factor(settings, step, 150) for step in starts] == [1, 1, 1, 1]
    assert [factor(settings, step - 1, 150) for step in starts[1:]] == pytest.approx(
        [0.0245, 0.00616, 0.00154], rel=0.01
    )


def test_warm_restarts_far_into_a_long_run_take_no_time():
    assert factor(CosineWarmRestarts(period=1), 10**9 - 1, 10**9) == 1


@pytest.mark.parametrize(("rise", "steps"), [(0.3, 100), (0.25, 64), (0.5, 11)])
def test_one_cycle_is_torchs(rise, steps):
    settings = OneCycle(rise=rise, start_factor=0.1, final_factor=0.001)
    reference = torchs(
        lambda o: lr_scheduler.OneCycleLR(
            o,
            max_lr=1.0,
            total_steps=steps + 1,
            pct_start=rise,
            div_factor=10,
            final_div_factor=100,
            cycle_momentum=False,
        ),
        steps,
    )
    # torch's knows one more step than it is asked for here, so that its last step() is still one of its own
    assert [factor(settings, step, steps + 1) for step in range(steps)] == pytest.approx(reference, abs=1e-12)


def test_one_cycle_begins_rises_and_ends_where_it_says():
    settings = OneCycle(rise=0.3, start_factor=0.04, final_factor=4e-6)
    assert [factor(settings, step, 100) for step in (0, 29, 99, 100)] == pytest.approx([0.04, 1, 4e-6, 4e-6])
    assert max(factor(settings, step, 100) for step in range(100)) == 1


@pytest.mark.parametrize("steps", [1, 2, 3, 4])
@pytest.mark.parametrize("rise", [0.0, 0.3, 0.99])
def test_one_cycle_of_a_few_steps_still_has_rates(rise, steps):
    rates = [factor(OneCycle(rise=rise), step, steps) for step in range(steps)]
    assert all(0 < rate <= 1 for rate in rates)


def test_warmup_stable_decay_at_chosen_steps():
    settings = WarmupStableDecay(warmup=LinearWarmup(steps=10), decay=0.2, shape="linear", final_factor=0.1)
    at = {0: 0, 5: 0.5, 10: 1, 50: 1, 90: 1, 100: 0.55, 110: 0.1, 200: 0.1}
    assert {step: factor(settings, step, 110) for step in at} == pytest.approx(at)
    root = WarmupStableDecay(decay=0.2)
    at = {0: 1, 80: 1, 85: 0.5, 90: 1 - 0.5**0.5, 100: 0}
    assert {step: factor(root, step, 100) for step in at} == pytest.approx(at)
    assert 0 < factor(root, 99, 100) < 0.03


def test_warmup_stable_decay_is_torchs_linear_schedules_in_a_row():
    settings = WarmupStableDecay(warmup=LinearWarmup(steps=10, start_factor=0.25), decay=0.4, shape="linear")

    def three(optimizer):
        parts = [
            lr_scheduler.LinearLR(optimizer, start_factor=0.25, total_iters=10),
            lr_scheduler.ConstantLR(optimizer, factor=1.0),
            lr_scheduler.LinearLR(optimizer, start_factor=1.0, end_factor=0.0, total_iters=20),
        ]
        return lr_scheduler.SequentialLR(optimizer, parts, milestones=[10, 40])

    assert [factor(settings, step, 60) for step in range(60)] == pytest.approx(torchs(three, 60), abs=1e-12)


def test_cosine_after_warmup_is_torchs():
    settings = Cosine(warmup=LinearWarmup(steps=10, start_factor=0.1), final_factor=0.2)

    def two(optimizer):
        parts = [
            lr_scheduler.LinearLR(optimizer, start_factor=0.1, total_iters=10),
            lr_scheduler.CosineAnnealingLR(optimizer, T_max=40, eta_min=0.2),
        ]
        return lr_scheduler.SequentialLR(optimizer, parts, milestones=[10])

    assert [factor(settings, step, 50) for step in range(50)] == pytest.approx(torchs(two, 50), abs=1e-12)


@pytest.mark.parametrize(
    "settings",
    [Constant(), LinearWarmup(steps=3), Cosine(), CosineWarmRestarts(period=4), OneCycle(), WarmupStableDecay()],
    ids=lambda settings: settings.kind,
)
def test_every_factor_lies_between_nothing_and_all_for_runs_of_any_length(settings: Schedule):
    warmed = (
        settings
        if settings.kind in ("linear_warmup", "one_cycle")
        else settings.model_copy(update={"warmup": LinearWarmup(steps=1)})
    )
    for steps in (1, 2, 3, 10, 1000):
        for one in (settings, warmed):
            assert all(0 <= factor(one, step, steps) <= 1 for step in range(steps + 2))
