"""The real anthropic SDK, with nothing changed but its base URL and its key."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import anthropic
import pytest
from anthropic import Anthropic, AsyncAnthropic
from anthropic.types import MessageParam, ToolParam
from httpx2 import RemoteProtocolError

from tests.support.process import PROVIDER_KEY, ScriptedProvider, Spendgate, config_for
from tests.support.script import Script
from tests.support.shapes import words

MODEL = "claude-sonnet-4-6"
HI: list[MessageParam] = [{"role": "user", "content": "word word word"}]
HI_TOKENS = 6
LOOK_UP: ToolParam = {
    "name": "look_up",
    "description": "word word",
    "input_schema": {"type": "object", "properties": {"words": {"type": "string"}}},
}


def cost(output: int, input_: int = HI_TOKENS) -> int:
    """Of a call to Sonnet 4.6, in nano-dollars: $3 a million tokens in, $15 out."""
    return input_ * 3000 + output * 15_000


def script_headers(tag: str, script: Script | None = None) -> dict[str, str]:
    return {**(script or Script(tag=tag)).header(), "X-Trace-ID": tag}


@pytest.fixture(scope="module")
def spendgate(tmp_path_factory: pytest.TempPathFactory, provider: ScriptedProvider) -> Iterator[Spendgate]:
    """One whose second provider speaks Anthropic's API."""
    config = config_for(provider.url)
    named = {"dialect": "anthropic", "base_url": provider.url, "api_key": PROVIDER_KEY}
    config["providers"] = {**config["providers"], "anthropic": named}
    with Spendgate(tmp_path_factory.mktemp("anthropic"), config) as started:
        yield started


@pytest.fixture(scope="module")
def key(spendgate: Spendgate) -> str:
    return spendgate.key("free")


@pytest.fixture(scope="module")
def spent_key(spendgate: Spendgate) -> str:
    """What is left of its budget affords nothing."""
    return spendgate.key("spent", "--budget-usd", "0.000001", "--period", "total", "--hold", "strict")


@pytest.fixture(scope="module")
def strict_key(spendgate: Spendgate) -> str:
    return spendgate.key("strict", "--budget-usd", "1", "--period", "total", "--hold", "strict")


def client_of(spendgate: Spendgate, key: str, **options: Any) -> Anthropic:
    return Anthropic(base_url=f"{spendgate.url}/anthropic", api_key=key, **options)


@pytest.fixture
def client(spendgate: Spendgate, key: str) -> Iterator[Anthropic]:
    with client_of(spendgate, key) as made:
        yield made


@pytest.fixture
async def async_client(spendgate: Spendgate, key: str) -> AsyncIterator[AsyncAnthropic]:
    async with AsyncAnthropic(base_url=f"{spendgate.url}/anthropic", api_key=key) as made:
        yield made


# -- answers --------------------------------------------------------------------------------------------------------


def test_a_message(client: Anthropic, spendgate: Spendgate, provider: ScriptedProvider, tag: str) -> None:
    raw = client.messages.with_raw_response.create(
        model=MODEL, messages=HI, max_tokens=5, extra_headers=script_headers(tag)
    )

    message = raw.parse()
    assert [block.text for block in message.content if block.type == "text"] == [words(5)]
    assert (message.usage.input_tokens, message.usage.output_tokens) == (HI_TOKENS, 5)
    assert raw.headers["x-spendgate-cost-usd"] == "0.000093"
    row = spendgate.call(tag)
    assert (row.nanos, row.basis, row["model"], row["dialect"]) == (cost(5), "reported", MODEL, "anthropic")
    assert (row["input_tokens"], row["output_tokens"]) == (HI_TOKENS, 5)
    assert row.nanos == provider.billed(tag).nanos


def test_a_streamed_message(
    client: Anthropic, spendgate: Spendgate, provider: ScriptedProvider, tag: str
) -> None:
    with client.messages.stream(
        model=MODEL, messages=HI, max_tokens=5, extra_headers=script_headers(tag)
    ) as stream:
        told = list(stream.text_stream)
        message = stream.get_final_message()

    assert told == ["word", " word", " word", " word", " word"]
    assert (message.usage.input_tokens, message.usage.output_tokens) == (HI_TOKENS, 5)
    row = spendgate.call(tag)
    assert (row.nanos, row.basis, row["outcome"]) == (cost(5), "reported", "answered")
    assert row.nanos == provider.billed(tag).nanos


@pytest.mark.parametrize("stream", [False, True])
def test_a_tool_is_called(
    client: Anthropic, spendgate: Spendgate, provider: ScriptedProvider, tag: str, stream: bool
) -> None:
    asked: dict[str, Any] = {
        "model": MODEL,
        "messages": HI,
        "max_tokens": 4,
        "tools": [LOOK_UP],
        "extra_headers": script_headers(tag),
    }
    if stream:
        with client.messages.stream(**asked) as events:
            message = events.get_final_message()
    else:
        message = client.messages.create(**asked)

    called = message.content[0]
    assert called.type == "tool_use"
    assert (message.stop_reason, called.name, called.input) == ("tool_use", "look_up", {"words": words(4)})
    row = spendgate.call(tag)
    assert row.nanos == provider.billed(tag).nanos == cost(4, HI_TOKENS + 346)
    assert row["estimate_input_tokens"] > 346


@pytest.mark.parametrize("stream", [False, True])
def test_what_is_read_from_the_cache_and_written_to_it_costs_what_the_provider_bills(
    client: Anthropic, spendgate: Spendgate, provider: ScriptedProvider, tag: str, stream: bool
) -> None:
    """1,000 read at $0.30, 2 written at $3.75 and 3 at $6 for an hour, 6 plain at $3, 2 out at $15; two searches a cent
    each."""
    script = Script(tag=tag, cached_tokens=1000)
    made = client.messages.create(
        model=MODEL,
        system=[
            {"type": "text", "text": words(3), "cache_control": {"type": "ephemeral", "ttl": "1h"}},
            {"type": "text", "text": words(2), "cache_control": {"type": "ephemeral"}},
        ],
        messages=HI,
        max_tokens=2,
        stream=stream,
        extra_headers=script_headers(tag, script),
    )
    if isinstance(made, anthropic.Stream):
        list(made)

    row = spendgate.call(tag)
    assert row.nanos == provider.billed(tag).nanos
    assert row.nanos == 1000 * 300 + 2 * 3750 + 3 * 6000 + 6 * 3000 + 2 * 15_000
    assert row["input_tokens"] == 1011


@pytest.mark.parametrize("stream", [False, True])
def test_a_web_search_is_charged(
    client: Anthropic, spendgate: Spendgate, provider: ScriptedProvider, tag: str, stream: bool
) -> None:
    made = client.messages.create(
        model=MODEL,
        messages=HI,
        max_tokens=2,
        tools=[{"type": "web_search_20250305", "name": "web_search", "max_uses": 1}],
        stream=stream,
        extra_headers=script_headers(tag),
    )
    if isinstance(made, anthropic.Stream):
        list(made)

    row = spendgate.call(tag)
    assert row.nanos == provider.billed(tag).nanos == cost(2, HI_TOKENS + 346) + 10_000_000


def test_counting_tokens_is_free(client: Anthropic, spendgate: Spendgate, tag: str) -> None:
    counted = client.messages.count_tokens(model=MODEL, messages=HI, extra_headers=script_headers(tag))

    assert counted.input_tokens == HI_TOKENS
    row = spendgate.call(tag)
    assert (row.nanos, row.flags) == (0, [])


async def test_an_async_message(async_client: AsyncAnthropic, spendgate: Spendgate, tag: str) -> None:
    message = await async_client.messages.create(
        model=MODEL, messages=HI, max_tokens=5, extra_headers=script_headers(tag)
    )

    assert [block.text for block in message.content if block.type == "text"] == [words(5)]
    assert spendgate.call(tag).nanos == cost(5)


def test_a_bearer_token_opens_too(spendgate: Spendgate, key: str, tag: str) -> None:
    """As coding agents send it, where ANTHROPIC_AUTH_TOKEN is set."""
    with Anthropic(base_url=f"{spendgate.url}/anthropic", auth_token=key, api_key=None) as client:
        client.messages.create(model=MODEL, messages=HI, max_tokens=1, extra_headers=script_headers(tag))

    assert spendgate.call(tag).nanos == cost(1)


def test_the_user_of_the_metadata_is_on_the_row(client: Anthropic, spendgate: Spendgate, tag: str) -> None:
    client.messages.create(
        model=MODEL,
        messages=HI,
        max_tokens=1,
        metadata={"user_id": "u-17"},
        extra_headers=script_headers(tag),
    )

    assert spendgate.call(tag)["user"] == "u-17"


# -- streams that do not end well -----------------------------------------------------------------------------------


async def test_a_stream_left_in_the_middle_is_charged_at_what_was_seen(
    async_client: AsyncAnthropic, spendgate: Spendgate, provider: ScriptedProvider, tag: str
) -> None:
    script = Script(tag=tag, chunk_delay_ms=50)
    stream = await async_client.messages.create(
        model=MODEL, messages=HI, max_tokens=50, stream=True, extra_headers=script_headers(tag, script)
    )
    async with stream:
        async for event in stream:
            if event.type == "content_block_delta":
                break

    row, billed = spendgate.call(tag), provider.billed(tag)
    assert (row.basis, row["outcome"]) == ("observed", "client_left")
    assert row.nanos >= billed.nanos
    assert billed.output_tokens < 50


@pytest.mark.parametrize("fault", ["cut", "error_event"])
def test_a_stream_that_breaks_raises_and_is_charged_at_what_was_seen(
    client: Anthropic, spendgate: Spendgate, provider: ScriptedProvider, tag: str, fault: Any
) -> None:
    script = Script(tag=tag, fault=fault, after_chunks=3)
    stream = client.messages.create(
        model=MODEL, messages=HI, max_tokens=9, stream=True, extra_headers=script_headers(tag, script)
    )

    with pytest.raises((anthropic.APIError, RemoteProtocolError)):
        list(stream)

    row = spendgate.call(tag)
    assert (row.basis, row["outcome"], row["output_tokens"]) == ("observed", "broken", 3)
    assert row.nanos >= provider.billed(tag).nanos == cost(3)


# -- refusals -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
def test_a_refused_budget_is_a_payment_error_and_is_not_retried(
    spendgate: Spendgate, provider: ScriptedProvider, spent_key: str, tag: str, stream: bool
) -> None:
    """402: one request at the proxy, none at the provider, and the sentence in the SDK's own exception."""
    with (
        client_of(spendgate, spent_key) as client,
        pytest.raises(anthropic.PaymentRequiredError) as refused,
    ):
        client.messages.create(
            model=MODEL, messages=HI, max_tokens=5, stream=stream, extra_headers=script_headers(tag)
        )

    assert (refused.value.status_code, refused.value.type) == (402, "billing_error")
    assert refused.value.error_code == "budget_exceeded"
    assert refused.value.api_message is not None
    assert "$" in refused.value.api_message
    assert isinstance(refused.value.body, dict)
    rows = spendgate.calls(tag)
    assert [row["status"] for row in rows] == [402]
    assert refused.value.body["request_id"] == rows[0]["call_id"]
    assert provider.bill(tag) == []


def test_a_capped_budget_lowers_max_tokens_to_what_it_affords(
    spendgate: Spendgate, provider: ScriptedProvider, tag: str
) -> None:
    """$0.002 pays for 133 tokens of output at most."""
    key = spendgate.key(tag, "--budget-usd", "0.002", "--period", "total", "--hold", "capped")
    with client_of(spendgate, key) as client:
        message = client.messages.create(
            model=MODEL, messages=HI, max_tokens=1000, extra_headers=script_headers(tag)
        )

    assert 100 < message.usage.output_tokens <= 133
    row = spendgate.call(tag)
    assert row["verdict"] == "cap"
    assert row.nanos == provider.billed(tag).nanos <= 2_000_000


def test_a_wrong_key_is_an_authentication_error(spendgate: Spendgate) -> None:
    with (
        client_of(spendgate, "sk-ant-wrong") as client,
        pytest.raises(anthropic.AuthenticationError) as refused,
    ):
        client.messages.create(model=MODEL, messages=HI, max_tokens=1)

    assert (refused.value.type, refused.value.error_code) == ("authentication_error", "invalid_api_key")


def test_a_model_without_a_price_under_a_hard_budget_is_a_permission_error(
    spendgate: Spendgate, provider: ScriptedProvider, strict_key: str, tag: str
) -> None:
    with (
        client_of(spendgate, strict_key) as client,
        pytest.raises(anthropic.PermissionDeniedError) as refused,
    ):
        client.messages.create(model="nobody-1", messages=HI, max_tokens=1, extra_headers=script_headers(tag))

    assert (refused.value.type, refused.value.error_code) == ("permission_error", "unknown_model")
    assert provider.bill(tag) == []


def test_a_path_that_is_not_metered_is_refused_under_a_hard_budget(
    spendgate: Spendgate, strict_key: str
) -> None:
    with (
        client_of(spendgate, strict_key) as client,
        pytest.raises(anthropic.PermissionDeniedError) as refused,
    ):
        client.post("/v1/complete", body={"model": MODEL, "prompt": "hi"}, cast_to=object)

    assert refused.value.error_code == "surface_not_metered"


def test_a_body_that_cannot_be_read_is_a_bad_request(client: Anthropic, tag: str) -> None:
    with pytest.raises(anthropic.BadRequestError) as refused:
        client.messages.create(
            model=MODEL,
            messages=HI,
            max_tokens=1,
            extra_body={"thinking": "much"},
            extra_headers=script_headers(tag),
        )

    assert refused.value.type == "invalid_request_error"
    assert refused.value.api_message == '"thinking" must be an object'


@pytest.mark.parametrize(
    ("status", "error", "kind", "tries"),
    [
        (400, anthropic.BadRequestError, "invalid_request_error", 1),
        (404, anthropic.NotFoundError, "not_found_error", 1),
        (429, anthropic.RateLimitError, "rate_limit_error", 3),
    ],
)
def test_a_providers_own_refusal_passes_and_costs_nothing(
    client: Anthropic,
    spendgate: Spendgate,
    tag: str,
    status: int,
    error: type[anthropic.APIStatusError],
    kind: str,
    tries: int,
) -> None:
    script = Script(tag=tag, status=status, retry_after="0")

    with pytest.raises(error) as refused:
        client.messages.create(
            model=MODEL, messages=HI, max_tokens=1, extra_headers=script_headers(tag, script)
        )

    assert refused.value.type == kind
    assert [(row["status"], row.nanos) for row in spendgate.calls(tag)] == [(status, 0)] * tries


@pytest.mark.parametrize("path", ["v1/messages", "V1/Messages", "v1/%6Dessages", "messages"])
def test_a_message_is_metered_however_its_path_is_written(
    spendgate: Spendgate, spent_key: str, path: str
) -> None:
    with (
        client_of(spendgate, spent_key) as client,
        pytest.raises(anthropic.PaymentRequiredError),
    ):
        client.post(f"/{path}", cast_to=object, body={"model": MODEL, "messages": HI, "max_tokens": 5})
