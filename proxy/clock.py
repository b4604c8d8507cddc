"""The only place that asks what time it is, and that makes ids from it."""

import secrets
import time
from datetime import UTC, datetime


def now() -> datetime:
    """The present instant, aware, in UTC."""
    return datetime.now(UTC)  # noqa: TID251 - the one place


def monotonic() -> float:
    """Seconds on a clock that never steps: for durations and deadlines."""
    return time.monotonic()


def new_call_id(at: datetime) -> str:
    """Sortable by time, unguessable: 12 hex digits of milliseconds and 80 random bits."""
    return f"call-{int(at.timestamp() * 1000):012x}{secrets.token_hex(10)}"
