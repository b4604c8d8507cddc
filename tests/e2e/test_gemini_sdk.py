"""Google's real SDK for Gemini, with nothing changed but its base URL and its key."""

from collections.abc import Iterator

import pytest
from google import genai
from google.genai import errors
from google.genai.types import (
    CountTokensConfig,
    EmbedContentConfig,
    GenerateContentConfig,
    HttpOptions,
)

from tests.support.process import PROVIDER_KEY, ScriptedProvider, Spendgate, config_for
from tests.support.script import Script
from tests.support.shapes import words

MODEL = "gemini-2.5-flash"
EMBEDDING = "gemini-embedding-001"
HI = words(3)
HI_TOKENS = 5


def cost(output: int, input_: int = HI_TOKENS) -> int:
    """Of a call to Gemini 2.5 Flash, in nano-dollars: $0.30 a million tokens in, $2.50 out."""
    return input_ * 300 + output * 2500


def traced(tag: str, script: Script | None = None) -> HttpOptions:
    return HttpOptions(headers={**(script or Script(tag=tag)).header(), "X-Trace-ID": tag})


def asked(tag: str, tokens: int = 5, script: Script | None = None) -> GenerateContentConfig:
    return GenerateContentConfig(max_output_tokens=tokens, http_options=traced(tag, script))


@pytest.fixture(scope="module")
def spendgate(tmp_path_factory: pytest.TempPathFactory, provider: ScriptedProvider) -> Iterator[Spendgate]:
    """One whose second provider speaks Gemini's API."""
    config = config_for(provider.url)
    named = {
        "dialect": "gemini",
        "base_url": provider.url,
        "api_key": PROVIDER_KEY,
        "price_provider": "google",
    }
    config["providers"] = {**config["providers"], "gemini": named}
    with Spendgate(tmp_path_factory.mktemp("gemini_sdk"), config) as started:
        yield started


@pytest.fixture(scope="module")
def key(spendgate: Spendgate) -> str:
    return spendgate.key("free")


@pytest.fixture(scope="module")
def spent_key(spendgate: Spendgate) -> str:
    """What is left of its budget affords nothing."""
    return spendgate.key("spent", "--budget-usd", "0.000001", "--period", "total", "--hold", "strict")


def client_of(spendgate: Spendgate, key: str) -> genai.Client:
    """It has no way to be closed, and would leave its connections open."""
    options = HttpOptions(base_url=f"{spendgate.url}/gemini", headers={"Connection": "close"})
    return genai.Client(api_key=key, http_options=options)


@pytest.fixture
def client(spendgate: Spendgate, key: str) -> genai.Client:
    return client_of(spendgate, key)


# -- answers --------------------------------------------------------------------------------------------------------


def test_an_answer(client: genai.Client, spendgate: Spendgate, provider: ScriptedProvider, tag: str) -> None:
    """A quarter of it is thought, which the usage tells apart and the provider bills."""
    answer = client.models.generate_content(model=MODEL, contents=HI, config=asked(tag))

    assert answer.text == words(5)
    used = answer.usage_metadata
    assert used is not None
    assert (used.prompt_token_count, used.candidates_token_count, used.thoughts_token_count) == (5, 4, 1)
    row = spendgate.call(tag)
    assert (row.basis, row["model"], row["dialect"]) == ("reported", MODEL, "gemini")
    assert row.nanos == provider.billed(tag).nanos == cost(5)


def test_a_streamed_answer(
    client: genai.Client, spendgate: Spendgate, provider: ScriptedProvider, tag: str
) -> None:
    chunks = list(client.models.generate_content_stream(model=MODEL, contents=HI, config=asked(tag)))

    assert [chunk.text for chunk in chunks if chunk.text] == ["word", " word", " word", " word", " word"]
    row = spendgate.call(tag)
    assert (row.basis, row["outcome"], row["stream"]) == ("reported", "answered", True)
    assert row.nanos == provider.billed(tag).nanos == cost(5)


async def test_an_async_answer(
    client: genai.Client, spendgate: Spendgate, provider: ScriptedProvider, tag: str
) -> None:
    answer = await client.aio.models.generate_content(model=MODEL, contents=HI, config=asked(tag))

    assert answer.text == words(5)
    assert spendgate.call(tag).nanos == provider.billed(tag).nanos == cost(5)


async def test_an_async_stream(
    client: genai.Client, spendgate: Spendgate, provider: ScriptedProvider, tag: str
) -> None:
    stream = await client.aio.models.generate_content_stream(model=MODEL, contents=HI, config=asked(tag))
    told = [chunk.text async for chunk in stream if chunk.text]

    assert "".join(told) == words(5)
    row = spendgate.call(tag)
    assert (row.basis, row["outcome"]) == ("reported", "answered")
    assert row.nanos == provider.billed(tag).nanos == cost(5)


def test_embeddings(client: genai.Client, spendgate: Spendgate, provider: ScriptedProvider, tag: str) -> None:
    """Two texts of 25 words at $0.15 a million; they tell no usage, and are charged by their counted words."""
    made = client.models.embed_content(
        model=EMBEDDING,
        contents=[words(25), words(25)],
        config=EmbedContentConfig(http_options=traced(tag)),
    )

    assert made.embeddings is not None
    assert [one.values for one in made.embeddings] == [[0.5, -0.5]] * 2
    row, billed = spendgate.call(tag), provider.billed(tag).nanos
    assert (row["operation"], row.basis) == ("embedding_call", "observed")
    assert billed == 50 * 150
    assert billed <= row.nanos <= billed * 1.2


def test_counting_tokens_is_free(client: genai.Client, spendgate: Spendgate, tag: str) -> None:
    counted = client.models.count_tokens(
        model=MODEL, contents=HI, config=CountTokensConfig(http_options=traced(tag))
    )

    assert counted.total_tokens == HI_TOKENS
    row = spendgate.call(tag)
    assert (row.nanos, row.flags) == (0, [])


def test_its_address_and_key_may_stand_in_the_environment(
    monkeypatch: pytest.MonkeyPatch, spendgate: Spendgate, provider: ScriptedProvider, key: str, tag: str
) -> None:
    monkeypatch.delenv("GOOGLE_API_KEY", raising=False)
    monkeypatch.setenv("GEMINI_API_KEY", key)
    monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", f"{spendgate.url}/gemini")

    client = genai.Client(http_options=HttpOptions(headers={"Connection": "close"}))
    client.models.generate_content(model=MODEL, contents=HI, config=asked(tag))

    assert spendgate.call(tag).nanos == provider.billed(tag).nanos == cost(5)


# -- refusals -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
def test_a_refused_budget_is_a_client_error_and_is_not_retried(
    spendgate: Spendgate, provider: ScriptedProvider, spent_key: str, tag: str, stream: bool
) -> None:
    """402: one request at the proxy, none at the provider, and the sentence in the SDK's own exception."""
    client = client_of(spendgate, spent_key)
    ask = client.models.generate_content_stream if stream else client.models.generate_content

    with pytest.raises(errors.ClientError) as refused:
        list(ask(model=MODEL, contents=HI, config=asked(tag)))

    assert (refused.value.code, refused.value.status) == (402, "RESOURCE_EXHAUSTED")
    assert refused.value.message is not None
    assert "$" in refused.value.message
    assert [row["status"] for row in spendgate.calls(tag)] == [402]
    assert provider.bill(tag) == []


def test_a_wrong_key_is_a_client_error(spendgate: Spendgate) -> None:
    client = client_of(spendgate, "AIza-wrong")

    with pytest.raises(errors.ClientError) as refused:
        client.models.generate_content(model=MODEL, contents=HI)

    assert (refused.value.code, refused.value.status) == (401, "UNAUTHENTICATED")


async def test_a_refused_budget_is_a_client_error_in_async_code_too(
    spendgate: Spendgate, provider: ScriptedProvider, spent_key: str, tag: str
) -> None:
    client = client_of(spendgate, spent_key)

    with pytest.raises(errors.ClientError) as refused:
        await client.aio.models.generate_content(model=MODEL, contents=HI, config=asked(tag))

    assert refused.value.code == 402
    assert [row["status"] for row in spendgate.calls(tag)] == [402]
    assert provider.bill(tag) == []


@pytest.mark.parametrize("status", [400, 429])
def test_a_providers_own_refusal_passes_and_costs_nothing(
    client: genai.Client, spendgate: Spendgate, tag: str, status: int
) -> None:
    script = Script(tag=tag, status=status, retry_after="0")

    with pytest.raises(errors.ClientError) as refused:
        client.models.generate_content(model=MODEL, contents=HI, config=asked(tag, script=script))

    assert (refused.value.code, refused.value.message) == (status, "the script says so")
    assert [(row["status"], row.nanos) for row in spendgate.calls(tag)] == [(status, 0)]
