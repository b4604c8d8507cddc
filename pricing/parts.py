"""How a usage falls into parts, each of a class that is billed at a rate of its own."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pricing.rates import MILLION, PER, Rates
from pricing.usage import Usage

# The dearest that the catalogue knows. A search without a price is billed so, and told in `Cost.unpriced`.
WEB_SEARCH_DEAREST = 35_000_000
FILE_SEARCH_DEAREST = 2_500_000


@dataclass(frozen=True, slots=True)
class Part:
    """One line of a cost: so many of a class at a rate (nano-dollars for `per` of them)."""

    name: str
    quantity: int
    rate: int

    @property
    def per(self) -> int:
        return PER.get(self.name, MILLION)


Class = tuple[str, int, int]  # name, quantity, rate


def parts_of(usage: Usage, rates: Rates, audio_seconds_min: int) -> Iterator[Part]:
    yield from _input_parts(usage, rates)
    yield from _output_parts(usage, rates)
    yield from _other_parts(usage, rates, audio_seconds_min)


def _input_parts(usage: Usage, rates: Rates) -> Iterator[Part]:
    """Classes nest; what a part takes is taken from the whole it is part of, so that nothing is billed twice."""
    plain, cached_audio, cached_image = rates.input, 0, 0
    within: list[Class] = []
    if usage.cache_read_tokens:
        if usage.input_audio_tokens or usage.input_image_tokens:
            cached_audio, cached_image = _cached_senses(usage)
            within += (
                ("cache_read_audio", cached_audio, _cached(rates, rates.cache_read_audio, rates.input_audio)),
                ("cache_read_image", cached_image, _cached(rates, rates.cache_read_image, rates.input_image)),
            )
        text = usage.cache_read_tokens - cached_audio - cached_image
        within.append(("cache_read", text, plain if rates.cache_read is None else rates.cache_read))
    if usage.cache_write_tokens or usage.cache_write_1h_tokens or usage.cache_write_12h_tokens:
        write = plain if rates.cache_write is None else rates.cache_write
        write_1h = write if rates.cache_write_1h is None else rates.cache_write_1h
        write_12h = write_1h if rates.cache_write_12h is None else rates.cache_write_12h
        within += (
            ("cache_write", usage.cache_write_tokens, write),
            ("cache_write_1h", usage.cache_write_1h_tokens, write_1h),
            ("cache_write_12h", usage.cache_write_12h_tokens, write_12h),
        )
    for name, quantity, rate in (
        ("input_audio", usage.input_audio_tokens - cached_audio, rates.input_audio),
        ("input_image", usage.input_image_tokens - cached_image, rates.input_image),
        ("input_video", usage.input_video_tokens, rates.input_video),
    ):
        if quantity:
            within.append((name, quantity, plain if rate is None else rate))
    yield from _nested("input", usage.input_tokens, plain, within)


def _cached_senses(usage: Usage) -> tuple[int, int]:
    """How much of the audio and of the images was cached: what is told, and what must have been because all of these
    together are more than the input. Beyond that text is taken to have been cached, which is the dearer reading."""
    audio, image, read = usage.input_audio_tokens, usage.input_image_tokens, usage.cache_read_tokens
    cached_audio = min(usage.cache_read_audio_tokens, audio, read)
    cached_image = min(usage.cache_read_image_tokens, image, read - cached_audio)
    writes = usage.cache_write_tokens + usage.cache_write_1h_tokens + usage.cache_write_12h_tokens
    every = read + writes + audio + image + usage.input_video_tokens - cached_audio - cached_image
    twice = max(0, every - usage.input_tokens)
    more = min(twice, audio - cached_audio, read - cached_audio - cached_image)
    cached_audio += more
    cached_image += min(twice - more, image - cached_image, read - cached_audio - cached_image)
    return cached_audio, cached_image


def _cached(rates: Rates, own: int | None, uncached: int | None) -> int:
    """The rate of a class that is part of two others: its own, else that of the one which has a rate, else the dearer."""
    if own is not None:
        return own
    known = [rate for rate in (rates.cache_read, uncached) if rate is not None]
    return max(known, default=rates.input)


def _output_parts(usage: Usage, rates: Rates) -> Iterator[Part]:
    within: list[Class] = []
    for name, quantity, rate in (
        ("output_audio", usage.output_audio_tokens, rates.output_audio),
        ("output_image", usage.output_image_tokens, rates.output_image),
        ("output_video", usage.output_video_tokens, rates.output_video),
        ("citation", usage.citation_tokens, rates.citation),
    ):
        if quantity:
            within.append((name, quantity, rates.output if rate is None else rate))
    if rates.reasoning is not None:  # else it is output like any other, and no line of its own
        within.append(("reasoning", usage.reasoning_tokens, rates.reasoning))
    yield from _nested("output", usage.output_tokens, rates.output, within)


def _nested(name: str, total: int, rate: int, within: Iterable[Class]) -> Iterator[Part]:
    left = total
    for inner, quantity, inner_rate in within:
        taken = min(quantity, left)
        left -= taken
        if taken:
            yield Part(inner, taken, inner_rate)
    if left:
        yield Part(name, left, rate)


def _other_parts(usage: Usage, rates: Rates, audio_seconds_min: int) -> Iterator[Part]:
    if rates.request:
        yield Part("request", 1, rates.request)
    if usage.web_searches:
        rate = WEB_SEARCH_DEAREST if rates.web_search is None else rates.web_search
        yield Part("web_search", usage.web_searches, rate)
    if usage.file_searches:
        rate = FILE_SEARCH_DEAREST if rates.file_search is None else rates.file_search
        yield Part("file_search", usage.file_searches, rate)
    if usage.audio_seconds and rates.audio_hour is not None:
        yield Part("audio_hour", max(usage.audio_seconds, audio_seconds_min), rates.audio_hour)
    if usage.characters and rates.characters is not None:
        yield Part("characters", usage.characters, rates.characters)
    if usage.messages and rates.message is not None:
        yield Part("message", usage.messages, rates.message)
    if usage.pages and rates.page is not None:
        annotated = rates.page if rates.annotated_page is None else rates.annotated_page
        yield from _nested(
            "page", usage.pages, rates.page, [("annotated_page", usage.annotated_pages, annotated)]
        )


def unpriced(usage: Usage, rates: Rates) -> Iterator[str]:
    if usage.web_searches and rates.web_search is None:
        yield "web_search"
    if usage.file_searches and rates.file_search is None:
        yield "file_search"
    if usage.output_tokens and not rates.output and rates.input and not rates.dearest_output:
        yield "output"
