"""Work in the background: charged as estimated when it begins, at the provider's own figure when it ends, once."""

import asyncio
import json
import sqlite3
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from tests.support.background_shapes import POLLS, STATUS
from tests.support.calls import RESPONSES, headers_for, post
from tests.support.client import Connection, Reply, ask
from tests.support.process import (
    NANOS_PER_USD,
    LedgerCall,
    ScriptedProvider,
    Spendgate,
    config_for,
    wait_for,
)
from tests.support.script import Script

RULES = {
    "version": 1,
    "budgets": [
        {"id": "everyone", "scope": "global", "period": "total", "limit_usd": "1", "hold": "expected"}
    ],
}
BODY = json.dumps(
    {"model": "gpt-4o-mini", "input": "one two three", "background": True, "max_output_tokens": 40}
).encode()


@pytest.fixture
def own(tmp_path: Path, provider: ScriptedProvider) -> Iterator[Spendgate]:
    """One with a budget, which a test may kill."""
    with Spendgate(tmp_path / "own", config_for(provider.url), RULES) as started:
        yield started


async def begin(
    gate: Spendgate, key: str, tag: str, *more: tuple[str, str], output: int | None = None
) -> Reply:
    script = Script(tag=tag, output_tokens=output)
    return await ask(gate.url, "POST", RESPONSES, [*headers_for(key, script), *more], BODY)


async def look(gate: Spendgate, key: str, object_id: str) -> Reply:
    headers = [("Authorization", f"Bearer {key}"), ("X-Trace-ID", f"look-{object_id}")]
    return await ask(gate.url, "GET", f"{RESPONSES}/{object_id}", headers)


async def look_until_it_ends(gate: Spendgate, key: str, object_id: str) -> None:
    while (await look(gate, key, object_id)).json()["status"] in ("queued", "in_progress"):
        pass


async def settled(gate: Spendgate, tag: str) -> LedgerCall:
    def reported() -> LedgerCall | None:
        call = gate.call(tag)
        return call if call.basis == "reported" else None

    return await asyncio.to_thread(wait_for, f"{tag} to be settled", reported)


async def left(gate: Spendgate, key: str, tag: str) -> int:
    """What the budget has left after a call that is paid for at once, in nano-dollars, that call left out."""
    reply = await post(gate.url, key, Script(tag=tag), BODY.replace(b"true", b"false"), RESPONSES)
    remaining = Decimal(reply.header("x-spendgate-budget-remaining-usd") or "nan")
    return int(remaining * NANOS_PER_USD) + (await asyncio.to_thread(gate.call, tag)).nanos


def books(gate: Spendgate) -> tuple[int, int, int]:
    """All charges, what the roll-ups say was spent by all, and how much of that nobody reported."""
    with sqlite3.connect(f"file:{gate.folder}/data/ledger.db?mode=ro", uri=True) as ledger:
        charged = ledger.execute("select sum(nanos) from charges").fetchone()[0]
        rolled = ledger.execute(
            "select sum(nanos), sum(unreported_nanos) from rollups where scope_kind = 'global'"
        ).fetchone()
    return charged, *rolled


def waits_for(gate: Spendgate, call_id: str) -> list[tuple[str, str]]:
    with sqlite3.connect(f"file:{gate.folder}/data/ledger.db?mode=ro", uri=True) as ledger:
        found = ledger.execute("select object_id, state from deferred where call_id = ?", [call_id])
        return list(found.fetchall())


async def test_work_that_goes_on_is_charged_as_estimated(spendgate: Spendgate, key: str, tag: str) -> None:
    answer = await begin(spendgate, key, tag, (POLLS, "1000"))

    row = await asyncio.to_thread(spendgate.call, tag)
    assert (answer.status, answer.json()["status"]) == (200, "queued")
    assert (row.basis, row["outcome"], row["success"]) == ("estimated", "answered", True)
    assert Decimal(row["cost_usd"]) >= Decimal(row["estimate_expected_usd"]) > 0
    assert "background" in row.flags


async def test_its_end_is_charged_as_billed_once_however_often_it_is_asked_after(
    own: Spendgate, provider: ScriptedProvider, tag: str
) -> None:
    key = own.key("free")
    object_id = (await begin(own, key, tag)).json()["id"]

    await look_until_it_ends(own, key, object_id)
    row = await settled(own, tag)
    again = await asyncio.gather(*(look(own, key, object_id) for _ in range(20)))

    bill = provider.billed(tag)
    assert (row.nanos, row["input_tokens"], row["output_tokens"]) == (bill.nanos, 3, 40)
    assert {one.json()["status"] for one in again} == {"completed"}
    assert {call.nanos for call in own.calls(f"look-{object_id}")} == {0}
    assert own.call(tag).nanos == bill.nanos
    assert books(own) == (bill.nanos, bill.nanos, 0)


async def test_the_budget_has_the_estimate_taken_and_then_the_bill(
    own: Spendgate, provider: ScriptedProvider, tag: str
) -> None:
    key = own.key("free")
    at_first = await left(own, key, f"{tag}-1")
    estimate = own.call(f"{tag}-1").nanos
    object_id = (await begin(own, key, tag)).json()["id"]
    row = await asyncio.to_thread(own.call, tag)

    while_it_runs = await left(own, key, f"{tag}-2")
    await look_until_it_ends(own, key, object_id)
    bill = (await settled(own, tag)).nanos
    at_the_end = await left(own, key, f"{tag}-3")

    assert row.nanos > 0
    assert while_it_runs == at_first - estimate - row.nanos
    assert at_the_end == while_it_runs - estimate + row.nanos - bill
    assert bill == provider.billed(tag).nanos


async def test_nobody_asks_and_the_process_is_killed_and_the_bill_is_charged_all_the_same(
    own: Spendgate, provider: ScriptedProvider, tag: str
) -> None:
    key = own.key("free")
    await begin(own, key, tag, (POLLS, "0"))
    own.kill()
    own.start()
    counted = own.call(tag)
    own.stop()
    with sqlite3.connect(own.folder / "data" / "ledger.db") as ledger:
        ledger.execute("update deferred set next_at = 0")

    own.start()
    row = await settled(own, tag)

    assert counted.basis == "estimated"
    assert row.nanos == provider.billed(tag).nanos
    assert books(own) == (row.nanos, row.nanos, 0)
    assert await left(own, key, f"{tag}-after") == NANOS_PER_USD - row.nanos


async def test_under_a_hard_budget_it_stands_at_its_ceiling_until_its_end(
    spendgate: Spendgate, provider: ScriptedProvider, tag: str
) -> None:
    """Room for one ceiling and a half: a second goes only once the first has cost less."""
    key = spendgate.key(tag, "--budget-usd", "0.000036", "--period", "total", "--hold", "strict")
    object_id = (await begin(spendgate, key, f"{tag}-1", output=3)).json()["id"]
    row = await asyncio.to_thread(spendgate.call, f"{tag}-1")

    refused = await begin(spendgate, key, f"{tag}-2")
    await look_until_it_ends(spendgate, key, object_id)
    final = await settled(spendgate, f"{tag}-1")
    again = await begin(spendgate, key, f"{tag}-3")

    assert row.nanos == Decimal(row["estimate_ceiling_usd"]) * NANOS_PER_USD >= 3 * 150 + 40 * 600
    assert row.basis == "estimated"
    assert row["reason"] == "the work goes on: held at its ceiling until its end is told"
    assert (refused.status, again.status) == (402, 200)
    assert provider.bill(f"{tag}-2") == []
    assert final.nanos == provider.billed(f"{tag}-1").nanos == 3 * 150 + 3 * 600


@pytest.mark.parametrize("status", ["incomplete", "failed", "cancelled"])
async def test_work_that_ends_otherwise_is_charged_as_billed_too(
    spendgate: Spendgate, provider: ScriptedProvider, key: str, tag: str, status: str
) -> None:
    object_id = (await begin(spendgate, key, tag, (STATUS, status))).json()["id"]

    await look_until_it_ends(spendgate, key, object_id)

    assert (await settled(spendgate, tag)).nanos == provider.billed(tag).nanos


async def test_a_stream_that_its_client_leaves_is_charged_as_estimated_until_its_end_is_known(
    spendgate: Spendgate, key: str, tag: str
) -> None:
    script = Script(tag=tag, chunk_delay_ms=50, ignores_disconnect=True)
    async with Connection(spendgate.url) as connection:
        body = BODY.replace(b'"background"', b'"stream": true, "background"')
        await connection.start("POST", RESPONSES, headers_for(key, script), body)
        await anext(connection.pieces())

    row = await asyncio.to_thread(spendgate.call, tag)
    assert row.basis == "estimated"
    assert Decimal(row["cost_usd"]) >= Decimal(row["estimate_expected_usd"]) > 0
    assert waits_for(spendgate, row["call_id"]) == [(row["provider_id"], "waiting")]
