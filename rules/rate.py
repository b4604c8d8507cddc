"""How much may pass in how much time: buckets that leak, in exact integers. Nothing here is rounded in a caller's favour."""

from dataclasses import dataclass
from fractions import Fraction

from rules.measure import Measure
from rules.scope import Scope

DRIPS = 60_000_000
"""In one request, token or nano-dollar: at one a minute, one drip leaks each microsecond."""
SET_BACK_US = 60_000_000
"""An instant that lies further before the last one tells of a clock that was set back, not of a call that waited."""


@dataclass(frozen=True, slots=True)
class BucketKey:
    """The name of a bucket. It outlives policies: a rate that is edited finds what was poured before. Rates of one scope
    leak at speeds of their own, so each `owner` has its bucket. `minutes` is the window that its rule speaks of."""

    scope: Scope
    measure: Measure
    minutes: int = 1
    owner: str = ""


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `capacity` at once, and `per_minute` in the long run. No capacity: counted, never refused. Nor is anything
    refused by one that is `watched`; but what it would have refused is not counted, as if it had been."""

    bucket: BucketKey
    capacity: int | None
    per_minute: Fraction | int
    owner: str  # the id of the rate or rule
    code: str = "rate_limited"  # or circuit_breaker_open, for a rule over spend
    watched: bool = False

    def __post_init__(self) -> None:
        assert self.per_minute > 0, f"{self.owner} would never let anything pass again"
        assert self.capacity is None or self.capacity > 0, f"{self.owner} would let nothing pass"


@dataclass(frozen=True, slots=True)
class Pour:
    """What one call pours into the bucket of one rate: 1 request, its tokens, or its nano-dollars."""

    rate: Rate
    amount: int


@dataclass(frozen=True, slots=True)
class Standing:
    """How a rate stands at a moment. `used` is rounded up, which changes no verdict on whole amounts."""

    rate: Rate
    used: int

    @property
    def remaining(self) -> int | None:
        """What may still pass at once. None: nothing bounds it."""
        capacity = self.rate.capacity
        return None if capacity is None or self.rate.watched else max(0, capacity - self.used)

    @property
    def reset_seconds(self) -> float:
        """Until the bucket is empty."""
        return float(self.used * 60 / self.rate.per_minute)


@dataclass(frozen=True, slots=True)
class Level:
    """How full a bucket was at an instant, in microseconds. `poured` is all that was ever poured into it: by it a pour
    knows how much has come after it."""

    drips: int = 0
    at: int = 0
    poured: int = 0


EMPTY = Level()


def drips_at(level: Level, per_minute: Fraction | int, at: int) -> int:
    """What has not leaked out by then. Never less than what was there before the bucket's own instant."""
    elapsed = max(0, at - level.at)
    return max(0, level.drips - elapsed * per_minute.numerator // per_minute.denominator)


def used_at(level: Level, per_minute: Fraction | int, at: int) -> int:
    """The same in requests, tokens or nano-dollars, rounded up."""
    return -(-drips_at(level, per_minute, at) // DRIPS)


def wait_for(level: Level, rate: Rate, amount: int, at: int) -> int:
    """Microseconds from `at` until so much may pass, or might, were it not only watched; 0: now. More than the whole capacity passes when the bucket is
    empty, and leaves a debt."""
    if rate.capacity is None:
        return 0
    room_at = max(0, rate.capacity - amount) * DRIPS
    if drips_at(level, rate.per_minute, at) <= room_at:
        return 0
    leaks_in = -(-(level.drips - room_at) * rate.per_minute.denominator // rate.per_minute.numerator)
    return level.at + leaks_in - at


def pour(level: Level, per_minute: Fraction | int, amount: int, at: int) -> Level:
    drips = amount * DRIPS
    left = drips_at(level, per_minute, at)
    return Level(left + drips, max(level.at, at), level.poured + drips)


def correct(level: Level, poured: int, amount: int, truth: int) -> Level:
    """The truth of an amount, after whose pour `poured` stood on the bucket. What was too little is added. What was too
    much is given back as far as it has not leaked away: the bucket would have stood empty meanwhile, and nobody may
    save that up. First in leaks first, so of this pour there is left what the bucket holds beyond all that came after."""
    if truth >= amount:
        more = (truth - amount) * DRIPS
        return Level(level.drips + more, level.at, level.poured + more)
    left = max(0, level.drips - (level.poured - poured))
    return Level(level.drips - min((amount - truth) * DRIPS, left), level.at, level.poured)


def rebased(level: Level, at: int) -> Level:
    """After a clock was set back: leaking goes on from there, rather than when the clock has caught up."""
    return Level(level.drips, at, level.poured) if at < level.at - SET_BACK_US else level
