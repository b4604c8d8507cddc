"""Where a provider's own figure is to go before its price: the bill is met where tokens times price does not meet it."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.calls import RESPONSES, chat_body, post
from tests.support.process import ScriptedProvider, Spendgate, config_for
from tests.support.script import Script

TOLD_USD, TOLD = 0.0123456789, 12_345_679
BY_PRICE = 10 * 150 + 10 * 600  # gpt-4o-mini: 10 tokens in and 10 out, in nano-dollars


@pytest.fixture(scope="module")
def spendgate(tmp_path_factory: pytest.TempPathFactory, provider: ScriptedProvider) -> Iterator[Spendgate]:
    config = config_for(provider.url)
    plain = config["providers"]["openai"]
    config["providers"] = {"openai": {**plain, "own_cost": True}, "plain": {**plain, "own_cost": "off"}}
    with Spendgate(tmp_path_factory.mktemp("own-cost"), config) as started:
        yield started


@pytest.fixture(scope="module")
def key(spendgate: Spendgate) -> str:
    return spendgate.key("own-cost")


def body(path: str, *, stream: bool) -> bytes:
    if path == RESPONSES:
        asked = {"model": "gpt-4o-mini", "input": "word", "max_output_tokens": 10, "stream": stream}
        return json.dumps(asked).encode()
    return chat_body(stream=stream)


@pytest.mark.parametrize("path", ["/v1/chat/completions", RESPONSES])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_call_costs_what_the_provider_says_it_does(
    spendgate: Spendgate, provider: ScriptedProvider, key: str, tag: str, path: str, stream: bool
) -> None:
    script = Script(tag=tag, cost_usd=TOLD_USD)
    await post(spendgate.url, key, script, body(path, stream=stream), path)

    row = spendgate.call(tag)
    assert row.nanos == provider.billed(tag).nanos == TOLD
    assert (row.basis, row["input_tokens"] > 0, row["output_tokens"]) == ("reported", True, 10)
    assert "provider_cost" in row.flags
    assert "gpt-4o-mini@" in row["price_version"]
    assert "told its cost, $0.012345679: by its price it would be $" in row["reason"]


async def test_calls_show_tells_whose_figure_it_is(spendgate: Spendgate, key: str, tag: str) -> None:
    await post(spendgate.url, key, Script(tag=tag, cost_usd=TOLD_USD), chat_body())
    call_id = spendgate.call(tag)["call_id"]

    (told,) = json.loads(spendgate.run("calls", "show", call_id, "--format", "json"))

    assert told["working"]["parts"] == []
    assert told["working"]["note"].startswith("cost told by the provider")


async def test_it_is_left_alone_where_it_is_not_asked_for(spendgate: Spendgate, key: str, tag: str) -> None:
    script = Script(tag=tag, cost_usd=TOLD_USD)
    await post(spendgate.url, key, script, chat_body(), "/plain/v1/chat/completions")

    row = spendgate.call(tag)
    assert (row.nanos, row.flags) == (BY_PRICE, [])


@pytest.mark.parametrize("lie", [-1, 0, "free", 10**9, float("nan"), {"total_cost": -3}])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_cost_that_cannot_be_true_is_not_charged(
    spendgate: Spendgate, provider: ScriptedProvider, key: str, tag: str, lie: Any, stream: bool
) -> None:
    await post(spendgate.url, key, Script(tag=tag, cost_lie=lie), chat_body(stream=stream))

    row = spendgate.call(tag)
    assert row.nanos == provider.billed(tag).nanos == BY_PRICE
    assert (row.basis, row.flags) == ("reported", ["usage_suspect"])
    assert "cannot be true" in row["reason"]
