import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.alerts.engine import Engine, forgetting
from app.alerts.model import AlertChange, FrameView
from app.alerts.rules import effective
from gyrostat.spec.presets import PRESETS
from gyrostat.spec.run import RuleOverride
from tests.app.alerts.streams import DEPTH, MATRICES, MODULES, PARAMETERS, context, frame, frames, healthy

SICK_FROM = 120


def _sick(seed: int = 0) -> list[FrameView]:
    """Healthy at first; then layers die, the first gradients vanish, the loss leaves and becomes NaN."""
    source = healthy(seed)

    def values(step: int) -> dict[str, object]:
        found = source(step)
        if step < SICK_FROM:
            return found
        found["loss.train"] = float(found["loss.train"]) * 1.2 ** (step - SICK_FROM)
        if "activation.zero_fraction" in found:
            found["activation.zero_fraction"] = np.tile([0.0, 1.0], DEPTH)
        if "gradient.norm" in found:
            norms = np.ones(len(PARAMETERS))
            norms[: len(PARAMETERS) // 2] = 1e-9
            found["gradient.norm"], found["gradient.global_norm"] = norms, 500.0
        if step >= 180:
            found["loss.train"] = np.nan
            found["activation.rms"] = np.where(np.arange(len(MODULES)) == 4, np.nan, 1.0)
        return found

    return frames(values, range(1, 301))


def _told(changes: list[AlertChange]) -> list[tuple[str, str, int]]:
    return [(change.change, change.kind, change.step) for change in changes]


def test_each_rule_finds_its_part_of_a_run_that_goes_wrong() -> None:
    changes = Engine(effective(), context(), None).observe(_sick())
    opened = {change.kind: change for change in changes if change.change == "opened"}
    assert set(opened) == {
        "dead_units",
        "divergence",
        "exploding_gradient",
        "loss_spike",
        "non_finite",
        "vanishing_gradient",
    }
    assert opened["vanishing_gradient"].names[0] in MATRICES[:4]
    assert opened["non_finite"].names == (MODULES[4],)
    assert all(SICK_FROM <= (change.onset_step or 0) <= 181 for change in opened.values())


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 300), max_size=6, unique=True).map(sorted))
def test_dumping_and_loading_between_any_frames_changes_nothing(cuts: list[int]) -> None:
    stream = _sick()
    whole = Engine(effective(), context(), None)
    expected = whole.observe(stream)
    state, changes = None, []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        engine = Engine(effective(), context(), state)
        changes += engine.observe(stream[start:end])
        state = engine.dump()
    assert repr(changes) == repr(expected)  # NaN in the evidence equals nothing
    assert state == whole.dump()


@pytest.mark.parametrize("state", [b"", b"garbage", b"\x81\xa7version\x02", msgspec.msgpack.encode({"version": 99})])
def test_a_state_that_cannot_be_read_starts_afresh(state: bytes) -> None:
    changes = Engine(effective(), context(), state).observe(_sick())
    assert repr(changes) == repr(Engine(effective(), context(), None).observe(_sick()))


def test_another_version_of_the_state_starts_afresh() -> None:
    engine = Engine(effective(), context(), None)
    engine.observe(_sick())
    newer = msgspec.msgpack.encode({**msgspec.msgpack.decode(engine.dump()), "version": 2})
    assert Engine(effective(), context(), newer).last_step is None


def test_changed_settings_close_the_alert_and_start_that_rule_afresh_and_no_other() -> None:
    engine = Engine(effective(), context(), None)
    engine.observe(_sick())
    stricter = effective({"divergence": RuleOverride(settings={"factor": 5.0})})
    again = Engine(stricter, context(), engine.dump())
    assert _told(again.observe([])) == [("resolved", "divergence", 300)]
    assert Engine(stricter, context(), again.dump()).observe([]) == []


def test_a_rule_that_is_switched_off_closes_its_alert_once() -> None:
    engine = Engine(effective(), context(), None)
    engine.observe(_sick())
    without = effective({"dead_units": RuleOverride(enabled=False)})
    waiting = Engine(without, context(), engine.dump())
    told = Engine(without, context(), waiting.dump())
    assert _told(told.observe([])) == [("resolved", "dead_units", 300)]
    assert Engine(without, context(), told.dump()).observe(_sick()[-1:]) == []


def test_a_severity_of_the_operators_wins_over_the_verdicts() -> None:
    rules = effective({"non_finite": RuleOverride(severity="info")})
    (change,) = Engine(rules, context(), None).observe([frame(1, {"loss.train": np.nan})])
    assert change.severity == "info"


def test_steps_that_go_back_start_baselines_anew_but_keep_the_alert_open() -> None:
    engine = Engine(effective(), context(), None)
    stream = _sick()
    engine.observe(stream[:160])
    changes = engine.observe(frames(healthy(), range(100, 300)))
    assert {change.change for change in changes} == {"resolved"}
    assert {change.kind for change in changes} >= {"dead_units", "vanishing_gradient", "divergence"}


def test_a_late_frame_of_the_same_attempt_is_passed_over() -> None:
    stream = _sick()
    engine, other = Engine(effective(), context(), None), Engine(effective(), context(), None)
    engine.observe(stream, attempt=1)
    other.observe(stream, attempt=1)
    assert engine.observe([frame(50, {"loss.train": np.inf})], attempt=1) == []
    assert engine.dump() == other.dump()


def test_another_attempt_starts_baselines_anew_even_at_a_later_step() -> None:
    engine = Engine(effective(), context(), None)
    engine.observe(frames(healthy(), range(1, 101)), attempt=1)
    engine.observe([frame(201, {"loss.train": 0.1})], attempt=2)
    assert engine.last_step == 201
    memory = msgspec.msgpack.decode(engine.dump())["rules"]["loss_spike"]["memory"]
    assert len(memory["recent"]["values"]) == 1


def test_another_layout_starts_counts_by_position_anew() -> None:
    engine = Engine(effective(), context(), None)
    dead = {"activation.zero_fraction": np.tile([0.0, 1.0], DEPTH)}
    engine.observe([frame(10 * i, dead) for i in (1, 2)])
    renamed = context(module=tuple(f"new.{name}" for name in MODULES))
    assert Engine(effective(), renamed, engine.dump()).observe([frame(30, dead)]) == []
    assert len(Engine(effective(), context(), engine.dump()).observe([frame(30, dead)])) == 1


def test_what_somebody_resolved_opens_again_if_it_goes_on() -> None:
    engine = Engine(effective(), context(), None)
    assert len(engine.observe([frame(1, {"loss.train": np.nan})])) == 1
    assert engine.observe([frame(2, {"loss.train": np.nan})]) == []
    again = Engine(effective(), context(), forgetting(engine.dump(), "non_finite"))
    assert _told(again.observe([frame(3, {"loss.train": np.nan})])) == [("opened", "non_finite", 3)]


def test_probes_are_asked_to_look_closer_when_suspicion_begins_and_not_for_good() -> None:
    engine = Engine(effective(), context(), None)
    engine.observe([frame(1, {"loss.train": np.nan})])
    assert engine.tighten
    after = Engine(effective(), context(), engine.dump())
    after.observe([frame(2, {"loss.train": np.nan})])
    assert not after.tighten


def test_opened_alerts_bring_remedies_where_the_spec_is_known() -> None:
    run = context(PRESETS["sick-large-rate"].document)
    changes = Engine(effective(), run, None).observe(_sick())
    assert all(change.remedies for change in changes if change.change == "opened")
    assert all(not change.remedies for change in Engine(effective(), context(), None).observe(_sick()))


def test_forgetting_in_a_state_that_cannot_be_read_changes_nothing() -> None:
    assert forgetting(b"garbage", "non_finite") == b"garbage"
    assert forgetting(Engine([], context(), None).dump(), "non_finite") == Engine([], context(), None).dump()


def _broken(*_: object) -> object:
    raise ValueError("no such number")


def test_a_rule_that_raises_fails_alone_and_is_told_with_its_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    sick = _sick()
    others = [told for told in _told(Engine(effective(), context(), None).observe(sick)) if told[1] != "divergence"]
    rules = effective()
    broken = next(rule for rule in rules if rule.kind == "divergence").detector
    monkeypatch.setattr(type(broken), "observe", _broken)
    engine = Engine(rules, context(), None)
    assert _told(engine.observe(sick)) == others
    assert {failure.rule for failure in engine.failures} == {"divergence"}
    first, second = engine.failures[:2]
    assert (first.error, first.times, second.times) == ("ValueError: no such number", 1, 2)
    assert "_broken" in first.traceback
    again = Engine(rules, context(), engine.dump())
    again.observe(frames(healthy(), range(301, 303)))
    assert again.failures[0].times == len(engine.failures) + 1


def test_a_rule_that_fails_once_judges_again_from_a_fresh_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    rules = [rule for rule in effective() if rule.kind == "non_finite"]
    engine = Engine(rules, context(), None)
    with monkeypatch.context() as patched:
        patched.setattr(type(rules[0].detector), "observe", _broken)
        engine.observe([frame(1, {"loss.train": 1.0})])
    (change,) = engine.observe([frame(2, {"loss.train": np.nan})])
    assert (change.change, change.kind, len(engine.failures)) == ("opened", "non_finite", 1)


def test_a_memory_that_cannot_be_stored_is_a_failure_of_its_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    rules = [rule for rule in effective() if rule.kind in ("divergence", "non_finite")]
    engine = Engine(rules, context(), None)
    engine._memories["divergence"] = object()
    state = engine.dump()
    assert [failure.rule for failure in engine.failures] == ["divergence"]
    assert Engine(rules, context(), state).dump() == state


def test_remedies_that_raise_leave_the_alert(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.alerts.engine.remedies_for", _broken)
    engine = Engine(effective(), context(), None)
    opened = [change for change in engine.observe(_sick()) if change.change == "opened"]
    assert len(opened) == 6
    assert all(change.remedies == () for change in opened)
    assert {failure.rule for failure in engine.failures} == {change.kind for change in opened}
