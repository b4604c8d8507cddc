"""What hands have set, on every storage of the ledger: in force until it expires or is ended, then only history."""

from datetime import datetime, timedelta

import pytest
from sqlalchemy import func, select

from pricing.document import parse
from proxy.admin import breakers
from proxy.admin.answers import Problem
from proxy.admin.breakers import Change
from proxy.admin.state import Signer
from proxy.ledger import Ledger, overrides
from proxy.ledger.overrides import Override
from proxy.ledger.schema import audit
from proxy.ledger.schema import overrides as table
from rules.policy import load_policy
from rules.scope import Scope, ScopeKind
from tests.support.records import NOON

HOUR = timedelta(hours=1)
SIGNER = Signer("node", b"0" * 32, "operator")
RULE = load_policy(
    parse(
        "version: 1\nrules: [{rule_id: dear, threshold_type: absolute_daily, threshold_value: 50}]",
        file="rules.yaml",
        environ={},
    )
).rules[0]


async def in_force(ledger: Ledger, now: datetime = NOON, kind: str = "breaker") -> list[Override]:
    async with ledger.connect() as connection:
        return await overrides.live(connection, now, kind=kind)


async def test_a_breaker_override_is_in_force_until_it_is_ended_or_expires(ledger: Ledger) -> None:
    for_good = Override("breaker", "a", {"scope": "*"}, "why", "ops", NOON)
    brief = Override("breaker", "b", {"scope": "*"}, "why", "ops", NOON, expires_at=NOON + HOUR)
    other = Override("budget", "a", {"limit": "5"}, "why", "ops", NOON)
    async with ledger.connect() as connection:
        for override in (for_good, brief, other):
            await overrides.add(connection, override)

    assert await in_force(ledger) == [for_good, brief]
    assert await in_force(ledger, NOON + HOUR) == [for_good]
    assert await in_force(ledger, kind="budget") == [other]

    async with ledger.connect() as connection:
        named = await overrides.live(connection, NOON, kind="breaker", target="a")
        await overrides.end(connection, named, NOON + HOUR)
        await overrides.end(connection, named, NOON + 2 * HOUR)
        ended = await connection.scalar(select(table.c.ended_at).where(table.c.ended_at.is_not(None)))
        assert await connection.scalar(select(func.count()).select_from(table)) == 3, "nothing is deleted"
    assert await in_force(ledger) == [brief]
    assert ended == int((NOON + HOUR).timestamp() * 1e6)


async def test_a_forced_breaker_takes_the_place_of_what_a_hand_had_set_there(ledger: Ledger) -> None:
    async def states() -> list[tuple[str, bool]]:
        found = await breakers.load(ledger, NOON)
        return [(str(each.scope), each.is_open) for each in found.forced]

    search, shop = Change(scope="team:search", reason="x"), Change(scope="team:shop", reason="x")
    await breakers.force(ledger, SIGNER, RULE, search, NOON, is_open=True)
    await breakers.force(ledger, SIGNER, RULE, shop, NOON, is_open=True)
    await breakers.force(ledger, SIGNER, RULE, search, NOON, is_open=False)
    assert await states() == [("team:shop", True), ("team:search", False)]

    await breakers.force(ledger, SIGNER, RULE, Change(reason="all"), NOON, is_open=True)
    assert await states() == [("None", True)]
    await breakers.force(ledger, SIGNER, RULE, shop, NOON, is_open=False)
    await breakers.reset(ledger, SIGNER, shop, NOON, rule=RULE)
    assert await states() == [("None", True)]
    await breakers.reset(ledger, SIGNER, Change(reason="over"), NOON)
    assert await states() == []


async def test_every_hand_on_a_breaker_is_in_the_audit(ledger: Ledger) -> None:
    change = Change(scope="team:search", reason="an attack")
    forced = await breakers.force(ledger, SIGNER, RULE, change, NOON, is_open=True)
    await breakers.reset(ledger, SIGNER, change, NOON, rule=RULE)
    await breakers.shut_down(ledger, SIGNER, "all of it", NOON)
    await breakers.lift(ledger, SIGNER, "over", NOON)
    with pytest.raises(Problem, match="no emergency shutdown"):
        await breakers.lift(ledger, SIGNER, "again", NOON)

    assert (forced.scope, forced.author) == (Scope(ScopeKind.TEAM, "search"), "operator")
    async with ledger.connect() as connection:
        rows = (await connection.execute(select(audit.c.event, audit.c.facts).order_by(audit.c.seq))).all()
    assert [row.event for row in rows] == [
        "breaker_forced_open",
        "breaker_reset",
        "emergency_shutdown",
        "emergency_shutdown_lifted",
    ]
    assert '"reason":"an attack"' in rows[0].facts


async def test_a_second_shutdown_replaces_the_first_and_one_lift_ends_it(ledger: Ledger) -> None:
    await breakers.shut_down(ledger, SIGNER, "first", NOON)
    await breakers.shut_down(ledger, SIGNER, "second breaker of calls", NOON + HOUR)
    found = (await breakers.load(ledger, NOON + HOUR)).shutdown
    assert found is not None
    assert (found.reason, found.at) == ("second breaker of calls", NOON + HOUR)

    await breakers.lift(ledger, SIGNER, "over", NOON + HOUR)

    assert (await breakers.load(ledger, NOON + HOUR)).shutdown is None


async def test_breakers_of_a_rule_that_is_gone_are_out_of_force(ledger: Ledger) -> None:
    await breakers.force(ledger, SIGNER, RULE, Change(reason="x"), NOON, is_open=True)

    await breakers.forget(ledger, SIGNER, [("other", None)], NOON)
    assert len((await breakers.load(ledger, NOON)).forced) == 1
    await breakers.forget(ledger, SIGNER, [("dear", None)], NOON)
    assert (await breakers.load(ledger, NOON)).forced == []


@pytest.mark.parametrize("scope", ["key:k1", "global", "model:gpt-4o"])
async def test_a_breaker_is_not_forced_where_its_rule_never_looks(ledger: Ledger, scope: str) -> None:
    with pytest.raises(Problem, match="measured per team:NAME"):
        await breakers.force(ledger, SIGNER, RULE, Change(scope=scope, reason="x"), NOON, is_open=True)
