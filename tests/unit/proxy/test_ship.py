"""On the way from the journal to the ledger: what waits, what is tried again, and what can never arrive."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from proxy.journal import Journal, segment_paths
from proxy.ledger import FILE, Ledger, calls, sqlite_url
from proxy.ledger.calls import CallFilter
from proxy.ledger.recover import recover
from proxy.ledger.ship import Shipper
from proxy.records import Ended
from tests.support.records import settled

HALF = "\ud800"  # of a character: no database takes it


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    opened = await Ledger.open(sqlite_url(tmp_path / FILE))
    yield opened
    await opened.close()


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "journal", full=False)


async def ids(ledger: Ledger) -> set[str]:
    async with ledger.connect() as connection:
        return {row["call_id"] for row in await calls.listed(connection, CallFilter())}


def impossible(call_id: str) -> Ended:
    record = settled(call_id)
    record.row.reason = HALF
    return record


async def test_a_call_that_the_ledger_can_never_take_keeps_out_no_other(
    ledger: Ledger, journal: Journal, tmp_path: Path
) -> None:
    shipper = Shipper(ledger, journal)
    shipper.start()
    for record in (settled("a"), impossible("bad"), settled("b")):
        segment = journal.append(settled(record.row.call_id))
        shipper.submit(record, segment)

    assert await shipper.flush(5)
    await shipper.close()
    journal.close()

    assert await ids(ledger) == {"a", "b"}
    assert shipper.backlog == 0
    assert segment_paths(tmp_path / "journal") != [], (
        "the journal of a call that is not in the ledger must stay"
    )


async def test_what_fails_for_a_while_is_tried_again(
    ledger: Ledger, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    ship, failures = ledger.ship, [OperationalError("insert", {}, Exception("disk is full"))] * 2

    async def fails_first(records: list[Ended]) -> int:
        if failures:
            raise failures.pop()
        return await ship(records)

    monkeypatch.setattr(ledger, "ship", fails_first)
    shipper = Shipper(ledger, journal)
    shipper.start()
    shipper.submit(settled("a"), journal.append(settled("a")))

    assert await shipper.flush(10)
    await shipper.close()
    journal.close()
    assert (await ids(ledger), shipper.last_error) == ({"a"}, "")


async def test_a_start_goes_on_past_a_call_that_the_ledger_refuses(
    ledger: Ledger, journal: Journal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for call_id in ("a", "bad", "b"):
        journal.append(settled(call_id))
    ship = ledger.ship

    async def picky(records: list[Ended]) -> int:
        if any(record.row.call_id == "bad" for record in records):
            raise OverflowError("too large for a column")
        return await ship(records)

    monkeypatch.setattr(ledger, "ship", picky)
    found = await recover(tmp_path / "journal", ledger)

    assert (found.shipped, await ids(ledger)) == (2, {"a", "b"})
    assert found.findings == ["bad: the ledger refused it: too large for a column"]
    assert [path.suffix for path in (tmp_path / "journal").iterdir()] == [".damaged"]
