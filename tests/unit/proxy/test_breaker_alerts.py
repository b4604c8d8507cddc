"""Alerts that belong to no call, such as those of breakers: in the outbox once, also when the ledger was away."""

from sqlalchemy import func, select

from proxy.ledger import Ledger, sqlite_url
from proxy.ledger.schema import outbox
from proxy.raised import Raised
from rules.alert import Alert, Level
from rules.scope import EVERYONE
from tests.unit.rules.build import NOON


def alert(key: str) -> Alert:
    return Alert(key, "breaker", Level.WARNING, NOON, EVERYONE, "told")


async def count(ledger: Ledger) -> int:
    async with ledger.connect() as connection:
        return int(await connection.scalar(select(func.count()).select_from(outbox)) or 0)


async def test_breaker_alerts_wait_for_a_ledger_that_is_away_and_are_kept_once() -> None:
    ledger = await Ledger.open(sqlite_url(None))
    try:
        raised = Raised(ledger)
        raised.add([alert("a"), alert("a")])
        async with ledger.connect() as connection:
            await connection.run_sync(outbox.drop)
        assert not await raised.flush()
        async with ledger.connect() as connection:
            await connection.run_sync(outbox.create)
        raised.add([alert("b")])

        assert await raised.flush()
        assert await raised.flush()

        assert await count(ledger) == 2
    finally:
        await ledger.close()
