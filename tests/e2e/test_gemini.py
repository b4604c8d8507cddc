"""Gemini's own API over HTTP, as its SDK speaks it, against the provider's own bill."""

import asyncio
import contextlib
import json
from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

import pytest

from tests.support.client import Broken, Connection, Reply, ask
from tests.support.process import (
    PROVIDER_KEY,
    LedgerCall,
    ScriptedProvider,
    Spendgate,
    config_for,
    wait_for,
)
from tests.support.script import Fault, Script, Tale
from tests.support.shapes import words

MODEL = "gemini-2.5-flash"
EMBEDDING = "gemini-embedding-001"
WHOLE = f"/gemini/v1beta/models/{MODEL}:generateContent"
ARRAY = f"/gemini/v1beta/models/{MODEL}:streamGenerateContent"
EVENTS = f"{ARRAY}?alt=sse"
COUNT = f"/gemini/v1beta/models/{MODEL}:countTokens"
EVERY_FORM = [WHOLE, ARRAY, EVENTS]
NOT_GIVEN = "sk-sg-live-somebody-elses-canary"


@pytest.fixture(scope="module")
def spendgate(tmp_path_factory: pytest.TempPathFactory, provider: ScriptedProvider) -> Iterator[Spendgate]:
    """One whose other providers speak Gemini's API; the base URL of the last ends in its version."""
    config = config_for(provider.url)
    named = {
        "dialect": "gemini",
        "base_url": provider.url,
        "api_key": PROVIDER_KEY,
        "price_provider": "google",
    }
    versioned = {**named, "base_url": f"{provider.url}/v1beta"}
    config["providers"] = {**config["providers"], "gemini": named, "versioned": versioned}
    with Spendgate(tmp_path_factory.mktemp("gemini"), config) as started:
        yield started


@pytest.fixture(scope="module")
def key(spendgate: Spendgate) -> str:
    return spendgate.key("free")


@pytest.fixture(scope="module")
def strict_key(spendgate: Spendgate) -> str:
    return spendgate.key("strict", "--budget-usd", "0.01", "--period", "total", "--hold", "strict")


def body(prompt_words: int = 10, *, tokens: int | None = 12, **more: Any) -> bytes:
    contents = [{"role": "user", "parts": [{"text": words(prompt_words)}]}]
    config = {} if tokens is None else {"generationConfig": {"maxOutputTokens": tokens}}
    return json.dumps({"contents": contents, **config, **more}).encode()


def headers(key: str, script: Script) -> list[tuple[str, str]]:
    return [
        ("x-goog-api-key", key),
        ("Content-Type", "application/json"),
        ("x-goog-api-client", "google-genai-sdk/1 gl-python/3"),
        ("X-Trace-ID", script.tag),
        *script.header().items(),
    ]


async def post(
    spendgate: Spendgate, key: str, script: Script, target: str, data: bytes | None = None
) -> Reply:
    return await ask(spendgate.url, "POST", target, headers(key, script), body() if data is None else data)


async def post_all(
    spendgate: Spendgate, key: str, sent: Mapping[str, tuple[Script, str, bytes]]
) -> dict[str, LedgerCall]:
    """All at once, by tag; and their rows, read at once."""

    async def one(script: Script, target: str, data: bytes) -> None:
        with contextlib.suppress(Broken):
            await post(spendgate, key, script, target, data)

    await asyncio.gather(*(one(*call) for call in sent.values()))

    def look() -> dict[str, LedgerCall] | None:
        found = {row.tag: row for row in spendgate.calls("", "--limit", "200") if row.tag in sent}
        return found if len(found) == len(sent) else None

    return wait_for("all calls to end", look)


def error_of(reply: Reply) -> dict[str, Any]:
    error: dict[str, Any] = reply.json()["error"]
    return error


# -- the bill -------------------------------------------------------------------------------------------------------


async def test_every_form_of_answer_is_charged_what_the_provider_billed(
    spendgate: Spendgate, provider: ScriptedProvider, key: str, tag: str
) -> None:
    """Thoughts included, which the usage tells apart from what is written."""
    targets = [*EVERY_FORM, WHOLE.replace("/gemini/", "/versioned/")]
    ways = {f"{tag}-{n}": way for n, way in enumerate(product(targets, [0, 4], [False, True]))}
    rows = await post_all(
        spendgate,
        key,
        {
            name: (Script(tag=name, cached_tokens=cached, gzip=gzip), target, body())
            for name, (target, cached, gzip) in ways.items()
        },
    )

    for name, (target, cached, _) in ways.items():
        call = rows[name]
        assert (call.basis, call["model"], call["outcome"]) == ("reported", MODEL, "answered")
        assert call.nanos == provider.billed(name).nanos == (12 - cached) * 300 + cached * 30 + 12 * 2500
        assert (call["input_tokens"], call["output_tokens"]) == (12, 12)
        assert call["stream"] == ("stream" in target)


async def test_every_candidate_is_charged(
    spendgate: Spendgate, provider: ScriptedProvider, key: str, tag: str
) -> None:
    data = body(tokens=None, generation_config={"candidate_count": 3, "max_output_tokens": 5})
    sent = {f"{tag}-{n}": (Script(tag=f"{tag}-{n}"), target, data) for n, target in enumerate(EVERY_FORM)}

    for name, call in (await post_all(spendgate, key, sent)).items():
        assert (call.basis, call["output_tokens"]) == ("reported", 15)
        assert call.nanos == provider.billed(name).nanos


async def test_a_whole_answer_tells_its_cost_in_its_headers(spendgate: Spendgate, key: str, tag: str) -> None:
    reply = await post(spendgate, key, Script(tag=tag), WHOLE)

    assert reply.header("x-spendgate-cost-usd") == "0.0000336"
    assert reply.json()["usageMetadata"]["thoughtsTokenCount"] == 3


async def test_events_and_arrays_pass_as_they_are(spendgate: Spendgate, key: str, tag: str) -> None:
    events = await post(spendgate, key, Script(tag=tag), EVENTS)
    array = await post(spendgate, key, Script(tag=f"{tag}-2"), ARRAY)

    chunks = [json.loads(line[6:]) for line in events.body.splitlines() if line.startswith(b"data: ")]
    assert events.header("content-type") == "text/event-stream"
    assert array.header("content-type") == "application/json; charset=UTF-8"
    for told in (chunks, array.json()):
        assert len(told) == 13
        assert told[-1]["candidates"][0]["finishReason"] == "STOP"


TALES: list[Tale] = ["missing", "negative", "string", "huge", "decreasing", "nan"]


async def test_what_the_usage_hides_is_charged_by_what_was_seen_and_never_less(
    spendgate: Spendgate, provider: ScriptedProvider, key: str, tag: str
) -> None:
    ways = {f"{tag}-{n}": way for n, way in enumerate(product(TALES, [ARRAY, EVENTS]))}
    rows = await post_all(
        spendgate,
        key,
        {name: (Script(tag=name, usage=tale), to, body()) for name, (tale, to) in ways.items()},
    )

    for name, (tale, _) in ways.items():
        call, billed = rows[name], provider.billed(name).nanos
        assert call.basis == "observed"
        assert billed <= call.nanos <= 2 * billed
        assert ("usage_suspect" in call.flags) == (tale != "missing")


FAULTS: list[Fault] = ["cut", "reset", "error_event"]


async def test_a_stream_that_breaks_off_is_charged_as_seen(
    spendgate: Spendgate, provider: ScriptedProvider, key: str, tag: str
) -> None:
    ways = {f"{tag}-{n}": way for n, way in enumerate(product(FAULTS, [ARRAY, EVENTS]))}
    rows = await post_all(
        spendgate,
        key,
        {
            name: (Script(tag=name, fault=fault, after_chunks=8), target, body())
            for name, (fault, target) in ways.items()
        },
    )

    for name, call in rows.items():
        assert (call["outcome"], call.basis) == ("broken", "observed")
        assert call.nanos >= provider.billed(name).nanos


async def test_an_array_that_breaks_off_breaks_off_for_the_client_too(
    spendgate: Spendgate, key: str, tag: str
) -> None:
    with pytest.raises(Broken) as broken:
        await post(spendgate, key, Script(tag=tag, fault="cut", after_chunks=8), ARRAY)

    assert broken.value.got.count(b'"text"') == 8


@pytest.mark.parametrize("target", [ARRAY, EVENTS])
async def test_a_stream_passes_as_it_is_made_and_a_client_that_leaves_pays_what_it_saw(
    spendgate: Spendgate, key: str, tag: str, target: str
) -> None:
    script = Script(tag=tag, fault="hang", after_chunks=4)
    async with Connection(spendgate.url) as connection:
        await connection.start("POST", target, headers(key, script), body())
        seen = b""
        async for piece in connection.pieces():
            seen += piece
            if seen.count(b"candidatesTokenCount") + seen.count(b"thoughtsTokenCount") >= 4:
                break

    call = spendgate.call(tag)
    assert (call["outcome"], call.basis) == ("client_left", "observed")
    assert call.nanos >= 12 * 300 + 4 * 2500


async def test_a_client_that_leaves_at_the_last_event_has_its_whole_answer(
    spendgate: Spendgate, provider: ScriptedProvider, key: str, tag: str
) -> None:
    async with Connection(spendgate.url) as connection:
        await connection.start("POST", EVENTS, headers(key, Script(tag=tag)), body())
        seen = b""
        async for piece in connection.pieces():
            seen += piece
            if b'"finishReason"' in seen and seen.endswith(b"\n\n"):
                break

    call = spendgate.call(tag)
    assert (call.basis, call.nanos) == ("reported", provider.billed(tag).nanos)


@pytest.mark.parametrize("target", [WHOLE, ARRAY])
async def test_the_providers_own_refusal_passes_and_costs_nothing(
    spendgate: Spendgate, key: str, tag: str, target: str
) -> None:
    reply = await post(spendgate, key, Script(tag=tag, status=429, retry_after="3"), target)

    assert (reply.status, reply.header("retry-after")) == (429, "3")
    assert error_of(reply)["message"] == "the script says so"
    assert spendgate.call(tag).nanos == 0


# -- embeddings, counting, the rest ---------------------------------------------------------------------------------


async def test_embeddings_are_charged_by_their_words_for_the_provider_tells_no_usage(
    spendgate: Spendgate, provider: ScriptedProvider, key: str, tag: str
) -> None:
    one = {"model": f"models/{EMBEDDING}", "content": {"parts": [{"text": words(50)}]}}
    base = f"/gemini/v1beta/models/{EMBEDDING}"

    single = await post(spendgate, key, Script(tag=tag), f"{base}:embedContent", json.dumps(one).encode())
    batch = await post(
        spendgate,
        key,
        Script(tag=f"{tag}-2"),
        f"{base}:batchEmbedContents",
        json.dumps({"requests": [one, one]}).encode(),
    )

    assert (len(single.json()), len(batch.json()["embeddings"])) == (1, 2)
    for name, times in ((tag, 1), (f"{tag}-2", 2)):
        call, billed = spendgate.call(name), provider.billed(name)
        assert (call["operation"], call.basis, call["output_tokens"]) == ("embedding_call", "observed", 0)
        assert billed.nanos == 50 * 150 * times
        assert billed.nanos <= call.nanos <= billed.nanos * 1.2


async def test_counting_is_free_also_under_a_hard_budget(
    spendgate: Spendgate, strict_key: str, tag: str
) -> None:
    reply = await post(spendgate, strict_key, Script(tag=tag), COUNT)

    assert (reply.status, reply.json()) == (200, {"totalTokens": 12})
    assert spendgate.call(tag).nanos == 0


@pytest.mark.parametrize("verb", ["predict", "predictLongRunning", "batchGenerateContent", "somethingNew"])
async def test_what_cannot_be_metered_is_refused_under_a_hard_budget(
    spendgate: Spendgate, strict_key: str, tag: str, verb: str
) -> None:
    reply = await post(spendgate, strict_key, Script(tag=tag), f"/gemini/v1beta/models/{MODEL}:{verb}")

    assert (reply.status, error_of(reply)["status"]) == (403, "PERMISSION_DENIED")
    assert error_of(reply)["details"][0]["reason"] == "SURFACE_NOT_METERED"


# -- budgets --------------------------------------------------------------------------------------------------------


async def test_a_spent_budget_is_told_in_googles_envelope(
    spendgate: Spendgate, provider: ScriptedProvider, strict_key: str, tag: str
) -> None:
    reply = await post(spendgate, strict_key, Script(tag=tag), WHOLE, body(tokens=60_000))

    error = error_of(reply)
    assert (reply.status, error["code"], error["status"]) == (402, 402, "RESOURCE_EXHAUSTED")
    assert error["details"][0]["metadata"]["limit_usd"] == "0.01"
    assert provider.bill(tag) == []


@pytest.mark.parametrize(
    "more",
    [
        {"cachedContent": "cachedContents/c-1"},
        {"tools": [{"googleSearch": {}}]},
        {"systemInstruction": {"parts": [{"fileData": {"fileUri": "files/f-1"}}]}},
    ],
)
async def test_input_that_cannot_be_seen_is_held_at_the_whole_context(
    spendgate: Spendgate, strict_key: str, tag: str, more: dict[str, Any]
) -> None:
    reply = await post(spendgate, strict_key, Script(tag=tag), WHOLE, body(**more))

    assert reply.status == 402
    assert float(error_of(reply)["details"][0]["metadata"]["estimate_usd"]) > 1_000_000 * 300e-9


async def test_a_capped_budget_lowers_the_limit_one_level_down(
    spendgate: Spendgate, provider: ScriptedProvider, tag: str
) -> None:
    key = spendgate.key("capped", "--budget-usd", "0.0005", "--period", "total", "--hold", "capped")

    reply = await post(spendgate, key, Script(tag=tag), WHOLE, body(tokens=60_000))

    billed = provider.billed(tag)
    call = spendgate.call(tag)
    assert (reply.status, call.flags) == (200, ["capped"])
    assert 100 < billed.output_tokens < 200
    assert call.nanos == billed.nanos <= 500_000


async def test_the_model_of_the_path_cannot_be_contradicted_by_the_body(
    spendgate: Spendgate, provider: ScriptedProvider, key: str, tag: str
) -> None:
    reply = await post(spendgate, key, Script(tag=tag), WHOLE, body(model="models/gemini-2.5-pro"))

    assert (reply.status, error_of(reply)["status"]) == (400, "INVALID_ARGUMENT")
    assert error_of(reply)["details"][1]["fieldViolations"][0]["field"] == "model"
    assert provider.bill(tag) == []


async def test_no_way_of_writing_the_path_hides_a_metered_call(
    spendgate: Spendgate, key: str, tag: str
) -> None:
    verbs = ["%3AgenerateContent", ":generate%43ontent", ":GENERATECONTENT"]
    base = f"/gemini/v1beta/models/{MODEL}"
    sent = {f"{tag}-{n}": (Script(tag=f"{tag}-{n}"), base + verb, body()) for n, verb in enumerate(verbs)}

    for call in (await post_all(spendgate, key, sent)).values():
        assert (call["operation"], call["model"]) == ("llm_call", MODEL)


# -- credentials ----------------------------------------------------------------------------------------------------


async def test_the_provider_gets_its_own_key_and_never_the_callers(
    spendgate: Spendgate, key: str, tag: str
) -> None:
    reply = await ask(spendgate.url, "GET", "/gemini/v1beta/files/f-1", headers(key, Script(tag=tag)))

    arrived = {name.lower(): value for name, value in reply.json()["headers"]}
    assert arrived["x-goog-api-key"] == PROVIDER_KEY
    assert "authorization" not in arrived
    assert key not in json.dumps(reply.json())


@pytest.mark.parametrize(("name", "with_header"), [("key", True), ("key", False), ("%6Bey", True)])
async def test_a_key_in_the_query_is_told_so_and_goes_nowhere(
    spendgate: Spendgate, provider: ScriptedProvider, key: str, tag: str, name: str, with_header: bool
) -> None:
    sent = [(n, v) for n, v in headers(key, Script(tag=tag)) if with_header or n != "x-goog-api-key"]

    reply = await ask(spendgate.url, "POST", f"{WHOLE}?{name}={NOT_GIVEN}", sent, body())

    assert reply.status == 400
    assert "x-goog-api-key" in error_of(reply)["message"]
    assert error_of(reply)["details"][0]["reason"] == "KEY_IN_QUERY"
    assert provider.bill(tag) == []
    told = reply.body + spendgate.log.read_bytes() + spendgate.run("calls", "--format", "jsonl").encode()
    assert NOT_GIVEN.encode() not in told


@pytest.mark.parametrize(
    "target", [f"{WHOLE}?fields=candidates", f"{WHOLE}?alt=proto", f"{EVENTS}&$fields=x"]
)
async def test_an_answer_without_its_usage_cannot_be_asked_for(
    spendgate: Spendgate, provider: ScriptedProvider, key: str, tag: str, target: str
) -> None:
    reply = await post(spendgate, key, Script(tag=tag), target)

    assert (reply.status, error_of(reply)["details"][0]["reason"]) == (400, "CANNOT_BE_METERED")
    assert provider.bill(tag) == []


async def test_a_bad_key_is_told_in_googles_envelope(spendgate: Spendgate, tag: str) -> None:
    reply = await post(spendgate, NOT_GIVEN, Script(tag=tag), WHOLE)

    assert (reply.status, error_of(reply)["code"], error_of(reply)["status"]) == (401, 401, "UNAUTHENTICATED")
