"""Overrides of budgets on every storage: row, audit and alert are there together, and each end is told once."""

import json
from datetime import timedelta
from decimal import Decimal

import pytest
from sqlalchemy import select

from pricing.money import nanos
from proxy.admin import overrides as admin
from proxy.admin.answers import Problem
from proxy.admin.override_budgets import Books
from proxy.admin.overrides import Wanted
from proxy.admin.state import Signer
from proxy.ledger import Ledger, overrides
from proxy.ledger.schema import audit, outbox
from proxy.overrides import KIND, override_of
from tests.support.records import NOON
from tests.unit.rules.build import policy

SIGNER = Signer("node", b"0" * 32, "key:k9")
RULES = policy(
    "teams: {search: {budgets: [{period: daily, limit_usd: 50}, {period: monthly, limit_usd: 1000}]}}\n"
    "budgets: [{period: monthly, limit_usd: 2000}]"
)
HOUR = timedelta(hours=1)


async def events(ledger: Ledger) -> list[str]:
    async with ledger.connect() as connection:
        return list(await connection.scalars(select(audit.c.event).order_by(audit.c.seq)))


async def test_an_override_of_a_scope_raises_its_day_and_its_month(ledger: Ledger) -> None:
    wanted = Wanted(reason="a launch")
    made = await admin.make(
        ledger, SIGNER, admin.choose(Books(RULES, (), ()), "team:search", wanted), wanted, NOON
    )

    found = [override_of(row) for row in made]
    assert [(each.budget_id, each.limit, each.until) for each in found] == [
        ("team:search:daily", nanos("75"), NOON + HOUR),
        ("team:search:monthly", nanos("1200"), NOON + HOUR),
    ]
    assert len({each.id for each in found}) == 2
    async with ledger.connect() as connection:
        assert await overrides.live(connection, NOON, kind=KIND) == made
        facts = json.loads(
            (await connection.scalars(select(audit.c.facts).order_by(audit.c.seq))).first() or ""
        )
        levels = list(await connection.scalars(select(outbox.c.level).order_by(outbox.c.alert_id)))
    assert facts == {
        "authorized_by": "key:k9",
        "budget_id": "team:search:daily",
        "expires_at": "2026-01-05T13:00:00+00:00",
        "new_limit": "75",
        "override_id": str(found[0].id),
        "period": "daily",
        "previous_limit": "50",
        "reason": "a launch",
        "scope": "team:search",
    }
    assert levels == ["critical", "critical"]


async def test_a_second_override_starts_from_the_files_limit_and_tells_the_one_before(ledger: Ledger) -> None:
    wanted = Wanted(reason="a launch", factor=Decimal(2))
    books = Books(RULES, (), ())
    first = await admin.make(ledger, SIGNER, admin.choose(books, "team:search:daily", wanted), wanted, NOON)
    standing = [override_of(row) for row in first]

    more = Wanted(reason="more", factor=Decimal(3), minutes=Decimal(90))
    (raised,) = admin.choose(Books(RULES, (), standing), "team:search:daily", more)

    assert (raised.previous, raised.limit) == (nanos("100"), nanos("150"))


async def test_an_override_is_lifted_once_or_expires_once(ledger: Ledger) -> None:
    wanted = Wanted(reason="a launch")
    day, month = await admin.make(
        ledger, SIGNER, admin.choose(Books(RULES, (), ()), "team:search", wanted), wanted, NOON
    )

    await admin.lift(ledger, SIGNER, str(day.override_id), "done", NOON)
    for gone, now in ((day, NOON), (month, NOON + HOUR)):
        with pytest.raises(Problem, match="no override of that id stands"):
            await admin.lift(ledger, SIGNER, str(gone.override_id), "again", now)
    async with ledger.connect() as connection:
        assert await overrides.unended(connection, kind=KIND) == [month], "nobody was told of its end yet"
    await admin.expire(ledger, SIGNER, [month])

    async with ledger.connect() as connection:
        assert await overrides.unended(connection, kind=KIND) == []
    assert await events(ledger) == [
        "emergency_budget_override",
        "emergency_budget_override",
        "emergency_budget_override_lifted",
        "emergency_budget_override_expired",
    ]


async def test_too_many_overrides_are_refused_whole(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin, "STANDING_MAX", 1)
    wanted = Wanted(reason="a launch")

    with pytest.raises(Problem, match="lift some"):
        await admin.make(
            ledger, SIGNER, admin.choose(Books(RULES, (), ()), "team:search", wanted), wanted, NOON
        )

    assert await events(ledger) == []
