"""`spendgate rules simulate` on what a real server did: the same rules refuse the same calls, others what can be worked out."""

import asyncio
import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pricing.money import usd
from tests.support.calls import chat_body, post
from tests.support.gathering import dollars
from tests.support.process import ScriptedProvider, Spendgate, config_for
from tests.support.script import Script

CALL = 10 * 150 + 10 * 600  # nano-dollars of chat_body(), as estimated and as billed
DEAR = 10 * 2_500 + 10 * 10_000  # the same of gpt-4o


def total(calls: str) -> dict[str, Any]:
    """A budget of so many calls."""
    return {"budgets": [{"period": "total", "limit_usd": dollars(int(float(calls) * CALL))}]}


RULES: dict[str, Any] = {
    "version": 1,
    "teams": {
        "tight": total("3.5"),
        "rated": {"rate": {"requests_per_minute": 1, "burst": 3}},
        "listed": {"models": ["gpt-4o-mini"]},
    },
    "downgrades": {"gpt-4o": "gpt-4o-mini"},
    "rules": [
        {
            "rule_id": "dear",
            "threshold_type": "operation_cost",
            "threshold_value": dollars(2 * CALL),
            "applies_to_teams": ["dear"],
        },
        {
            "rule_id": "less",
            "threshold_type": "operation_cost",
            "threshold_value": dollars(2 * CALL),
            "action": "downgrade",
            "applies_to_teams": ["cheap"],
        },
    ],
}
REFUSED = {"team:tight:total": 3, "team:rated:rate": 1, "team:listed:models": 1, "dear": 1}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory, provider: ScriptedProvider) -> Spendgate:
    """A day's work, of a server that has ended."""
    folder = tmp_path_factory.mktemp("simulated")
    with Spendgate(folder, config_for(provider.url), RULES) as server:
        asked = [
            *[("tight", chat_body())] * 6,
            *[("rated", chat_body())] * 4,
            ("listed", chat_body()),
            ("listed", chat_body(model="gpt-4o")),
            ("dear", chat_body()),
            ("dear", chat_body(max_tokens=100)),
            ("cheap", chat_body(model="gpt-4o")),
        ]
        keys = {team: server.key(team) for team, _ in asked}
        statuses = asyncio.run(_asked(server, keys, asked))
        assert statuses == [*[200] * 3, *[402] * 3, *[200] * 3, 429, 200, 403, 200, 402, 200]
    return server


async def _asked(server: Spendgate, keys: dict[str, str], asked: list[tuple[str, bytes]]) -> list[int]:
    return [
        (await post(server.url, keys[team], Script(tag=f"sim-{n}"), body)).status
        for n, (team, body) in enumerate(asked)
    ]


def simulate(server: Spendgate, rules: dict[str, Any], *options: str) -> dict[str, Any]:
    file = server.folder / "edited.yaml"
    file.write_text(json.dumps(rules))
    words = ("rules", "simulate", "--rules", str(file), "--since", "1h", "--format", "json", *options)
    (told,) = json.loads(server.run(*words))
    return dict(told)


def blocked(told: dict[str, Any]) -> dict[str, int]:
    return {line["owner"]: line["blocked"] for line in told["rules"] if line["blocked"]}


def edited(team: str, allowance: dict[str, Any]) -> dict[str, Any]:
    rules = copy.deepcopy(RULES)
    rules["teams"][team] = allowance
    return rules


@pytest.fixture(scope="module")
def same(recorded: Spendgate) -> dict[str, Any]:
    """What the same rules come to."""
    return simulate(recorded, RULES)


def test_the_same_rules_refuse_the_same_calls(same: dict[str, Any]) -> None:
    assert blocked(same) == REFUSED
    totals = same["totals"]
    assert (totals["calls"], totals["refused_then"], totals["blocked"]) == (15, 6, 6)
    assert (totals["newly_blocked"], totals["newly_allowed"]) == (0, 0)
    assert totals["charged_usd"] == usd(9 * CALL)


def test_simulate_tells_a_call_that_a_rule_made_cheaper_with_its_saving(same: dict[str, Any]) -> None:
    (line,) = [line for line in same["rules"] if line["owner"] == "less"]
    assert (line["downgraded"], line["saved_usd"], line["untold"]) == (1, usd(DEAR - CALL), 0)


def test_a_tighter_budget_refuses_more_and_exactly_so_much(recorded: Spendgate) -> None:
    told = simulate(recorded, edited("tight", total("1.5")))

    assert blocked(told) == {**REFUSED, "team:tight:total": 5}
    totals = told["totals"]
    assert (totals["newly_blocked"], totals["newly_blocked_usd"]) == (2, usd(2 * CALL))
    assert (totals["newly_allowed"], totals["blocked_usd"]) == (0, usd(_stake() + 2 * CALL))


def _stake() -> int:
    """What the refused calls were estimated at."""
    return 3 * CALL + CALL + DEAR + (10 * 150 + 100 * 600)


def test_the_difference_to_the_current_rules_is_all_that_diff_tells(recorded: Spendgate) -> None:
    same = simulate(recorded, RULES, "--diff")
    wider = simulate(recorded, edited("tight", total("5.5")), "--diff")

    assert (same["rules"], same["changed"]["newly_blocked"], same["changed"]["newly_allowed"]) == ([], 0, 0)
    assert [(line["rules"], line["owner"], line["blocked"]) for line in wider["rules"]] == [
        ("current", "team:tight:total", 3),
        ("edited", "team:tight:total", 1),
    ]
    changed = wider["changed"]
    assert (changed["newly_allowed"], changed["newly_allowed_usd"]) == (2, usd(2 * CALL))
    assert (changed["newly_blocked"], changed["otherwise"], changed["cost_usd"]) == (0, 0, usd(0))


def test_simulate_in_a_table_tells_the_totals_and_what_cannot_be_replayed(recorded: Spendgate) -> None:
    rules = copy.deepcopy(RULES)
    rules["rules"].append({"rule_id": "loop", "threshold_type": "repeat_calls", "threshold_value": 3})
    simulate(recorded, rules)

    done = _command(recorded, "--rules", "edited.yaml", "--since", "1h")

    assert done.returncode == 0, done.stderr
    assert "15 calls from " in done.stdout
    assert "6 are refused" in done.stdout
    assert "repeated calls (loop): the ledger keeps no text" in done.stderr
    assert "what 6 refused calls would have cost" in done.stderr


def _command(server: Spendgate, *words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "proxy.cli", "rules", "simulate", *words, "-c", "config.yaml"]
    return subprocess.run(command, cwd=server.folder, capture_output=True, text=True, check=False)


def test_simulate_tells_what_is_wrong_with_the_edited_file(recorded: Spendgate, tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("version: 1\nrulez: []\n")

    done = _command(recorded, "--rules", str(bad))

    assert done.returncode == 2
    assert 'bad.yaml: 1 problem\n  line 2  rulez: unknown key; did you mean "rules"?' in done.stderr


def test_simulate_of_times_the_wrong_way_round_is_refused(recorded: Spendgate) -> None:
    done = _command(recorded, "--rules", "rules.yaml", "--since", "today", "--until", "yesterday")

    assert done.returncode == 2
    assert "lies after --until" in done.stderr


def test_explain_tells_the_model_that_was_asked_for(recorded: Spendgate) -> None:
    (row,) = recorded.calls("sim-14")

    words = recorded.run("explain", row["call_id"]).splitlines()

    assert (row["asked_model"], row["model"]) == ("gpt-4o", "gpt-4o-mini")
    assert words[0].endswith("model gpt-4o")
    assert words[1] == 'it went, to model "gpt-4o-mini" instead of "gpt-4o"'
    assert "rules and limits that met it: less" in words
