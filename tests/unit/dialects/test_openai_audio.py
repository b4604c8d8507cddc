"""Sound: how long it may be before it goes, and what its answer says or shows of its cost."""

import gzip
import io
import json
import wave
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pricing.usage import Usage
from proxy.dialects import BadBody, Media, MediaApi, Metered, Reading, read_body
from proxy.dialects.media import MediaMeter
from proxy.dialects.openai_audio import SPEECH, TRANSCRIPTIONS, TRANSLATIONS, heard, wav_seconds
from proxy.dialects.openai_moderations import Moderations

RECORDINGS = Path(__file__).parents[2] / "recordings" / "openai"
FORM = "multipart/form-data; boundary=XX"


def recorded(name: str) -> bytes:
    return (RECORDINGS / name).read_bytes()


def speak(spoken: str = "word " * 30, **body: Any) -> Reading:
    return SPEECH.read(
        json.dumps({"model": "tts-1", "input": spoken, "voice": "alloy", **body}).encode(), strict=True
    )


def listen(sound: bytes = b"x" * 8_000, model: str = "whisper-1", **fields: str) -> Reading:
    parts = [
        f'--XX\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in {"model": model, **fields}.items()
    ]
    file = (
        b'--XX\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + sound + b"\r\n--XX--"
    )
    return read_body(TRANSCRIPTIONS, b"".join(parts) + file, FORM, strict=True)


def media(reading: Reading) -> Media:
    assert reading.media is not None
    return reading.media


def wav(seconds: int, rate: int = 16_000, channels: int = 1) -> bytes:
    made = io.BytesIO()
    with wave.open(made, "wb") as file:
        file.setparams((channels, 2, rate, 0, "NONE", ""))
        file.writeframes(b"\0" * (2 * channels * rate * seconds))
    return made.getvalue()


def metered(
    api: MediaApi, reading: Reading, answer: bytes, *, coding: str = "", ended: bool = True
) -> Metered:
    meter = MediaMeter(api, reading, coding=coding, streams=False)
    assert meter.feed(answer) is answer
    if ended:
        meter.end()
    return meter.result()


def streamed(api: MediaApi, reading: Reading, events: bytes, cut: int = 0) -> Metered:
    meter = api.meter(reading, withhold_usage=False)
    for at in range(0, len(events), cut or len(events)):
        meter.feed(events[at : at + (cut or len(events))])
    meter.end()
    return meter.result()


# -- speech -----------------------------------------------------------------------------------------------------------


def test_every_character_is_counted_and_its_sound_is_bounded() -> None:
    reading = speak("π" * 150, instructions="softly", stream_format="sse")

    assert media(reading).most == Usage(characters=150, audio_seconds=155)
    assert (reading.output_tokens_max, media(reading).output_expected) == (155 * 20, 15 * 20)
    assert (reading.stream, reading.prompt.texts) == (True, ("π" * 150, "softly"))


def test_slow_speech_is_longer_and_fast_speech_is_not_taken_for_shorter() -> None:
    usual, slow, fast = (media(speak("x" * 100, speed=speed)).most.audio_seconds for speed in (1, 0.25, 4))

    assert (usual, slow, fast) == (105, 405, 105)


@pytest.mark.parametrize("body", [{"model": None}, {"model": 5}, {"input": None}, {"input": ["a"]}])
def test_speech_without_a_model_or_a_text_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(BadBody):
        SPEECH.read(json.dumps({"model": "tts-1", "input": "a", **body}).encode())


def test_speech_in_a_form_and_sound_in_json_are_refused() -> None:
    with pytest.raises(BadBody):
        read_body(SPEECH, b"--XX--", FORM, strict=True)
    with pytest.raises(BadBody):
        read_body(TRANSLATIONS, b'{"model":"whisper-1"}', "application/json", strict=True)


@pytest.mark.parametrize(
    ("kind", "size", "tokens"), [("pcm", 48_000, 20), ("wav", 48_001, 40), ("mp3", 8_000, 40)]
)
def test_sound_that_passes_is_measured_by_its_bytes(kind: str, size: int, tokens: int) -> None:
    found = metered(SPEECH, speak(response_format=kind), b"\xff" * size)

    assert (found.usage, found.output_tokens_seen, found.complete) == (None, tokens, True)


def test_sound_is_never_measured_above_what_the_text_can_be() -> None:
    reading = speak("word")

    assert metered(SPEECH, reading, b"\xff" * 10_000_000).output_tokens_seen == reading.output_tokens_max


def test_sound_without_an_end_is_not_complete() -> None:
    assert not metered(SPEECH, speak(), b"\xff" * 100, ended=False).complete


@pytest.mark.parametrize("cut", [0, 1, 50])
def test_a_speech_stream_tells_its_tokens_and_keeps_its_characters(cut: int) -> None:
    found = streamed(
        SPEECH, speak("word word", stream_format="sse"), recorded("audio_speech_events.sse"), cut
    )

    assert found.usage == Usage(input_tokens=14, output_tokens=101, output_audio_tokens=101, characters=9)
    assert (found.complete, found.final, found.output_tokens_seen) == (True, True, 0)


def test_a_speech_stream_without_usage_is_measured_by_its_sound() -> None:
    events = recorded("audio_speech_events.sse").split(b"data: ")
    found = streamed(SPEECH, speak(stream_format="sse"), b"data: ".join(events[:-1]))

    assert found.usage is None
    assert found.output_tokens_seen >= 20


# -- transcriptions ---------------------------------------------------------------------------------------------------


def test_sound_is_bounded_by_the_lowest_rate_that_speech_is_sent_at() -> None:
    reading = listen(b"x" * 8_000, prompt="word", stream="true")

    assert (media(reading).likely, media(reading).most) == (heard(3), heard(17))
    assert (reading.output_tokens_max, reading.stream, reading.prompt.texts) == (170, True, ("word",))


def test_models_that_take_no_more_are_bounded_by_what_they_take() -> None:
    assert media(listen(b"x" * 2_000_000, "gpt-4o-transcribe")).most.audio_seconds == 1_500
    assert media(listen(b"x" * 2_000_000, "gpt-4o-transcribe-diarize")).most.audio_seconds == 4_001


@pytest.mark.parametrize(("seconds", "rate", "channels"), [(1, 8_000, 1), (60, 16_000, 1), (7, 44_100, 2)])
def test_uncompressed_sound_is_as_long_as_its_bytes(seconds: int, rate: int, channels: int) -> None:
    most = media(listen(wav(seconds, rate, channels))).most.audio_seconds

    assert seconds < most <= seconds + 2


@pytest.mark.parametrize(
    "change",
    [
        lambda head: head[:20] + b"\x55" + head[21:],  # a coding that is compressed
        lambda head: head[:28] + b"\xff\xff\xff\x7f" + head[32:],  # more bytes a second than it has
        lambda head: head[:24] + b"\x01\0\0\0" + b"\x02\0\0\0" + head[32:],  # one sample a second
        lambda head: head[:12] + b"LIST" + head[16:],
        lambda head: head[:40],
        lambda head: b"RIFX" + head[4:],
    ],
)
def test_a_head_that_is_not_plain_proves_nothing(change: Any) -> None:
    assert wav_seconds(wav(1)[:44], 32_044) == 2
    assert wav_seconds(change(wav(1)[:44]), 32_044) is None


@pytest.mark.parametrize("fields", [{"model": ""}, {"stream": "maybe"}])
def test_a_form_without_a_model_or_with_half_a_flag_is_refused(fields: dict[str, str]) -> None:
    with pytest.raises(BadBody):
        listen(b"x", **fields)


@pytest.mark.parametrize(
    ("name", "usage", "final"),
    [
        ("audio_whisper.json", heard(9), True),
        ("audio_tokens.json", Usage(input_tokens=14, input_audio_tokens=10, output_tokens=45), True),
        ("audio_verbose.json", heard(9), False),
    ],
)
def test_an_answer_tells_tokens_or_seconds(name: str, usage: Usage, final: bool) -> None:
    found = metered(TRANSCRIPTIONS, listen(), recorded(name))

    assert (found.usage, found.final, found.complete, found.suspect) == (usage, final, True, False)


def test_a_model_by_the_token_that_tells_seconds_is_charged_for_its_words_too() -> None:
    found = metered(TRANSCRIPTIONS, listen(model="gpt-4o-transcribe-diarize"), recorded("audio_whisper.json"))

    assert found.usage is not None
    assert (found.usage.input_audio_tokens, found.usage.output_tokens, found.final) == (90, 7, False)


@pytest.mark.parametrize("seconds", [-1, True, None, "soon", [1], 1e12, float("nan"), float("inf")])
def test_seconds_that_cannot_be_are_told(seconds: Any) -> None:
    answer = json.dumps({"text": "word", "usage": {"type": "duration", "seconds": seconds}}).encode()

    assert metered(TRANSCRIPTIONS, listen(), answer).suspect


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("word", 3),  # what was sent is likely so long
        ("1\n00:00:00,000 --> 00:01:30,500\nword\n", 91),
        ("WEBVTT\n\n00:00.000 --> 02:05.500\nword\n", 126),
        ("1\n01:00:00,000 --> 02:00:00,000\nword\n", 7_201),
        ("x" * 250, 10),  # nobody says so much in less
    ],
)
@pytest.mark.parametrize("coding", ["", "gzip"])
def test_text_without_usage_is_as_long_as_it_shows(text: str, seconds: int, coding: str) -> None:
    body = gzip.compress(text.encode()) if coding else text.encode()
    found = metered(TRANSCRIPTIONS, listen(), body, coding=coding)

    assert (found.usage, found.final, found.complete) == (heard(seconds), False, True)
    assert found.output_text == text


@pytest.mark.parametrize("cut", [0, 1, 50])
def test_a_transcript_stream_is_told_by_its_last_event(cut: int) -> None:
    found = streamed(TRANSCRIPTIONS, listen(), recorded("audio_events.sse"), cut)

    assert found.usage == Usage(input_tokens=14, input_audio_tokens=10, output_tokens=45)
    assert (found.complete, found.final) == (True, True)


def test_a_transcript_stream_that_breaks_off_keeps_its_words() -> None:
    found = streamed(
        TRANSCRIPTIONS,
        listen(),
        recorded("audio_events.sse").split(b'data: {"type": "transcript.text.done')[0],
    )

    assert (found.usage, found.complete, found.output_text) == (None, False, "word word word")


# -- anything at all, and what is free --------------------------------------------------------------------------------


@settings(max_examples=300, deadline=None)
@given(
    st.binary(max_size=100)
    | st.recursive(st.none() | st.floats() | st.text(max_size=4), st.lists).map(
        lambda value: json.dumps({"usage": value, "text": value, "duration": value}).encode()
    )
)
def test_any_answer_gives_a_result_and_never_another_error(answer: bytes) -> None:
    for api, reading in ((SPEECH, speak()), (TRANSCRIPTIONS, listen())):
        assert metered(api, reading, answer).output_tokens_seen >= 0
        assert streamed(api, reading, b"data: " + answer + b"\n\n").output_tokens_seen >= 0


def test_moderations_are_read_whatever_they_are_of() -> None:
    api = Moderations()

    assert api.read(b'{"input":"word"}').model == "omni-moderation-latest"
    assert api.read(b'{"model":"m","input":["a","b"]}').batch_size == 2
    assert api.meter_whole({"results": []}).complete
