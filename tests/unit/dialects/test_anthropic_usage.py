"""What messages cost, read from recordings of every shape, and what is told of those that cannot be believed."""

import json
from pathlib import Path
from typing import Any

import pytest

from pricing.usage import Usage
from proxy.dialects import Metered
from proxy.dialects.anthropic_messages import Messages
from proxy.dialects.anthropic_stream import MessageMeter
from proxy.dialects.anthropic_usage import read_usage, tier_of

API = Messages()
RECORDINGS = Path(__file__).parents[2] / "recordings" / "anthropic"


def streamed(stream: bytes) -> Metered:
    meter = MessageMeter()
    assert meter.feed(stream) + meter.end() == stream
    return meter.result()


def event(kind: str, **data: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **data})}\n\n".encode()


def start(**usage: Any) -> bytes:
    return event("message_start", message={"id": "msg_1", "model": "m", "usage": usage})


def text(words: str) -> bytes:
    return event("content_block_delta", index=0, delta={"type": "text_delta", "text": words})


def delta(**usage: Any) -> bytes:
    return event("message_delta", delta={"stop_reason": "end_turn"}, usage=usage)


STOP = event("message_stop")
BEGUN = start(input_tokens=10, output_tokens=1)


# -- whole messages -------------------------------------------------------------------------------------------------


def test_an_error_is_told_as_one() -> None:
    told = API.meter_whole(json.loads((RECORDINGS / "error.json").read_bytes()))

    assert (told.failed, told.usage) == (True, None)


def test_a_message_without_usage_keeps_its_words() -> None:
    answer = json.loads((RECORDINGS / "thinking_tools.json").read_bytes())
    del answer["usage"]

    told = API.meter_whole(answer)

    assert told.usage is None
    assert told.output_text == 'They want a train.find_train{"to": "Ulm"}'


@pytest.mark.parametrize(
    ("block", "problem"),
    [
        ({"input_tokens": 5, "output_tokens": -1}, "output_tokens is negative"),
        ({"input_tokens": 5, "output_tokens": "9"}, "output_tokens is no whole number"),
        ({"input_tokens": True, "output_tokens": 9}, "input_tokens is no whole number"),
        ({"input_tokens": 5, "output_tokens": 10**15}, "output_tokens is absurd"),
        ({"input_tokens": 5, "output_tokens": float("nan")}, "output_tokens is no whole number"),
        ({"input_tokens": 5}, "usage holds no token counts"),
        ({}, "usage holds no token counts"),
        ("many", "usage is str, not an object"),
        (
            {
                "input_tokens": 5,
                "output_tokens": 1,
                "cache_creation_input_tokens": 3,
                "cache_creation": {"ephemeral_5m_input_tokens": 4},
            },
            "more cache writes by kind than in all",
        ),
        (
            {
                "input_tokens": 5,
                "output_tokens": 1,
                "iterations": [{"type": "advisor_message", "input_tokens": 7, "output_tokens": 2}],
            },
            "an advisor of another model worked along",
        ),
    ],
)
def test_usage_that_cannot_be_believed_is_told_so(block: Any, problem: str) -> None:
    told = API.meter_whole({"type": "message", "content": [{"type": "text", "text": "Hi"}], "usage": block})

    assert (told.suspect, told.suspect_reason, told.output_text) == (True, problem, "Hi")


@pytest.mark.parametrize(
    ("by_kind", "short", "long"),
    [
        (None, 90, 0),
        ({"ephemeral_5m_input_tokens": 90, "ephemeral_1h_input_tokens": 0}, 90, 0),
        ({"ephemeral_5m_input_tokens": 30, "ephemeral_1h_input_tokens": 60}, 30, 60),
        ({"ephemeral_5m_input_tokens": 20, "ephemeral_1h_input_tokens": 0}, 90, 0),
        ({"ephemeral_5m_input_tokens": 20, "ephemeral_1h_input_tokens": 10}, 20, 70),
    ],
)
def test_cache_writes_are_split_by_how_long_they_are_kept(by_kind: Any, short: int, long: int) -> None:
    checked = read_usage(
        {
            "input_tokens": 1,
            "output_tokens": 1,
            "cache_creation_input_tokens": 90,
            "cache_creation": by_kind,
        }
    )

    assert checked is not None
    assert checked.problems == []
    assert (checked.usage.cache_write_tokens, checked.usage.cache_write_1h_tokens) == (short, long)
    assert checked.usage.input_tokens == 91


# -- streams --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "failed", "words"), [("error", True, "Hello"), ("cut", False, "Hello, how")]
)
def test_a_stream_that_breaks_off_tells_what_was_written(name: str, failed: bool, words: str) -> None:
    told = streamed((RECORDINGS / f"{name}.sse").read_bytes())

    assert (told.complete, told.final, told.failed, told.output_text) == (False, False, failed, words)
    assert told.usage == Usage(25, output_tokens=1)


def test_text_thinking_and_arguments_are_all_output() -> None:
    stream = (RECORDINGS / "tools.sse").read_bytes().partition(b"event: message_delta")[0]

    assert streamed(stream).output_text == 'A train, then.I look it up.find_train{"to": "Ulm"}'


def test_usage_of_the_start_alone_is_never_final() -> None:
    """Its one token of output would be far too cheap."""
    for last in (event("message_delta", delta={}), delta(input_tokens=10), b""):
        told = streamed(BEGUN + text("Hello") + last + STOP)

        assert (told.complete, told.final, told.output_text) == (True, False, "Hello")


def test_a_message_that_failed_is_never_complete() -> None:
    told = streamed(BEGUN + text("Hello") + event("error", error={"type": "api_error"}) + STOP)

    assert (told.complete, told.failed, told.final) == (False, True, False)


def test_content_after_the_usage_makes_it_not_final_until_it_is_told_again() -> None:
    begun = BEGUN + text("a") + delta(output_tokens=5) + text("b")

    assert not streamed(begun).final
    told = streamed(begun + delta(output_tokens=7) + STOP)
    assert (told.final, told.usage) == (True, Usage(10, output_tokens=7))


def test_later_figures_replace_earlier_ones_and_are_never_added() -> None:
    told = streamed(
        start(input_tokens=10, cache_read_input_tokens=5, output_tokens=1)
        + delta(output_tokens=3)
        + delta(input_tokens=12, cache_read_input_tokens=None, output_tokens=8)
        + STOP
    )

    assert told.usage == Usage(17, cache_read_tokens=5, output_tokens=8)


def test_usage_that_shrinks_is_suspect_and_the_larger_stands() -> None:
    told = streamed(BEGUN + text("a") + delta(output_tokens=9) + delta(output_tokens=2) + STOP)

    assert (told.usage, told.suspect_reason) == (Usage(10, output_tokens=9), "usage decreased")


@pytest.mark.parametrize("wrong", ["9", -3, 1.5])
def test_a_wrong_figure_at_the_end_is_suspect(wrong: Any) -> None:
    told = streamed(BEGUN + text("Hello") + delta(output_tokens=wrong) + STOP)

    assert (told.suspect, told.output_text) == (True, "Hello")


def test_words_that_look_like_events_are_words() -> None:
    sly = '","type":"message_delta","usage":{"output_tokens":0} "message_stop" "error" "content_block_delta"'
    stop_at = event(
        "message_delta", delta={"stop_sequence": "content_block_delta"}, usage={"output_tokens": 4}
    )

    told = streamed(BEGUN + text(sly) + stop_at + STOP)

    assert (told.usage, told.final, told.failed) == (Usage(10, output_tokens=4), True, False)
    assert streamed(BEGUN + text(sly)).output_text == sly


def test_a_long_stream_keeps_its_words() -> None:
    told = streamed(BEGUN + text("word " * 1000) * 100)

    assert told.output_text == "word " * 100_000


@pytest.mark.parametrize("usage", ["many", 5, [1]])
def test_usage_that_is_no_object_is_told(usage: Any) -> None:
    told = streamed(BEGUN + event("message_delta", delta={}, usage=usage) + STOP)

    assert told.suspect
    assert "not an object" in told.suspect_reason


# -- where it was done ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("block", "tier"),
    [
        ({"service_tier": "standard", "inference_geo": "us"}, "us"),
        ({"inference_geo": "us"}, "us"),
        ({"service_tier": "batch", "inference_geo": "us"}, "us-batch"),
        ({"service_tier": "standard", "speed": "fast", "inference_geo": "us"}, "us-fast"),
        ({"service_tier": "standard", "inference_geo": "global"}, "standard"),
        ({"service_tier": "standard", "inference_geo": "not_available"}, "standard"),
        ({"service_tier": "standard", "inference_geo": None}, "standard"),
        ({"service_tier": "standard", "inference_geo": ["us"]}, "standard"),
    ],
)
def test_work_that_stays_in_the_united_states_has_a_tier_of_its_own(block: dict[str, Any], tier: str) -> None:
    assert tier_of(block) == tier


@pytest.mark.parametrize(
    ("asked", "tier"),
    [
        ({"inference_geo": "us"}, "us"),
        ({"inference_geo": "us", "service_tier": "auto"}, "us"),
        ({"inference_geo": "us", "speed": "fast"}, "us-fast"),
        ({"inference_geo": "global"}, ""),
    ],
)
def test_a_call_that_asks_for_it_is_estimated_so(asked: dict[str, str], tier: str) -> None:
    body = {"model": "claude-opus-4-8", "max_tokens": 9, "messages": [], **asked}

    assert API.read(json.dumps(body).encode()).service_tier == tier
