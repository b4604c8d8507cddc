"""What every storage of the ledger must do: the same tests on each."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import func, inspect, select
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from pricing.charge import Basis
from pricing.money import Nanos
from proxy.ledger import Ledger, audit, calls, keys, outbox, rerate, sqlite_url, write
from proxy.ledger.calls import CallFilter
from proxy.ledger.keys import KeyRow
from proxy.ledger.rerate import Charged, Correction, Span
from proxy.ledger.schema import audit as entries
from proxy.ledger.schema import charges, metadata
from proxy.records import Ended
from rules.counter import CounterKey
from rules.scope import EVERYONE, Scope, ScopeKind
from rules.window import QUARTER_SECONDS
from tests.support.records import ALL_TODAY, NOON, SEARCH, SEARCH_TODAY, alert, minutes, refused, settled

QUARTER = int(NOON.timestamp()) // QUARTER_SECONDS
SECRET = b"0" * 32


async def spent_in(ledger: Ledger, counter: CounterKey) -> int:
    end = counter.window.end
    assert end is not None
    until = int(end.timestamp()) // QUARTER_SECONDS
    return await ledger.spent(counter.scope, counter.start // QUARTER_SECONDS, until)


async def charged(ledger: Ledger) -> tuple[int, int]:
    """How many charges there are, and their sum."""
    async with ledger.connect() as connection:
        row = (await connection.execute(select(func.count(), func.sum(charges.c.nanos)))).one()
    return int(row[0]), int(row[1] or 0)


async def test_the_migrations_make_the_tables_that_the_code_knows(ledger: Ledger) -> None:
    async with ledger.connect() as connection:
        made = await connection.run_sync(
            lambda sync: {
                table: {column["name"] for column in inspect(sync).get_columns(table)}
                for table in inspect(sync).get_table_names()
            }
        )

    known = {table.name: {column.name for column in table.columns} for table in metadata.sorted_tables}
    assert {name: made[name] for name in known} == known


async def test_a_ledger_is_opened_again_with_all_that_was_in_it(ledger_url: str) -> None:
    """Save in memory, where it ends with its process."""
    first = await Ledger.open(ledger_url)
    await first.ship([settled("c1", 7_500)])
    await first.close()

    again = await Ledger.open(ledger_url)
    try:
        assert await charged(again) == ((0, 0) if ledger_url == sqlite_url(None) else (1, 7_500))
    finally:
        await again.close()


async def test_a_shipped_call_is_read_back_with_its_charge(ledger: Ledger) -> None:
    await ledger.ship([settled("c1", 7_500, basis=Basis.OBSERVED)])

    async with ledger.connect() as connection:
        row = await calls.by_id(connection, "c1")

    assert row is not None
    assert (row["cost_usd"], row["basis"], row["input_tokens"]) == ("0.0000075", "observed", 10)
    assert (row["team"], row["stream"], row["success"], row["at"]) == (
        "search",
        True,
        True,
        NOON.isoformat(),
    )
    assert row["tags"] == {"app": "crawler"}
    assert [limit["owner"] for limit in row["limits"]] == ["search-daily", "everyone"]
    assert (row["estimate_confidence"], row["held_usd"], row["duration_ms"]) == ("0.9", "0.000006", 900.0)


async def test_shipping_the_same_call_twice_charges_it_once(ledger: Ledger) -> None:
    assert await ledger.ship([settled("c1", 7_500)]) == 1
    assert await ledger.ship([settled("c1", 9_999), settled("c2", 500)]) == 1

    assert await charged(ledger) == (2, 8_000)
    assert await spent_in(ledger, ALL_TODAY) == 8_000


async def test_a_call_that_comes_twice_in_one_batch_is_charged_once(ledger: Ledger) -> None:
    assert await ledger.ship([settled("c1", 7_500), settled("c1", 7_500)]) == 1

    assert await charged(ledger) == (1, 7_500)
    assert await spent_in(ledger, SEARCH_TODAY) == 7_500


async def test_an_empty_batch_is_no_error(ledger: Ledger) -> None:
    assert await ledger.ship([]) == 0


async def test_refused_and_released_calls_are_there_without_a_charge(ledger: Ledger) -> None:
    assert await ledger.ship([refused("c1"), settled("c2", None)]) == 2

    assert await charged(ledger) == (0, 0)
    assert await spent_in(ledger, ALL_TODAY) == 0
    async with ledger.connect() as connection:
        rows = await calls.listed(connection, CallFilter())
    assert {row["call_id"]: row["cost_usd"] for row in rows} == {"c1": None, "c2": None}


async def test_roll_ups_add_what_later_batches_bring(ledger: Ledger) -> None:
    await ledger.ship([settled("c1", 100), settled("c2", 20, at=NOON + minutes(14.9))])
    await ledger.ship([settled("c3", 3, at=NOON + minutes(1)), settled("c4", 5_000, at=NOON + minutes(15))])

    assert await ledger.spent(SEARCH, QUARTER, QUARTER + 1) == 123
    assert await ledger.spent(SEARCH, QUARTER + 1, None) == 5_000
    assert await ledger.spent(SEARCH, QUARTER + 2, None) == 0


async def test_a_charge_counts_for_each_scope_of_its_call_and_no_other(ledger: Ledger) -> None:
    await ledger.ship([settled("c1", 100, team="search"), settled("c2", 7, team="ads")])

    async def spent(kind: ScopeKind, name: str) -> int:
        return await ledger.spent(Scope(kind, name), QUARTER, None)

    assert await ledger.spent(EVERYONE, QUARTER, None) == 107
    assert await spent(ScopeKind.TEAM, "search") == 100
    assert await spent(ScopeKind.TEAM, "ads") == 7
    assert await spent(ScopeKind.KEY, "k1") == 107
    assert await spent(ScopeKind.MODEL, "gpt-4o-mini") == 107
    assert await spent(ScopeKind.USER, "") == 0


async def test_sums_beyond_32_bits_are_exact(ledger: Ledger) -> None:
    dear = 3_000_000_000_000_001
    await ledger.ship([settled("c1", dear), settled("c2", dear)])

    assert await spent_in(ledger, ALL_TODAY) == 2 * dear
    assert await charged(ledger) == (2, 2 * dear)


async def test_a_batch_of_thousands_goes_in_at_once(ledger: Ledger) -> None:
    assert await ledger.ship([settled(f"c{n}", 1) for n in range(6_000)]) == 6_000
    assert await ledger.ship([settled(f"c{n}", 1) for n in range(6_000)]) == 0

    assert await charged(ledger) == (6_000, 6_000)


async def test_a_batch_that_fails_leaves_nothing_of_it(ledger: Ledger) -> None:
    bad = settled("c2", 7)
    bad.row.team = None  # type: ignore[assignment]  # any error will do

    with pytest.raises(SQLAlchemyError):
        await ledger.ship([settled("c1", 100), bad])

    assert await charged(ledger) == (0, 0)
    assert await spent_in(ledger, ALL_TODAY) == 0
    assert await ledger.ship([settled("c1", 100)]) == 1


async def test_shippers_that_race_for_the_same_calls_charge_each_once(ledger: Ledger) -> None:
    """A loser may fail as a whole; tried again, as shippers do, it finds the calls there."""
    batch = [settled(f"c{n}", 10) for n in range(50)]
    results = await asyncio.gather(*(ledger.ship(batch) for _ in range(4)), return_exceptions=True)

    for result in results:
        if isinstance(result, BaseException):
            await ledger.ship(batch)
    assert await charged(ledger) == (50, 500)
    assert await spent_in(ledger, ALL_TODAY) == 500


async def test_shippers_of_other_calls_on_the_same_roll_ups_never_block_each_other_for_good(
    ledger: Ledger,
) -> None:
    def batch(worker: int) -> list[Ended]:
        teams = ["a", "b", "c", "d"] if worker % 2 else ["d", "c", "b", "a"]
        return [settled(f"{worker}-{n}", 1, team=teams[n % 4]) for n in range(40)]

    await asyncio.gather(*(ledger.ship(batch(worker)) for worker in range(4)))

    assert await spent_in(ledger, ALL_TODAY) == 160


async def test_an_alert_is_kept_once_per_key(ledger: Ledger) -> None:
    await ledger.ship([settled("c1", 1, alerts=(alert("k1"), alert("k2")))])
    await ledger.ship([settled("c2", 1, alerts=(alert("k1"),)), refused("c3", alerts=(alert("k3"),))])

    async with ledger.connect() as connection:
        due = await outbox.due(connection, NOON, limit=10)
    assert [each.alert.key for each in due] == ["k1", "k2", "k3"]
    assert due[0].alert == alert("k1")


async def test_an_alert_that_was_sent_or_put_off_is_not_due(ledger: Ledger) -> None:
    async with ledger.connect() as connection:
        await write.raise_alerts(connection, [alert("k1"), alert("k2"), alert("k3")])
        first, second, _ = await outbox.due(connection, NOON, limit=10)
        await outbox.sent(connection, [first.alert_id])
        await outbox.failed(connection, second.alert_id, next_at=NOON + minutes(1), error="503")

        now = await outbox.due(connection, NOON, limit=10)
        later = await outbox.due(connection, NOON + minutes(1), limit=10)

    assert [each.alert.key for each in now] == ["k3"]
    assert [(each.alert.key, each.attempts) for each in later] == [("k2", 1), ("k3", 0)]


async def test_calls_are_listed_oldest_first_and_with_a_limit_the_newest(ledger: Ledger) -> None:
    await ledger.ship(
        [
            settled(f"c{n}", 1, at=NOON + minutes(n), team="ads" if n == 2 else "search", trace_id=f"t{n}")
            for n in range(4)
        ]
    )

    async def listed(wanted: CallFilter) -> list[str]:
        async with ledger.connect() as connection:
            return [row["call_id"] for row in await calls.listed(connection, wanted)]

    assert await listed(CallFilter()) == ["c0", "c1", "c2", "c3"]
    assert await listed(CallFilter(limit=2)) == ["c2", "c3"]
    assert await listed(CallFilter(team="ads")) == ["c2"]
    assert await listed(CallFilter(trace_id="t1")) == ["c1"]
    assert await listed(CallFilter(team="ads", trace_id="t1")) == []
    assert await listed(CallFilter(since=NOON + minutes(1), until=NOON + minutes(3))) == ["c1", "c2"]


async def test_a_report_groups_the_dearest_first_and_days_in_order(ledger: Ledger) -> None:
    await ledger.ship(
        [
            settled("c1", 5, team="ads"),
            settled("c2", 70, basis=Basis.ESTIMATED),
            settled("c3", 1, at=NOON + timedelta(hours=11)),
            refused("c4"),
        ]
    )

    async with ledger.connect() as connection:
        teams = await calls.report(connection, "team", since=None, until=None, timezone="UTC")
        days = await calls.report(connection, "day", since=None, until=None, timezone="Europe/Berlin")

    found = [(line.group, line.nanos, line.unreported, line.calls, line.refused) for line in teams]
    assert found == [("search", 71, 70, 3, 1), ("ads", 5, 0, 1, 0)]
    assert [(line.group, line.nanos) for line in days] == [("2026-01-05", 75), ("2026-01-06", 1)]


async def test_a_key_is_revoked_at_its_first_instant_only(ledger: Ledger) -> None:
    row = KeyRow("k1", "ab" * 32, "search", "live", "", "laptop", "[]", NOON, NOON + minutes(60))
    async with ledger.connect() as connection:
        await keys.add(connection, row)
        await keys.revoke(connection, "k1", NOON + minutes(1))
        again = await keys.revoke(connection, "k1", NOON + minutes(2))

        assert again is not None
        assert again.revoked_at == NOON + minutes(1)
        assert await keys.every(connection) == [again]
        assert await keys.revoke(connection, "unknown", NOON) is None


async def test_audit_entries_of_a_node_are_a_chain(ledger: Ledger) -> None:
    async with ledger.connect() as connection:
        for node, actor in (("n1", "ann"), ("n2", "bob"), ("n1", "cem")):
            await audit.append(
                connection, SECRET, node=node, at=NOON, event="key_created", actor=actor, facts={"key": "k1"}
            )
        rows = (await connection.execute(select(entries).order_by(entries.c.node, entries.c.seq))).all()

    assert [(row.node, row.seq, row.actor) for row in rows] == [
        ("n1", 0, "ann"),
        ("n1", 1, "cem"),
        ("n2", 0, "bob"),
    ]
    assert [row.prev for row in rows] == ["", rows[0].mac, ""]
    assert len({row.mac for row in rows}) == 3


def dearer(found: Charged, nanos: int = 9_000) -> Correction:
    assert found.charge is not None, "it was charged"
    charge = replace(found.charge, nanos=Nanos(nanos), price_version="new", reason="rerated from old to new")
    return Correction(found, charge)


async def pages(ledger: Ledger, span: Span, limit: int) -> list[Charged]:
    found: list[Charged] = []
    while True:
        async with ledger.connect() as connection:
            page = await rerate.page(connection, span, found[-1].place if found else None, limit=limit)
        found += page
        if len(page) < limit:
            return found


async def test_pages_of_calls_meet_each_once_with_the_charge_that_stands_for_it(ledger: Ledger) -> None:
    await ledger.ship([settled(f"c{n}", 100 + n, at=NOON + minutes(n // 3)) for n in range(7)])
    await ledger.ship([refused("c7", at=NOON + minutes(2))])
    every = await pages(ledger, Span(NOON), 2)
    async with ledger.connect() as connection:
        await rerate.correct(connection, [dearer(every[0])])

    again = await pages(ledger, Span(NOON), 3)

    assert [each.row.call_id for each in again] == [f"c{n}" for n in range(8)]
    nanos = [None if each.charge is None else each.charge.nanos for each in again]
    assert nanos == [9_000, 101, 102, 103, 104, 105, 106, None]
    some = await pages(ledger, Span(NOON + minutes(1), NOON + minutes(2), "openai"), 2)
    assert [each.row.call_id for each in some] == ["c3", "c4", "c5"]
    assert await pages(ledger, Span(NOON, provider="azure"), 2) == []


async def test_a_correction_at_another_price_is_added_and_counts_where_the_call_did(ledger: Ledger) -> None:
    await ledger.ship([settled("c1", 7_500, basis=Basis.OBSERVED), settled("c2", 7_500)])
    found = await pages(ledger, Span(NOON), 9)

    async with ledger.connect() as connection:
        moves = await rerate.correct(connection, [dearer(each) for each in found])
        [line] = await calls.report(connection, "team", since=None, until=None, timezone="UTC")
        rows = await calls.listed(connection, CallFilter())

    assert [(move.change, move.unreported) for move in moves] == [(3_000, 1_500)]
    assert await charged(ledger) == (6, 18_000)
    assert await ledger.spent(SEARCH, QUARTER, QUARTER + 1) == 18_000
    assert (line.nanos, line.unreported, line.calls, line.output_tokens) == (18_000, 9_000, 2, 20)
    assert [(row["cost_usd"], row["price_version"], row["output_tokens"]) for row in rows] == [
        ("0.000009", "new", 10)
    ] * 2


async def test_a_call_that_was_corrected_since_it_was_read_refuses_the_whole_of_it(ledger: Ledger) -> None:
    await ledger.ship([settled("c1", 7_500), settled("c2", 7_500)])
    one, two = await pages(ledger, Span(NOON), 9)
    async with ledger.connect() as connection:
        await rerate.correct(connection, [dearer(two)])

    with pytest.raises(IntegrityError):
        async with ledger.connect() as connection:
            await rerate.correct(connection, [dearer(one, 8_000), dearer(two, 8_000)])

    assert await charged(ledger) == (4, 16_500)
    assert await spent_in(ledger, SEARCH_TODAY) == 16_500
