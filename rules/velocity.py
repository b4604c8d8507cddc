"""How many times the usual a scope spends: its last minutes against what the same hours of the past usually cost.

Usual for an hour is the median of the same hour of the week, of up to eight weeks, where three of them are known; else
the median of the same hour of the day, of up to fourteen days, where seven are known, so that one weekend or one bad night
is never the measure; else nothing is known. Hours are of UTC, counted since 1970. From the first spending on, an hour
without any is an hour of nothing."""

from collections.abc import Callable, Mapping
from decimal import ROUND_DOWN, Decimal

from pricing.money import NANOS_PER_USD, Nanos

DAY_HOURS, WEEK_HOURS = 24, 168
WEEKS_MIN, WEEKS_MAX = 3, 8
DAYS_MIN, DAYS_MAX = 7, 14
FLOOR_NANOS_PER_HOUR = NANOS_PER_USD
"""Usual is never less than a dollar an hour: in a quiet scope a cent is not a hundred times the usual."""
FLOOR_MINUTES_MIN = 15  # and never less than a quarter of it: one ordinary call in a short window is no jump
_HUNDREDTH = Decimal("0.01")

Spend = Mapping[int, int]
"""Nano-dollars by hour. What is not there was nothing."""


def usual_of_hour(spend: Spend, hour: int, *, since: int, until: int) -> Nanos | None:
    """What that hour usually costs, by those of [since, until), which are known as a whole. None: too little history."""
    for step, least, most in ((WEEK_HOURS, WEEKS_MIN, WEEKS_MAX), (DAY_HOURS, DAYS_MIN, DAYS_MAX)):
        same = range(hour - step, hour - step * (most + 1), -step)
        samples = [spend.get(each, 0) for each in same if since <= each < until]
        if len(samples) >= least:
            return _median(samples)
    return None


def usual_of_window(usual: Callable[[int], int | None], minute: int, minutes: int) -> Nanos | None:
    """What the `minutes` up to and with `minute` usually cost: of each hour its share. None where an hour is not known."""
    total, start, end = 0, minute - minutes + 1, minute + 1
    while start < end:
        hour = start // 60
        after = min(end, (hour + 1) * 60)
        cost = usual(hour)
        if cost is None:
            return None
        total += cost * (after - start)
        start = after
    return Nanos(total // 60)


def times_usual(spent: int, usual: int, minutes: int) -> Decimal:
    """Rounded down to hundredths."""
    floor = FLOOR_NANOS_PER_HOUR * max(minutes, FLOOR_MINUTES_MIN) // 60
    return (Decimal(spent) / max(usual, floor)).quantize(_HUNDREDTH, ROUND_DOWN)


def _median(samples: list[int]) -> Nanos:
    """Of an even number: half-way between the two in the middle."""
    ordered, middle = sorted(samples), len(samples) // 2
    if len(ordered) % 2:
        return Nanos(ordered[middle])
    return Nanos((ordered[middle - 1] + ordered[middle]) // 2)
