"""The line that says whether a run is well, and where it is not."""

from types import SimpleNamespace

import pytest

from app.dashboard.verdict import verdict


def alert(**more):
    values = {"kind": "k", "title": "Units are dead", "severity": "warning", "state": "open", "muted": False}
    return SimpleNamespace(**{**values, "names": ["a", "b", "c"], "onset_step": 40, **more})


def test_the_worst_open_alert_is_named_with_its_layers_and_its_beginning():
    told = verdict("running", "", 100, [alert(onset_step=5), alert(title="Gradient explodes", severity="critical")])
    assert told.tone == "critical"
    assert told.title == "2 open alerts."
    assert told.text == "Worst: gradient explodes"
    assert told.names == ("a", "b")
    assert told.num_more == 1
    assert told.since == ", since step 40."


def test_one_alert_without_layers_or_beginning_is_one_sentence():
    told = verdict("finished", "", 100, [alert(names=[], onset_step=None)])
    assert (told.title, told.text, told.names, told.since) == ("1 open alert.", "Units are dead", (), ".")


def test_a_run_without_alerts_is_well():
    told = verdict("running", "", 1200, [])
    assert (told.tone, told.title) == ("ok", "Well.")
    assert "1,200 steps" in told.text


def test_acknowledged_muted_and_resolved_alerts_do_not_alarm_but_are_told():
    told = verdict("finished", "", 9, [alert(state="acknowledged"), alert(muted=True), alert(state="resolved")])
    assert told.tone == "ok"
    assert "2 known alerts" in told.text
    assert "1 alert came and went" in told.text


@pytest.mark.parametrize(
    ("state", "tone"),
    [
        ("failed", "critical"),
        ("lost", "critical"),
        ("unreachable", "warning"),
        ("queued", "neutral"),
        ("paused", "neutral"),
    ],
)
def test_states_speak_for_themselves(state, tone):
    told = verdict(state, "because", 0, [])
    assert told.tone == tone
    assert ("because" in told.text) == (state in ("failed", "lost", "unreachable"))
