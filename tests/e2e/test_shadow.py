"""Rules in shadow, counted on real calls: in the metrics and in the report. And what rules that act are counted as."""

import asyncio
import csv
import io
import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from pricing.money import usd
from proxy import control
from tests.e2e.test_rules_enforced import CALL, rule
from tests.support.calls import chat_body, post
from tests.support.gathering import dollars
from tests.support.process import ScriptedProvider, Spendgate, config_for
from tests.support.script import Script

WATCH = {"mode": "shadow"}
RULES = {
    "version": 1,
    "teams": {
        "shared": {"budgets": [{"period": "daily", "limit_usd": "1"}]},
        "quick": {"rate": {"requests_per_minute": 60, "burst": 1}},
    },
    "downgrades": {"gpt-4o": "gpt-4o-mini"},
    "rules": [
        rule("day", "daily", "absolute_daily", dollars(2 * CALL), **WATCH),
        rule("share", "shared", "percentage_daily", dollars(2 * CALL * 100), **WATCH),
        rule("hour", "hourly", "rate_based", dollars(2 * CALL), **WATCH),
        rule("rush", "rushed", "requests_per_minute", 2, **WATCH),
        rule("words", "wordy", "tokens_per_minute", 40, **WATCH),
        rule("slow-seen", "slowed", "operation_cost", "0.000001", action="throttle", **WATCH),
        rule("small-seen", "small", "operation_cost", "0.000001", **WATCH),
        rule("gone-seen", "gone", "operation_cost", "0.000001", **WATCH),
        rule("gone", "gone", "operation_cost", "0.000001"),
        rule("cheap", "cheap", "operation_cost", "0.00001", action="downgrade"),
        rule("cheap-seen", "cheap", "operation_cost", "0.00001", **WATCH),
        rule("cut", "cut", "operation_cost", dollars(2 * CALL), action="cap"),
        rule("slow", "slow", "operation_cost", "0.000001", action="throttle"),
    ],
}


@pytest.fixture(scope="module")
def shadowed(tmp_path_factory: pytest.TempPathFactory, provider: ScriptedProvider) -> Iterator[Spendgate]:
    config = config_for(provider.url, hold_wait_seconds=0.5, max_delay_seconds=0.5)
    with Spendgate(tmp_path_factory.mktemp("shadowed"), config, RULES) as started:
        yield started


def metric(server: Spendgate, name: str, **labels: str) -> float:
    """0 where it was never counted."""
    with urllib.request.urlopen(f"{server.admin_url}/metrics") as page:
        families = list(text_string_to_metric_families(page.read().decode()))
    samples = (sample for family in families for sample in family.samples)
    return sum(sample.value for sample in samples if (sample.name, sample.labels) == (name, labels))


def asked(server: Spendgate, query: str = "") -> list[dict[str, Any]]:
    live = control.find(server.folder / "data")
    assert live is not None, "not running"
    lines: list[dict[str, Any]] = control.ask(live, "GET", f"/api/v1/report/shadow{query}")["lines"]
    return lines


def reported(server: Spendgate, rule_id: str) -> dict[str, Any] | None:
    lines: list[dict[str, Any]] = json.loads(server.run("report", "--shadow", "--format", "json"))
    return next((line for line in lines if line["rule_id"] == rule_id), None)


@pytest.mark.parametrize(
    ("rule_id", "team"),
    [("day", "daily"), ("share", "shared"), ("hour", "hourly"), ("rush", "rushed"), ("words", "wordy")],
)
async def test_calls_beyond_a_limit_in_shadow_go_and_are_counted(
    shadowed: Spendgate, tag: str, rule_id: str, team: str
) -> None:
    """Two calls fit; place would have refused the third, and the fourth."""
    key = shadowed.key(team)

    statuses = [
        (await post(shadowed.url, key, Script(tag=f"{tag}-{n}"), chat_body())).status for n in range(4)
    ]

    assert statuses == [200] * 4
    seen = [shadowed.call(f"{tag}-{n}")["shadow_ids"] for n in range(4)]
    assert seen == [[], [], [rule_id], [rule_id]]
    labels = {"rule": rule_id, "action": "block"}
    assert metric(shadowed, "spendgate_shadow_calls_total", **labels) == 2
    cost = metric(shadowed, "spendgate_shadow_cost_usd_total", **labels)
    assert cost == pytest.approx(2 * CALL / 1e9)
    line = await asyncio.to_thread(reported, shadowed, rule_id)
    assert line is not None
    assert (line["calls"], line["cost_usd"], line["teams"]) == (2, usd(2 * CALL), [team])
    assert line["first"] <= line["last"]


async def test_a_throttle_in_shadow_is_counted_as_one(shadowed: Spendgate, tag: str) -> None:
    await post(shadowed.url, shadowed.key("slowed"), Script(tag=tag), chat_body())

    assert shadowed.call(tag)["verdict"] == "allow"
    assert metric(shadowed, "spendgate_shadow_calls_total", rule="slow-seen", action="throttle") == 1
    assert metric(shadowed, "spendgate_rule_verdicts_total", rule="slow-seen", verdict="throttle") == 0


async def test_a_call_that_was_refused_anyway_is_not_counted_in_shadow(shadowed: Spendgate, tag: str) -> None:
    reply = await post(shadowed.url, shadowed.key("gone"), Script(tag=tag), chat_body())

    assert reply.status == 402
    assert shadowed.call(tag)["shadow_ids"] == ["gone-seen"]
    assert metric(shadowed, "spendgate_shadow_calls_total", rule="gone-seen", action="block") == 0
    assert metric(shadowed, "spendgate_rule_verdicts_total", rule="gone", verdict="block") == 1
    assert await asyncio.to_thread(reported, shadowed, "gone-seen") is None


async def test_what_would_have_been_blocked_before_an_edit_is_told_after_it(
    shadowed: Spendgate, tag: str
) -> None:
    """Asked of the cheaper model, the call is too cheap for the rule in shadow."""
    await post(shadowed.url, shadowed.key("cheap"), Script(tag=tag), chat_body(model="gpt-4o"))

    row = shadowed.call(tag)
    assert (row["model"], row["shadow_ids"]) == ("gpt-4o-mini", ["cheap-seen"])
    assert metric(shadowed, "spendgate_shadow_calls_total", rule="cheap-seen", action="block") == 1
    assert metric(shadowed, "spendgate_rule_verdicts_total", rule="cheap", verdict="downgrade") == 1


async def test_a_shortened_call_counts_for_its_rule(shadowed: Spendgate, tag: str) -> None:
    await post(shadowed.url, shadowed.key("cut"), Script(tag=tag), chat_body(max_tokens=500))

    assert metric(shadowed, "spendgate_rule_verdicts_total", rule="cut", verdict="cap") == 1


async def test_slowed_calls_count_with_their_waits_and_those_that_waited_too_long_as_blocked(
    shadowed: Spendgate, tag: str
) -> None:
    key = shadowed.key("slow")

    replies = await asyncio.gather(
        *(post(shadowed.url, key, Script(tag=f"{tag}-{n}"), chat_body()) for n in range(6))
    )

    slowed = sum(reply.status == 200 for reply in replies)
    assert 0 < slowed < 6
    assert metric(shadowed, "spendgate_rule_verdicts_total", rule="slow", verdict="throttle") == slowed
    assert metric(shadowed, "spendgate_rule_verdicts_total", rule="slow", verdict="block") == 6 - slowed
    assert metric(shadowed, "spendgate_throttle_wait_seconds_count") == 6


async def test_a_rate_counts_whom_it_turns_away(shadowed: Spendgate, tag: str) -> None:
    key = shadowed.key("quick")

    statuses = [
        (await post(shadowed.url, key, Script(tag=f"{tag}-{n}"), chat_body())).status for n in range(2)
    ]

    assert statuses == [200, 429]
    owner = "team:quick:rate"
    assert metric(shadowed, "spendgate_rate_limited_total", owner=owner) == 1
    assert metric(shadowed, "spendgate_rule_verdicts_total", rule=owner, verdict="block") == 0


async def test_the_report_is_the_same_as_a_table_as_csv_and_on_the_admin_listener(
    shadowed: Spendgate, tag: str
) -> None:
    await post(shadowed.url, shadowed.key("small"), Script(tag=tag), chat_body())
    shadowed.call(tag)

    table = await asyncio.to_thread(shadowed.run, "report", "--shadow")
    sheet = await asyncio.to_thread(shadowed.run, "report", "--shadow", "--format", "csv")

    told = {line["rule_id"]: line for line in await asyncio.to_thread(asked, shadowed)}
    rows = {row["rule_id"]: row for row in csv.DictReader(io.StringIO(sheet))}
    assert rows.keys() == told.keys()
    assert rows["small-seen"] == {**told["small-seen"], "calls": "1", "teams": "small"}
    assert any(line.split()[:2] == ["small-seen", "1"] for line in table.splitlines())
    assert await asyncio.to_thread(asked, shadowed, "?until=2026-01-05&since=2026-01-01") == []


async def test_a_report_by_rule_takes_no_other_grouping(shadowed: Spendgate) -> None:
    with pytest.raises(AssertionError, match="--shadow is told by rule: leave out --by"):
        await asyncio.to_thread(shadowed.run, "report", "--shadow", "--by", "team")
