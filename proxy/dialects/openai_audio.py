"""OpenAI audio: speech made from text, and text made from speech.

Some models are billed by the token, some by the character or the second, and not every answer tells of either. So both
are kept: a price by the second leaves the tokens unpriced, and where only tokens have a price they are it. A second of
sound that is heard is ten tokens and one that is spoken twenty, as the provider publishes.
"""

import re
import struct
from collections.abc import Mapping
from dataclasses import replace
from math import ceil, isfinite
from typing import Any

from pricing.tokens import Prompt
from pricing.usage import Usage
from proxy.dialects import BadBody, Media, Metered, Reading
from proxy.dialects.body import json_object, text, written
from proxy.dialects.media import EventMeter, metered_of
from proxy.dialects.multipart import FilePart, form_flag, head_of, read_form
from proxy.dialects.usage import Checked, read_usage
from proxy.meter import TEXT_CHARS_MAX

HEARD_TOKENS_PER_SECOND = 10
SPOKEN_TOKENS_PER_SECOND = 20
CHARS_PER_SECOND = 15  # of usual speech
SECONDS_PER_CHAR_MAX = 1  # a digit may be a word, and a word may be drawn out
SPOKEN_SECONDS_LEAST = 5  # silence around a single word
SPEED_LEAST = 0.25

HEARD_BYTES_PER_SECOND_LIKELY = 4_000  # 32 kbit/s
HEARD_BYTES_PER_SECOND_LEAST = (
    500  # 4 kbit/s: below what any speech coding keeps; silence alone may be smaller
)
HEARD_SECONDS_MAX = 1_500  # the longest that the first models by the token take
WRITTEN_TOKENS_PER_SECOND = 10  # twice the fastest speaker
WRITTEN_TOKENS_PER_SECOND_LIKELY = 4
WRITTEN_CHARS_PER_SECOND_MAX = 25
ABSURD_SECONDS = 7 * 86_400

_BYTES_PER_SECOND = {"pcm": 48_000, "wav": 48_000, "mp3": 4_000, "aac": 4_000, "opus": 2_000, "flac": 12_000}
"""Of speech as it is sent. The first two are exact, the others no more than there is: fewer bytes are more seconds."""
_FIELDS = ("model", "prompt", "stream", "response_format")
_TIME = re.compile(rb"(?:(\d{1,3}):)?([0-5]?\d):([0-5]\d)[.,]\d{3}")
_BOUNDED = re.compile(r"gpt-4o(-mini)?-transcribe(-\d{4}-\d{2}-\d{2})?")


# -- speech -----------------------------------------------------------------------------------------------------------


class Speech:
    """The answer is sound, or events with sound in them and tokens in the last."""

    name = "speech"

    def read(self, body: bytes, *, strict: bool = False) -> Reading:
        data = json_object(body, strict=strict)
        spoken = data.get("input")
        if not isinstance(spoken, str):
            raise BadBody('"input" must be a string', param="input")
        likely, most = _spoken_seconds(len(spoken), _speed(data))
        kind = text(data, "response_format") or "mp3"
        told = Usage(characters=len(spoken))
        return Reading(
            model=text(data, "model", required=True),
            prompt=Prompt(texts=(spoken, text(data, "instructions")), body_bytes=len(body)),
            stream=text(data, "stream_format") == "sse",
            output_tokens_max=most * SPOKEN_TOKENS_PER_SECOND,
            media=Media(
                likely=replace(
                    told, audio_seconds=likely, output_audio_tokens=most * SPOKEN_TOKENS_PER_SECOND
                ),
                most=replace(told, audio_seconds=most),
                output_expected=likely * SPOKEN_TOKENS_PER_SECOND,
                sound_bytes_per_second=_BYTES_PER_SECOND.get(kind, min(_BYTES_PER_SECOND.values())),
            ),
        )

    def read_form(self, body: bytes, content_type: str) -> Reading:
        raise BadBody("the body must be JSON", code="invalid_json")

    def forward(self, body: bytes, reading: Reading) -> bytes:
        return body

    def with_output_cap(self, body: bytes, reading: Reading, cap: int) -> bytes:
        return body

    def meter(self, reading: Reading, *, withhold_usage: bool) -> EventMeter:
        return EventMeter(
            ("speech.audio.done",),
            usage_of=lambda told: _with_characters(_spoken_usage(told), reading),
            tokens_seen=lambda size, _: _seen_tokens(size * 3 // 4, reading),
        )

    def meter_whole(self, answer: Mapping[str, Any]) -> Metered:
        """Of JSON instead of sound: an error, or a provider of another kind."""
        return metered_of(_spoken_usage(answer), answer)

    def meter_media(
        self, reading: Reading, answer: Mapping[str, Any] | None, *, text: bytes, size_bytes: int, ended: bool
    ) -> Metered:
        if answer is None:
            return Metered(complete=ended, output_tokens_seen=_seen_tokens(size_bytes, reading))
        found = self.meter_whole(answer)
        return found if found.usage is not None else replace(found, output_tokens_seen=_expected(reading))


def _speed(data: Mapping[str, Any]) -> float:
    """How many times slower than usual at most; what is no number is the provider's to refuse."""
    speed = data.get("speed")
    if isinstance(speed, bool) or not isinstance(speed, int | float):
        return 1.0
    return min(1.0, max(SPEED_LEAST, float(speed)))


def _spoken_seconds(chars: int, speed: float) -> tuple[int, int]:
    likely = SPOKEN_SECONDS_LEAST + ceil(chars / CHARS_PER_SECOND / speed)
    return likely, SPOKEN_SECONDS_LEAST + ceil(chars * SECONDS_PER_CHAR_MAX / speed)


def _seen_tokens(size_bytes: int, reading: Reading) -> int:
    """From the bytes of an answer, between nothing and the most that the text can be."""
    if not size_bytes or reading.media is None:
        return 0
    seconds = -(-size_bytes // max(1, reading.media.sound_bytes_per_second))
    return min(seconds * SPOKEN_TOKENS_PER_SECOND, reading.output_tokens_max or 0)


def _expected(reading: Reading) -> int:
    return 0 if reading.media is None else reading.media.output_expected


def _spoken_usage(told: Mapping[str, Any]) -> Checked | None:
    checked = read_usage(told.get("usage"))
    if checked is None:
        return None
    return Checked(replace(checked.usage, output_audio_tokens=checked.usage.output_tokens), checked.problems)


def _with_characters(checked: Checked | None, reading: Reading) -> Checked | None:
    if checked is None or reading.media is None:
        return checked
    return Checked(replace(checked.usage, characters=reading.media.most.characters), checked.problems)


# -- transcriptions and translations ----------------------------------------------------------------------------------


class Transcription:
    """The answer is JSON with tokens or seconds, text without either, or events with tokens in the last."""

    def __init__(self, name: str) -> None:
        self.name = name

    def read(self, body: bytes, *, strict: bool = False) -> Reading:
        raise BadBody("the body must be multipart/form-data", code="invalid_form")

    def read_form(self, body: bytes, content_type: str) -> Reading:
        form = read_form(body, content_type, _FIELDS)
        model = form.fields.get("model", "")
        if not model:
            raise BadBody('"model" must be a string', param="model")
        likely, most = _heard_seconds(body, form.files, model)
        return Reading(
            model=model,
            prompt=Prompt(texts=(form.fields.get("prompt", ""),), body_bytes=len(body)),
            stream=form_flag(form, "stream"),
            output_tokens_max=most * WRITTEN_TOKENS_PER_SECOND,
            media=Media(
                likely=heard(likely),
                most=heard(most),
                output_expected=likely * WRITTEN_TOKENS_PER_SECOND_LIKELY,
            ),
        )

    def forward(self, body: bytes, reading: Reading) -> bytes:
        return body

    def with_output_cap(self, body: bytes, reading: Reading, cap: int) -> bytes:
        return body

    def meter(self, reading: Reading, *, withhold_usage: bool) -> EventMeter:
        return EventMeter(
            ("transcript.text.done",),
            usage_of=lambda told: _heard_usage(told)[0],
            tokens_seen=lambda _size, _ends: 0,
        )

    def meter_whole(self, answer: Mapping[str, Any]) -> Metered:
        checked, final = _heard_usage(answer)
        words = answer.get("text")
        told = checked is not None and final and not checked.problems
        return Metered(
            usage=None if checked is None else checked.usage,
            final=final,
            suspect=checked is not None and bool(checked.problems),
            suspect_reason="" if checked is None else "; ".join(checked.problems),
            complete=True,
            failed=answer.get("error") is not None,
            output_text=written(words) if isinstance(words, str) and not told else "",
        )

    def meter_media(
        self, reading: Reading, answer: Mapping[str, Any] | None, *, text: bytes, size_bytes: int, ended: bool
    ) -> Metered:
        """Text and subtitles tell nothing of their cost: the sound is as long as its last time mark, and as long as it
        takes to say so much."""
        if answer is not None:
            return _beyond_time(self.meter_whole(answer), answer, reading.model)
        words = text.decode("utf-8", "replace")[:TEXT_CHARS_MAX]
        media = reading.media or Media()
        said = min(len(words) // WRITTEN_CHARS_PER_SECOND_MAX, media.most.audio_seconds)
        seconds = max(media.likely.audio_seconds, _last_time(text), said)
        return Metered(
            usage=heard(seconds) if words else None, final=False, complete=ended, output_text=words
        )


def _beyond_time(found: Metered, answer: Mapping[str, Any], model: str) -> Metered:
    """A model that is billed by the token and told by the second: what it wrote was billed too."""
    words = answer.get("text")
    if (
        found.usage is None
        or found.usage.output_tokens
        or "gpt-4o" not in model
        or not isinstance(words, str)
    ):
        return found
    return replace(
        found,
        usage=replace(found.usage, output_tokens=len(words) // 2),
        final=False,
        output_text=written(words),
    )


def heard(seconds: int) -> Usage:
    tokens = seconds * HEARD_TOKENS_PER_SECOND
    return Usage(input_tokens=tokens, input_audio_tokens=tokens, audio_seconds=seconds)


def _heard_seconds(body: bytes, files: list[FilePart], model: str) -> tuple[int, int]:
    """How long the sound likely is, and at most. The first models by the token refuse what is longer than they take."""
    likely = most = 1
    for part in files:
        exact = wav_seconds(head_of(body, part), part.size)
        likely += -(-part.size // HEARD_BYTES_PER_SECOND_LIKELY) if exact is None else exact
        most += -(-part.size // HEARD_BYTES_PER_SECOND_LEAST) if exact is None else exact
    if _BOUNDED.fullmatch(model.lower()):
        return min(likely, HEARD_SECONDS_MAX), min(most, HEARD_SECONDS_MAX)
    return likely, most


def wav_seconds(head: bytes, size: int) -> int | None:
    """How long uncompressed sound is, rounded up. None for any other, and for a head that is not plain: its first chunk
    must tell the format, and the format must agree with itself."""
    if len(head) < 44 or head[:4] != b"RIFF" or head[8:16] != b"WAVEfmt ":
        return None
    length, coding, channels, rate, per_second, align, bits = struct.unpack("<IHHIIHH", head[16:36])
    plain = length == 16 and coding == 1 and bits in (8, 16, 24, 32) and 1 <= channels <= 8
    if (
        not plain
        or align != channels * bits // 8
        or per_second != rate * align
        or not 8_000 <= rate <= 192_000
    ):
        return None
    return -(-size // int(per_second))


def _heard_usage(told: Mapping[str, Any]) -> tuple[Checked | None, bool]:
    """Tokens, or seconds; and whether that is what the provider bills. A duration without usage is told by the way."""
    block = told.get("usage")
    if isinstance(block, Mapping) and block.get("type") == "duration":
        return _duration(block.get("seconds")), True
    checked = read_usage(block)
    if checked is None:
        return (None if told.get("duration") is None else _duration(told["duration"])), False
    details = block.get("input_token_details") if isinstance(block, Mapping) else None
    if not isinstance(details, Mapping) or details.get("audio_tokens") is None:
        checked.usage = replace(checked.usage, input_audio_tokens=checked.usage.input_tokens)
    return checked, True


def _duration(value: Any) -> Checked:
    """In whole seconds, rounded up; at least one."""
    if isinstance(value, str) and re.fullmatch(r"\d{1,7}(\.\d{1,9})?", value):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value) or value < 0:
        return Checked(Usage(), ["seconds is no number"])
    if value > ABSURD_SECONDS:
        return Checked(Usage(), ["seconds is absurd"])
    return Checked(heard(max(1, ceil(value))), [])


def _last_time(text: bytes) -> int:
    """Of subtitles; 0 where there is none."""
    last = 0
    for match in _TIME.finditer(text):
        last = max(last, int(match[1] or 0) * 3_600 + int(match[2]) * 60 + int(match[3]) + 1)
    return last


SPEECH = Speech()
TRANSCRIPTIONS = Transcription("transcriptions")
TRANSLATIONS = Transcription("translations")
