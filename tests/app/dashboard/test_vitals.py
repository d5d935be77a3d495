"""The numbers at the top of a run's page."""

import math

from app.dashboard.vitals import Newest, vitals


def shown(newest, **more):
    return {vital.key: vital for vital in vitals({k: Newest(10, v) for k, v in newest.items()}, step=10, **more)}


def test_losses_have_their_place_before_they_are_measured():
    assert [(vital.key, vital.value) for vital in vitals({}, step=0)] == [("loss-train", "–"), ("loss-validation", "–")]


def test_not_a_number_is_shown_as_such_and_alarms():
    vital = shown({"loss.train": math.nan})["loss-train"]
    assert (vital.value, vital.tone) == ("NaN", "critical")


def test_the_age_of_a_value_is_told_where_it_is_not_the_newest_step():
    (vital, _) = vitals({"loss.train": Newest(10, 0.5)}, step=1234)
    assert vital.sub == "at step 10"


def test_sharpness_is_shown_against_its_limit_and_warns_above_it():
    measured = {"curvature.sharpness_over_limit": 1.5, "curvature.sharpness": 60.0}
    vital = shown(measured)["sharpness"]
    assert (vital.value, vital.sub, vital.tone) == ("1.50", "sharpness 60.0", "warning")
    assert shown({"curvature.sharpness": 60.0})["sharpness"].label == "Sharpness"


def test_overhead_warns_only_well_beyond_its_budget():
    assert shown({"probe.total_overhead": 0.03}, budget=0.02)["overhead"].tone == "neutral"
    assert shown({"probe.total_overhead": 0.05}, budget=0.02)["overhead"].tone == "warning"
    short = shown({"probe.total_overhead": 0.05, "progress.seconds": 60.0}, budget=0.02)["overhead"]
    assert (short.tone, short.sub) == ("neutral", "budget 2.0 % + 1 s")
    assert shown({"probe.total_overhead": 0.05, "progress.seconds": 600.0}, budget=0.02)["overhead"].tone == "warning"
    assert shown({"probe.total_overhead": 0.5}, budget=None)["overhead"].sub == "of the training's time"


def test_overhead_is_that_of_the_whole_run_not_of_its_last_report():
    vital = shown({"probe.overhead": 0.29, "probe.total_overhead": 0.19}, budget=0.2)["overhead"]
    assert (vital.value, vital.tone) == ("19.0 %", "neutral")


def test_held_out_accuracy_comes_first_and_device_memory_before_the_host():
    found = shown(
        {
            "accuracy.train": 0.9,
            "accuracy.validation": 0.8,
            "memory.resident_bytes": 2**20,
            "memory.device_bytes": 2**30,
        }
    )
    assert (found["accuracy"].value, found["accuracy"].sub) == ("80.0 %", "train 90.0 %")
    assert (found["memory"].value, found["memory"].sub) == ("1.0 GiB", "host 1.0 MiB")
