"""Numbers and times as people read them."""

from datetime import UTC, datetime, timedelta

import pytest

from app.dashboard import formats


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0, "0"),
        (0.12345678, "0.1235"),
        (2.0, "2.000"),
        (123.456, "123.5"),
        (99999, "99,999"),
        (-0.5, "−0.5000"),
        (1.5e-7, "1.50e-7".replace("-", "−")),
        (3.2e9, "3.20e9"),
        (float("nan"), "NaN"),
        (float("inf"), "∞"),
        (float("-inf"), "−∞"),
    ],
)
def test_numbers(value, text):
    assert formats.number(value) == text


def test_shares_sizes_and_counts():
    assert formats.percent(0.9731) == "97.3 %"
    assert formats.percent(float("nan")) == "NaN"
    assert formats.size(512) == "512 B"
    assert formats.size(3.5 * 2**20) == "3.5 MiB"
    assert formats.size(2**42) == "4.0 TiB"
    assert formats.count(12345) == "12,345"
    assert formats.compact(12_345) == "12.3k"
    assert formats.compact(999.7) == "1k"


def test_durations_and_ages():
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert formats.duration(3725) == "1 h 2 min"
    assert formats.duration(120) == "2 min"
    assert formats.duration(-5) == "0 s"
    assert formats.ago(now - timedelta(seconds=3), now) == "just now"
    assert formats.ago(now - timedelta(seconds=59), now) == "59 s ago"
    assert formats.ago(now - timedelta(days=3), now) == "3 d ago"
    assert "data-age" in formats.age(now)
    assert formats.age(None) == "–"
