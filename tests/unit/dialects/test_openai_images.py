"""Pictures: what a call may cost at most before it goes, and what its answer says or shows that it did."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pricing.usage import Usage
from proxy.dialects import BadBody, Metered, Reading, read_body
from proxy.dialects.media import RUN_BYTES_MAX, Elided, MediaMeter
from proxy.dialects.openai_images import (
    EDITS,
    GENERATIONS,
    PICTURE_TOKENS_MAX,
    PLANNING_TOKENS,
    SVG_TOKENS_MAX,
    VARIATIONS,
    Images,
)

RECORDINGS = Path(__file__).parents[2] / "recordings" / "openai"
FORM = "multipart/form-data; boundary=XX"


def recorded(name: str) -> bytes:
    return (RECORDINGS / name).read_bytes()


def ask(api: Images = GENERATIONS, **body: Any) -> Reading:
    return api.read(json.dumps({"model": "gpt-image-1", "prompt": "a red fox", **body}).encode(), strict=True)


def form(**fields: str) -> bytes:
    parts = [
        f'--XX\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    ]
    files = ['--XX\r\nContent-Disposition: form-data; name="image[]"; filename="a.png"\r\n\r\nPNG\r\n'] * 2
    return "".join([*parts, *files, "--XX--"]).encode()


def metered(answer: bytes, reading: Reading | None = None, *, coding: str = "", cut: int = 0) -> Metered:
    """`cut`: fed in pieces of so many bytes."""
    meter = MediaMeter(GENERATIONS, reading or ask(), coding=coding, streams=False)
    for at in range(0, len(answer), cut or len(answer) or 1):
        meter.feed(answer[at : at + (cut or len(answer))])
    meter.end()
    return meter.result()


def streamed(events: bytes, reading: Reading | None = None, *, cut: int = 0, ended: bool = True) -> Metered:
    meter = GENERATIONS.meter(reading or ask(stream=True), withhold_usage=False)
    for at in range(0, len(events), cut or len(events)):
        piece = events[at : at + (cut or len(events))]
        assert meter.feed(piece) == piece
    if ended:
        assert meter.end() == b""
    return meter.result()


# -- requests ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "tokens"),
    [
        ({"quality": "low"}, 408),
        ({"quality": "medium", "size": "1024x1024"}, 1_584),
        ({"quality": "high"}, 6_240),
        ({"quality": "auto"}, 6_240),
        ({}, 6_240),
        ({"model": "gpt-image-1.5-2025-12-16"}, 6_240),
        ({"model": "dall-e-3", "quality": "hd"}, 6_240),
        ({"partial_images": 3, "quality": "low"}, 408 + 300),
        ({"output_format": "gif", "quality": "low"}, 408 * 9),
        ({"output_format": "gif", "quality": "low", "frame_count": 16}, 408 * 16),
        ({"output_format": "svg", "quality": "low"}, 408 + SVG_TOKENS_MAX),
        ({"model": "gpt-image-2"}, PICTURE_TOKENS_MAX + PLANNING_TOKENS),
        ({"model": "gpt-image-2.5-flare", "quality": "max"}, PICTURE_TOKENS_MAX + PLANNING_TOKENS),
        ({"model": "gpt-image-2", "quality": "high", "size": "1000x1000"}, 10_000 + PLANNING_TOKENS),
        ({"model": "gpt-image-2", "quality": "low"}, 8_100 + PLANNING_TOKENS),
        ({"model": "nobody-knows"}, PICTURE_TOKENS_MAX + PLANNING_TOKENS),
    ],
)
def test_a_picture_is_bounded_by_its_model_size_and_quality(body: dict[str, Any], tokens: int) -> None:
    assert ask(**body).output_tokens_max == tokens


def test_a_request_is_read() -> None:
    reading = ask(n=3, stream=True, user="someone", partial_images=None)

    assert (reading.model, reading.choices, reading.batch_size) == ("gpt-image-1", 3, 3)
    assert (reading.stream, reading.user, reading.prompt.texts) == (True, "someone", ("a red fox",))


@pytest.mark.parametrize(
    "body",
    [{"model": None}, {"model": 1}, {"n": 0}, {"n": 1000}, {"n": "2"}, {"partial_images": 4}, {"stream": 1}],
)
def test_what_cannot_be_read_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(BadBody):
        ask(**body)


def test_a_form_is_read_as_json_is() -> None:
    body = form(model="gpt-image-1", prompt="a red fox", n="3", stream="true", quality="low")

    reading = read_body(EDITS, body, FORM, strict=True)

    assert (reading.model, reading.choices, reading.stream) == ("gpt-image-1", 3, True)
    assert (reading.prompt.texts, reading.output_tokens_max) == (("a red fox",), 408)
    assert EDITS.forward(body, reading) is body


def test_pictures_that_are_sent_count_as_input_of_their_kind() -> None:
    reading = read_body(EDITS, form(model="gpt-image-1"), FORM, strict=True)
    same = ask(EDITS, images=[{"file_id": "a"}, {"image_url": "b"}])

    assert reading.media is not None
    assert reading.media.most == Usage(input_tokens=24_000, input_image_tokens=24_000)
    assert same.media is not None
    assert same.media.most == reading.media.most


def test_only_variations_may_leave_their_model_out() -> None:
    assert read_body(VARIATIONS, form(n="2"), FORM, strict=True).model == "dall-e-2"
    with pytest.raises(BadBody):
        read_body(EDITS, form(prompt="x"), FORM, strict=True)


# -- answers ----------------------------------------------------------------------------------------------------------

TOLD = Usage(input_tokens=50, input_image_tokens=40, output_tokens=272, output_image_tokens=272)


@pytest.mark.parametrize("cut", [0, 1, 7, 1_000])
def test_output_that_is_not_told_apart_is_pictures(cut: int) -> None:
    found = metered(recorded("images.json"), cut=cut)

    assert found.usage == Usage(
        input_tokens=50, input_image_tokens=40, output_tokens=544, output_image_tokens=544
    )
    assert (found.complete, found.final, found.suspect) == (True, True, False)


def test_output_that_is_told_apart_is_read_so() -> None:
    usage = metered(recorded("images_details.json")).usage

    assert usage is not None
    assert (usage.output_tokens, usage.output_image_tokens) == (300, 272)


def test_what_another_model_wrote_is_added_and_not_believed() -> None:
    found = metered(recorded("images_svg.json"))

    assert found.usage is not None
    assert (found.usage.input_tokens, found.usage.output_tokens) == (150, 1_172)
    assert found.suspect


def test_pictures_without_usage_are_counted_and_each_is_the_dearest() -> None:
    found = metered(recorded("images_urls.json"), ask(n=5))

    assert (found.usage, found.output_tokens_seen, found.complete) == (None, 2 * 6_240, True)


@pytest.mark.parametrize("usage", [None, {"output_tokens": -5}, {}, "none"])
def test_usage_that_is_not_to_be_believed_never_makes_pictures_free(usage: Any) -> None:
    answer = {"data": [{"url": "a"}], "usage": usage}

    assert metered(json.dumps(answer).encode()).output_tokens_seen == 6_240


def test_an_answer_that_is_cut_is_not_complete_and_its_pictures_were_made() -> None:
    found = metered(recorded("images.json")[:-40], ask(n=2))

    assert (found.complete, found.usage, found.output_tokens_seen) == (False, None, 2 * 6_240)
    assert found.output_text == ""


@pytest.mark.parametrize("cut", [0, 1, 33, 4_096])
@pytest.mark.parametrize("name", ["images_events.sse", "images_edit_events.sse"])
def test_a_stream_is_told_by_its_last_event_however_it_is_cut(name: str, cut: int) -> None:
    found = streamed(recorded(name), cut=cut)

    assert (found.usage, found.complete, found.final, found.output_tokens_seen) == (TOLD, True, True, 0)


def test_no_long_answer_is_kept_whole() -> None:
    """Two hundred megabytes of a picture, and its usage behind them."""
    meter = MediaMeter(GENERATIONS, ask(), coding="", streams=False)
    meter.feed(b'{"data":[{"b64_json":"')
    for _ in range(200):
        meter.feed(b"A" * (1 << 20))
    meter.feed(b'"}],"usage":{"input_tokens":1,"output_tokens":2,"total_tokens":3}}')
    meter.end()

    assert meter.result().usage == Usage(input_tokens=1, output_tokens=2, output_image_tokens=2)


def test_each_picture_of_a_stream_tells_of_itself() -> None:
    events = recorded("images_events.sse")
    two = streamed(events + events, ask(stream=True, n=2), ended=False)

    assert two.usage is not None
    assert (two.usage.output_tokens, two.complete) == (544, True)
    assert not streamed(events, ask(stream=True, n=2), ended=False).complete


def test_a_stream_that_fails_or_is_cut_is_not_complete() -> None:
    assert streamed(recorded("images_events_error.sse")).failed
    assert not streamed(recorded("images_events_error.sse")).complete
    assert not streamed(recorded("images_events.sse")[:-30], ended=False).complete


# -- pictures left out ------------------------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([b'"', b" ", b"\n", b"{}"]), st.integers(0, 3 * RUN_BYTES_MAX)), max_size=6
    ),
    st.integers(1, 700),
)
def test_long_runs_are_cut_short_alike_wherever_the_network_cuts(
    runs: list[tuple[bytes, int]], cut: int
) -> None:
    whole = b"".join(mark + b"A" * length for mark, length in runs)
    once, often = Elided(), Elided()

    expected = b"".join(mark + b"A" * min(length, RUN_BYTES_MAX) for mark, length in runs)
    assert once.feed(whole) == expected
    assert b"".join(often.feed(whole[at : at + cut]) for at in range(0, len(whole), cut)) == expected
    assert once.left_out == often.left_out == len(whole) - len(expected)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200) | st.recursive(st.none() | st.integers() | st.text(max_size=4), st.lists).map(
    lambda value: json.dumps({"usage": value, "data": value, "svg_usage": value}).encode()
))  # fmt: skip
def test_any_answer_gives_a_result_and_never_another_error(answer: bytes) -> None:
    assert metered(answer).output_tokens_seen >= 0
    assert streamed(b"data: " + answer + b"\n\n").output_tokens_seen >= 0
