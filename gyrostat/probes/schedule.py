"""When each probe is due: at its own cadence, as far as the budget pays for it. No clock, no torch.

All probes together live from one purse: it gains `budget` of all wall time, and what probes and session cost is taken
from it, so the promise holds whatever a model costs. Who may spend is decided by an *account* for each probe, which
gains a max-min fair share of the budget: the cheap ones of most of it, the others of what these leave. A
probe is measured at a multiple of its cadence when the purse holds what it is expected to cost, and its account does
too or is the nearest to it. A measurement that cost more than was expected leaves a debt that must be earned first.

So with S(a, b) the seconds spent in steps a to b and T(a, b) their wall time, S(1, b) <= budget x T(1, b) + allowance +
what the dearest single step cost, and for any window S(a, b) is beyond that by no more than the purse can hold
(`capacity`). The first steps of a process are *warm-up* and not charged: whatever does not wait for its cadence is
measured at the first one, and cheap probes keep their cadence, since the beginning of a training tells the most and
nothing is saved yet. Then the purse holds the *allowance*: once in a training, so many seconds that nobody will miss,
and that a training of a few hundred steps needs for charts of more than a few points. For the first `EARLY` seconds
cheap probes keep their cadence by it as far as it goes, and the others share what these will not need.

Where steps are so short that the session alone takes the budget, a plan may ask to be measured every so often all the
same: a chart of one point is worth nothing. That is charged like all else, so nothing but it is then measured; all that
is promised is made rarer until it takes no more than `PROMISED_SHARE` of the budget.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from gyrostat.probes.accounts import Account, fair_shares
from gyrostat.spec.probes import Cost

EXPECTED_STEPS: dict[Cost, float] = {"cheap": 0.1, "moderate": 0.5, "dear": 20.0}
"""What a first measurement is expected to cost, in training steps; of cheap and moderate ones, at most so much: their
very first one, at step 1, touches everything for the first time and is no guide."""

WARM_UP = 20
"""Steps that are not charged."""

_COLD = 2
"""Steps of these whose costs are no guide: everything is touched for the first time."""

CHEAP_SHARE = 0.7
"""Of the budget, at most, that the cheap probes have before the others, which may be saving for long."""

TIGHT = 5
"""The budget is so many times as large while something looks wrong."""

EARLY = 10.0
"""Seconds of training over which an allowance is spread."""

PROMISED_SHARE = 0.25
"""Of the budget, what is measured because it was promised may take beyond it."""

RECORDER_SHARE = 0.25
"""Share of the budget that the flight recorder may have before the others; beyond it, what they leave."""

_MARGIN = 1.25
"""Accounts gain somewhat more than a cadence needs, so that noise does not make a probe miss its turn."""

_HELD = 2.0
"""Measurements that an account, and the purse for each probe, can hold."""

_SMOOTHING = 0.5
_STEP_SMOOTHING = 0.05
_STEP_CLIP = 4.0
"""A step that took so many times the usual (validation, a checkpoint) counts as that many only."""
_DRIFT = 1.25
"""Shares are worked out anew when costs or steps have changed by this factor."""
_LONGEST_QUIET = 64
"""Steps between two looks at the purse: of steps that are so short that it is empty, each look would cost a tenth."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How a probe is meant to be measured.

    Attributes:
        every: steps between two measurements.
        late: whether it waits for its cadence at the start too.
        recorded: whether the flight recorder has it measured at the steps between.
        at_least: steps between two measurements at most, whatever the purse holds; 0 promises none.
        first: what the first measurement is expected to cost, in training steps; None goes by `cost`.
    """

    every: int
    cost: Cost = "cheap"
    late: bool = False
    recorded: bool = False
    at_least: int = 0
    first: float | None = None


class Due(NamedTuple):
    """Names of the probes to measure at a step, in the order of the plans: to be sent, and for the recorder alone."""

    sent: tuple[str, ...] = ()
    recorded: tuple[str, ...] = ()


_NOTHING = Due()


class Schedule:
    """Decides what is due, from what it is told of costs.

    Without a budget a probe is due exactly at step 1 and where `step % every == 0`, and the recorder has its probes at
    every step. With one, see above: the first step that is seen is the warm-up, also after a resumption. `late` probes
    wait for their cadence from the start. `allowance` seconds are in the purse after a training's first warm-up.
    """

    def __init__(self, plans: Mapping[str, Plan], budget: float | None, allowance: float = 0.0) -> None:
        self._plans = dict(plans)
        self._budget, self._allowance = budget, allowance
        self._early = self._cheap_need = 0.0
        self._sending = {name: Account() for name in plans}
        self._promised = math.gcd(*(plan.at_least for plan in plans.values()))
        self._recording = {name: Account() for name, plan in plans.items() if plan.recorded and plan.every > 1}
        self._costs: dict[str, float] = {}
        self._cold: dict[str, float] = {}
        self._fixed = 0.0
        self._step_seconds = 0.0
        self._purse = self._capacity = self._cheapest = 0.0
        self._count = 0
        self._newest = 0
        self._soonest = 0
        self._tight_until = 0
        self._tight = False
        self._recorded: frozenset[str] = frozenset()
        self._first = True
        self._warming = 0
        self._planned = 0.0
        self._stale = True

    @property
    def saved(self) -> float:
        """Seconds in the purse; negative after a measurement that cost more than was expected."""
        return self._purse

    @property
    def capacity(self) -> float:
        """Seconds that the purse can hold."""
        return self._capacity

    def expected(self, name: str) -> float:
        """Seconds that the probe's next measurement is expected to take."""
        if (known := self._costs.get(name)) is not None:
            return known
        plan = self._plans[name]
        guess = (EXPECTED_STEPS[plan.cost] if plan.first is None else plan.first) * self._step_seconds
        return min(guess, self._cold.get(name, math.inf))

    def due(self, step: int) -> Due:
        """What to measure at `step`."""
        paid = self._paid_for(step)
        if self._budget is None or not self._promised or step % self._promised:
            return paid
        owed = {name for name, plan in self._plans.items() if plan.at_least and step % self._promised_every(name) == 0}
        self._recorded -= owed
        return self._ordered(owed.union(paid.sent), set(paid.recorded) - owed, self._tight)

    def _promised_every(self, name: str) -> int:
        at_least = self._plans[name].at_least
        share = PROMISED_SHARE / sum(plan.at_least > 0 for plan in self._plans.values())
        worth = share * (self._budget or 0.0) * self._step_seconds * at_least
        return at_least * max(1, math.ceil(self.expected(name) / worth)) if worth else at_least

    def _paid_for(self, step: int) -> Due:
        back, self._newest = step <= self._newest, step
        if self._tight and step > self._tight_until:
            self._tight, self._stale = False, True
        if self._budget is None:
            return self._as_set(step)
        if self._first:
            self._first, self._warming = False, WARM_UP
            return Due(tuple(name for name, plan in self._plans.items() if not plan.late))
        if self._warming:
            return Due(tuple(n for n, plan in self._plans.items() if plan.cost == "cheap" and step % plan.every == 0))
        # while the purse cannot pay for even the cheapest, a look at the accounts would cost more than it finds
        if not self._step_seconds or (self._purse < self._cheapest and not self._tight):
            return _NOTHING
        if self._stale:
            self._share_out()
        elif step < self._soonest and not back:
            return _NOTHING
        anew, self._stale = self._stale or back, False
        return self._affordable(step, anew=anew)

    def quiet(self, step: int) -> int:
        """After `due(step)`: at how many steps from the next one on nothing will be due, if they go on as they did."""
        if self._budget is None or self._tight or self._warming or not self._step_seconds:
            return 0
        if self._stale and self._purse >= self._cheapest:
            return 0
        gain = self._budget * self._step_seconds - self._fixed
        wait = _LONGEST_QUIET
        for accounts in (self._sending, self._recording):
            for name, account in accounts.items():
                missing = self.expected(name) - self._purse
                saved = 0 if missing <= 0 else math.ceil(missing / gain) if gain > 0 else _LONGEST_QUIET
                wait = min(wait, max(saved, account.due_at - step))
        if self._promised:
            wait = min(wait, self._promised - step % self._promised)
        return max(0, wait - 1)

    def drop(self, name: str) -> None:
        """The probe is never due again, and the others may have its share."""
        for known in (self._plans, self._costs, self._cold, self._sending, self._recording):
            known.pop(name, None)
        self._stale = True

    def tighten(self, steps: int, *, after: int) -> None:
        """For so many further steps: half of `every`, a larger budget (`TIGHT`), and what is recorded is sent.

        `after`: the last step that was made, of which `due` may not have been asked, as it was quiet.
        """
        self._tight_until = max(self._tight_until, after + steps)
        self._tight = self._stale = True

    def observe(self, step_seconds: float, fixed_seconds: float, costs: Mapping[str, float], *, steps: int = 1) -> None:
        """A step took `step_seconds` without probes; `fixed_seconds` went into the session, `costs` into probes.

        `steps`: of so many in a row, these are the means; costs are those of all.
        """
        if self._budget is None:
            return
        warming = self._warming > 0
        if warming:
            self._warming -= 1
            if self._warming >= WARM_UP - _COLD:
                self._cold = dict(costs) | self._cold
                return
        usual, self._count = self._step_seconds, self._count + steps
        # one of several may have taken so long
        counted = min(step_seconds, usual * (1 + (_STEP_CLIP - 1) / steps)) if usual else step_seconds
        inside = steps * fixed_seconds + (sum(costs.values()) if costs else 0.0)
        budget = min(1.0, self._budget * TIGHT) if self._tight else self._budget
        if not warming:
            self._purse += budget * (steps * counted + inside) - inside
            was_early, self._early = self._early > 0, self._early - steps * counted - inside
            self._stale |= was_early and self._early <= 0
        elif not self._warming and self._allowance:
            self._purse, self._early, self._allowance = self._allowance, EARLY, 0.0
        weight = 1 - (1 - _STEP_SMOOTHING) ** steps
        self._step_seconds = usual + max(weight, steps / self._count) * (counted - usual)
        if not self._planned / _DRIFT < self._step_seconds < self._planned * _DRIFT:
            self._stale = True
        if costs:
            self._charge(fixed_seconds, costs, free=warming)
        else:
            self._fixed = _smoothed(self._fixed, fixed_seconds, weight)

    def _charge(self, fixed_seconds: float, costs: Mapping[str, float], *, free: bool) -> None:
        # hooks and the larger frame are the session's time, and are there because of the probes
        factor = 1 + max(0.0, fixed_seconds - self._fixed) / max(sum(costs.values()), 1e-12)
        for name, seconds in costs.items():
            if name not in self._plans:
                continue
            before, cost = self.expected(name), seconds * factor
            self._costs[name] = _smoothed(self._costs.get(name, 0.0), cost, _SMOOTHING)
            if not before / _DRIFT < self._costs[name] < before * _DRIFT:
                self._stale = True
            account = (self._recording if name in self._recorded else self._sending)[name]
            account.settle(self._count, _HELD * before)
            account.balance -= 0.0 if free else cost

    def _as_set(self, step: int) -> Due:
        tight = step <= self._tight_until
        due = {
            name
            for name, plan in self._plans.items()
            if (step == 1 and not plan.late) or step % (max(1, plan.every // 2) if tight else plan.every) == 0
        }
        return self._ordered(due, set(self._recording) - due, tight)

    def _ordered(self, due: set[str], recorded: set[str], tight: bool) -> Due:
        """What looks wrong is to be seen at once, so that while it does everything recorded is sent."""
        if tight:
            due, recorded = due | recorded, set()
        return Due(tuple(n for n in self._plans if n in due), tuple(n for n in self._plans if n in recorded))

    def _affordable(self, step: int, *, anew: bool) -> Due:
        """Also sets the next step at which a look at each account may be worth its while."""
        if self._early <= 0:  # what is left of an allowance is more than it may hold
            self._purse = min(self._purse, self._capacity)
        left, due, recorded = self._purse, set(), set()
        beyond = self._cheap_need / self._step_seconds - (self._budget or 0.0)
        kept = max(0.0, self._early) * max(0.0, beyond)
        for name, account in self._sending.items():
            if step < account.due_at and not anew:
                continue
            every = self._plans[name].every
            every = max(1, every // 2) if self._tight else every
            expected = self.expected(name)
            mine = left if self._plans[name].cost == "cheap" else left - kept
            if step % every == 0 and expected <= mine and self._has_turn(name, account, expected):
                due.add(name)
                left -= expected
            account.due_at = step - step % every + every
        for name, account in self._recording.items():
            if name in due or (step < account.due_at and not anew):
                continue
            expected = self.expected(name)
            missing = expected - account.settle(self._count, _HELD * expected)
            if missing <= 1e-9 * expected and account.rate and expected <= left - kept:
                recorded.add(name)
                left -= expected
                missing += expected
            account.due_at = step + account.wait(missing)
        self._recorded = frozenset(recorded)
        self._soonest = min((a.due_at for a in (*self._sending.values(), *self._recording.values())), default=step + 1)
        return self._ordered(due, recorded, self._tight)

    def _has_turn(self, name: str, account: Account, expected: float) -> bool:
        balance = account.settle(self._count, _HELD * expected)
        if balance >= expected or expected <= 0:
            return True
        mine = balance / expected
        # of those that have not saved enough the nearest may spend what the others have; its own debt sends it back
        return all(
            other.settle(self._count, _HELD * need) >= need or other.balance <= mine * need
            for other, need in ((other, self.expected(key)) for key, other in self._sending.items())
        )

    def _share_out(self) -> None:
        """Divides what the budget gives a step, after the session's own cost, among all accounts."""
        assert self._budget is not None
        self._planned = self._step_seconds
        expected = [self.expected(name) for name in self._sending]
        self._capacity, self._cheapest = _HELD * sum(expected), min(expected, default=0.0)
        budget = min(1.0, self._budget * TIGHT) if self._tight or self._early > 0 else self._budget
        total = max(0.0, budget * self._step_seconds - self._fixed)
        half = 2 if self._tight else 1
        cadence = {name: max(1, self._plans[name].every // half) for name in self._sending}
        self._cheap_need = sum(
            self.expected(name) / every for name, every in cadence.items() if self._plans[name].cost == "cheap"
        )
        needs = {name: _MARGIN * self.expected(name) / cadence[name] for name in self._sending}
        between = {name: _MARGIN * self.expected(name) * (1 - 1 / cadence[name]) for name in self._recording}
        # an allowance is not for what may never be sent
        spare = total if self._early <= 0 else max(0.0, self._budget * self._step_seconds - self._fixed)
        first = min(RECORDER_SHARE * spare, sum(between.values()))
        sent = self._shares(needs, total - first)
        while True:
            recorded = fair_shares(between, spare - sum(sent.values()))
            # to record more seldom than is sent is worth nothing
            idle = [name for name, share in recorded.items() if share < between[name] and share <= sent[name]]
            if not idle:
                break
            del between[max(idle, key=self.expected)]
        sent = self._shares(needs, total - min(first, sum(recorded.values())))
        for accounts, shares in ((self._sending, sent), (self._recording, recorded)):
            for name, account in accounts.items():
                account.settle(self._count, _HELD * self.expected(name))
                account.rate = shares.get(name, 0.0)

    def _shares(self, needs: Mapping[str, float], total: float) -> dict[str, float]:
        """Cheap probes first, within `CHEAP_SHARE`; what the others then leave is theirs as well."""
        cheap = {name: need for name, need in needs.items() if self._plans[name].cost == "cheap"}
        others = {name: need for name, need in needs.items() if name not in cheap}
        before = sum(fair_shares(cheap, CHEAP_SHARE * total).values())
        rest = fair_shares(others, total - before)
        return fair_shares(cheap, total - sum(rest.values())) | rest

    def state_dict(self) -> dict[str, Any]:
        """Plain numbers: what is known of costs, what is saved."""
        return {
            "costs": dict(self._costs),
            "fixed": self._fixed,
            "step_seconds": self._step_seconds,
            "saved": self._purse,
            "allowance": self._allowance,
            "balances": {name: account.balance for name, account in self._sending.items()},
            "tight_until": self._tight_until,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes up `state_dict`; what belongs to probes that are not there is passed over."""
        self._costs = {name: cost for name, cost in state["costs"].items() if name in self._plans}
        for name, balance in _known(state["balances"], self._sending):
            self._sending[name].balance = balance
        self._fixed = state["fixed"]
        self._step_seconds = state["step_seconds"]
        self._purse = state["saved"]
        self._allowance = min(self._allowance, state.get("allowance", 0.0))
        self._tight_until = state["tight_until"]
        self._tight = self._tight_until > 0
        self._first = self._stale = True


def _known(items: Mapping[str, float], names: Iterable[str]) -> list[tuple[str, float]]:
    return [(name, items[name]) for name in names if name in items]


def _smoothed(old: float, new: float, weight: float) -> float:
    return old + weight * (new - old) if old else new
