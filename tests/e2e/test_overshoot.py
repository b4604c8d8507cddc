"""A strict budget under a rush: exactly what it affords reaches the provider, never one call more."""

from pathlib import Path

import pytest

from tests.support.gathering import ceiling, dollars, nested_rules, rush
from tests.support.process import ScriptedProvider, Spendgate, config_for

CALLERS = 500
ROOM = 10
MAX_TOKENS = 10


@pytest.mark.parametrize("repetition", range(20))
async def test_of_500_at_once_exactly_the_10_that_the_budget_affords_reach_the_provider(
    spendgate: Spendgate, provider: ScriptedProvider, tag: str, repetition: int
) -> None:
    limit = dollars(ROOM * ceiling(MAX_TOKENS))
    key = spendgate.key(tag, "--budget-usd", limit, "--period", "total", "--hold", "strict")

    rushed = await rush(spendgate.url, key, tag=tag, callers=CALLERS, max_tokens=MAX_TOKENS)

    assert len(provider.bill(tag)) == ROOM
    assert rushed.statuses == {200: ROOM, 402: CALLERS - ROOM}


async def test_of_nested_budgets_that_are_all_tight_none_is_passed(
    tmp_path: Path, provider: ScriptedProvider, tag: str
) -> None:
    """Everyone's, the team's and the key's: three rushes, the global limit raised by an edit between them."""
    room = ROOM * ceiling(MAX_TOKENS)
    config = config_for(provider.url, hold_queue_max=CALLERS)
    with Spendgate(tmp_path / "nested", config, nested_rules(tag, room)) as server:
        for repetition in range(3):
            team = f"{tag}-{repetition}"
            server.edit_rules(nested_rules(team, room, repetition=repetition))
            key = server.key(team, "--budget-usd", dollars(room), "--period", "total", "--hold", "strict")

            rushed = await rush(server.url, key, tag=team, callers=CALLERS, max_tokens=MAX_TOKENS)

            assert len(provider.bill(team)) == ROOM
            assert rushed.statuses == {200: ROOM, 402: CALLERS - ROOM}


async def test_waiters_are_served_as_holds_settle_below_their_ceiling(
    spendgate: Spendgate, provider: ScriptedProvider, tag: str
) -> None:
    """Every answer costs half of what was held for it: the room it frees serves others, and never too many."""
    limit = ROOM * ceiling(2 * MAX_TOKENS)
    key = spendgate.key(tag, "--budget-usd", dollars(limit), "--period", "total", "--hold", "strict")
    cost = ceiling(MAX_TOKENS)
    affordable = (limit - ceiling(2 * MAX_TOKENS)) // cost + 1

    rushed = await rush(
        spendgate.url, key, tag=tag, callers=100, max_tokens=2 * MAX_TOKENS, made_tokens=MAX_TOKENS
    )

    bill = provider.bill(tag)
    assert sum(entry.nanos for entry in bill) <= limit
    assert len(bill) == affordable > ROOM
    assert rushed.statuses == {200: affordable, 402: 100 - affordable}


async def test_a_soft_budget_lets_calls_in_flight_finish_and_then_refuses(
    spendgate: Spendgate, provider: ScriptedProvider, tag: str
) -> None:
    key = spendgate.key(tag, "--budget-usd", dollars(ceiling(MAX_TOKENS)), "--period", "total")
    await rush(spendgate.url, key, tag=f"{tag}-first", callers=1, max_tokens=MAX_TOKENS)

    rushed = await rush(spendgate.url, key, tag=f"{tag}-later", callers=5, max_tokens=MAX_TOKENS)

    assert rushed.statuses == {402: 5}
    assert provider.bill(f"{tag}-later") == []
