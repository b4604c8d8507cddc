"""The real openai SDK, with nothing changed but its base URL and its key."""

from collections.abc import AsyncIterator, Iterator

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types.chat import ChatCompletionUserMessageParam

from tests.support.gathering import ceiling, dollars
from tests.support.process import ScriptedProvider, Spendgate
from tests.support.script import Script
from tests.support.shapes import words

MODEL = "gpt-4o-mini"
HI: list[ChatCompletionUserMessageParam] = [{"role": "user", "content": "word word word"}]


def script_headers(tag: str, script: Script | None = None) -> dict[str, str]:
    return {**(script or Script()).header(), "X-Trace-ID": tag}


@pytest.fixture
def client(spendgate: Spendgate, key: str) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{spendgate.url}/v1", api_key=key) as made:
        yield made


@pytest.fixture
async def async_client(spendgate: Spendgate, key: str) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{spendgate.url}/v1", api_key=key) as made:
        yield made


def test_chat(client: OpenAI, spendgate: Spendgate, tag: str) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model=MODEL, messages=HI, max_tokens=5, extra_headers=script_headers(tag)
    )

    completion = raw.parse()
    assert completion.choices[0].message.content == words(5)
    assert completion.usage is not None
    assert completion.usage.completion_tokens == 5
    assert raw.headers["x-spendgate-cost-usd"] == dollars(ceiling(5)).rstrip("0")
    assert spendgate.call(tag).nanos == ceiling(5)


def test_chat_stream(client: OpenAI, spendgate: Spendgate, tag: str) -> None:
    chunks = list(
        client.chat.completions.create(
            model=MODEL, messages=HI, max_tokens=5, stream=True, extra_headers=script_headers(tag)
        )
    )

    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == words(5)
    assert spendgate.call(tag).nanos == ceiling(5)


def test_chat_stream_with_usage(client: OpenAI, tag: str) -> None:
    chunks = list(
        client.chat.completions.create(
            model=MODEL,
            messages=HI,
            max_tokens=5,
            stream=True,
            stream_options={"include_usage": True},
            extra_headers=script_headers(tag),
        )
    )

    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 5


def test_embeddings(client: OpenAI, spendgate: Spendgate, tag: str) -> None:
    made = client.embeddings.create(
        model="text-embedding-3-small", input=["word word", "word"], extra_headers=script_headers(tag)
    )

    assert len(made.data) == 2
    assert spendgate.call(tag).nanos == 3 * 20


def test_responses(client: OpenAI, spendgate: Spendgate, tag: str) -> None:
    made = client.responses.create(
        model=MODEL, input="word word", max_output_tokens=5, extra_headers=script_headers(tag)
    )

    assert made.output_text == words(5)
    assert spendgate.call(tag).nanos == 2 * 150 + 5 * 600


def test_responses_stream(client: OpenAI, spendgate: Spendgate, tag: str) -> None:
    events = list(
        client.responses.create(
            model=MODEL,
            input="word word",
            max_output_tokens=5,
            stream=True,
            extra_headers=script_headers(tag),
        )
    )

    assert events[-1].type == "response.completed"
    assert spendgate.call(tag).nanos == 2 * 150 + 5 * 600


def test_models(client: OpenAI) -> None:
    assert [model.id for model in client.models.list()] == [MODEL]


async def test_async_chat(async_client: AsyncOpenAI, spendgate: Spendgate, tag: str) -> None:
    completion = await async_client.chat.completions.create(
        model=MODEL, messages=HI, max_tokens=5, extra_headers=script_headers(tag)
    )

    assert completion.choices[0].message.content == words(5)
    assert spendgate.call(tag).nanos == ceiling(5)


async def test_async_stream_left_in_the_middle(
    async_client: AsyncOpenAI, spendgate: Spendgate, provider: ScriptedProvider, tag: str
) -> None:
    script = Script(tag=tag, chunk_delay_ms=50)
    stream = await async_client.chat.completions.create(
        model=MODEL, messages=HI, max_tokens=50, stream=True, extra_headers=script_headers(tag, script)
    )
    async with stream:
        async for chunk in stream:
            if chunk.choices[0].delta.content:
                break

    assert spendgate.call(tag).basis == "observed"
    assert provider.billed(tag).output_tokens < 50


@pytest.mark.parametrize("stream", [False, True])
def test_a_refused_budget_is_no_rate_limit_and_is_not_retried(
    spendgate: Spendgate, provider: ScriptedProvider, tag: str, stream: bool
) -> None:
    """402: one request at the proxy, none at the provider, and the sentence in the SDK's own exception."""
    key = spendgate.key(tag, "--budget-usd", "0.000001", "--period", "total", "--hold", "strict")
    with (
        OpenAI(base_url=f"{spendgate.url}/v1", api_key=key) as client,
        pytest.raises(openai.APIStatusError) as refused,
    ):
        client.chat.completions.create(
            model=MODEL, messages=HI, max_tokens=5, stream=stream, extra_headers=script_headers(tag)
        )

    assert refused.value.status_code == 402
    assert refused.value.code == "budget_exceeded"
    assert refused.value.type == "insufficient_quota"
    assert "$" in refused.value.message
    assert refused.value.request_id
    assert len(spendgate.calls(tag)) == 1
    assert provider.bill(tag) == []


def test_a_wrong_key_is_an_authentication_error(spendgate: Spendgate, tag: str) -> None:
    with (
        OpenAI(base_url=f"{spendgate.url}/v1", api_key="sk-wrong") as client,
        pytest.raises(openai.AuthenticationError) as refused,
    ):
        client.chat.completions.create(model=MODEL, messages=HI, extra_headers=script_headers(tag))

    assert refused.value.code == "invalid_api_key"


def test_a_throttling_provider_is_retried_by_the_sdk_and_every_try_is_in_the_ledger(
    client: OpenAI, spendgate: Spendgate, tag: str
) -> None:
    """The provider's own 429 passes on, Retry-After and all; what it refuses costs nothing."""
    script = Script(tag=tag, status=429, retry_after="0")

    with pytest.raises(openai.RateLimitError):
        client.chat.completions.create(
            model=MODEL, messages=HI, max_tokens=5, extra_headers=script_headers(tag, script)
        )

    tries = spendgate.calls(tag)
    assert [(row["status"], row.nanos) for row in tries] == [(429, 0)] * 3


def test_an_unreachable_provider_is_a_server_error(spendgate: Spendgate, key: str, tag: str) -> None:
    with (
        OpenAI(base_url=f"{spendgate.url}/dead/v1", api_key=key, max_retries=0) as client,
        pytest.raises(openai.InternalServerError) as failed,
    ):
        client.chat.completions.create(model=MODEL, messages=HI, extra_headers=script_headers(tag))

    assert (failed.value.status_code, failed.value.code) == (502, "upstream_connect")


def test_a_broken_stream_raises(client: OpenAI, spendgate: Spendgate, tag: str) -> None:
    script = Script(tag=tag, fault="cut", after_chunks=2)
    stream = client.chat.completions.create(
        model=MODEL, messages=HI, max_tokens=9, stream=True, extra_headers=script_headers(tag, script)
    )

    with pytest.raises(openai.APIConnectionError):
        list(stream)

    assert spendgate.call(tag)["outcome"] == "broken"
