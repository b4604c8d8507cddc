"""OpenAI images: made from words, from other pictures, or both. Later models tell tokens; the older ones are counted.

The ceiling takes every picture at the most tokens that its model, size and quality may cost. For the first models these
are published; for the later ones only prices per token are, and the bound leaves room over what has been seen.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pricing.tokens import Prompt
from pricing.usage import Usage
from proxy.dialects import BadBody, Media, Metered, Reading
from proxy.dialects.body import count, flag, json_object, listed, text
from proxy.dialects.media import EventMeter, added, metered_of
from proxy.dialects.multipart import form_count, form_flag, read_form
from proxy.dialects.usage import Checked, read_usage

PICTURES_MAX = 128
FRAMES_DEFAULT, FRAMES_MAX = 9, 16  # of a moving picture
PARTIALS_MAX = 3
PARTIAL_TOKENS = 100  # each picture that is shown before it is ready
SENT_TOKENS_LIKELY = 4_500  # a picture that is sent, at high fidelity
SENT_TOKENS_MAX = 12_000
SVG_TOKENS_MAX = 32_768  # written by another model, and told apart
PICTURE_TOKENS_MAX = 32_768
PLANNING_TOKENS = 4_096  # later models think before they draw

_FIRST = re.compile(r"(openai/)?(gpt-image-1(\.5)?(-mini)?(-\d{4}-\d{2}-\d{2})?|dall-e-[23])")
_FIRST_TOKENS = {"low": 408, "medium": 1_584}  # in the largest of their sizes
_FIRST_TOKENS_MAX = 6_240
_PIXELS_PER_TOKEN = {"low": 1_024, "medium": 256, "high": 100}
_PIXELS_MAX = 3_840 * 2_160
_SIZE = re.compile(r"(\d{1,5})x(\d{1,5})")
_FIELDS = (
    "model", "prompt", "n", "size", "quality", "stream", "partial_images", "output_format", "frame_count", "user",
    "safety_identifier",
)  # fmt: skip
_ENDS = ("image_generation.completed", "image_edit.completed")
_DEFAULT_OF_VARIATIONS = "dall-e-2"  # the only model that has them, and seldom named


class Images:
    """Generations, edits and variations: their answers are the same."""

    def __init__(self, name: str, *, default_model: str = "") -> None:
        self.name = name
        self._default_model = default_model

    def read(self, body: bytes, *, strict: bool = False) -> Reading:
        data = json_object(body, strict=strict)
        sent = len(listed(data, "images")) + sum(
            data.get(name) is not None for name in ("image", "mask", "markup")
        )
        return self._reading(
            model=text(data, "model"),
            prompt=text(data, "prompt"),
            n=count(data, "n", least=1, most=PICTURES_MAX),
            size=text(data, "size"),
            quality=text(data, "quality"),
            stream=flag(data, "stream"),
            partials=count(data, "partial_images", least=0, most=PARTIALS_MAX),
            output_format=text(data, "output_format"),
            frames=count(data, "frame_count", least=1, most=FRAMES_MAX),
            user=text(data, "safety_identifier") or text(data, "user"),
            sent=sent,
            body_bytes=len(body),
        )

    def read_form(self, body: bytes, content_type: str) -> Reading:
        form = read_form(body, content_type, _FIELDS)
        fields = form.fields
        return self._reading(
            model=fields.get("model", ""),
            prompt=fields.get("prompt", ""),
            n=form_count(form, "n", least=1, most=PICTURES_MAX),
            size=fields.get("size", ""),
            quality=fields.get("quality", ""),
            stream=form_flag(form, "stream"),
            partials=form_count(form, "partial_images", least=0, most=PARTIALS_MAX),
            output_format=fields.get("output_format", ""),
            frames=form_count(form, "frame_count", least=1, most=FRAMES_MAX),
            user=fields.get("safety_identifier") or fields.get("user", ""),
            sent=len(form.files),
            body_bytes=len(body),
        )

    def _reading(
        self,
        *,
        model: str,
        prompt: str,
        n: int | None,
        size: str,
        quality: str,
        stream: bool,
        partials: int | None,
        output_format: str,
        frames: int | None,
        user: str,
        sent: int,
        body_bytes: int,
    ) -> Reading:
        model = model or self._default_model
        if not model:
            raise BadBody('"model" must be a string', param="model")
        drawn = picture_tokens(model, size, quality)
        if output_format == "gif":
            drawn *= frames or FRAMES_DEFAULT
        extra = (partials or 0) * PARTIAL_TOKENS + (SVG_TOKENS_MAX if output_format == "svg" else 0)
        return Reading(
            model=model,
            prompt=Prompt(texts=(prompt,), body_bytes=body_bytes),
            stream=stream,
            choices=n or 1,
            output_tokens_max=drawn + extra,
            batch_size=n or 1,
            user=user,
            media=Media(
                likely=_pictures(sent * SENT_TOKENS_LIKELY, (n or 1) * (drawn + extra)),
                most=_pictures(sent * SENT_TOKENS_MAX),
                output_expected=max(1, drawn // 2) + extra,
            ),
        )

    def forward(self, body: bytes, reading: Reading) -> bytes:
        return body

    def with_output_cap(self, body: bytes, reading: Reading, cap: int) -> bytes:
        return body

    def meter(self, reading: Reading, *, withhold_usage: bool) -> EventMeter:
        return EventMeter(
            _ENDS,
            choices=reading.choices,
            usage_of=_usage,
            tokens_seen=lambda _, ends: ends * (reading.output_tokens_max or 0),
        )

    def meter_whole(self, answer: Mapping[str, Any]) -> Metered:
        return metered_of(_usage(answer), answer)

    def meter_media(
        self, reading: Reading, answer: Mapping[str, Any] | None, *, text: bytes, size_bytes: int, ended: bool
    ) -> Metered:
        """Where the tokens are not told, each picture of the answer counts as the dearest of its size."""
        if answer is None:
            return Metered(
                output_tokens_seen=reading.choices * (reading.output_tokens_max or 0) if text else 0
            )
        found = self.meter_whole(answer)
        if found.usage is not None and not found.suspect:
            return found
        made = answer.get("data")
        pictures = len(made) if isinstance(made, list) else reading.choices
        return replace(found, output_tokens_seen=pictures * (reading.output_tokens_max or 0))


GENERATIONS = Images("images")
EDITS = Images("image_edits")
VARIATIONS = Images("image_variations", default_model=_DEFAULT_OF_VARIATIONS)


def picture_tokens(model: str, size: str, quality: str) -> int:
    """The most that one picture is billed as."""
    if _FIRST.fullmatch(model.lower()):
        return _FIRST_TOKENS.get(quality, _FIRST_TOKENS_MAX)
    per_token = _PIXELS_PER_TOKEN.get(quality)
    if per_token is None:
        return PICTURE_TOKENS_MAX + PLANNING_TOKENS
    sides = _SIZE.fullmatch(size)
    pixels = int(sides[1]) * int(sides[2]) if sides else _PIXELS_MAX
    return min(-(-pixels // per_token), PICTURE_TOKENS_MAX) + PLANNING_TOKENS


def _pictures(sent: int, drawn: int = 0) -> Usage:
    """`drawn`: so many tokens of the output are of pictures, whatever there will be of it."""
    return Usage(input_tokens=sent, input_image_tokens=sent, output_image_tokens=drawn)


def _usage(told: Mapping[str, Any]) -> Checked | None:
    """Output that is not told apart is pictures, which are the dearer. What another model wrote is added, and not
    believed: its price is not this model's."""
    checked = read_usage(told.get("usage"))
    if checked is None:
        return None
    usage = checked.usage
    details = told["usage"].get("output_tokens_details") if isinstance(told["usage"], Mapping) else None
    if not isinstance(details, Mapping) or details.get("image_tokens") is None:
        usage = replace(usage, output_image_tokens=usage.output_tokens)
    written = read_usage(told.get("svg_usage"))
    if written is not None:
        usage = added(usage, written.usage)
        return Checked(usage, [*checked.problems, "another model wrote a part of it"])
    return Checked(usage, checked.problems)
