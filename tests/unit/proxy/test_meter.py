"""What answers cost, read from recordings of every shape, and what is told of those that cannot be believed."""

import gzip
import json
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import brotli
import pytest
import zstandard

from pricing.usage import Usage
from proxy.dialects import Api, Meter, Metered
from proxy.dialects.openai import DIALECT
from proxy.meter import KEPT_BYTES_MAX, TEXT_CHARS_MAX, WHOLE_BYTES_MAX, WholeMeter

RECORDINGS = Path(__file__).parents[2] / "recordings" / "openai"
DONE = b"data: [DONE]\n\n"
GOOD = {"prompt_tokens": 10, "completion_tokens": 4}


def api(path: str) -> Api:
    found = DIALECT.surface("POST", f"/v1/{path}").api
    assert found is not None
    return found


def meter(path: str = "chat/completions", *, withhold: bool = False) -> Meter:
    wire = api(path)
    return wire.meter(wire.read(b'{"model":"m","messages":[]}'), withhold_usage=withhold)


def path_of(name: str) -> str:
    return {"chat": "chat/completions"}.get(
        name.split("_")[0].split(".")[0], name.split("_")[0].split(".")[0]
    )


def recording(name: str) -> bytes:
    return (RECORDINGS / name).read_bytes()


def streamed(name: str) -> Metered:
    one = meter(path_of(name))
    assert one.feed(recording(name)) + one.end() == recording(name)
    return one.result()


def chunk(text: str = "", **more: Any) -> bytes:
    return b"data: " + json.dumps({"choices": [{"delta": {"content": text}}], **more}).encode() + b"\n\n"


def told(*events: bytes) -> Metered:
    one = meter()
    for event in events:
        one.feed(event)
    one.end()
    return one.result()


# -- whole answers --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("chat.json", "Red, green and blue.Rot, grün und blau."),
        ("chat_tools.json", 'find_train{"to":"Ulm"}'),
        ("chat_refusal.json", "I cannot help with that."),
        ("completions.json", "\n\nOne, two.\n\nThree."),
        ("responses.json", 'Berlin has nine.count_lakes{"city":"Berlin"}'),
    ],
)
def test_a_whole_answer_without_usage_gives_its_text(name: str, text: str) -> None:
    answer = {**json.loads(recording(name)), "usage": None}

    result = api(path_of(name)).meter_whole(answer)

    assert (result.usage, result.suspect, result.output_text) == (None, False, text)


@pytest.mark.parametrize("path", ["chat/completions", "completions", "responses"])
def test_a_whole_answer_that_tells_of_an_error_has_failed(path: str) -> None:
    answer = {"status": "failed", "error": {"message": "no"}}

    assert api(path).meter_whole(answer).failed


@pytest.mark.parametrize(
    "output", [5, [5], [{"content": 5}], [{"content": [5, {"text": 5}], "name": 5, "arguments": {}}]]
)
def test_a_response_of_the_wrong_shape_has_no_text(output: Any) -> None:
    assert api("responses").meter_whole({"output": output}).output_text == ""


def test_a_response_that_is_still_queued_is_not_complete() -> None:
    assert not api("responses").meter_whole({"id": "resp_1", "status": "queued", "usage": None}).complete


# -- streams --------------------------------------------------------------------------------------------------------


def test_a_stream_without_usage_gives_the_text_that_passed() -> None:
    result = streamed("chat_stream_no_usage.sse")

    assert (result.usage, result.suspect, result.complete) == (None, False, True)
    assert (result.output_text, result.service_tier) == ("Red, green and blue.", "default")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("chat_stream_choices.sse", 'Think. find_trainNo{"to":, sorry."Ulm"}'),
        ("chat_stream_azure.sse", "Red, green and blue."),
        ("chat_stream_crlf.sse", "Zwei Wörter"),
        ("chat_stream_ping.sse", "Nine lakes."),
        ("completions_stream.sse", "One, two"),
        ("responses_stream.sse", 'Berlin has nine.{"city":"Berlin"}'),
    ],
)
def test_a_stream_cut_before_its_usage_gives_the_text_and_is_not_complete(name: str, text: str) -> None:
    whole = recording(name)
    marker = b"event: response.completed" if b"response.completed" in whole else b'"choices":[]'
    one = meter(path_of(name))

    one.feed(whole[: whole.rindex(marker)])
    one.end()

    result = one.result()
    assert (result.usage, result.complete, result.output_text) == (None, False, text)


def test_a_stream_cut_between_its_usage_and_its_end_is_not_complete() -> None:
    result = told(chunk("a"), chunk(usage=GOOD))

    assert (result.usage, result.complete) == (Usage(10, output_tokens=4), False)


def test_an_end_without_its_blank_line_is_an_end() -> None:
    assert told(chunk("a"), b"data: [DONE]").complete


def test_a_text_that_says_done_is_no_end() -> None:
    assert not told(chunk("[DONE]"), chunk("data: [DONE]\n\n")).complete


def test_an_error_in_the_middle_of_a_stream_is_told() -> None:
    result = streamed("chat_stream_error.sse")

    assert (result.failed, result.complete, result.usage, result.output_text) == (True, False, None, "Half")


def test_an_error_is_no_good_end_even_when_the_end_follows() -> None:
    result = told(chunk("a"), b'data: {"error":{"message":"no"}}\n\n', DONE)

    assert (result.failed, result.complete) == (True, False)


def test_an_error_that_is_null_is_none() -> None:
    result = told(chunk("a", error=None), DONE)

    assert (result.failed, result.complete) == (False, True)


def test_a_response_that_failed_has_ended_and_has_failed() -> None:
    result = streamed("responses_stream_failed.sse")

    assert (result.failed, result.complete, result.usage) == (True, True, None)
    assert (result.provider_id, result.output_text) == ("resp_H5jP9rVu6Ki4", "Berlin has nine.")


# -- usage that comes late, twice, or cannot be believed --------------------------------------------------------


def test_usage_after_the_end_counts() -> None:
    result = told(chunk("a"), DONE, chunk(usage=GOOD))

    assert (result.usage, result.complete, result.suspect) == (Usage(10, output_tokens=4), True, False)


def test_usage_told_twice_counts_once() -> None:
    result = told(chunk("a"), chunk(usage=GOOD), chunk(usage=GOOD), DONE)

    assert (result.usage, result.suspect) == (Usage(10, output_tokens=4), False)


def test_usage_that_grows_is_replaced_by_the_latest() -> None:
    assert told(chunk(usage=GOOD), chunk(usage={**GOOD, "completion_tokens": 9})).usage == Usage(
        10, output_tokens=9
    )


@pytest.mark.parametrize(
    "smaller", [{"prompt_tokens": 9}, {"completion_tokens": 3}, {"completion_tokens": 0}]
)
def test_usage_that_decreases_is_suspect_and_the_larger_one_stands(smaller: dict[str, int]) -> None:
    result = told(chunk(usage=GOOD), chunk("late", usage={**GOOD, **smaller}), DONE)

    assert (result.usage, result.suspect, result.suspect_reason) == (
        Usage(10, output_tokens=4),
        True,
        "usage decreased",
    )


@pytest.mark.parametrize(
    ("usage", "reason"),
    [
        ('{"prompt_tokens":10,"completion_tokens":-5}', "completion_tokens is negative"),
        ('{"prompt_tokens":10,"completion_tokens":NaN}', "completion_tokens is no whole number"),
        ('{"prompt_tokens":10,"completion_tokens":Infinity}', "completion_tokens is no whole number"),
        ('{"prompt_tokens":10,"completion_tokens":1e15}', "completion_tokens is no whole number"),
        ('{"prompt_tokens":10,"completion_tokens":999999999999}', "completion_tokens is absurd"),
        ("{}", "usage holds no token counts"),
        ("7", "usage is int, not an object"),
    ],
)
def test_usage_that_cannot_be_believed_is_suspect_and_the_text_is_kept(usage: str, reason: str) -> None:
    extra = b'data: {"choices":[],"usage":' + usage.encode() + b"}\n\n"

    result = told(chunk("six "), chunk("words"), extra, DONE)

    assert (result.suspect, result.suspect_reason, result.output_text) == (True, reason, "six words")
    assert result.complete


def test_text_after_a_usage_that_cannot_be_believed_is_kept_too() -> None:
    assert told(chunk("six ", usage={}), chunk("words"), DONE).output_text == "six words"


@pytest.mark.parametrize("choices", ["", '"choices":null,', '"choices":[{"delta":{}}],'])
def test_only_the_chunk_that_our_edit_brings_is_withheld(choices: str) -> None:
    event = f'data: {{{choices}"usage":{json.dumps(GOOD)}}}\n\n'.encode()
    one = meter(withhold=True)

    assert one.feed(event) == event
    assert one.result().usage == Usage(10, output_tokens=4)


def test_a_chunk_without_names_does_not_take_them_away() -> None:
    result = told(chunk("a", id="x", model="m", service_tier="flex"), chunk(usage=GOOD), DONE)

    assert (result.provider_id, result.served_model, result.service_tier) == ("x", "m", "flex")


@pytest.mark.parametrize("null", ['"usage":null', '"usage": null', '"usage" : null', '"usage":\\tnull'])
def test_a_null_usage_is_no_usage(null: str) -> None:
    event = 'data: {"choices":[{"delta":{"content":"a"}}],NULL}\n\n'.replace(
        "NULL", null.replace("\\t", "\t")
    )

    result = told(event.encode(), DONE)

    assert (result.usage, result.suspect, result.output_text) == (None, False, "a")


def test_a_text_that_speaks_of_usage_is_no_usage() -> None:
    result = told(chunk('"usage":{"prompt_tokens":5,"completion_tokens":5}'), DONE)

    assert (result.usage, result.output_text) == (None, '"usage":{"prompt_tokens":5,"completion_tokens":5}')


@pytest.mark.parametrize(
    "event", [b"data: {\n\n", b"data: 5\n\n", b"data: \xff\n\n", b"data: []\n\n", b"nonsense\n\n"]
)
def test_an_event_that_cannot_be_read_hides_nothing_else(event: bytes) -> None:
    result = told(event, chunk("a", id="x"), event, chunk(usage=GOOD), event, DONE)

    assert (result.usage, result.provider_id, result.complete) == (Usage(10, output_tokens=4), "x", True)


def test_names_that_cannot_be_written_down_are_mended() -> None:
    result = told(b'data: {"id":"a\\ud800","model":"m\\ud800","choices":[]}\n\n')

    assert (result.provider_id, result.served_model) == ("a?", "m?")


# -- bounds ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["chat/completions", "responses"])
@pytest.mark.parametrize("piece", [b"x" * 65_536, b": ping " + b"x" * 65_536 + b"\n\n"])
def test_the_memory_of_an_endless_stream_is_bounded(path: str, piece: bytes) -> None:
    one = meter(path, withhold=True)
    tracemalloc.start()
    passed = sum(len(one.feed(piece)) for _ in range(200))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 8 << 20
    assert passed + len(one.end()) == 200 * len(piece)


def test_an_event_too_large_to_read_is_told_where_no_usage_came() -> None:
    one = meter()
    for _ in range(20):
        one.feed(b"x" * 65_536)

    result = one.result()
    assert (result.usage, result.suspect, result.suspect_reason) == (
        None,
        False,
        "an event was too large to read",
    )


def test_the_text_of_a_long_stream_is_kept_in_order_and_up_to_a_bound() -> None:
    text, one = "word " * 20_000, meter()
    for _ in range(2 * TEXT_CHARS_MAX // len(text)):
        one.feed(chunk(text))

    kept = one.result().output_text

    assert TEXT_CHARS_MAX <= len(kept) <= TEXT_CHARS_MAX + KEPT_BYTES_MAX
    assert kept.startswith(text)


# -- answers that are read when they have ended -------------------------------------------------------------------


def whole(body: bytes, coding: str = "", *, name: str = "chat.json", streams: bool = False) -> Metered:
    wire = api(path_of(name))
    one = WholeMeter(wire, wire.read(b'{"model":"m","messages":[]}'), coding=coding, streams=streams)
    for at in range(0, len(body), 1000):
        assert one.feed(body[at : at + 1000]) == body[at : at + 1000]
    assert one.end() == b""
    return one.result()


def bare_deflate(body: bytes) -> bytes:
    squeezer = zlib.compressobj(wbits=-15)
    return squeezer.compress(body) + squeezer.flush()


SQUEEZED = [
    ("", bytes),
    ("identity", bytes),
    ("gzip", gzip.compress),
    ("GZIP", gzip.compress),
    ("x-gzip", gzip.compress),
    ("deflate", zlib.compress),
    ("deflate", bare_deflate),
    ("br", brotli.compress),
    ("zstd", zstandard.compress),
    ("ZSTD", zstandard.compress),
]


@pytest.mark.parametrize(("coding", "squeeze"), SQUEEZED)
@pytest.mark.parametrize("name", ["chat.json", "responses.json", "embeddings.json"])
def test_a_coded_answer_is_metered_as_a_plain_one(coding: str, squeeze: Any, name: str) -> None:
    plain = api(path_of(name)).meter_whole(json.loads(recording(name)))

    assert whole(squeeze(recording(name)), coding, name=name) == plain
    assert plain.readable


@pytest.mark.parametrize(("coding", "squeeze"), SQUEEZED)
@pytest.mark.parametrize(
    "name", ["chat_stream_usage.sse", "responses_stream.sse", "chat_stream_no_usage.sse"]
)
def test_a_coded_stream_is_metered_as_a_plain_one(coding: str, squeeze: Any, name: str) -> None:
    assert whole(squeeze(recording(name)), coding, name=name, streams=True) == streamed(name)


@pytest.mark.parametrize("coding", ["snappy", "gzip, br", "br, br", "nonsense"])
def test_an_answer_in_an_unknown_coding_cannot_be_read(coding: str) -> None:
    assert whole(recording("chat.json"), coding) == Metered(readable=False)


@pytest.mark.parametrize(
    ("coding", "squeeze"),
    [
        ("gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("br", lambda body: brotli.compress(body, quality=1)),
        ("zstd", lambda body: b"".join(zstandard.compress(line) for line in body.splitlines(keepends=True))),
    ],
    ids=["gzip", "deflate", "br", "zstd"],
)
def test_a_coded_answer_that_was_cut_cannot_be_read_but_for_what_decodes(coding: str, squeeze: Any) -> None:
    body = recording("chat_stream_no_usage.sse")

    result = whole(squeeze(body)[:-5], coding, name="chat_stream_no_usage.sse", streams=True)

    assert (result.readable, result.usage, result.complete) == (False, None, False)
    assert len(result.output_text) > 100
    assert body.decode().startswith(result.output_text)


def test_a_bomb_cannot_be_read_and_its_text_is_bounded() -> None:
    squeezer = zlib.compressobj(9, wbits=31)
    bomb = b"".join(squeezer.compress(b" " * (1 << 20)) for _ in range(WHOLE_BYTES_MAX // (1 << 20) + 1))

    result = whole(bomb + squeezer.flush(), "gzip")

    assert (result.readable, result.usage) == (False, None)
    assert len(result.output_text) <= TEXT_CHARS_MAX


def test_an_answer_larger_than_we_keep_passes_and_cannot_be_read() -> None:
    wire, piece = api("embeddings"), b" " * (8 << 20)
    one = WholeMeter(wire, wire.read(b'{"model":"m"}'), coding="", streams=False)
    for _ in range(WHOLE_BYTES_MAX // len(piece) + 1):
        assert one.feed(piece) is piece

    assert one.result() == Metered(readable=False)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[1]", b'{"usage":{"prompt_tokens":10', b"\xff"])
def test_an_answer_that_is_no_json_object_gives_its_text_and_is_not_complete(body: bytes) -> None:
    assert whole(body) == Metered(output_text=body.decode("utf-8", "replace"))


def test_the_result_so_far_is_of_what_was_fed_so_far() -> None:
    wire, body = api("chat/completions"), recording("chat.json")
    one = WholeMeter(wire, wire.read(b'{"model":"m","messages":[]}'), coding="", streams=False)
    one.feed(body[:300])
    before = one.result()

    one.feed(body[300:])

    assert (before.usage, one.result().usage) == (None, Usage(1437, cache_read_tokens=1280, output_tokens=14))
