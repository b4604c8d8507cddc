"""What rules in shadow would have acted on: the same sums on each storage."""

from dataclasses import replace
from datetime import datetime

import pytest

from pricing.money import Nanos
from proxy.ledger import Ledger, rerate, shadow
from proxy.ledger.rerate import Correction, Span
from proxy.ledger.shadow import ShadowLine
from proxy.records import Refused, Settled
from tests.support.records import NOON, charge, minutes, row


def seen(
    call_id: str, nanos: int | None, *rule_ids: str, at: datetime = NOON, team: str = "search"
) -> Settled:
    facts = replace(row(call_id, at=at, team=team, outcome="answered"), shadow_ids=list(rule_ids))
    return Settled(facts, None if nanos is None else charge(nanos), ())


async def found(
    ledger: Ledger, since: datetime | None = None, until: datetime | None = None
) -> list[ShadowLine]:
    return await shadow.lines(ledger, since=since, until=until)


@pytest.mark.parametrize("chunk", [1, 2, 5_000])
async def test_calls_are_summed_by_rule_each_once_whatever_the_chunks(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr(shadow, "CHUNK_ROWS", chunk)
    await ledger.ship(
        [
            seen("c1", 5, "day", "loop", at=NOON + minutes(1)),
            seen("c2", 7, "day", team="ads"),
            seen("c3", 11, "day", at=NOON + minutes(1)),
            seen("c4", None, "loop", at=NOON + minutes(2)),
            seen("c5", 100),
        ]
    )

    assert await found(ledger) == [
        ShadowLine("day", NOON, NOON + minutes(1), 3, 23, {"search", "ads"}),
        ShadowLine("loop", NOON + minutes(1), NOON + minutes(2), 2, 5, {"search"}),
    ]


async def test_the_span_is_half_open(ledger: Ledger) -> None:
    await ledger.ship([seen(f"c{n}", 1, "day", at=NOON + minutes(n)) for n in range(4)])

    [line] = await found(ledger, NOON + minutes(1), NOON + minutes(3))

    assert (line.calls, line.first, line.last) == (2, NOON + minutes(1), NOON + minutes(2))


async def test_refused_calls_are_left_out(ledger: Ledger) -> None:
    await ledger.ship([Refused(replace(row("c1", outcome="refused"), shadow_ids=["day"]))])

    assert await found(ledger) == []


async def test_a_corrected_call_counts_once_with_the_sum_of_its_charges(ledger: Ledger) -> None:
    await ledger.ship([seen("c1", 7_500, "day")])
    async with ledger.connect() as connection:
        [wanted] = await rerate.page(connection, Span(NOON, None), None, limit=1)
        assert wanted.charge is not None, "it was charged"
        await rerate.correct(connection, [Correction(wanted, replace(wanted.charge, nanos=Nanos(500)))])

    [line] = await found(ledger)

    assert (line.calls, line.nanos) == (1, 500)
