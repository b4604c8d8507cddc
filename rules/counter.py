"""Where money sits: a counter of one scope in one window. Budgets and rules are only limits over counters."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

from pricing.estimate import Estimate
from pricing.money import Nanos
from rules.measure import Measure as Measure
from rules.rate import Pour
from rules.scope import Scope
from rules.window import Period, Window, window_of


class HoldMode(StrEnum):
    """How much is held for a call before it goes: what it will likely cost, or what it can cost at most."""

    EXPECTED = "expected"  # soft
    STRICT = "strict"  # hard
    CAPPED = "capped"  # hard: max tokens are lowered to what the headroom affords

    @property
    def hard(self) -> bool:
        return self is not HoldMode.EXPECTED


@dataclass(frozen=True, slots=True)
class CounterKey:
    """The name of a counter. It outlives every budget over it. `start` is the window's start in epoch seconds."""

    scope: Scope
    period: Period
    timezone: str
    start: int
    measure: Measure = Measure.SPEND
    _hash: int = field(init=False, repr=False, compare=False)
    """Worked out once: counters are looked up several times a call."""

    def __post_init__(self) -> None:
        object.__setattr__(
            self, "_hash", hash((self.scope, self.period, self.timezone, self.start, self.measure))
        )

    def __hash__(self) -> int:
        return self._hash

    def __reduce__(self) -> tuple[object, ...]:
        # Another process hashes strings otherwise: a pickled hash would be wrong there.
        return CounterKey, (self.scope, self.period, self.timezone, self.start, self.measure)

    @property
    def window(self) -> Window:
        return window_of(self.period, self.timezone, datetime.fromtimestamp(self.start, tz=UTC))

    def __str__(self) -> str:
        return f"{self.scope}|{self.period.value}|{self.timezone}|{self.start}|{self.measure.value}"


def counter_at(scope: Scope, period: Period, timezone: str, at: datetime) -> CounterKey:
    start = window_of(period, timezone, at).start
    return CounterKey(scope, period, timezone, int(start.timestamp()))


def in_flight(scope: Scope) -> CounterKey:
    """The counter of a scope's calls in flight."""
    return CounterKey(scope, Period.TOTAL, "UTC", 0, Measure.CONCURRENT)


@dataclass(frozen=True, slots=True)
class Limit:
    """No more than `nanos` may be spent and held on one counter: of concurrent calls, so many at once. None: counted,
    never refused. 0: nothing passes."""

    counter: CounterKey
    nanos: Nanos | None
    owner: str  # the id of the budget or rule that sets it
    hold: HoldMode = HoldMode.EXPECTED
    code: str = "budget_exceeded"  # or circuit_breaker_open, for a rule's limit; or concurrency_limited


@dataclass(frozen=True, slots=True)
class Claim:
    """What one call asks of one counter: `amount` to be held, under every limit over it."""

    counter: CounterKey
    amount: Nanos
    limits: tuple[Limit, ...]


@dataclass(frozen=True, slots=True)
class Hold:
    """Money promised to a call: placed once, then settled or released exactly once, on just these counters. What it
    poured into buckets goes with the process: the journal keeps none of it."""

    call_id: str
    at: datetime
    amounts: tuple[tuple[CounterKey, Nanos], ...]
    pours: tuple[Pour, ...] = ()


@dataclass(frozen=True, slots=True)
class Balance:
    """What a counter holds at a moment."""

    spent: Nanos
    held: Nanos


def claims_of(limits: Sequence[Limit], estimate: Estimate) -> tuple[Claim, ...]:
    """One claim a counter, of what a call holds there: the ceiling where any limit over it is hard."""
    grouped: dict[CounterKey, list[Limit]] = {}
    for limit in limits:
        grouped.setdefault(limit.counter, []).append(limit)
    return tuple(
        Claim(
            counter,
            amount_on(counter, estimate, hard=any(limit.hold.hard for limit in over)),
            tuple(over),
        )
        for counter, over in grouped.items()
    )


def amount_on(counter: CounterKey, estimate: Estimate, *, hard: bool) -> Nanos:
    """What a call holds on a counter: itself, where calls in flight are counted, else money."""
    if counter.measure is Measure.CONCURRENT:
        return Nanos(1)
    return estimate.ceiling if hard else estimate.expected
