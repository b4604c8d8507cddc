"""Answers of our own in the words of each dialect: their status, their request id, and test keys far from home."""

import json
from collections.abc import Iterator

import anthropic
import pytest

from tests.support.calls import CHAT, chat_body, post
from tests.support.client import Reply, ask
from tests.support.process import PROVIDER_KEY, ScriptedProvider, Spendgate, config_for
from tests.support.script import Script

MESSAGES = "/anthropic/v1/messages"
GENERATE = "/gemini/v1beta/models/gemini-2.5-flash:generateContent"
MESSAGE = {
    "model": "claude-haiku-4-5",
    "max_tokens": 10,
    "messages": [{"role": "user", "content": "hello"}],
}
CONTENT = {"contents": [{"role": "user", "parts": [{"text": "hello"}]}]}


@pytest.fixture(scope="module")
def spendgate(tmp_path_factory: pytest.TempPathFactory, provider: ScriptedProvider) -> Iterator[Spendgate]:
    """With a provider of each dialect, and 429 for exhausted budgets."""
    config = config_for(provider.url, budget_status=429)
    named = {"base_url": provider.url, "api_key": PROVIDER_KEY}
    config["providers"] = {
        **config["providers"],
        "anthropic": {**named, "dialect": "anthropic"},
        "gemini": {**named, "dialect": "gemini", "price_provider": "google"},
    }
    with Spendgate(tmp_path_factory.mktemp("own-answers"), config) as started:
        yield started


@pytest.fixture(scope="module")
def test_key(spendgate: Spendgate) -> str:
    return spendgate.key("trying", "--kind", "test")


@pytest.fixture(scope="module")
def poor_key(spendgate: Spendgate) -> str:
    return spendgate.key("poor", "--budget-usd", "0.000000001", "--period", "total", "--hold", "strict")


async def asked(spendgate: Spendgate, key: str, path: str, body: object, tag: str = "") -> Reply:
    headers = [("x-api-key", key), ("Content-Type", "application/json"), ("X-Trace-ID", tag)]
    return await ask(spendgate.url, "POST", path, headers, json.dumps(body).encode())


# -- status and request id ------------------------------------------------------------------------------------------


async def test_geminis_envelope_repeats_the_status_that_budgets_are_answered_with(
    spendgate: Spendgate, poor_key: str
) -> None:
    reply = await asked(spendgate, poor_key, GENERATE, CONTENT)

    assert reply.status == 429
    error = reply.json()["error"]
    assert (error["code"], error["status"]) == (429, "RESOURCE_EXHAUSTED")
    assert error["details"][0]["reason"] == "BUDGET_EXCEEDED"


async def test_the_request_id_stands_where_anthropics_sdk_looks_for_it(
    spendgate: Spendgate, poor_key: str
) -> None:
    client = anthropic.AsyncAnthropic(base_url=f"{spendgate.url}/anthropic", api_key=poor_key, max_retries=0)

    async with client:
        with pytest.raises(anthropic.RateLimitError) as refused:
            await client.messages.create(
                model="claude-haiku-4-5", max_tokens=10, messages=[{"role": "user", "content": "hello"}]
            )

    request_id = refused.value.response.headers["x-request-id"]
    assert refused.value.request_id == request_id != ""
    assert isinstance(refused.value.body, dict)
    assert refused.value.body["request_id"] == request_id


async def test_other_dialects_get_the_request_id_under_one_name(spendgate: Spendgate, poor_key: str) -> None:
    for path, body in ((CHAT, json.loads(chat_body())), (GENERATE, CONTENT)):
        reply = await asked(spendgate, poor_key, path, body)

        assert reply.header("x-request-id")
        assert reply.header("request-id") is None


# -- test keys ------------------------------------------------------------------------------------------------------


async def test_a_test_key_on_anthropics_api_is_told_so_in_its_envelope(
    spendgate: Spendgate, provider: ScriptedProvider, test_key: str, tag: str
) -> None:
    reply = await asked(spendgate, test_key, MESSAGES, MESSAGE, tag)

    assert reply.status == 400
    told = reply.json()
    assert told["type"] == "error"
    assert (told["error"]["type"], told["error"]["code"]) == (
        "invalid_request_error",
        "test_key_unsupported",
    )
    assert "use a live key here, or /sample/v1/..." in told["error"]["message"]
    assert told["request_id"] == reply.header("request-id")
    assert provider.bill(tag) == []
    row = spendgate.call(tag)
    assert (row["status"], row.nanos) == (400, 0)


async def test_a_test_key_on_geminis_api_is_told_so_in_its_envelope(
    spendgate: Spendgate, test_key: str
) -> None:
    reply = await asked(spendgate, test_key, GENERATE, CONTENT)

    assert reply.status == 400
    error = reply.json()["error"]
    assert (error["code"], error["status"]) == (400, "INVALID_ARGUMENT")
    assert error["details"][0]["reason"] == "TEST_KEY_UNSUPPORTED"


@pytest.mark.parametrize("path", [CHAT, f"/sample{CHAT}", f"/anthropic{CHAT}"])
async def test_a_test_key_with_openais_api_is_answered_by_the_sample_provider(
    spendgate: Spendgate, test_key: str, tag: str, path: str
) -> None:
    reply = await post(spendgate.url, test_key, Script(tag=tag), chat_body(), path)

    assert reply.status == 200
    assert "sample provider" in reply.json()["choices"][0]["message"]["content"]
