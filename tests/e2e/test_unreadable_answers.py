"""Answers in codings: what can be decoded is charged as reported, the rest as estimated; all pass byte for byte."""

import json
from decimal import Decimal

import brotli
import pytest
import zstandard

from tests.support.calls import chat_body, post
from tests.support.client import Broken
from tests.support.process import NANOS_PER_USD, ScriptedProvider, Spendgate
from tests.support.script import Script

DECODERS = {
    "br": brotli.decompress,
    "zstd": lambda body: zstandard.ZstdDecompressor().stream_reader(body, read_across_frames=True).read(),
}


@pytest.mark.parametrize("coding", ["br", "zstd"])
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("close_delimited", [False, True])
async def test_an_answer_in_brotli_or_zstd_passes_untouched_and_is_charged_as_billed(
    spendgate: Spendgate,
    provider: ScriptedProvider,
    key: str,
    tag: str,
    coding: str,
    stream: bool,
    close_delimited: bool,
) -> None:
    script = Script(tag=tag, coding=coding, close_delimited=close_delimited)

    reply = await post(spendgate.url, key, script, chat_body(stream=stream))

    assert (reply.status, reply.header("content-encoding")) == (200, coding)
    plain = DECODERS[coding](reply.body)
    if stream:
        assert plain.endswith(b"data: [DONE]\n\n")
    else:
        assert json.loads(plain)["usage"]["completion_tokens"] == 10
    row = spendgate.call(tag)
    assert (row.basis, row.flags, row["outcome"]) == ("reported", [], "answered")
    assert row.nanos == provider.billed(tag).nanos > 0


@pytest.mark.parametrize("coding", ["br", "zstd"])
async def test_a_decoded_answer_tells_its_cost_in_a_header(
    spendgate: Spendgate, key: str, tag: str, coding: str
) -> None:
    reply = await post(spendgate.url, key, Script(tag=tag, coding=coding), chat_body())

    cost = Decimal(reply.header("x-spendgate-cost-usd") or "0") * NANOS_PER_USD
    assert cost == spendgate.call(tag).nanos > 0


@pytest.mark.parametrize("coding", ["br", "zstd"])
async def test_a_decodable_answer_that_was_cut_is_a_broken_one(
    spendgate: Spendgate, provider: ScriptedProvider, key: str, tag: str, coding: str
) -> None:
    script = Script(tag=tag, coding=coding, fault="cut", after_chunks=3)

    with pytest.raises(Broken):
        await post(spendgate.url, key, script, chat_body(stream=True))

    row = spendgate.call(tag)
    assert row["outcome"] == "broken"
    assert row.nanos >= provider.billed(tag).nanos


@pytest.mark.parametrize("coding", ["snappy", "gzip, br"])
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
    # What such a model usually bills lowers what is expected, but not what is charged where nobody told.
    estimate = int(Decimal(reply.header("x-spendgate-estimate-usd") or "0") * NANOS_PER_USD)
    assert (row.basis, row.flags) == ("estimated", ["unreadable"])
    assert row.nanos >= estimate > 0
    assert row["outcome"] == "answered"
    assert row.nanos >= provider.billed(tag).nanos > 0


async def test_an_unreadable_stream_that_ends_with_its_connection_is_not_taken_for_a_cut_one(
    spendgate: Spendgate, key: str, tag: str
) -> None:
    script = Script(tag=tag, coding="snappy", close_delimited=True)

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
