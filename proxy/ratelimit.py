"""What a caller is told of the rates over it, in the form of OpenAI's own headers."""

import math
from collections.abc import Sequence

from rules.measure import Measure
from rules.rate import Standing

OPENAI, OURS = "x-ratelimit", "x-spendgate-ratelimit"
"""On refusals of ours; on a provider's answer, whose own headers stay its own."""


def rate_headers(prefix: str, standings: Sequence[Standing]) -> list[tuple[str, str]]:
    """Of the rates over requests, and of those over tokens, the one that has least left."""
    headers: list[tuple[str, str]] = []
    for measure in (Measure.REQUESTS, Measure.TOKENS):
        bounded = [
            (each.remaining, each)
            for each in standings
            if each.rate.bucket.measure is measure and each.remaining is not None
        ]
        if bounded:
            remaining, tightest = min(bounded, key=lambda each: each[0])
            headers += [
                (f"{prefix}-limit-{measure}", str(tightest.rate.capacity)),
                (f"{prefix}-remaining-{measure}", str(remaining)),
                (f"{prefix}-reset-{measure}", duration(tightest.reset_seconds)),
            ]
    return headers


def duration(seconds: float) -> str:
    """As Go writes it, rounded up to milliseconds: 20ms, 8.64s, 6m0s, 1h0m30s."""
    ms = math.ceil(seconds * 1000)
    if 0 < ms < 1000:
        return f"{ms}ms"
    minutes, rest = divmod(ms, 60_000)
    told = f"{rest / 1000:.3f}".rstrip("0").rstrip(".") + "s"
    hours, left = divmod(minutes, 60)
    if hours:
        return f"{hours}h{left}m{told}"
    return f"{minutes}m{told}" if minutes else told
