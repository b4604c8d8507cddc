"""`spendgate prices rerate` beside a real server and without one: what was charged, what budgets see, what is told."""

import json
import sqlite3
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from proxy import control
from proxy.cli.rerate import PATH
from proxy.control import ControlError
from tests.support.calls import chat_body, post
from tests.support.process import NANOS_PER_USD, ScriptedProvider, Spendgate, config_for
from tests.support.script import Script

RULES = {
    "version": 1,
    "budgets": [
        {"id": "everyone", "scope": "global", "period": "total", "limit_usd": "1", "hold": "expected"}
    ],
}
INPUT, OUTPUT = 10, 5
SINCE = ("--since", "1d")


def price(gate: Spendgate, dollars: int) -> int:
    """So many dollars for a million tokens, in or out, from the next start on; what a call then costs."""
    text = (
        f"prices: [{{provider: openai, model: gpt-4o-mini, per_1m: {{input: {dollars}, output: {dollars}}}}}]"
    )
    (gate.folder / "prices.yaml").write_text(f"version: 1\n{text}\n")
    return dollars * (INPUT + OUTPUT) * 1_000


@pytest.fixture
def own(tmp_path: Path, provider: ScriptedProvider) -> Iterator[Spendgate]:
    """With a budget of a dollar, and a price ten times too dear."""
    gate = Spendgate(tmp_path / "own", config_for(provider.url, prices_file="prices.yaml"), RULES)
    gate.prepare()
    price(gate, 100)
    with gate:
        yield gate


async def call(gate: Spendgate, key: str, tag: str) -> int:
    """One call; what is left of the budget after it was held."""
    body = chat_body(INPUT, max_tokens=OUTPUT)
    reply = await post(gate.url, key, Script(tag=tag), body)
    assert reply.status == 200, reply.body
    left = Decimal(reply.header("x-spendgate-budget-remaining-usd") or "nan")
    return int(left * NANOS_PER_USD)


def rerate(gate: Spendgate, *words: str) -> dict[str, Any]:
    (told,) = json.loads(gate.run("prices", "rerate", *SINCE, *words, "--format", "json"))
    return dict(told)


def books(gate: Spendgate) -> tuple[int, int]:
    """All charges, and what the roll-ups say was spent by all."""
    with sqlite3.connect(f"file:{gate.folder}/data/ledger.db?mode=ro", uri=True) as ledger:
        charged = ledger.execute("select sum(nanos) from charges").fetchone()[0]
        rolled = ledger.execute("select sum(nanos) from rollups where scope_kind = 'global'").fetchone()[0]
    return charged, rolled


async def test_a_corrected_price_corrects_past_calls_and_the_budget_of_a_live_server(
    own: Spendgate, tag: str
) -> None:
    wrong = 100 * (INPUT + OUTPUT) * 1_000
    key = own.key("search")
    for n in range(3):
        await call(own, key, f"{tag}-{n}")
    own.call(f"{tag}-2")
    own.stop()
    right = price(own, 10)
    own.start()

    before = await call(own, key, f"{tag}-before")
    tried = rerate(own, "--dry-run")
    assert (tried["corrected"], tried["total"]["calls"], books(own)[0]) == (False, 3, 3 * wrong + right)
    done = rerate(own, "--yes")
    after = await call(own, key, f"{tag}-after")

    assert (done["corrected"], done["total"]) == (True, tried["total"])
    assert Decimal(done["total"]["difference_usd"]) * NANOS_PER_USD == 3 * (right - wrong)
    assert after == before - right + 3 * (wrong - right)  # the call before has settled
    own.call(f"{tag}-after")
    assert books(own) == (5 * right, 5 * right)
    again = rerate(own, "--yes")
    assert (again["lines"], again["unchanged"]) == ([], 5)

    row = own.call(f"{tag}-0")
    shown = own.run("calls", "show", row["call_id"])
    assert (row.nanos, row.basis) == (right, "reported")
    assert row["reason"].startswith("rerated from prices.yaml@")
    assert "Corrected: the last of these charges stands" in shown
    live = control.find(own.folder / "data")
    assert live is not None
    line = control.ask(live, "GET", "/api/v1/report")["total"]
    assert (line["calls"], int(Decimal(line["cost_usd"]) * NANOS_PER_USD)) == (5, 5 * right)


async def test_without_a_server_the_next_start_knows_what_was_corrected(own: Spendgate, tag: str) -> None:
    key = own.key("search")
    await call(own, key, tag)
    own.call(tag)
    live = control.find(own.folder / "data")
    assert live is not None
    with pytest.raises(ControlError, match="other prices"):
        control.ask(live, "POST", PATH, {"since": "2026-01-01T00:00:00Z", "edition": "another"})
    own.stop()
    right = price(own, 10)

    done = rerate(own, "--yes")
    own.start()
    left = await call(own, key, f"{tag}-after")

    assert (done["total"]["calls"], done["corrected"]) == (1, True)
    after = own.call(f"{tag}-after")
    held = int(Decimal(after["estimate_expected_usd"]) * NANOS_PER_USD)
    assert left == NANOS_PER_USD - right - held
    assert books(own) == (2 * right, 2 * right)
