"""The world of a replay: balances, buckets, breakers, lines and calls in flight, as they stand at one of its moments."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from heapq import heappop, heappush, heapreplace

from pricing.money import Nanos
from rules.breaker import Breaker, Cause, State, Ticket
from rules.counter import Balance, CounterKey
from rules.past import instant
from rules.past_speed import PastSpeed
from rules.rate import EMPTY, BucketKey, Rate, pour, used_at, wait_for
from rules.rule import Action, Rule
from rules.scope import Scope
from rules.throttle import RATE_MINUTES, Demand, interval_seconds
from rules.tripping import terms_of

SCOPES_MAX = 10_000  # whose arrivals are counted
_IDLE_US = RATE_MINUTES * 60_000_000

NOTHING = Nanos(0)

BreakerKey = tuple[str, Scope]


class Counter:
    """What one counter has spent."""

    __slots__ = ("spent",)

    def __init__(self, spent: int) -> None:
        self.spent = spent


class Bucket:
    """What one bucket holds, and how fast it leaks."""

    __slots__ = ("level", "per_minute")

    def __init__(self, per_minute: Fraction | int) -> None:
        self.level = EMPTY
        self.per_minute = per_minute

    def wait(self, rate: Rate, amount: int, at: int) -> int:
        """Microseconds until so much may pass."""
        return wait_for(self.level, rate, amount, at)

    def pour(self, rate: Rate, amount: int, at: int) -> None:
        self.level = pour(self.level, rate.per_minute, amount, at)
        self.per_minute = rate.per_minute

    def used(self, at: int) -> int:
        return used_at(self.level, self.per_minute, at)


@dataclass(slots=True)
class _Line:
    """The calls that one rule slows in one scope; times in microseconds since 1970."""

    asked_at: int
    turn_at: int | None = None  # of the newest turn, which may lie ahead
    per_minute: float = 0.0
    interval_us: int = 0


class PastWorld:
    """Answers `decide` as Figures. Whoever replays moves it on, and seeds counters and speeds before they are asked
    about. Instants are microseconds since 1970."""

    def __init__(self, *, max_delay_seconds: float) -> None:
        self.at = 0
        self._now: datetime | None = None
        self.counters: dict[CounterKey, Counter] = {}
        self._by_id: dict[int, Counter] = {}  # of keys that plans hold: looked up without comparing them
        self.speeds: dict[Scope, PastSpeed] = {}
        self.breakers: dict[BreakerKey, Breaker] = {}
        self._longest = max_delay_seconds
        self._buckets: dict[BucketKey, Bucket] = {}
        self._demands: dict[Scope, Demand] = {}
        self._lines: dict[BreakerKey, _Line] = {}
        self._in_flight: dict[CounterKey, list[int]] = {}  # heaps of when each ends

    def move_to(self, at: int) -> None:
        self.at, self._now = at, None

    @property
    def now(self) -> datetime:
        if self._now is None:
            self._now = instant(self.at)
        return self._now

    # -- figures ------------------------------------------------------------------------------------------------------

    def balance(self, counter: CounterKey) -> Balance:
        known = self._by_id.get(id(counter)) or self.counters[counter]
        return Balance(Nanos(known.spent), NOTHING)

    def used(self, bucket: BucketKey) -> int:
        known = self._buckets.get(bucket)
        return 0 if known is None else known.used(self.at)

    def breaker(self, rule_id: str, scope: Scope, causes: tuple[Cause, ...]) -> Breaker | None:
        if not self.breakers:  # mostly
            return None
        key = (rule_id, scope)
        known = self.breakers.get(key)
        if known is None:
            return None
        now = self.now
        return self._become(key, known.at(now).under(causes, now))

    def velocity(self, scope: Scope, minutes: int) -> Decimal | None:
        return self.speeds[scope].times_usual(minutes, self.at // 60_000_000)

    def repeats(self, scope: Scope, minutes: int) -> int:
        """No text is kept: nothing is known to have come before."""
        return 1

    # -- breakers -----------------------------------------------------------------------------------------------------

    def trip(self, rule: Rule, scope: Scope, cause: Cause | None) -> bool:
        """Did it change the state of the rule's breaker?"""
        key, now = (rule.rule_id, scope), self.now
        before = self.breakers.get(key) or Breaker(now)
        before = before.at(now)
        limited = rule.action is not Action.BLOCK
        after = before.trip(now, terms=terms_of(rule), limited=limited, cause=cause)
        self._become(key, after)
        return after.generation != before.generation

    def measured(self, rule_id: str, scope: Scope, figure: Decimal) -> None:
        key = (rule_id, scope)
        known = self.breakers.get(key)
        if known is not None:
            self._become(key, known.at(self.now).measured(figure, self.now))

    def admit(self, rule_id: str, scope: Scope) -> Ticket | None:
        key = (rule_id, scope)
        after, ticket = self.breakers[key].at(self.now).admit()
        self._become(key, after)
        return ticket

    def tried(self, rule_id: str, scope: Scope, ticket: Ticket, *, went: bool) -> None:
        key = (rule_id, scope)
        known = self.breakers.get(key)
        if known is not None:
            self._become(key, known.succeeded(ticket, self.now) if went else known.left(ticket))

    def _become(self, key: BreakerKey, after: Breaker) -> Breaker:
        if after.state is State.CLOSED:
            self.breakers.pop(key, None)
        else:
            self.breakers[key] = after
        return after

    # -- throttling ---------------------------------------------------------------------------------------------------

    def arrived(self, scope: Scope) -> None:
        demand = self._demands.get(scope)
        if demand is None:
            if len(self._demands) >= SCOPES_MAX:
                del self._demands[next(iter(self._demands))]
            demand = self._demands[scope] = Demand(self.now)
        demand.note(self.now)

    def turn(self, rule_id: str, scope: Scope, factor: Decimal, at: int) -> int | None:
        """How long a call waits for its turn. None: longer than anyone may. First come, first served."""
        key = (rule_id, scope)
        line = self._lines.get(key)
        if line is None or ((line.turn_at or 0) <= at and at - line.asked_at > _IDLE_US):
            line = self._lines[key] = _Line(at)
        line.asked_at = at
        line.per_minute = max(line.per_minute, self._demands[scope].per_minute(self.now))
        seconds = interval_seconds(line.per_minute, factor, longest=self._longest)
        line.interval_us = round(seconds * 1_000_000)
        turn_at = at if line.turn_at is None else max(at, line.turn_at + line.interval_us)
        if turn_at - at > self._longest * 1_000_000:
            return None
        line.turn_at = turn_at
        return turn_at - at

    # -- rates --------------------------------------------------------------------------------------------------------

    def bucket(self, rate: Rate) -> Bucket:
        bucket = self._buckets.get(rate.bucket)
        if bucket is None:
            bucket = self._buckets[rate.bucket] = Bucket(rate.per_minute)
        return bucket

    # -- calls in flight ------------------------------------------------------------------------------------------------

    def free_at(self, counter: CounterKey, most: int, at: int) -> int:
        """When one more call may be in flight there."""
        ends = self._in_flight.get(counter)
        if ends is None:
            return at
        while ends and ends[0] <= at:
            heappop(ends)
        return at if len(ends) < most else ends[0]

    def fly(self, counter: CounterKey, most: int, end: int) -> None:
        """After `free_at`: in a free place, else in that of the call that ends first."""
        ends = self._in_flight.setdefault(counter, [])
        if len(ends) < most:
            heappush(ends, end)
        else:
            heapreplace(ends, end)

    # -- memory ---------------------------------------------------------------------------------------------------------

    def remember(self, counter: CounterKey) -> None:
        """For as long as the plan that holds this very key is kept."""
        self._by_id[id(counter)] = self.counters[counter]

    def forget_plans(self) -> None:
        self._by_id.clear()

    def forget(self, at: int) -> None:
        """What is over by then: windows that have ended, and buckets that are empty, which are as good as none."""
        start = instant(at)
        over = [key for key in self.counters if (end := key.window.end) and end <= start]
        for counter in over:
            del self.counters[counter]
        self._buckets = {key: bucket for key, bucket in self._buckets.items() if bucket.used(at)}

    # -- speeds -----------------------------------------------------------------------------------------------------------

    def spent(self, scopes: Sequence[Scope], nanos: int, at: int) -> None:
        """Of scopes that no rule asks about nothing is kept."""
        for scope in scopes:
            speed = self.speeds.get(scope)
            if speed is not None:
                speed.note(nanos, at // 60_000_000)
