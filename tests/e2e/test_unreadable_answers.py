"""Answers in a coding that cannot be read: they pass byte for byte, and are charged as estimated."""

import json
from decimal import Decimal

import pytest

from tests.support.calls import chat_body, post
from tests.support.process import NANOS_PER_USD, ScriptedProvider, Spendgate
from tests.support.script import Script


@pytest.mark.parametrize("coding", ["br", "zstd"])
@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_in_an_unreadable_coding_passes_untouched_and_is_charged_as_estimated(
    spendgate: Spendgate, provider: ScriptedProvider, tag: str, coding: str, stream: bool
) -> None:
    key = spendgate.key(tag)  # a team of its own: no earlier call changes its estimate
    script = Script(tag=tag, coding=coding)

    reply = await post(spendgate.url, key, script, chat_body(stream=stream))

    assert (reply.status, reply.header("content-encoding")) == (200, coding)
    if stream:
        assert reply.body.startswith(b"data: {")
        assert reply.body.endswith(b"data: [DONE]\n\n")
    else:
        assert json.loads(reply.body)["usage"]["completion_tokens"] == 10
    row = spendgate.call(tag)
    estimate = int(Decimal(reply.header("x-spendgate-estimate-usd") or "0") * NANOS_PER_USD)
    assert (row.basis, row.flags, row.nanos) == ("estimated", ["unreadable"], estimate)
    assert row["outcome"] == "answered"
    assert row.nanos >= provider.billed(tag).nanos > 0


async def test_an_unreadable_stream_that_ends_with_its_connection_is_not_taken_for_a_cut_one(
    spendgate: Spendgate, key: str, tag: str
) -> None:
    script = Script(tag=tag, coding="br", close_delimited=True)

    reply = await post(spendgate.url, key, script, chat_body(stream=True))

    assert reply.body.endswith(b"data: [DONE]\n\n")
    row = spendgate.call(tag)
    assert (row["outcome"], row.flags) == ("answered", ["unreadable"])


async def test_the_same_answer_without_a_coding_is_charged_as_reported(
    spendgate: Spendgate, key: str, tag: str
) -> None:
    await post(spendgate.url, key, Script(tag=tag), chat_body())

    row = spendgate.call(tag)
    assert (row.basis, row.flags) == ("reported", [])
