"""What Spendgate answers by itself: refusals that explain themselves, keys, and what it adds to an answer."""

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from tests.support.calls import CHAT, chat_body, headers_for, post
from tests.support.client import Connection
from tests.support.gathering import ceiling, dollars
from tests.support.process import PROVIDER_KEY, ScriptedProvider, Spendgate
from tests.support.script import Script

INPUT = 10
OUTPUT = 5
COST = ceiling(OUTPUT)


def body(**more: Any) -> bytes:
    return chat_body(INPUT, max_tokens=OUTPUT, **more)


# -- refusals -------------------------------------------------------------------------------------------------------


async def test_a_refusal_explains_itself_and_never_reaches_the_provider(
    spendgate: Spendgate, provider: ScriptedProvider, tag: str
) -> None:
    key = spendgate.key(tag, "--budget-usd", "0.000001", "--period", "total", "--hold", "strict")

    reply = await post(spendgate.url, key, Script(tag=tag), body())

    assert reply.status == 402
    assert reply.header("x-should-retry") == "false"
    assert reply.header("Retry-After") is None
    error = reply.json()["error"]
    assert (error["type"], error["code"]) == ("insufficient_quota", "budget_exceeded")
    assert (error["limit_usd"], error["spent_usd"], error["held_usd"]) == ("0.000001", "0", "0")
    assert error["estimate_usd"] == dollars(COST).rstrip("0")
    assert error["rule_id"]
    assert error["request_id"] == reply.header("X-Request-ID")
    assert provider.bill(tag) == []
    row = spendgate.call(tag)
    assert (row["status"], row["error_type"], row.nanos) == (402, "budget_exceeded", 0)


async def test_a_busy_budget_asks_for_another_try(
    spendgate: Spendgate, provider: ScriptedProvider, tag: str
) -> None:
    """Other calls hold the rest for longer than the wait: 429, soon to be retried, and not a spent budget."""
    config = {**spendgate.config, "hold_wait_seconds": 1}
    with Spendgate(spendgate.folder.with_name(tag), config) as hurried:
        limit = dollars(COST)
        key = hurried.key(tag, "--budget-usd", limit, "--period", "total", "--hold", "strict")
        async with Connection(hurried.url) as holding:
            await holding.send(
                "POST", CHAT, headers_for(key, Script(tag=f"{tag}-hang", fault="hang")), body()
            )
            await asyncio.to_thread(provider.wait_for_arrival, f"{tag}-hang")

            reply = await post(hurried.url, key, Script(tag=tag), body())

    assert (reply.status, reply.json()["error"]["code"]) == (429, "budget_busy")
    assert 0 < int(reply.header("Retry-After") or 0) <= 5
    assert reply.header("x-should-retry") != "false"


# -- keys -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "authorization",
    ["", "Bearer ", "Bearer nonsense", "Bearer sk-sg-live-aaaaaaaa-bbbbbbbb", "Basic dXNlcjpwYXNz"],
)
async def test_every_bad_key_gets_one_and_the_same_answer(
    spendgate: Spendgate, tag: str, authorization: str
) -> None:
    async with Connection(spendgate.url) as connection:
        headers = [("Authorization", authorization)] if authorization else []
        reply = await connection.ask("POST", CHAT, headers, body())

    error = reply.json()["error"]
    assert (reply.status, error["code"]) == (401, "invalid_api_key")
    assert "Incorrect API key provided" in error["message"]
    assert reply.header("x-should-retry") == "false"


@pytest.mark.parametrize("name", ["x-api-key", "api-key", "x-goog-api-key"])
async def test_a_key_is_accepted_in_every_usual_header(
    spendgate: Spendgate, key: str, tag: str, name: str
) -> None:
    headers = [(name, key), ("Content-Type", "application/json"), *Script(tag=tag).header().items()]

    async with Connection(spendgate.url) as connection:
        reply = await connection.ask("POST", CHAT, headers, body())

    assert reply.status == 200


async def test_a_revoked_key_is_refused_within_a_second(spendgate: Spendgate, tag: str) -> None:
    key = spendgate.key(tag)
    assert (await post(spendgate.url, key, Script(tag=tag), body())).status == 200

    spendgate.run("keys", "revoke", key.split("-")[3])

    async with asyncio.timeout(1):
        while (await post(spendgate.url, key, Script(tag=f"{tag}-2"), body())).status != 401:
            await asyncio.sleep(0.05)


async def test_a_test_key_costs_nothing_and_reaches_no_provider(
    spendgate: Spendgate, provider: ScriptedProvider, tag: str
) -> None:
    key = spendgate.key(tag, "--kind", "test")

    reply = await post(spendgate.url, key, Script(tag=tag), body())

    assert "sample provider" in reply.json()["choices"][0]["message"]["content"]
    assert provider.bill(tag) == []
    assert spendgate.call(tag).nanos == 0


async def test_a_websocket_is_told_to_use_post(spendgate: Spendgate, key: str) -> None:
    upgrade = [
        ("Authorization", f"Bearer {key}"),
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ]
    async with Connection(spendgate.url) as connection:
        reply = await connection.ask("GET", "/v1/responses", upgrade)

    assert reply.status == 426
    assert reply.header("x-should-retry") == "false"


# -- what is told and what is not -----------------------------------------------------------------------------------


async def test_an_unknown_model_is_charged_at_the_dearest_price_and_marked(
    spendgate: Spendgate, key: str, tag: str
) -> None:
    """Unknown is not zero."""
    await post(spendgate.url, key, Script(tag=tag, status=500), chat_body(INPUT, model="gpt-99-new"))

    row = spendgate.call(tag)
    assert row.nanos > COST
    assert "unknown_price" in row.flags


async def test_cost_and_tokens_stand_in_the_headers_of_a_whole_answer(
    spendgate: Spendgate, key: str, tag: str
) -> None:
    reply = await post(spendgate.url, key, Script(tag=tag), body())

    assert reply.header("X-API-Cost") == reply.header("x-spendgate-cost-usd") == "0.0000045"
    assert json.loads(reply.header("X-Token-Usage") or "") == {
        "prompt_tokens": INPUT,
        "completion_tokens": OUTPUT,
        "total_tokens": INPUT + OUTPUT,
    }
    assert reply.header("x-spendgate-call-id") == spendgate.call(tag)["call_id"]
    assert reply.header("X-Trace-ID") == tag


async def test_a_stream_and_a_huge_answer_tell_their_call_id_instead_of_a_cost(
    spendgate: Spendgate, key: str, tag: str
) -> None:
    stream = await post(spendgate.url, key, Script(tag=f"{tag}-1"), body(stream=True))
    huge = await post(spendgate.url, key, Script(tag=f"{tag}-2", padding_bytes=5 << 20), body())

    for n, reply in ((1, stream), (2, huge)):
        assert reply.header("x-spendgate-cost-usd") is None
        row = spendgate.call(f"{tag}-{n}")
        assert reply.header("x-spendgate-call-id") == row["call_id"]
        assert (row.basis, row.nanos) == ("reported", COST)


async def test_no_key_and_no_prompt_is_ever_written(spendgate: Spendgate, key: str, tag: str) -> None:
    """Neither in the log nor in any file of the data folder."""
    prompt = f"prompt-{tag}"
    message = [{"role": "user", "content": prompt}]
    plain = json.dumps({"model": "gpt-4o-mini", "messages": message, "max_tokens": 5}).encode()
    await post(spendgate.url, key, Script(tag=tag), plain)
    await post(spendgate.url, key[:-1] + "x", replace(Script(tag=tag), status=500), plain)
    spendgate.call(tag)

    secrets = [prompt.encode(), key.encode(), key.split("-")[4].encode(), PROVIDER_KEY.encode()]
    files = [spendgate.log, *(path for path in (spendgate.folder / "data").rglob("*") if path.is_file())]
    found = [(path.name, secret) for path in files for secret in secrets if secret in path.read_bytes()]
    assert found == []
