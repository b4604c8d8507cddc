"""What a provider asks for each class of usage, in exact integers."""

from collections.abc import Mapping
from dataclasses import dataclass

MILLION = 1_000_000
HOUR = 3_600
PER: Mapping[str, int] = {
    "web_search": 1,
    "file_search": 1,
    "request": 1,
    "message": 1,
    "page": 1,
    "annotated_page": 1,
    "audio_hour": HOUR,
}
"""How many of a class its rate is asked for; of every other class a million."""


@dataclass(frozen=True, slots=True)
class Rates:
    """Nano-dollars per million units, or for as many as `PER` says. None: as the class it is part of; a class is
    never free because nobody wrote its price down. What is part of no other (`audio_hour` and the like) is billed
    by that unit only where it has a rate: the same call's tokens are its price elsewhere."""

    input: int = 0
    output: int = 0
    cache_read: int | None = None
    cache_write: int | None = None
    cache_write_1h: int | None = None
    cache_write_12h: int | None = None
    input_audio: int | None = None
    input_image: int | None = None
    output_audio: int | None = None
    output_image: int | None = None
    web_search: int | None = None  # each; unknown is the dearest known
    cache_read_audio: int | None = None
    cache_read_image: int | None = None
    input_video: int | None = None
    output_video: int | None = None
    reasoning: int | None = None
    citation: int | None = None
    file_search: int | None = None  # each; unknown is the dearest known
    request: int = 0  # each call, whatever it holds
    characters: int | None = None
    audio_hour: int | None = None
    message: int | None = None  # each
    page: int | None = None  # each
    annotated_page: int | None = None  # each, instead of `page`

    @property
    def dearest_input(self) -> int:
        """What an input token can cost at most: a cache write costs more than plain input, at one host a read too."""
        every = (
            self.input,
            self.cache_read,
            self.cache_write,
            self.cache_write_1h,
            self.cache_write_12h,
            self.input_audio,
            self.input_image,
            self.input_video,
            self.cache_read_audio,
            self.cache_read_image,
        )
        return max(rate for rate in every if rate is not None)

    @property
    def dearest_output(self) -> int:
        every = (
            self.output,
            self.output_audio,
            self.output_image,
            self.output_video,
            self.reasoning,
            self.citation,
        )
        return max(rate for rate in every if rate is not None)
