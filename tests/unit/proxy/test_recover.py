"""A start after a death: what the journal says is in the ledger exactly once, and counters begin where it ends."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from proxy import dialects
from proxy.auth import Key, Kind
from proxy.dialects import Surface
from proxy.errors import Unavailable
from proxy.holds.local import LocalHolds
from proxy.holds.seed import Seeds
from proxy.journal import Journal, segment_paths
from proxy.ledger import FILE, Ledger, calls, outbox, sqlite_url
from proxy.ledger.calls import CallFilter
from proxy.ledger.recover import BATCH_MAX, recover
from proxy.ledger.schema import rollups
from proxy.ledger.ship import Shipper
from proxy.opencall import OpenCall
from proxy.records import Record
from proxy.routing import Route
from rules.policy import Policy
from tests.support.records import ALL_TODAY, NOON, alert, minutes, opened, refused, row, settled
from tests.unit.rules.build import call, policy


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "journal"


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    opened_ledger = await Ledger.open(sqlite_url(tmp_path / FILE))
    yield opened_ledger
    await opened_ledger.close()


def left_behind(folder: Path, *records: Record) -> None:
    """Appended by a process that then died: nothing is closed or tidied up."""
    writer = Journal(folder, full=False, segment_bytes_max=10_000)
    for record in records:
        writer.append(record)


async def booked(ledger: Ledger) -> dict[str, tuple[str | None, str | None]]:
    """Call id -> dollars and basis."""
    async with ledger.connect() as connection:
        rows = await calls.listed(connection, CallFilter())
    return {each["call_id"]: (each["cost_usd"], each["basis"]) for each in rows}


async def rolled_up(ledger: Ledger) -> list[tuple[Any, ...]]:
    async with ledger.connect() as connection:
        names = (
            rollups.c.scope_kind,
            rollups.c.scope_name,
            rollups.c.quarter,
            rollups.c.nanos,
            rollups.c.calls,
        )
        return [tuple(each) for each in await connection.execute(select(*names).order_by(*names))]


MIXED = (
    opened("settled"),
    opened("lost", lost=1_500),
    settled("settled", 7_500),
    refused("refused"),
    opened("released"),
    settled("released", None),
    opened("shipped"),
    settled("shipped", 40),
)
BOOKS = {
    "settled": ("0.0000075", "reported"),
    "lost": ("0.0000015", "estimated"),
    "refused": (None, None),
    "released": (None, None),
    "shipped": ("0.00000004", "reported"),
}
SUM = 7_500 + 1_500 + 40


async def test_every_call_is_there_once_with_its_charge(journal: Path, ledger: Ledger) -> None:
    left_behind(journal, *MIXED)

    found = await recover(journal, ledger)

    assert await booked(ledger) == BOOKS
    assert (found.shipped, found.lost, found.findings) == (5, 1, [])
    assert segment_paths(journal) == []


async def test_what_had_been_shipped_before_the_death_is_not_charged_again(
    journal: Path, ledger: Ledger
) -> None:
    left_behind(journal, *MIXED)
    await ledger.ship([settled("shipped", 40), refused("refused")])

    found = await recover(journal, ledger)

    assert found.shipped == 3
    assert await booked(ledger) == BOOKS
    assert await ledger.spent(ALL_TODAY.scope, 0, None) == SUM


async def test_recovering_twice_gives_the_same_books(journal: Path, ledger: Ledger, tmp_path: Path) -> None:
    """As after a death in the middle of a recovery, before the journal was removed."""
    left_behind(journal, *MIXED)
    left_behind(tmp_path / "again", *MIXED)
    await recover(journal, ledger)
    before = await booked(ledger), await rolled_up(ledger)

    found = await recover(tmp_path / "again", ledger)

    assert (found.shipped, found.lost) == (0, 1)
    assert (await booked(ledger), await rolled_up(ledger)) == before


async def test_a_ledger_that_fails_leaves_the_journal_for_the_next_start(
    journal: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(_: object) -> int:
        raise OperationalError("insert", {}, Exception("disk is full"))

    monkeypatch.setattr(ledger, "ship", fails)
    left_behind(journal, settled("good", 2))
    files = {path: path.read_bytes() for path in segment_paths(journal)}

    with pytest.raises(OperationalError):
        await recover(journal, ledger)

    assert {path: path.read_bytes() for path in segment_paths(journal)} == files
    assert await booked(ledger) == {}


async def test_a_lost_call_keeps_its_facts_and_says_that_it_is_lost(journal: Path, ledger: Ledger) -> None:
    left_behind(journal, opened("lost", team="ads", at=NOON + minutes(3), lost=1_500))

    await recover(journal, ledger)

    async with ledger.connect() as connection:
        shown = await calls.by_id(connection, "lost")
    assert shown is not None
    assert (shown["team"], shown["at"]) == ("ads", (NOON + minutes(3)).isoformat())
    assert (shown["outcome"], shown["error_type"], shown["success"]) == ("lost", "lost", False)
    assert "lost" in shown["flags"]


async def test_a_long_call_that_many_segments_carried_on_is_lost_once(journal: Path, ledger: Ledger) -> None:
    others = [record for n in range(30) for record in (opened(f"c{n}"), settled(f"c{n}", 10))]
    left_behind(journal, opened("long", lost=7), *others)
    assert len(segment_paths(journal)) > 2

    found = await recover(journal, ledger)

    assert (found.lost, found.shipped) == (1, 31)
    assert await ledger.spent(ALL_TODAY.scope, 0, None) == 307


async def test_an_open_record_after_the_end_of_its_call_changes_nothing(
    journal: Path, ledger: Ledger
) -> None:
    left_behind(journal, settled("c1", 7_500), opened("c1"))

    assert (await recover(journal, ledger)).lost == 0
    assert await booked(ledger) == {"c1": ("0.0000075", "reported")}


async def test_a_torn_tail_costs_the_torn_record_only(journal: Path, ledger: Ledger) -> None:
    """Here the end of a call: it is open again, and charged as lost."""
    left_behind(journal, opened("c1", lost=1_500), settled("c1", 7_500))
    (path,) = segment_paths(journal)
    path.write_bytes(path.read_bytes()[:-1])

    found = await recover(journal, ledger)

    assert await booked(ledger) == {"c1": ("0.0000015", "estimated")}
    assert len(found.findings) == 1


async def test_a_file_that_could_not_be_read_whole_is_kept_aside(journal: Path, ledger: Ledger) -> None:
    left_behind(journal, settled("c1", 5), settled("c2", 6))
    (path,) = segment_paths(journal)
    damaged = bytearray(path.read_bytes())
    damaged[200] ^= 1
    path.write_bytes(damaged)

    await recover(journal, ledger)

    assert set(await booked(ledger)) == {"c2"}
    assert [each.read_bytes() for each in journal.iterdir()] == [bytes(damaged)]
    assert (await recover(journal, ledger)).records == 0


async def test_alerts_in_the_journal_are_raised_once(journal: Path, ledger: Ledger) -> None:
    left_behind(
        journal, settled("c1", 5, alerts=(alert("k"),)), refused("c2", alerts=(alert("k"), alert("l")))
    )

    await recover(journal, ledger)

    async with ledger.connect() as connection:
        assert [each.alert.key for each in await outbox.due(connection, NOON, limit=10)] == ["k", "l"]


async def test_more_calls_than_one_batch_takes_are_all_there(journal: Path, ledger: Ledger) -> None:
    writer = Journal(journal, full=False)
    for n in range(BATCH_MAX + 1):
        writer.append(settled(f"c{n}", 1))

    assert (await recover(journal, ledger)).shipped == BATCH_MAX + 1
    assert await ledger.spent(ALL_TODAY.scope, 0, None) == BATCH_MAX + 1


async def test_a_folder_without_a_journal_has_nothing_to_recover(tmp_path: Path, ledger: Ledger) -> None:
    assert (await recover(tmp_path / "none", ledger)).records == 0


# -- counters after it ------------------------------------------------------------------------------------------

BUDGET = (
    "budgets: [{id: everyone, scope: global, period: daily, limit_usd: '0.00001', thresholds: [50, 90, 100]}]"
)


def open_call() -> OpenCall:
    rules, facts = policy(BUDGET), call()
    key = Key("k1", "search", Kind.LIVE, "", "", (), NOON)
    return OpenCall(
        row=row("next"),
        started=0.0,
        route=Route("openai", "/v1/chat/completions", "", chosen=False),
        key=key,
        policy=rules,
        dialect=dialects.find("openai"),
        surface=Surface("metered"),
        call=facts,
        limits=rules.limits(facts, ()),
    )


async def test_counters_begin_with_all_that_was_charged_lost_calls_included(
    journal: Path, ledger: Ledger
) -> None:
    left_behind(journal, *MIXED, settled("yesterday", 10**6, at=NOON - minutes(24 * 60)))
    await recover(journal, ledger)
    holds = LocalHolds(queue_max=1)
    seeds = Seeds(holds, ledger, Shipper(ledger, Journal(journal, full=False)), Policy)

    seeding = seeds.of(open_call())
    assert seeding is not None
    await seeding

    assert holds.balance(ALL_TODAY).spent == SUM
    assert seeds.of(open_call()) is None
    async with ledger.connect() as connection:
        raised = await outbox.due(connection, NOON.replace(year=2200), limit=10)
    assert [each.alert.facts["threshold_percentage"] for each in raised] == ["50", "90"]


async def test_what_ended_and_is_not_in_the_ledger_yet_counts(journal: Path, ledger: Ledger) -> None:
    written = Journal(journal, full=False)
    shipper, holds = Shipper(ledger, written), LocalHolds(queue_max=1)
    record = settled("c1", 123)
    shipper.submit(record, written.append(record))
    shipper.start()
    try:
        seeding = Seeds(holds, ledger, shipper, Policy).of(open_call())
        assert seeding is not None
        await seeding
    finally:
        await shipper.close()

    assert holds.balance(ALL_TODAY).spent == 123


async def test_what_waits_for_a_ledger_that_takes_nothing_now_counts_too(
    journal: Path, ledger: Ledger
) -> None:
    shipper, holds = Shipper(ledger, Journal(journal, full=False)), LocalHolds(queue_max=1)
    shipper.submit(settled("c1", 123), None)  # and nothing ships it

    seeding = Seeds(holds, ledger, shipper, Policy).of(open_call())
    assert seeding is not None
    await seeding

    assert holds.balance(ALL_TODAY).spent == 123


async def test_a_counter_is_not_begun_while_charges_are_on_their_way_into_the_ledger(
    journal: Path, ledger: Ledger
) -> None:
    """Whether the ledger has them nobody knows."""
    shipper, holds = Shipper(ledger, Journal(journal, full=False)), LocalHolds(queue_max=1)

    seeding = Seeds(holds, ledger, shipper, Policy, flush_seconds=0.01).of(open_call())
    assert seeding is not None
    async with shipper.still():
        with pytest.raises(Unavailable, match="try again shortly"):
            await seeding

    assert holds.unknown([ALL_TODAY]) == [ALL_TODAY]
