"""Laws: however the network cuts a Gemini stream, in either framing, the same is metered and every byte passes."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.dialects import Metered
from proxy.dialects.gemini_content import GenerateContent
from proxy.dialects.gemini_stream import GeminiMeter, Objects
from proxy.dialects.gemini_usage import read_usage

RECORDINGS = Path(__file__).parents[1] / "recordings" / "gemini"
STREAMS = sorted(
    path.name
    for kind in ("events", "array")
    for path in RECORDINGS.glob(f"{kind}*")
    if not path.name.endswith(".expected.json")
)
CUTS = st.lists(st.integers(0, 1 << 16), max_size=30)
quick = settings(max_examples=150, deadline=None)


def cut(stream: bytes, at: list[int]) -> list[bytes]:
    ends = sorted({point % (len(stream) + 1) for point in at})
    return [stream[start:end] for start, end in zip([0, *ends], [*ends, len(stream)], strict=True)]


def metered(pieces: list[bytes], *, ended: bool = True, candidates: int = 1) -> Metered:
    meter = GeminiMeter(candidates=candidates, model="m")
    for piece in pieces:
        assert meter.feed(piece) is piece, "every piece passes at once, as it came"
    if ended:
        assert meter.end() == b""
    return meter.result()


# -- recordings -----------------------------------------------------------------------------------------------------


def test_there_are_recordings_in_both_framings() -> None:
    assert {name.partition(".")[0].partition("_")[0] for name in STREAMS} == {"events", "array"}


@quick
@given(st.sampled_from(STREAMS), CUTS, st.booleans())
def test_one_stream_gives_one_result_however_it_is_cut(name: str, at: list[int], ended: bool) -> None:
    stream = (RECORDINGS / name).read_bytes()

    assert metered(cut(stream, at), ended=ended) == metered([stream], ended=ended)


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_that_comes_byte_by_byte_gives_the_same_too(name: str) -> None:
    stream = (RECORDINGS / name).read_bytes()

    assert metered([stream[at : at + 1] for at in range(len(stream))]) == metered([stream])


@quick
@given(st.sampled_from(STREAMS), st.integers(0, 1 << 16))
def test_a_stream_that_breaks_off_is_believed_only_once_its_end_was_told(name: str, length: int) -> None:
    stream = (RECORDINGS / name).read_bytes()
    part = stream[: length % len(stream)]

    result = metered([part])

    assert not result.complete or b'"finishReason"' in part or b'"blockReason"' in part
    assert not (result.final and result.usage) or result.complete


# -- one stream in both framings ------------------------------------------------------------------------------------

COUNTS = st.integers(0, 500)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.sampled_from(
    ['"}', "{[", "\\", '\\"', "data: x", "\n\n", "usageMetadata", '"finishReason":']
)


@st.composite
def told_chunks(draw: st.DrawFn) -> list[dict[str, Any]]:
    """An honest stream: its usage grows, its last piece ends it."""
    texts = draw(st.lists(TEXTS, min_size=1, max_size=6))
    prompt, thought = draw(COUNTS), draw(COUNTS)
    chunks: list[dict[str, Any]] = []
    for n, text in enumerate(texts):
        candidate: dict[str, Any] = {"content": {"parts": [{"text": text}]}, "index": 0}
        if n == len(texts) - 1:
            candidate["finishReason"] = "STOP"
        usage = {"promptTokenCount": prompt, "candidatesTokenCount": n, "thoughtsTokenCount": thought}
        usage["totalTokenCount"] = prompt + n + thought
        chunks.append({"candidates": [candidate], "usageMetadata": usage})
    return chunks


def as_events(chunks: list[dict[str, Any]]) -> bytes:
    return b"".join(b"data: " + json.dumps(chunk).encode() + b"\r\n\r\n" for chunk in chunks)


def as_array(chunks: list[dict[str, Any]]) -> bytes:
    objects = ",\r\n".join(json.dumps(chunk, indent=2, ensure_ascii=False) for chunk in chunks)
    return f"[{objects}\n]\n".encode()


@quick
@given(told_chunks(), CUTS, CUTS)
def test_both_framings_of_one_stream_are_metered_alike_and_as_told(
    chunks: list[dict[str, Any]], at: list[int], other: list[int]
) -> None:
    result = metered(cut(as_events(chunks), at))
    last = read_usage(chunks[-1]["usageMetadata"])
    assert last is not None

    assert metered(cut(as_array(chunks), other)) == result
    assert (result.usage, result.complete, result.final, result.suspect) == (last.usage, True, True, False)


@quick
@given(told_chunks(), CUTS)
def test_the_objects_of_an_array_come_out_as_they_were_put_in(
    chunks: list[dict[str, Any]], at: list[int]
) -> None:
    cutter = Objects()

    found = [one for piece in cut(as_array(chunks), at) for one in cutter.feed(piece)]

    assert [json.loads(one) for one in found] == chunks


@quick
@given(told_chunks(), st.integers(0, 4))
def test_a_stream_that_lost_its_last_piece_shows_all_the_text_that_passed(
    chunks: list[dict[str, Any]], kept: int
) -> None:
    part = chunks[: min(kept, len(chunks) - 1)]

    result = metered([as_events(part)])

    assert not result.complete
    assert result.output_text == "".join(one["candidates"][0]["content"]["parts"][0]["text"] for one in part)


# -- anything at all ------------------------------------------------------------------------------------------------

ANY = (
    st.none() | st.booleans() | st.integers(-3, 50) | st.integers() | st.floats() | TEXTS | st.just("\ud83d")
)
DETAILS = st.lists(st.fixed_dictionaries({"modality": ANY | st.just("AUDIO"), "tokenCount": ANY}), max_size=2)
USAGES = ANY | st.dictionaries(
    st.sampled_from(
        [
            *("promptTokenCount", "candidatesTokenCount", "thoughtsTokenCount", "totalTokenCount"),
            *(
                "cachedContentTokenCount",
                "toolUsePromptTokenCount",
                "promptTokensDetails",
                "cacheTokensDetails",
            ),
            *("candidatesTokensDetails", "serviceTier", "trafficType"),
        ]
    ),
    ANY | DETAILS,
    max_size=5,
)
DEEP = st.recursive(
    ANY,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    *("content", "parts", "text", "index", "finishReason", "functionCall", "args", "name"),
                    *("groundingMetadata", "webSearchQueries", "inlineData", "blockReason", "code"),
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)
CHUNKS = st.dictionaries(
    st.sampled_from(["candidates", "error", "modelVersion", "responseId", "promptFeedback"]), DEEP, max_size=4
).flatmap(lambda data: USAGES.map(lambda usage: {**data, "usageMetadata": usage}))


@settings(max_examples=300, deadline=None)
@given(st.lists(CHUNKS | DEEP, max_size=5), st.sampled_from([as_events, json.dumps]), CUTS)
def test_nothing_a_provider_sends_breaks_the_meter(chunks: list[Any], framed: Any, at: list[int]) -> None:
    made = framed(chunks)
    stream = made.encode() if isinstance(made, str) else made

    result = metered(cut(stream, at))

    assert result == metered([stream])
    assert result.suspect <= (result.usage is not None)
    for text in (result.served_model, result.provider_id, result.output_text, result.service_tier):
        text.encode()


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=80), CUTS, st.sampled_from([b"", b"[", b"{", b"data: {", b'[{"a":"']))
def test_no_bytes_break_the_meter(noise: bytes, at: list[int], begin: bytes) -> None:
    stream = begin + noise

    assert metered(cut(stream, at)) == metered([stream])


@settings(max_examples=200, deadline=None)
@given(CHUNKS)
def test_no_whole_answer_breaks_the_meter(answer: dict[str, Any]) -> None:
    result = GenerateContent("m").meter_whole(answer)

    assert result.readable
    assert (result.served_model + result.provider_id + result.output_text).encode() is not None
