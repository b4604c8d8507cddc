"""Calls of the past for a replay: the same on each storage."""

from dataclasses import replace
from datetime import timedelta

import pytest

from pricing.money import Nanos
from proxy.ledger import Ledger, past, rerate
from proxy.ledger.past import NOT_ESTIMATED, OTHERWISE_REFUSED, Told
from proxy.ledger.rerate import Correction, Span
from proxy.records import Refused
from rules.past import PastCall
from tests.support.records import NOON, minutes, refused, row, settled


async def replayed(ledger: Ledger, told: Told | None = None) -> list[PastCall]:
    span = NOON - timedelta(hours=1), NOON + timedelta(hours=1)
    chunks = past.replayed(ledger, *span, told or Told())
    return [call for _, chunk in [each async for each in chunks] for call in chunk]


async def test_simulate_reads_calls_in_the_order_of_their_arrival_each_once(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chunks end between calls of one and the same instant, too."""
    monkeypatch.setattr(past, "CHUNK_ROWS", 2)
    at = [0, 0, 0, 2, 1, 60, -60]
    await ledger.ship([settled(f"c{n}", n + 1, at=NOON + minutes(each)) for n, each in enumerate(at)])

    found = await replayed(ledger)

    # The hour is half open: what came at its end is left out.
    assert [call.charge for call in found] == [7, 1, 2, 3, 5, 4]
    assert [call.at for call in found] == sorted(call.at for call in found)
    async with ledger.connect() as connection:
        assert await past.count(connection, NOON, NOON + minutes(2)) == 4


async def test_simulate_reads_a_call_with_what_its_estimate_and_its_charge_say(ledger: Ledger) -> None:
    waited = replace(
        row(outcome="answered"), waited_us=400_000, flags=["user_as_other"], asked_model="gpt-4o"
    )
    await ledger.ship([replace(settled("c1", 7_500), row=waited)])

    (call,) = await replayed(ledger)

    assert (call.expected, call.ceiling, call.charge, call.paid) == (1_500, 6_000, 7_500, 7_500)
    assert (call.tokens, call.output_charged, call.in_flight_us) == (20, 10, 500_000)
    assert (call.model, call.cheaper, call.as_other) == ("gpt-4o", "gpt-4o-mini", frozenset({"user"}))


async def test_simulate_takes_the_sum_of_a_corrected_calls_charges(ledger: Ledger) -> None:
    await ledger.ship([settled("c1", 7_500), settled("c2", 10)])
    async with ledger.connect() as connection:
        found, _ = await rerate.page(connection, Span(NOON, None), None, limit=10)
        assert found.charge is not None, "it was charged"
        less = replace(found.charge, nanos=Nanos(500))
        await rerate.correct(connection, [Correction(found, less)])

    assert [call.charge for call in await replayed(ledger)] == [500, 10]


async def test_simulate_leaves_out_what_no_policy_decided(ledger: Ledger) -> None:
    told = Told()
    by_budget = replace(row("c1", outcome="refused"), error_type="budget_exceeded")
    by_line = replace(row("c2", outcome="refused"), error_type="budget_busy")
    await ledger.ship(
        [
            Refused(by_budget),
            Refused(by_line),
            refused("c3"),
            Refused(replace(row("c4", outcome="refused"), estimate_basis="")),
            replace(settled("c5", 0), row=replace(row("c5", outcome="answered"), estimate_basis="")),
        ]
    )

    found = await replayed(ledger, told)

    assert [(call.refused, call.charge, call.stake) for call in found] == [(True, None, 1_500)] * 2
    assert (told.busy, dict(told.left_out)) == (1, {OTHERWISE_REFUSED: 2, NOT_ESTIMATED: 1})
