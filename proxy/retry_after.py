"""How long an answer asks its reader to wait."""

import math
from collections.abc import Iterable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

SECONDS_MAX = 86_400.0


def retry_after_seconds(headers: Iterable[tuple[str, str]], now: datetime) -> float | None:
    """By `retry-after-ms`, else by `Retry-After` in seconds or as a date. None: not told, or not to be understood."""
    told = {name.lower(): value.strip() for name, value in headers}
    seconds = _number(told.get("retry-after-ms", ""))
    seconds = _number(told.get("retry-after", "")) if seconds is None else seconds / 1000
    if seconds is None:
        seconds = _until(told.get("retry-after", ""), now)
    return None if seconds is None else min(max(0.0, seconds), SECONDS_MAX)


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _until(text: str, now: datetime) -> float | None:
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return None
    return ((at if at.tzinfo else at.replace(tzinfo=UTC)) - now).total_seconds()
