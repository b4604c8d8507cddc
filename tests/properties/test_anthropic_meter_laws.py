"""Laws: however the network cuts a streamed message, the same is metered and every byte passes at once."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.dialects import Metered
from proxy.dialects.anthropic_messages import Messages

RECORDINGS = Path(__file__).parents[1] / "recordings" / "anthropic"
STREAMS = sorted(path.name for path in RECORDINGS.glob("*.sse"))
API = Messages()
READING = API.read(b'{"model":"m","max_tokens":9,"stream":true,"messages":[]}')
quick = settings(max_examples=150, deadline=None)


def metered(pieces: list[bytes], *, withhold: bool = False) -> Metered:
    meter = API.meter(READING, withhold_usage=withhold)
    for piece in pieces:
        assert meter.feed(piece) is piece
    assert meter.end() == b""
    return meter.result()


def cut(stream: bytes, at: list[int]) -> list[bytes]:
    ends = sorted({point % (len(stream) + 1) for point in at})
    return [stream[start:end] for start, end in zip([0, *ends], [*ends, len(stream)], strict=True)]


CUTS = st.lists(st.integers(0, 1 << 16), max_size=30)


def test_there_are_recordings() -> None:
    assert len(STREAMS) >= 6


@quick
@given(st.sampled_from(STREAMS), CUTS, st.booleans())
def test_one_stream_gives_one_result_however_it_is_cut(name: str, at: list[int], withhold: bool) -> None:
    stream = (RECORDINGS / name).read_bytes()

    assert metered(cut(stream, at), withhold=withhold) == metered([stream])


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_that_comes_byte_by_byte_gives_the_same_too(name: str) -> None:
    stream = (RECORDINGS / name).read_bytes()

    assert metered([stream[at : at + 1] for at in range(len(stream))]) == metered([stream])


@quick
@given(st.sampled_from(STREAMS), st.integers(0, 1 << 16))
def test_a_stream_that_breaks_off_is_complete_only_at_its_last_event(name: str, length: int) -> None:
    stream = (RECORDINGS / name).read_bytes()
    part = stream[: length % len(stream)]

    told = metered([part])

    assert not told.complete or b'"type":"message_stop"}' in part
    assert not told.final or b'"type":"message_delta"' in part
    assert told.usage is not None or b'"message_start"' not in part.rpartition(b"\n")[0]


@quick
@given(st.sampled_from(STREAMS), st.integers(0, 1 << 16), CUTS)
def test_output_only_grows_as_more_of_it_passes(name: str, length: int, at: list[int]) -> None:
    stream = (RECORDINGS / name).read_bytes()
    part = stream[: length % len(stream)]
    earlier, later = metered([part]), metered([stream])

    if earlier.usage is not None:
        assert later.usage is not None
        assert earlier.usage.output_tokens <= later.usage.output_tokens
        assert earlier.usage.input_tokens <= later.usage.input_tokens


# -- streams made up ------------------------------------------------------------------------------------------------

COUNTS = st.none() | st.booleans() | st.integers(-3, 50) | st.integers() | st.floats() | st.text(max_size=2)
INNER = COUNTS | st.dictionaries(
    st.sampled_from(
        ["ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens", "web_search_requests", "thinking_tokens"]
    ),
    COUNTS,
)
USAGES = COUNTS | st.fixed_dictionaries(
    {},
    optional={
        "input_tokens": COUNTS,
        "output_tokens": COUNTS,
        "cache_creation_input_tokens": COUNTS,
        "cache_read_input_tokens": COUNTS,
        "cache_creation": INNER,
        "server_tool_use": INNER,
        "output_tokens_details": INNER,
        "service_tier": COUNTS,
        "iterations": COUNTS
        | st.lists(
            st.fixed_dictionaries({"type": st.just("compaction"), "input_tokens": COUNTS}), max_size=2
        ),
    },
)
WORDS = st.text(max_size=6) | st.sampled_from(['"message_stop"', '"usage":{', "\n\n", "data: ", "\ud83d"])
PARTS = COUNTS | st.fixed_dictionaries(
    {}, optional={"text": WORDS | COUNTS, "partial_json": WORDS, "thinking": WORDS, "input": COUNTS | INNER}
)
KINDS = st.sampled_from(
    [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
        "ping",
        "error",
    ]
)
EVENTS = st.fixed_dictionaries(
    {"type": KINDS | COUNTS},
    optional={
        "message": COUNTS
        | st.fixed_dictionaries({"id": WORDS | COUNTS, "model": WORDS | COUNTS, "usage": USAGES}),
        "content_block": PARTS,
        "delta": PARTS,
        "usage": USAGES,
        "error": COUNTS,
    },
).map(lambda data: b"data: " + json.dumps(data).encode())
LINES = st.sampled_from([b": ping", b"data: {", b"data: 5", b"", b"event: message_stop", b"data: \xff"])
ENDS = st.sampled_from([b"\n\n", b"\r\n\r\n", b"\r\r", b"\n", b"\r\n\n"])
MADE_UP = st.lists(st.tuples(EVENTS | LINES, ENDS).map(b"".join), max_size=8).map(b"".join)


@settings(max_examples=400, deadline=None)
@given(MADE_UP, CUTS)
def test_nothing_a_provider_sends_breaks_the_meter(stream: bytes, at: list[int]) -> None:
    told = metered(cut(stream, at))

    assert told == metered([stream])
    assert told.suspect <= (told.usage is not None)
    assert told.final <= (told.usage is not None)
    for words in (told.served_model, told.provider_id, told.service_tier, told.output_text):
        words.encode()


@settings(max_examples=200, deadline=None)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "usage": USAGES,
            "id": WORDS | COUNTS,
            "model": WORDS | COUNTS,
            "content": COUNTS | st.lists(PARTS, max_size=3),
            "type": WORDS,
        },
    )
)
def test_no_whole_answer_breaks_the_meter(answer: dict[str, object]) -> None:
    told = API.meter_whole(answer)

    assert told.readable
    (told.served_model + told.provider_id + told.service_tier + told.output_text).encode()
