"""Names that callers choose, in the roll-ups: those beyond the bound count as one, on each storage."""

from dataclasses import replace
from datetime import timedelta

from proxy.callrow import AS_OTHER
from proxy.ledger import Ledger, names
from proxy.ledger.calls import report
from proxy.records import Settled
from rules.call import OTHER
from rules.scope import Scope, ScopeKind
from rules.window import QUARTER_SECONDS
from tests.support.records import NOON, settled

QUARTER = int(NOON.timestamp()) // QUARTER_SECONDS


def used(call_id: str, nanos: int, *flags: str, user: str = "", category: str = "", days: int = 0) -> Settled:
    record = settled(call_id, nanos, at=NOON + timedelta(days=days))
    return replace(record, row=replace(record.row, user=user, category=category, flags=list(flags)))


async def spent(ledger: Ledger, kind: ScopeKind, name: str) -> int:
    return await ledger.spent(Scope(kind, name), QUARTER, None)


async def test_a_flagged_row_counts_towards_other_and_keeps_its_name(ledger: Ledger) -> None:
    await ledger.ship(
        [
            used("c1", 1, user="anna", category="a"),
            used("c2", 10, AS_OTHER[ScopeKind.USER], user="anna", category="a"),
            used("c3", 100, AS_OTHER[ScopeKind.CATEGORY], "capped", user="anna", category="a"),
        ]
    )

    assert (await spent(ledger, ScopeKind.USER, "anna"), await spent(ledger, ScopeKind.USER, OTHER)) == (
        101,
        10,
    )
    assert await spent(ledger, ScopeKind.CATEGORY, "a") == 11
    assert await spent(ledger, ScopeKind.CATEGORY, OTHER) == 100
    async with ledger.connect() as connection:
        lines = await report(connection, "category", since=None, until=None, timezone="UTC")
    assert [(line.group, line.nanos) for line in lines] == [("a", 111)]


async def test_names_are_read_back_with_the_last_time_of_each(ledger: Ledger) -> None:
    await ledger.ship(
        [
            used("c1", 1, user="old", days=-40),
            used("c2", 1, user="bert", category="a"),
            used("c3", 1, user="anna", days=1),
            used("c4", 1, user="bert", days=2),
        ]
    )

    async with ledger.connect() as connection:
        every = await names.charged_since(connection, AS_OTHER, QUARTER, limit=10)
        newest = await names.charged_since(connection, [ScopeKind.USER], QUARTER, limit=1)

    anna, bert = Scope(ScopeKind.USER, "anna"), Scope(ScopeKind.USER, "bert")
    assert every == [(anna, QUARTER + 96), (bert, QUARTER + 192), (Scope(ScopeKind.CATEGORY, "a"), QUARTER)]
    assert newest == [(bert, QUARTER + 192)]
