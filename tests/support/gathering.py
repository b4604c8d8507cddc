"""Many calls at once against one strict budget, counted where it matters: at the provider."""

import asyncio
from collections import Counter
from dataclasses import dataclass
from typing import Any

from tests.support.calls import chat_body, post
from tests.support.script import Script

PROMPT_TOKENS = 10
INPUT_NANOS = PROMPT_TOKENS * 150  # gpt-4o-mini: $0.15 a million tokens in, $0.60 out
OUTPUT_NANOS_PER_TOKEN = 600
NANOS_PER_USD = 1_000_000_000


def ceiling(max_tokens: int) -> int:
    """What a call of `rush` can cost at most, in nano-dollars, by the provider's own price list."""
    return INPUT_NANOS + max_tokens * OUTPUT_NANOS_PER_TOKEN


def dollars(nanos: int) -> str:
    return f"{nanos // NANOS_PER_USD}.{nanos % NANOS_PER_USD:09d}"


def nested_rules(team: str, room_nanos: int, *, repetition: int = 0) -> dict[str, Any]:
    """A global and a team's strict budget with the same room, the global one beyond what earlier repetitions spent."""
    budget = {"period": "total", "hold": "strict"}
    everyone = {"id": "everyone", "limit_usd": dollars((repetition + 1) * room_nanos), **budget}
    return {
        "version": 1,
        "budgets": [everyone],
        "teams": {team: {"budgets": [{"limit_usd": dollars(room_nanos), **budget}]}},
    }


@dataclass(frozen=True, slots=True)
class Rush:
    """How many were answered with which status."""

    statuses: Counter[int]


async def rush(
    url: str, key: str, *, tag: str, callers: int, max_tokens: int, made_tokens: int | None = None
) -> Rush:
    """All callers at once, each on its own connection; the provider takes a moment over each."""
    body = chat_body(PROMPT_TOKENS, max_tokens=max_tokens)

    async def call(n: int) -> int:
        script = Script(tag=f"{tag}-{n}", delay_ms=20, output_tokens=made_tokens)
        return (await post(url, key, script, body)).status

    return Rush(Counter(await asyncio.gather(*(call(n) for n in range(callers)))))
