"""Spend velocity of watched scopes: trailing minutes in memory, the usual from the ledger."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from decimal import Decimal

import pytest
from sqlalchemy.exc import OperationalError

from pricing.money import NANOS_PER_USD as USD
from proxy import clock, jobs, velocity
from proxy.ledger import Ledger, sqlite_url
from proxy.velocity import Velocities
from rules.scope import EVERYONE, Scope, ScopeKind
from tests.support.records import NOON, SEARCH, minutes, settled

OTHER = Scope(ScopeKind.TEAM, "other")
LATER = NOON + minutes(30)


@pytest.fixture(autouse=True)
def at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "now", lambda: LATER)


@pytest.fixture
async def ledger() -> AsyncIterator[Ledger]:
    opened = await Ledger.open(sqlite_url(None))
    yield opened
    await opened.close()


async def spent(ledger: Ledger, *when: datetime, dollars: int = 10) -> None:
    await ledger.ship([settled(f"c-{at.isoformat()}", dollars * USD, at=at) for at in when])


async def of_four_weeks(ledger: Ledger) -> None:
    """Ten dollars in each of this hour's past; older than that, so that the first hour is not counted in part."""
    await spent(ledger, *(NOON - timedelta(weeks=n) for n in range(1, 6)))


async def watched(ledger: Ledger, *scopes: Scope) -> Velocities:
    made = Velocities(ledger)
    for scope in scopes:
        assert made.velocity(scope, 60, LATER) is None
    await made.refresh()
    return made


async def test_velocity_is_not_known_until_the_past_was_read_and_known_from_then_on(ledger: Ledger) -> None:
    await of_four_weeks(ledger)
    some = await watched(ledger, SEARCH)
    assert some.velocity(SEARCH, 30, LATER) == 0

    some.note(SEARCH, 25 * USD, LATER)

    # 29 of 30 minutes lie in an hour of ten dollars, and the one that runs with them
    assert some.velocity(SEARCH, 30, LATER) == Decimal("5.00")
    assert some.velocity(SEARCH, 30, LATER + minutes(29)) == Decimal("5.00")
    assert some.velocity(SEARCH, 30, LATER + minutes(30)) == 0


async def test_velocity_is_not_known_of_a_scope_without_history(ledger: Ledger) -> None:
    await of_four_weeks(ledger)
    some = await watched(ledger, SEARCH, OTHER, EVERYONE)
    some.note(OTHER, USD, LATER)

    assert some.velocity(OTHER, 10, LATER) is None
    assert some.velocity(EVERYONE, 10, LATER) == 0


async def test_velocity_after_a_restart_counts_what_was_spent_before_it(ledger: Ledger) -> None:
    await of_four_weeks(ledger)
    await spent(ledger, NOON + minutes(16), dollars=30)

    some = await watched(ledger, SEARCH)

    assert some.velocity(SEARCH, 30, LATER) == Decimal("6.00")
    assert some.velocity(SEARCH, 60, LATER + minutes(60)) == 0


async def test_velocity_counts_once_what_is_noted_and_in_the_ledger(ledger: Ledger) -> None:
    """A call may end, and be shipped, between the first question about its scope and the look at its past."""
    await of_four_weeks(ledger)
    some = Velocities(ledger)
    some.velocity(SEARCH, 30, LATER)
    some.note(SEARCH, 10 * USD, LATER)
    await spent(ledger, LATER, dollars=10)
    await some.refresh()

    assert some.velocity(SEARCH, 30, LATER) == Decimal("2.00")


async def test_velocity_keeps_nothing_of_scopes_that_nobody_asked_about(ledger: Ledger) -> None:
    some = Velocities(ledger)
    some.note(SEARCH, USD, LATER)

    assert len(some._watched) == 0


async def test_the_memory_of_velocity_is_bounded(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(velocity, "SCOPES_MAX", 2)
    await of_four_weeks(ledger)
    some = await watched(ledger, SEARCH, EVERYONE)
    some.velocity(SEARCH, 10, LATER)
    some.velocity(OTHER, 10, LATER)

    assert list(some._watched) == [SEARCH, OTHER]


async def test_the_velocity_job_reads_new_scopes_at_once(ledger: Ledger) -> None:
    await of_four_weeks(ledger)
    some = Velocities(ledger)
    job = jobs.run(some.run(), name="velocity")
    some.velocity(SEARCH, 10, LATER)

    async with asyncio.timeout(10):
        while some.velocity(SEARCH, 10, LATER) is None:
            await asyncio.sleep(0)
    await jobs.stop(job)


async def test_the_velocity_job_reads_again_every_hour(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(velocity, "REFRESH_SECONDS", 0.0)
    some = await watched(ledger, SEARCH)
    assert some.velocity(SEARCH, 10, LATER) is None
    await of_four_weeks(ledger)
    job = jobs.run(some.run(), name="velocity")

    async with asyncio.timeout(10):
        while some.velocity(SEARCH, 10, LATER) is None:
            await asyncio.sleep(0)
    await jobs.stop(job)


async def test_velocity_stays_what_it_was_while_the_ledger_cannot_be_read(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    await of_four_weeks(ledger)
    some = await watched(ledger, SEARCH)

    def broken() -> None:
        raise OperationalError("select", {}, Exception("disk I/O error"))

    with monkeypatch.context() as patch:
        patch.setattr(ledger, "connect", broken)
        await some.refresh()
        some.velocity(OTHER, 10, LATER)
        patch.setattr(velocity, "AGAIN_SECONDS", 0.0)
        job = jobs.run(some.run(), name="velocity")
        for _ in range(20):
            await asyncio.sleep(0)

    assert some.velocity(SEARCH, 10, LATER) == 0
    async with asyncio.timeout(10):
        while not some._watched[OTHER].is_read:
            await asyncio.sleep(0)
    assert not job.done()
    await jobs.stop(job)
