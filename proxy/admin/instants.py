"""Instants and durations as people write them: 2026-01-05, 7d, 24h, today."""

import re
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

_DURATION = re.compile(r"([0-9]{1,6})\s*([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def duration_of(text: str) -> timedelta:
    """Raises ValueError with an example for what is none."""
    match = _DURATION.fullmatch(text.strip().lower())
    if match is None:
        raise ValueError(f'"{text[:40]}" is no duration: write 30m, 24h, 7d or 12w')
    return timedelta(seconds=int(match[1]) * _SECONDS[match[2]])


def instant_of(text: str, *, now: datetime, timezone: str) -> datetime:
    """A day or a time without an offset is one of that time zone; a duration reaches back from now."""
    word, zone = text.strip().lower(), ZoneInfo(timezone)
    today = datetime.combine(now.astimezone(zone).date(), time.min, zone)
    if word == "now":
        return now
    if word in ("today", "yesterday"):
        return (today - timedelta(days=word == "yesterday")).astimezone(UTC)
    try:
        if _DURATION.fullmatch(word):
            return now - duration_of(word)
        at = datetime.fromisoformat(text.strip())
        return (at if at.tzinfo else at.replace(tzinfo=zone)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(
            f'"{text[:40]}" is no instant: write 2026-01-05, 2026-01-05T14:30, 24h, 7d, today or yesterday'
        ) from None
