"""Strangers' words: whatever a client or a provider writes, the call is answered, charged and kept."""

import asyncio
import json

import pytest

from tests.support.calls import CHAT, chat_body, headers_for, post
from tests.support.client import Connection, ask
from tests.support.process import ScriptedProvider, Spendgate
from tests.support.script import Script

MEGABYTE = 1_000_000


async def test_a_trace_id_of_any_bytes_is_kept_as_far_as_it_can_be_written(
    spendgate: Spendgate, provider: ScriptedProvider, key: str, tag: str
) -> None:
    headers = [*headers_for(key, Script(tag=tag))[:-1], ("X-Trace-ID", f"{tag}-\xff\xfe")]

    reply = await ask(spendgate.url, "POST", CHAT, headers, chat_body())

    assert reply.status == 200
    assert spendgate.call(f"{tag}-??").nanos == provider.billed(tag).nanos


@pytest.mark.parametrize("served", ["gpt-4o-mini-" + "x" * 5_000, "gpt-4o-mini\udc80", "gpt-4o-mini\x00"])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_provider_may_call_its_model_anything(
    spendgate: Spendgate, provider: ScriptedProvider, key: str, tag: str, served: str, stream: bool
) -> None:
    reply = await post(spendgate.url, key, Script(tag=tag, model=served), chat_body(stream=stream))

    assert reply.status == 200
    row = spendgate.call(tag)
    assert row.nanos == provider.billed(tag).nanos
    assert len(row["served_model"]) <= 256
    assert row["served_model"].isprintable()


@pytest.mark.parametrize(
    "text",
    ["a" * MEGABYTE, " " * MEGABYTE, "\n" * MEGABYTE, "<|endoftext|>" * 80_000, "\ud800" * 1000],
    ids=["letters", "spaces", "lines", "control words", "half characters"],
)
async def test_text_that_is_hard_to_count_holds_up_nobody_else(
    spendgate: Spendgate, key: str, tag: str, text: str
) -> None:
    body = json.dumps(
        {"model": "gpt-4o-mini", "max_tokens": 3, "messages": [{"role": "user", "content": text}]}
    )
    async with Connection(spendgate.url) as hard:
        await hard.send("POST", CHAT, headers_for(key, Script(tag=tag, delay_ms=300)), body.encode())
        others = [await post(spendgate.url, key, Script(tag=f"{tag}-{n}"), chat_body()) for n in range(3)]

        assert [reply.status for reply in others] == [200] * 3
        await asyncio.wait_for(hard.read_head(), 30)
        assert hard.status == 200
    # With ample room a call does not wait for its count, and may end before it.
    assert spendgate.call(tag)["estimate_basis"].startswith(("tiktoken", "bytes"))
