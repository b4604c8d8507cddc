"""Periods of a budget in its time zone: every instant lies in exactly one window."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from zoneinfo import ZoneInfo

QUARTER_SECONDS = 900
"""Every time zone's offset is a multiple of a quarter hour, so every window starts on one."""


class Period(StrEnum):
    HOURLY = "hourly"
    DAILY = "daily"
    WEEKLY = "weekly"  # ISO weeks: Monday
    MONTHLY = "monthly"
    TOTAL = "total"


@dataclass(frozen=True, slots=True)
class Window:
    """Half-open [start, end) in UTC. `end` is None for `total`."""

    start: datetime
    end: datetime | None


THE_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


def window_of(period: Period, timezone: str, at: datetime) -> Window:
    """The window that holds `at` (an aware instant)."""
    return _window_of_quarter(period, timezone, int(at.timestamp()) // QUARTER_SECONDS)


@lru_cache(maxsize=1024)
def _window_of_quarter(period: Period, timezone: str, quarter: int) -> Window:
    if period is Period.TOTAL:
        return Window(THE_BEGINNING, None)
    zone = ZoneInfo(timezone)
    at = datetime.fromtimestamp(quarter * QUARTER_SECONDS, tz=UTC)
    local = at.astimezone(zone)
    if period is Period.HOURLY:
        # An hour is counted in elapsed time: wall-clock hours repeat or vanish when the clocks change.
        start = at - timedelta(minutes=local.minute)
        return Window(start, start + timedelta(hours=1))
    midnight = datetime(local.year, local.month, local.day, tzinfo=zone)
    if period is Period.DAILY:
        return _between(midnight, _day_after(midnight, 1))
    if period is Period.WEEKLY:
        monday = _day_after(midnight, -local.weekday())
        return _between(monday, _day_after(monday, 7))
    first = midnight.replace(day=1)
    year, month = divmod(first.year * 12 + first.month, 12)
    return _between(first, first.replace(year=year, month=month + 1))


def _day_after(midnight: datetime, days: int) -> datetime:
    """Midnight some days on, on the wall clock: a day has 23 to 25 hours when the clocks change."""
    return midnight + timedelta(days=days)


def _between(start: datetime, end: datetime) -> Window:
    return Window(start.astimezone(UTC), end.astimezone(UTC))
