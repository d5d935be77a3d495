"""Wrong tokens, counted by address."""

import pytest

from app.errors import TooMany
from app.guards import attempts
from app.guards.attempts import AT_ONCE, SECONDS_EACH, FailedAttempts, network


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def failed(clock: Clock) -> FailedAttempts:
    return FailedAttempts(clock)


def exhaust(failed: FailedAttempts, address: str) -> None:
    for _ in range(AT_ONCE):
        failed.count(address)


def test_some_are_free_and_then_one_has_to_wait_as_long_as_is_told(failed: FailedAttempts, clock: Clock) -> None:
    exhaust(failed, "192.0.2.1")
    with pytest.raises(TooMany) as refused:
        failed.count("192.0.2.1")
    assert refused.value.retry_after == pytest.approx(SECONDS_EACH)
    clock.now += SECONDS_EACH
    failed.count("192.0.2.1")
    with pytest.raises(TooMany):
        failed.check("192.0.2.1")


def test_refused_tries_make_the_wait_no_longer(failed: FailedAttempts, clock: Clock) -> None:
    exhaust(failed, "192.0.2.1")
    for _ in range(100):
        with pytest.raises(TooMany):
            failed.count("192.0.2.1")
    clock.now += SECONDS_EACH
    failed.check("192.0.2.1")


def test_another_address_has_tries_of_its_own(failed: FailedAttempts) -> None:
    exhaust(failed, "192.0.2.1")
    failed.check("192.0.2.2")


def test_an_address_that_was_right_before_is_known(failed: FailedAttempts) -> None:
    assert not failed.trusts("192.0.2.1")
    failed.trust("192.0.2.1")
    assert failed.trusts("192.0.2.1")
    assert not failed.trusts("192.0.2.2")


def test_the_memory_is_bounded(failed: FailedAttempts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "MAX_ADDRESSES", 100)
    for number in range(1000):
        failed.count(f"10.0.{number // 256}.{number % 256}")
        failed.trust(f"10.0.{number // 256}.{number % 256}")
    assert len(failed._left) == len(failed._trusted) == 100
    assert failed.trusts("10.0.3.231")


@pytest.mark.parametrize(
    ("address", "party"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("testclient", "testclient"),
        ("x" * 1000, "x" * 64),
    ],
)
def test_a_party_is_told_by_what_one_holds_of_addresses(address: str, party: str) -> None:
    assert network(address) == party
