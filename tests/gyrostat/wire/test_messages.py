import math

import pytest
from pydantic import ValidationError

from gyrostat.wire.messages import Acknowledgement, Event, EventsMessage, Heartbeat, Registration


def event(**changes: object) -> Event:
    return Event.model_validate({"kind": "log", "at": 1.7e9, "step": 3, "data": {}} | changes)


def test_an_acknowledgement_survives_json() -> None:
    said = Acknowledgement(status="stored", sequence=4, frames=2, points=10, missing=[(1, 2)], tighten=True)
    assert Acknowledgement.model_validate_json(said.model_dump_json()) == said


def test_non_finite_numbers_of_an_event_are_text() -> None:
    assert '"loss":"NaN"' in event(data={"loss": math.nan}).model_dump_json()
    written = b'{"kind": "log", "at": 1.7e9, "step": 3, "data": {"a": [1e999, -1e999, 1e3]}}'
    assert Event.model_validate_json(written).data == {"a": ["Infinity", "-Infinity", 1e3]}


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "exploded"},
        {"at": 0},
        {"at": math.nan},
        {"at": math.inf},
        {"step": -1},
        {"step": 2**53 + 1},
        {"step": 1.5},
        {"step": True},
        {"data": {"a": object()}},
        {"data": {"a": {"b": ["c\0d"]}}},
        {"data": {"a\0": 1}},
        {"note": 1},
    ],
)
def test_an_event_that_cannot_be_stored_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        event(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"producer": "with space"},
        {"producer": ""},
        {"producer": "a" * 65},
        {"sequence": 0},
        {"sequence": 10**30},
        {"attempt": 2**31},
        {"events": []},
        {"events": [event()] * 1001},
    ],
)
def test_a_message_with_a_bad_head_is_refused(changes: dict[str, object]) -> None:
    head: dict[str, object] = {"producer": "1-ab", "sequence": 1, "attempt": 1, "events": [event()]}
    EventsMessage.model_validate(head)
    with pytest.raises(ValidationError):
        EventsMessage.model_validate(head | changes)


def test_a_worker_with_controls_in_its_name_is_refused() -> None:
    sound = {"name": "w", "host": "h", "pid": 3, "device": "cpu", "version": "0"}
    Registration.model_validate(sound)
    for field in ("name", "host", "device", "version"):
        with pytest.raises(ValidationError, match="control"):
            Registration.model_validate(sound | {field: "a\0b"})


def test_a_heartbeat_with_numbers_beyond_any_database_is_refused() -> None:
    Heartbeat.model_validate({"running": [{"run": "r", "attempt": 1, "step": 0}], "done": [1]})
    with pytest.raises(ValidationError):
        Heartbeat.model_validate({"done": [10**30]})
    with pytest.raises(ValidationError):
        Heartbeat.model_validate({"running": [{"run": "r", "attempt": 1, "step": 10**30}]})
