"""`spendgate estimate` and `report --estimates`: told before a call what the server then does, restarts included."""

import json
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.support.calls import chat_body, post
from tests.support.client import ask
from tests.support.process import ScriptedProvider, Spendgate, config_for
from tests.support.script import Script

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "request.json"
BUDGET = {"period": "total", "limit_usd": "0.001", "hold": "strict"}
LEARNT_AFTER = 50


@pytest.fixture
def own(tmp_path: Path, provider: ScriptedProvider) -> Iterator[Spendgate]:
    """A Spendgate in which each team has a small hard budget."""
    rules = {"version": 1, "default_team": {"budgets": [BUDGET]}}
    with Spendgate(tmp_path / "own", config_for(provider.url), rules) as started:
        yield started


def estimate(spendgate: Spendgate, body: bytes, *options: str) -> dict[str, Any]:
    file = spendgate.folder / "request.json"
    file.write_bytes(body)
    (found,) = json.loads(spendgate.run("estimate", "-f", str(file), "--format", "json", *options))
    return dict(found)


async def test_the_estimate_is_what_the_call_is_then_estimated_and_held_at(own: Spendgate, tag: str) -> None:
    body = chat_body(40, max_tokens=30)
    told = estimate(own, body, "--team", "search")
    await post(own.url, own.key("search"), Script(tag=tag), body)
    row = own.call(tag)

    assert told["expected_usd"] == row["estimate_expected_usd"]
    assert told["ceiling_usd"] == row["estimate_ceiling_usd"] == row["held_usd"]
    assert (told["input"]["counted"], told["basis"]) == (40, row["estimate_basis"])
    assert told["allowed"] == "yes"
    assert told["notes"] == []

    (limit,) = estimate(own, body, "--team", "search")["limits"]
    assert limit["spent_usd"] == row["cost_usd"]
    assert Decimal(limit["left_usd"]) == Decimal("0.001") - Decimal(row["cost_usd"])


async def test_a_no_is_a_402_and_the_ledger_alone_knows_it_too(own: Spendgate, tag: str) -> None:
    dear = chat_body(40, max_tokens=5_000)
    key = own.key("search")

    (limit,) = estimate(own, dear, "--team", "search")["limits"]
    assert (limit["allows"], limit["spent_usd"]) == ("no", "0")
    assert (await post(own.url, key, Script(tag=tag), dear)).status == 402

    fits = chat_body(40, max_tokens=1_500)
    assert estimate(own, fits, "--team", "search")["allowed"] == "yes"
    assert (await post(own.url, key, Script(tag=f"{tag}-b", output_tokens=1_500), fits)).status == 200
    own.call(f"{tag}-b")
    own.stop()
    found = estimate(own, fits, "--team", "search")
    own.start()
    assert (found["allowed"], found["limits"][0]["spent_usd"]) == ("no", "0.000906")
    assert found["notes"][0].startswith("no server lives")


async def test_what_was_learned_outlives_a_restart_and_is_reported(own: Spendgate, tag: str) -> None:
    """The provider bills 15 tokens for the 10 that are counted, and puts out 7 of the 100 that are allowed."""
    body, key = chat_body(10, max_tokens=100), own.key("learning")
    for n in range(LEARNT_AFTER):
        await post(own.url, key, Script(tag=f"{tag}-{n}", input_tokens=15, output_tokens=7), body)
    before = estimate(own, body, "--team", "learning")
    own.stop()
    alone = estimate(own, body, "--team", "learning")
    own.start()
    after = estimate(own, body, "--team", "learning")

    for told in (before, alone, after):
        assert (told["input"]["counted"], told["input"]["expected"]) == (10, 15)
        assert (told["output"]["expected"], told["output"]["learned"]) == (7, True)
        assert told["expected_usd"] == "0.00000645"
        assert told["ceiling_usd"] == "0.0000615", "10 tokens in, 100 out: nothing learned moves it"
    assert estimate(own, body, "--team", "another")["output"]["expected"] == 100

    await post(own.url, key, Script(tag=f"{tag}-last", input_tokens=15, output_tokens=7), body)
    last = own.call(f"{tag}-last")
    assert (last["estimate_expected_usd"], last["cost_usd"]) == ("0.00000645", "0.00000645")
    assert last["estimate_input_tokens"] == 10, "as counted: else a restart would learn from what it learned"
    (line,) = json.loads(own.run("report", "--estimates", "--format", "json"))
    # Once the output is known, and until the input is, calls cost 6450 where 5700 nano-dollars were expected.
    assert line == {
        "model": "gpt-4o-mini",
        "calls": LEARNT_AFTER + 1,
        "median": "1.132",
        "p95": "1.132",
        "above_ceiling_percent": "0.0",
    }
    assert "above the ceiling %" in own.run("report", "--estimates")


async def test_calls_of_test_keys_teach_nothing(own: Spendgate, tag: str) -> None:
    body, key = chat_body(10, max_tokens=100), own.key("trying", "--test")
    for n in range(LEARNT_AFTER):
        await post(own.url, key, Script(tag=f"{tag}-{n}"), body)

    told = estimate(own, body, "--team", "trying")
    assert (told["output"]["learned"], told["input"]["expected"]) == (False, 10)


async def test_the_admin_api_estimates_for_readers_and_for_nobody_else(own: Spendgate) -> None:
    viewer = own.run("keys", "create", "--role", "viewer").strip().splitlines()[-1]
    body = json.dumps({"team": "search", "request": json.loads(EXAMPLE.read_text())}).encode()
    kind = ("Content-Type", "application/json")

    found = await ask(
        own.admin_url, "POST", "/api/v1/estimate", [kind, ("Authorization", f"Bearer {viewer}")], body
    )
    assert found.status == 200
    told = json.loads(found.body)
    parts = {part["part"]: part["tokens"] for part in told["input"]["parts"]}
    assert sum(parts.values()) == told["input"]["counted"] > parts["tools"] > 0
    assert told["output"]["max"] == 300

    stranger = await ask(own.admin_url, "POST", "/api/v1/estimate", [kind], body)
    assert stranger.status == 401


def test_the_example_is_estimated_without_a_ledger(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("version: 1\n")
    budget = 'budgets: [{scope: global, period: daily, limit_usd: "1"}]'
    (tmp_path / "rules.yaml").write_text(f"version: 1\n{budget}\n")
    command = [sys.executable, "-m", "proxy.cli", "estimate", "-f", str(EXAMPLE), "--team", "search"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False, timeout=60)

    assert done.returncode == 0, done.stderr
    for words in ("input   ", "tools ", "at most 300", "allowed now: unknown"):
        assert words in done.stdout
    assert "no ledger is at hand" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "config.yaml",
        "rules.yaml",
    ], "nothing is written"


@pytest.mark.parametrize(
    ("content", "words"),
    [("no json", "is not JSON"), ("[]", "request: "), ('{"messages": []}', "model")],
)
def test_a_file_that_is_no_request_is_told(spendgate: Spendgate, content: str, words: str) -> None:
    with pytest.raises(AssertionError, match=words):
        estimate(spendgate, content.encode())
