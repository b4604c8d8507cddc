"""Laws: however the network cuts a stream, the same is metered and the same bytes are passed on."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from proxy.dialects import Api, Meter, Metered
from proxy.dialects.openai import DIALECT
from proxy.sse import Events

RECORDINGS = Path(__file__).parents[1] / "recordings" / "openai"
STREAMS = sorted(path.name for path in RECORDINGS.glob("*_stream*.sse"))
WITH_EXTRA_CHUNK = [
    "chat_stream_azure.sse",
    "chat_stream_choices.sse",
    "chat_stream_crlf.sse",
    "chat_stream_groq_usage.sse",
    "chat_stream_ollama.sse",
    "chat_stream_ping.sse",
    "chat_stream_usage.sse",
    "chat_stream_vllm.sse",
    "chat_stream_xai.sse",
    "completions_stream.sse",
]
quick = settings(max_examples=150, deadline=None)


def api_of(name: str) -> Api:
    path = name.partition("_")[0].replace("chat", "chat/completions")
    found = DIALECT.surface("POST", f"/v1/{path}").api
    assert found is not None
    return found


def meter_of(name: str, *, withhold: bool) -> Meter:
    wire = api_of(name)
    return wire.meter(wire.read(b'{"model":"m","messages":[]}'), withhold_usage=withhold)


def metered(name: str, pieces: list[bytes], *, withhold: bool) -> tuple[bytes, Metered]:
    """What passed, and what was told of it."""
    meter = meter_of(name, withhold=withhold)
    passed = b"".join(meter.feed(piece) for piece in pieces) + meter.end()
    return passed, meter.result()


def cut(stream: bytes, at: list[int]) -> list[bytes]:
    ends = sorted({point % (len(stream) + 1) for point in at})
    return [stream[start:end] for start, end in zip([0, *ends], [*ends, len(stream)], strict=True)]


CUTS = st.lists(st.integers(0, 1 << 16), max_size=30)


# -- recordings -----------------------------------------------------------------------------------------------------


@quick
@given(st.sampled_from(STREAMS), CUTS, st.booleans())
def test_one_stream_gives_one_result_however_it_is_cut(name: str, at: list[int], withhold: bool) -> None:
    stream = (RECORDINGS / name).read_bytes()

    assert metered(name, cut(stream, at), withhold=withhold) == metered(name, [stream], withhold=withhold)


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("withhold", [False, True])
def test_a_stream_that_comes_byte_by_byte_gives_the_same_too(name: str, withhold: bool) -> None:
    stream = (RECORDINGS / name).read_bytes()
    bytewise = [stream[at : at + 1] for at in range(len(stream))]

    assert metered(name, bytewise, withhold=withhold) == metered(name, [stream], withhold=withhold)


@quick
@given(st.sampled_from(STREAMS), CUTS)
def test_where_nothing_is_withheld_every_piece_passes_at_once(name: str, at: list[int]) -> None:
    meter = meter_of(name, withhold=False)

    for piece in cut((RECORDINGS / name).read_bytes(), at):
        assert meter.feed(piece) is piece
    assert meter.end() == b""


@quick
@given(st.sampled_from(WITH_EXTRA_CHUNK), CUTS)
def test_the_extra_usage_chunk_is_taken_out_and_every_other_byte_passes(name: str, at: list[int]) -> None:
    stream = (RECORDINGS / name).read_bytes()
    events = Events().feed(stream)
    extra = [event for event in events if b'"choices":[]' in event and b'"usage":{' in event]

    passed, result = metered(name, cut(stream, at), withhold=True)

    assert len(extra) == 1
    assert passed == stream.replace(extra[0], b"")
    assert result == metered(name, [stream], withhold=False)[1]
    assert result.usage is not None


@pytest.mark.parametrize("name", sorted(set(STREAMS) - set(WITH_EXTRA_CHUNK)))
def test_a_stream_without_an_extra_chunk_passes_whole(name: str) -> None:
    stream = (RECORDINGS / name).read_bytes()

    assert metered(name, [stream], withhold=True)[0] == stream


@quick
@given(st.sampled_from(STREAMS), st.integers(0, 1 << 16), CUTS)
def test_a_stream_that_breaks_off_passes_what_came_but_for_the_extra_chunk(
    name: str, length: int, at: list[int]
) -> None:
    stream = (RECORDINGS / name).read_bytes()
    part = stream[: length % len(stream)]
    whole = metered(name, [stream], withhold=True)[0]

    passed, result = metered(name, cut(part, at), withhold=True)

    assert whole.startswith(passed) or passed == part
    assert result == metered(name, [part], withhold=False)[1]
    assert not result.complete or b"[DONE]" in part or b'"response.' in part[-4000:]


# -- streams made up ------------------------------------------------------------------------------------------------

COUNTS = st.none() | st.booleans() | st.integers(-3, 50) | st.integers() | st.floats() | st.text(max_size=2)
USAGES = COUNTS | st.fixed_dictionaries(
    {}, optional={"prompt_tokens": COUNTS, "completion_tokens": COUNTS, "total_tokens": COUNTS}
)
WORDS = st.text(max_size=6) | st.sampled_from(["[DONE]", '"usage":{', "\n\n", "data: ", "\ud83d", '"error"'])
CHOICES = st.lists(
    COUNTS
    | st.fixed_dictionaries({"delta": COUNTS | st.fixed_dictionaries({"content": WORDS | COUNTS})})
    | st.fixed_dictionaries({"text": WORDS | COUNTS}),
    max_size=2,
)
CHUNKS = st.fixed_dictionaries(
    {},
    optional={
        "choices": CHOICES | COUNTS,
        "usage": USAGES,
        "id": WORDS | COUNTS,
        "model": WORDS | COUNTS,
        "error": COUNTS,
        "type": st.sampled_from(
            ["response.completed", "response.output_text.delta", "response.created", "error"]
        ),
        "delta": WORDS | COUNTS,
        "response": COUNTS
        | st.fixed_dictionaries({"id": WORDS, "usage": USAGES, "output": CHOICES | COUNTS, "status": WORDS}),
    },
).map(lambda data: b"data: " + json.dumps(data).encode())
LINES = st.sampled_from(
    [b"data: [DONE]", b": ping", b"data: {", b"data: 5", b"", b"event: error", b"data: \xff"]
)
ENDS = st.sampled_from([b"\n\n", b"\r\n\r\n", b"\r\r", b"\n", b"\r\n\n"])
MADE_UP = st.lists(st.tuples(CHUNKS | LINES, ENDS).map(b"".join), max_size=8).map(b"".join)


@settings(max_examples=300, deadline=None)
@given(MADE_UP, CUTS, st.sampled_from(["chat_", "completions_", "embeddings_", "responses_"]), st.booleans())
@example(b'data: {"choices": [{"text": "\\ud83d"}]}\n\n', [], "completions_", False)
def test_nothing_a_provider_sends_breaks_the_meter(
    stream: bytes, at: list[int], name: str, withhold: bool
) -> None:
    passed, result = metered(name, cut(stream, at), withhold=withhold)

    assert (passed, result) == metered(name, [stream], withhold=withhold)
    assert len(passed) == len(stream) or (withhold and result.usage is not None)
    assert result.suspect <= (result.usage is not None)
    for text in (result.served_model, result.provider_id, result.output_text):
        text.encode()


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["choices", "usage", "id", "model", "output", "status", "error"]),
        st.recursive(
            COUNTS | WORDS,
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(
                        ["message", "content", "text", "name", "arguments", "tool_calls", "function"]
                    ),
                    inner,
                )
            ),
            max_leaves=8,
        ),
    ),
    st.sampled_from(["chat_", "completions_", "embeddings_", "responses_"]),
)
def test_no_whole_answer_breaks_the_meter(answer: dict[str, Any], name: str) -> None:
    result = api_of(name).meter_whole(answer)

    assert result.readable
    assert (result.served_model + result.provider_id + result.output_text).encode() is not None
