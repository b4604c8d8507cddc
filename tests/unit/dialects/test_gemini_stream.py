"""What a Gemini answer tells: whole, as events, and as an array that grows; when it is complete, and when its usage is final."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from pricing.usage import Usage
from proxy.dialects import Metered
from proxy.dialects.gemini_content import GenerateContent
from proxy.dialects.gemini_stream import PICTURE_TOKENS, PIECE_BYTES_MAX, GeminiMeter, Objects
from proxy.meter import WholeMeter

RECORDINGS = Path(__file__).parents[2] / "recordings" / "gemini"
API = GenerateContent("gemini-2.5-flash", stream=True)
USAGE = {"promptTokenCount": 9, "candidatesTokenCount": 2, "totalTokenCount": 11}


def streamed(stream: bytes, *, candidates: int = 1, ended: bool = True) -> Metered:
    meter = GeminiMeter(candidates=candidates, model="gemini-2.5-flash")
    assert meter.feed(stream) is stream
    if ended:
        assert meter.end() == b""
    return meter.result()


def recorded(name: str, *, candidates: int = 1) -> Metered:
    return streamed((RECORDINGS / name).read_bytes(), candidates=candidates)


def piece(
    text: str = "", *, finish: Any = None, usage: Any = None, index: int = 0, **more: Any
) -> dict[str, Any]:
    candidate: dict[str, Any] = {
        "content": {"parts": [{"text": text}] if text else []},
        "index": index,
        **more,
    }
    if finish is not None:
        candidate["finishReason"] = finish
    return {"candidates": [candidate], **({} if usage is None else {"usageMetadata": usage})}


def events(*pieces: dict[str, Any]) -> bytes:
    return b"".join(b"data: " + json.dumps(one).encode() + b"\r\n\r\n" for one in pieces)


# -- as events ------------------------------------------------------------------------------------------------------


def test_the_last_usage_of_a_stream_stands_with_its_thoughts() -> None:
    result = recorded("events.sse")

    assert result == Metered(
        usage=Usage(input_tokens=9, output_tokens=40, reasoning_tokens=31),
        served_model="gemini-2.5-flash",
        provider_id="resp-1",
        complete=True,
    )


def test_thoughts_that_only_the_total_tells_are_charged() -> None:
    assert recorded("events_total.sse").usage == Usage(input_tokens=9, output_tokens=94, reasoning_tokens=93)


@pytest.mark.parametrize(
    ("model", "searches"),
    [("gemini-2.5-flash", 1), ("gemini-3-flash-preview", 2), ("gemini-flash-latest", 2)],
)
def test_searches_are_counted_as_their_model_bills_them(model: str, searches: int) -> None:
    stream = (RECORDINGS / "events_search.sse").read_bytes().replace(b"gemini-2.5-flash", model.encode())

    assert streamed(stream).usage == Usage(input_tokens=112, output_tokens=5, web_searches=searches)


def test_a_stream_is_complete_when_as_many_candidates_as_asked_for_have_finished() -> None:
    stream = (RECORDINGS / "events_candidates.sse").read_bytes()
    three = b"".join(line + b"\r\n\r\n" for line in stream.split(b"\r\n\r\n")[:3])

    assert not streamed(three, candidates=2, ended=False).complete
    assert not streamed(three, candidates=2).complete
    assert streamed(stream, candidates=2, ended=False).complete


def test_fewer_candidates_than_asked_for_are_complete_at_the_end_of_the_stream() -> None:
    stream = events(piece("a", finish="STOP", usage=USAGE))

    assert not streamed(stream, candidates=2, ended=False).complete
    assert streamed(stream, candidates=2).complete


def test_a_candidate_that_goes_on_after_its_finish_has_not_finished() -> None:
    """Older models wrote a finish into every piece."""
    stream = events(piece("a", finish="STOP", usage=USAGE), piece("b", usage=USAGE))

    result = streamed(stream, ended=False)

    assert (result.complete, result.final, result.output_text) == (False, False, "ab")


@pytest.mark.parametrize(
    ("finish", "complete"),
    [
        ("STOP", True),
        ("MAX_TOKENS", True),
        ("SAFETY", True),
        (1, True),
        (0, False),
        ("", False),
        ("FINISH_REASON_UNSPECIFIED", False),
        (None, False),
    ],
)
def test_a_finish_is_told_by_name_or_by_number(finish: Any, complete: bool) -> None:
    result = streamed(events(piece("a", finish=finish, usage=USAGE)))

    assert (result.complete, result.final) == (complete, complete)


def test_a_stream_that_broke_off_shows_what_passed_and_its_usage_is_not_final() -> None:
    result = streamed(events(piece("one", usage=USAGE), piece(" two", usage=USAGE)))

    assert (result.complete, result.final, result.output_text) == (False, False, "one two")
    assert result.usage == Usage(input_tokens=9, output_tokens=2)


def test_without_usage_what_passed_is_shown() -> None:
    result = recorded("events_no_usage.sse")

    assert (result.usage, result.complete, result.output_text) == (None, True, "Untold words")


def test_output_that_came_after_the_usage_makes_it_not_final() -> None:
    result = recorded("events_stale_usage.sse")

    assert (result.complete, result.final, result.output_text) == (True, False, "Told and untold words")


def test_a_usage_that_shrinks_is_suspect_and_the_larger_one_stands() -> None:
    smaller = {**USAGE, "candidatesTokenCount": 1, "totalTokenCount": 10}

    result = streamed(events(piece("a", usage=USAGE), piece(finish="STOP", usage=smaller)))

    assert (result.suspect, result.suspect_reason) == (True, "usage decreased")
    assert result.usage == Usage(input_tokens=9, output_tokens=2)


@pytest.mark.parametrize("name", ["events_error.sse", "array_error.json"])
def test_an_error_in_the_stream_fails_it(name: str) -> None:
    result = recorded(name)

    assert (result.failed, result.complete, result.final) == (True, False, False)
    assert result.output_text == "Half of"


def test_an_error_without_any_framing_fails_it_too() -> None:
    bare = b'{"error": {"code": 503,\n "message": "overloaded"}}\n'

    assert streamed(events(piece("a", usage=USAGE)) + bare).failed
    assert streamed(bare).failed


def test_a_refused_prompt_is_complete_and_costs_its_input() -> None:
    result = recorded("events_blocked.sse")

    assert (result.usage, result.complete, result.final) == (Usage(input_tokens=20), True, True)


def test_pictures_without_a_usage_are_counted() -> None:
    picture = {
        "candidates": [{"content": {"parts": [{"inlineData": {"data": "AAAA"}}]}, "finishReason": "STOP"}]
    }

    assert streamed(events(picture)).output_tokens_seen == PICTURE_TOKENS


def test_calls_and_code_are_output() -> None:
    parts = [{"functionCall": {"name": "f", "args": {"a": 1}}}, {"executableCode": {"code": "1+1"}}]

    result = streamed(events({"candidates": [{"content": {"parts": parts}}]}))

    assert result.output_text == 'f{"a": 1}1+1'


# -- as an array ----------------------------------------------------------------------------------------------------


def test_an_array_tells_the_same_as_events() -> None:
    result = recorded("array.json")

    assert result.usage == Usage(input_tokens=50, output_tokens=22, reasoning_tokens=8)
    assert (result.complete, result.final, result.provider_id) == (True, True, "resp-1")


def test_an_array_that_broke_off_within_an_object_shows_what_came_before() -> None:
    stream = (RECORDINGS / "array.json").read_bytes()
    at = stream.index(b'"finishReason"')

    result = streamed(stream[:at])

    assert (result.complete, result.final) == (False, False)
    assert result.usage == Usage(input_tokens=50, output_tokens=20, reasoning_tokens=8)
    assert result.output_text.startswith('note{"text": "a \\"}')


def test_an_empty_array_tells_nothing() -> None:
    assert streamed(b"[]\n") == Metered(final=False)


def test_a_brace_within_a_text_opens_no_object() -> None:
    assert Objects().feed(b'["{", {"a": "}"}, "}"]') == [b'{"a": "}"}']


def test_an_object_too_large_to_keep_is_left_out_and_what_follows_is_read() -> None:
    picture = b'{"candidates": [{"content": {"parts": [{"inlineData": {"data": "' + b"A" * PIECE_BYTES_MAX
    rest = b'"}}]}}]},\n' + json.dumps(piece("b", finish="STOP", usage=USAGE)).encode() + b"]"
    cutter = Objects()

    found = [*cutter.feed(b"[" + picture), *cutter.feed(b"AAAA"), *cutter.feed(rest)]

    assert [json.loads(one)["usageMetadata"] for one in found] == [USAGE]
    assert cutter.gave_up


def test_a_picture_of_any_size_is_read_over_to_its_usage() -> None:
    data = {
        "candidates": [
            {
                "content": {"parts": [{"inlineData": {"data": "A" * (PIECE_BYTES_MAX + 1)}}]},
                "finishReason": "STOP",
            }
        ]
    }
    whole = {**data, "usageMetadata": USAGE}

    for stream in (events(whole), json.dumps([whole]).encode()):
        meter = GeminiMeter(candidates=1, model="m")
        for at in range(0, len(stream), 65_536):
            meter.feed(stream[at : at + 65_536])
        meter.end()
        assert (meter.result().usage, meter.result().final) == (Usage(input_tokens=9, output_tokens=2), True)


# -- whole ----------------------------------------------------------------------------------------------------------


def test_a_whole_answer_tells_its_classes_its_model_and_its_tier() -> None:
    result = API.meter_whole(json.loads((RECORDINGS / "whole.json").read_bytes()))

    assert result == Metered(
        usage=Usage(
            input_tokens=1000,
            cache_read_tokens=600,
            cache_read_audio_tokens=400,
            input_audio_tokens=480,
            input_image_tokens=20,
            output_tokens=50,
            reasoning_tokens=30,
            output_image_tokens=5,
        ),
        served_model="gemini-2.5-flash-001",
        provider_id="resp-1",
        service_tier="flex",
        complete=True,
    )


def test_embeddings_tell_no_usage() -> None:
    result = API.meter_whole(json.loads((RECORDINGS / "embeddings.json").read_bytes()))

    assert (result.usage, result.complete, result.output_text) == (None, True, "")


@pytest.mark.parametrize("name", ["events.sse", "array.json"])
def test_a_stream_that_came_compressed_is_read_at_its_end(name: str) -> None:
    stream = (RECORDINGS / name).read_bytes()
    meter = WholeMeter(API, API.read(b'{"contents":[]}'), coding="gzip", streams=True)
    meter.feed(gzip.compress(stream))

    assert meter.result() == recorded(name)
