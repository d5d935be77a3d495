from dataclasses import replace
from typing import Any

import pytest

from app.alerts import detectors as _registered  # noqa: F401  (importing it fills the registry)
from app.alerts.base import DETECTORS
from app.alerts.model import AlertChange, Evidence
from app.alerts.remedies import remedies_for
from gyrostat.spec.catalogue import STABILIZERS, merge_patch
from gyrostat.spec.parse import parse
from gyrostat.spec.presets import PRESETS

CURED = [kind for kind in DETECTORS if kind != "worker_lost"]
NUMBERS = {
    "update_ratio": ("update.ratio", 0.4, 0.1),
    "exploding_gradient": ("gradient.global_norm", 5e4, 30.0),
    "divergence": ("loss.train", 90.0, 8.0),
}


def _alert(kind: str, onset: int = 5) -> AlertChange:
    metric, value, threshold = NUMBERS.get(kind, ("loss.train", 3.0, 2.0))
    evidence = Evidence(
        metric=metric, name=None, step=onset, value=value, threshold=threshold, text=f"{metric} was {value:g}"
    )
    return AlertChange(
        change="opened", rule=kind, kind=kind, severity="critical", step=onset, onset_step=onset, evidence=(evidence,)
    )


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("kind", CURED)
@pytest.mark.parametrize("onset", [5, 400])
def test_every_offered_patch_makes_a_valid_and_different_spec(kind: str, preset: str, onset: int) -> None:
    document = PRESETS[preset].spec.model_dump(mode="json")
    if kind == "rank_divergence":
        document |= {"distributed": {"kind": "ddp", "ranks": 2}}
    before = parse(document).spec
    offered = remedies_for(_alert(kind, onset), document)
    assert offered
    assert len(offered) <= 4
    for remedy in offered:
        after = parse(merge_patch(document, remedy.patch)).spec
        assert after != before
        assert remedy.title
        assert remedy.reason
        assert remedy.source
        assert remedy.stabilizer is None or remedy.stabilizer in STABILIZERS
        assert remedy.control is None or set(remedy.control) <= {"learning_rate_factor", "clip_norm"}
    assert len({str(remedy.patch) for remedy in offered}) == len(offered)


def test_applying_all_of_them_one_after_the_other_leaves_nothing_endless() -> None:
    """What a spec already has is not offered again: only the rate, the batch and the warmup can go on."""
    document = PRESETS["sick-deep-sigmoid"].spec.model_dump(mode="json")
    for _ in range(10):
        offered = remedies_for(_alert("vanishing_gradient"), document)
        if not offered:
            break
        document = merge_patch(document, offered[0].patch)
    assert remedies_for(_alert("vanishing_gradient"), document) == ()


def test_a_deep_sigmoid_net_is_offered_skips_then_relu_at_a_smaller_rate_then_normalization() -> None:
    first, second, third, *_ = remedies_for(_alert("vanishing_gradient"), PRESETS["sick-deep-sigmoid"].document)
    assert first.stabilizer == "connection.residual"
    assert "12 layers" in first.reason
    assert second.patch == {
        "model": {"activation": {"kind": "relu"}},
        "init": {"kind": "he_normal"},
        "optimizer": {"learning_rate": 0.01},
    }
    assert third.stabilizer == "norm.batch"


def test_where_only_some_layers_hardly_move_the_rate_is_not_the_remedy() -> None:
    few = replace(_alert("update_ratio"), names=("layers.0.linear.weight",), evidence=(_low(),))
    offered = remedies_for(few, PRESETS["sick-deep-sigmoid"].document)
    assert [remedy.stabilizer for remedy in offered] == ["connection.residual", "activation.relu", "optimizer.adamw"]
    every = replace(few, names=tuple(f"layers.{i}.linear.weight" for i in range(13)))
    assert remedies_for(every, PRESETS["sick-deep-sigmoid"].document)[0].control == {"learning_rate_factor": 10.0}


def _low() -> Evidence:
    return Evidence(metric="update.ratio", name="x", step=30, value=1e-9, threshold=1e-6, text="it hardly moved")


def test_a_rate_far_too_large_is_made_smaller_first_also_live() -> None:
    first, *_ = remedies_for(_alert("divergence"), PRESETS["sick-large-rate"].document)
    rate = PRESETS["sick-large-rate"].spec.optimizer.learning_rate
    assert first.patch == {"optimizer": {"learning_rate": pytest.approx(rate / 10)}}
    assert first.control == {"learning_rate_factor": 0.1}
    assert f"{rate:g}" in first.reason
    assert "Seen: loss.train was 90" in first.reason


def test_an_instability_of_the_early_steps_is_first_offered_warmup() -> None:
    document = {**PRESETS["digits-mlp"].document, "steps": 2000}
    first, *_ = remedies_for(_alert("divergence", onset=60), document)
    assert first.stabilizer == "schedule.linear_warmup"
    assert first.patch["schedule"]["warmup"]["steps"] == 200


def test_clipping_is_offered_at_the_runs_own_norm_and_not_where_it_is_already() -> None:
    offered = remedies_for(_alert("exploding_gradient"), PRESETS["digits-mlp"].document)
    clip = next(remedy for remedy in offered if remedy.stabilizer == "clip.norm")
    assert clip.control == {"clip_norm": 3.0}
    assert clip.patch == {"gradients": {"clip": {"kind": "norm", "max_norm": 3.0}}}
    offered = remedies_for(_alert("exploding_gradient"), PRESETS["text-transformer"].document)
    assert all(remedy.stabilizer != "clip.norm" for remedy in offered)


def test_a_rate_is_changed_in_proportion_to_the_update_it_makes() -> None:
    first, *_ = remedies_for(_alert("update_ratio"), PRESETS["digits-mlp"].document)
    assert first.control == {"learning_rate_factor": 0.01}


def test_an_attached_run_an_outside_alert_and_an_unreadable_spec_have_none() -> None:
    assert remedies_for(_alert("divergence"), None) == ()
    assert remedies_for(_alert("worker_lost"), PRESETS["digits-mlp"].document) == ()
    assert remedies_for(_alert("divergence"), {"task": "from another version"}) == ()


OPTIMIZERS: tuple[Any, ...] = (
    "rmsprop",
    "adam",
    "lion",
    "muon",
    "schedule_free",
    {"kind": "schedule_free", "base": "sgd"},
    "sam",
    {"kind": "sam", "base": "adamw"},
)


def _variant(preset: str, **changes: Any) -> dict[str, Any]:
    """A preset with other parts, spelled out as it is stored."""
    document: dict[str, Any] = parse(PRESETS[preset].document | changes).spec.model_dump(mode="json")
    return document


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
@pytest.mark.parametrize(
    ("schedule", "clip"), [("constant", None), ("linear_warmup", "value"), ("one_cycle", "adaptive")]
)
def test_every_offered_patch_fits_every_optimizer_schedule_and_clipping(
    optimizer: Any, schedule: str, clip: str | None
) -> None:
    if "schedule_free" in str(optimizer) and schedule == "one_cycle":
        schedule = "constant"
    document = _variant("sick-deep-sigmoid", optimizer=optimizer, schedule=schedule, gradients={"clip": clip})
    for kind in CURED:
        if kind == "rank_divergence":
            continue
        offered = remedies_for(_alert(kind), document)
        assert offered, kind
        for remedy in offered:
            assert parse(merge_patch(document, remedy.patch)).spec != parse(document).spec


def test_the_rate_and_the_optimizer_that_sharpness_awareness_is_around_are_what_changes() -> None:
    document = _variant("sick-large-rate", optimizer={"kind": "sam", "base": {"learning_rate": 2.5, "kind": "sgd"}})
    first, *_ = remedies_for(_alert("divergence"), document)
    assert first.patch == {"optimizer": {"base": {"learning_rate": 0.25}}}
    assert first.control == {"learning_rate_factor": 0.1}
    sigmoid = _variant("sick-deep-sigmoid", optimizer="sam")
    offered = {remedy.stabilizer: remedy for remedy in remedies_for(_alert("update_ratio"), sigmoid)}
    relu = parse(merge_patch(sigmoid, offered["activation.relu"].patch)).spec
    assert relu.optimizer.kind == "sam"
    assert relu.optimizer.learning_rate == pytest.approx(0.01)


def test_a_second_moment_that_lags_is_hurried_in_whatever_has_one() -> None:
    def offered(optimizer: Any) -> Any:
        document = _variant("text-transformer", optimizer=optimizer, schedule="constant")
        return {remedy.title: remedy for remedy in remedies_for(_alert("loss_spike"), document)}

    assert offered("adam")["Smaller β₂"].patch == {"optimizer": {"beta2": 0.95}}
    assert offered("adam")["Smaller β₂"].stabilizer == "optimizer.adam"
    assert offered("schedule_free")["Smaller β₂"].stabilizer == "optimizer.schedule_free"
    around = offered({"kind": "sam", "base": "adamw"})["Smaller β₂"]
    assert (around.stabilizer, around.patch) == ("optimizer.adamw", {"optimizer": {"base": {"beta2": 0.95}}})
    for without in ("lion", "muon", "rmsprop", {"kind": "schedule_free", "base": "sgd"}):
        assert "Smaller β₂" not in offered(without)


def test_a_warmup_that_is_the_whole_schedule_becomes_longer_and_one_cycle_keeps_its_own() -> None:
    warm = _variant("digits-mlp", schedule={"kind": "linear_warmup", "steps": 20})
    titles = {remedy.stabilizer: remedy for remedy in remedies_for(_alert("sharpness"), warm)}
    assert titles["schedule.linear_warmup"].patch == {"schedule": {"kind": "linear_warmup", "steps": 60}}
    cycle = {
        remedy.stabilizer for remedy in remedies_for(_alert("sharpness"), _variant("digits-mlp", schedule="one_cycle"))
    }
    assert "schedule.linear_warmup" not in cycle
