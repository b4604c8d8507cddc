"""Periods of a budget in its time zone: every instant lies in exactly one window."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from zoneinfo import ZoneInfo

QUARTER_SECONDS = 900
"""Every time zone's offset is a multiple of a quarter hour, so every window starts on one."""
_QUARTER = timedelta(seconds=QUARTER_SECONDS)


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
        return _hour_around(at, zone)
    midnight = datetime(local.year, local.month, local.day, tzinfo=zone)
    if period is Period.DAILY:
        return _between(midnight, _day_after(midnight, 1))
    if period is Period.WEEKLY:
        monday = _day_after(midnight, -local.weekday())
        return _between(monday, _day_after(monday, 7))
    first = midnight.replace(day=1)
    year, month = divmod(first.year * 12 + first.month, 12)
    return _between(first, first.replace(year=year, month=month + 1))


_KEY_FORMATS = {
    Period.HOURLY: "%Y-%m-%dT%H",
    Period.DAILY: "%Y-%m-%d",
    Period.WEEKLY: "%G-W%V",
    Period.MONTHLY: "%Y-%m",
    Period.TOTAL: "total",
}


def period_key(period: Period, timezone: str, start: datetime) -> str:
    """What people call the window that starts there, in its time zone: 2026-01-05, 2026-W02, 2026-01, total."""
    return start.astimezone(ZoneInfo(timezone)).strftime(_KEY_FORMATS[period])


def _hour_around(at: datetime, zone: ZoneInfo) -> Window:
    """An hour of the wall clock: one that the clocks repeat is two windows. Where they change in the middle of an
    hour (Lord Howe, Chatham), it is cut at that instant."""
    offset = _offset(at, zone)
    start, end = at, at + _QUARTER
    while start.astimezone(zone).minute != 0 and _offset(start - _QUARTER, zone) == offset:
        start -= _QUARTER
    while end.astimezone(zone).minute != 0 and _offset(end, zone) == offset:
        end += _QUARTER
    return Window(start, end)


def _offset(at: datetime, zone: ZoneInfo) -> timedelta | None:
    return at.astimezone(zone).utcoffset()


def _day_after(midnight: datetime, days: int) -> datetime:
    """Midnight some days on, on the wall clock: a day has 23 to 25 hours when the clocks change."""
    return midnight + timedelta(days=days)


def _between(start: datetime, end: datetime) -> Window:
    return Window(start.astimezone(UTC), end.astimezone(UTC))
