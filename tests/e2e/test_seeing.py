"""What can be seen from outside: health pages, metrics, log lines."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.calls import CHAT, chat_body, headers_for, post
from tests.support.client import Connection, Reply, ask
from tests.support.process import ScriptedProvider, Spendgate, config_for
from tests.support.script import Script


async def page(url: str, path: str) -> Reply:
    return await ask(url, "GET", path)


@pytest.mark.parametrize("path", ["/health", "/live", "/ready"])
async def test_health_is_told_on_both_listeners_without_a_key(spendgate: Spendgate, path: str) -> None:
    for url in (spendgate.url, spendgate.admin_url):
        told = await page(url, path)

        assert told.status == 200
        body = told.json()
        assert body["status"] == "healthy"
        assert isinstance(body["uptime_seconds"], int)
        assert body["version"]
        assert told.header("Server") == "spendgate"
    assert (await page(spendgate.url, path)).header("X-Request-ID")


async def figures(spendgate: Spendgate, *parts: str) -> float:
    """The sum of the samples whose lines hold all parts."""
    text = (await page(spendgate.admin_url, "/metrics")).body.decode()
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if all(part in line for part in parts))


async def test_metrics_count_calls_cost_and_tokens(spendgate: Spendgate, tag: str) -> None:
    key = spendgate.key(tag)
    await post(spendgate.url, key, Script(tag=tag), chat_body(10, max_tokens=5))
    charged = spendgate.call(tag)

    team = f'team="{tag}"'
    assert await figures(spendgate, "spendgate_calls_total", team, 'outcome="answered"') == 1
    cost = await figures(spendgate, "spendgate_cost_usd_total", team)
    assert cost == pytest.approx(float(charged["cost_usd"]))
    assert await figures(spendgate, "spendgate_tokens_total", team, 'kind="input"') == 10
    assert await figures(spendgate, "spendgate_tokens_total", team, 'kind="output"') == 5
    assert await figures(spendgate, "spendgate_overhead_seconds_count") >= 1
    assert await figures(spendgate, "spendgate_call_duration_seconds_count") >= 1


async def test_our_refusals_and_the_providers_throttling_are_counted_apart(
    spendgate: Spendgate, key: str, tag: str
) -> None:
    names = ("spendgate_upstream_throttled_total",), ("spendgate_refusals_total", "budget_exceeded")
    before = [await figures(spendgate, *name) for name in names]
    poor = spendgate.key(tag, "--budget-usd", "0.000001", "--period", "total", "--hold", "strict")

    await post(spendgate.url, key, Script(tag=f"{tag}-429", status=429), chat_body())
    await post(spendgate.url, poor, Script(tag=f"{tag}-402"), chat_body())

    assert [await figures(spendgate, *name) for name in names] == [count + 1 for count in before]


@pytest.fixture
def alone(tmp_path: Path, provider: ScriptedProvider) -> Iterator[Spendgate]:
    """A server that no other test uses: calls that those have left may still be read to their end."""
    with Spendgate(tmp_path / "alone", config_for(provider.url)) as started:
        yield started


async def test_nothing_is_in_flight_once_all_calls_have_ended(alone: Spendgate, tag: str) -> None:
    """However they end: answered, refused on either side, failed, or left by the client."""
    key = alone.key("free")
    poor = alone.key("poor", "--budget-usd", "0.000001", "--period", "total", "--hold", "strict")
    await post(alone.url, key, Script(tag=f"{tag}-whole"), chat_body())
    await post(alone.url, key, Script(tag=f"{tag}-stream"), chat_body(stream=True))
    await post(alone.url, key, Script(tag=f"{tag}-500", status=500), chat_body())
    await post(alone.url, key, Script(tag=f"{tag}-drop", fault="drop"), chat_body())
    await post(alone.url, poor, Script(tag=f"{tag}-402"), chat_body())
    await post(alone.url, "sk-sg-live-unknown", Script(tag=f"{tag}-401"), chat_body())

    for stream in (True, False):
        slow = Script(tag=f"{tag}-left-{stream}", delay_ms=2_000)
        async with Connection(alone.url) as connection:
            await connection.send("POST", CHAT, headers_for(key, slow), chat_body(stream=stream))
            await in_flight(alone, 1)

        await in_flight(alone, 0)


async def in_flight(server: Spendgate, count: int) -> None:
    """Wait until that many calls are."""
    async with asyncio.timeout(30):
        while await figures(server, "spendgate_calls_in_flight") != count:
            await asyncio.sleep(0.01)


async def test_a_call_leaves_one_line_of_facts_in_the_log(spendgate: Spendgate, key: str, tag: str) -> None:
    await post(spendgate.url, key, Script(tag=tag, status=429), chat_body())
    row = spendgate.call(tag)

    lines = [json.loads(line) for line in spendgate.log.read_text().splitlines() if tag in line]
    assert len(lines) == 1
    line = lines[0]
    assert (line["level"], line["message"], line["request_id"]) == ("info", "call_ended", row["call_id"])
    assert (line["path"], line["status"]) == ("/v1/chat/completions", 429)
    assert isinstance(line["duration_ms"], int)
