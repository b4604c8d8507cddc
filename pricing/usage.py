"""What a call consumed, by billable class, in one normal form for every provider's usage block."""

from dataclasses import dataclass, fields
from operator import attrgetter


@dataclass(frozen=True, slots=True)
class Usage:
    """Counts of one call. Classes nest: `input_tokens` holds all input, cache reads, cache writes and audio
    included; `output_tokens` holds all output, reasoning and audio included. Nothing is ever negative."""

    input_tokens: int = 0
    cache_read_tokens: int = 0  # of input
    cache_write_tokens: int = 0  # of input, at the provider's default time to live
    cache_write_1h_tokens: int = 0  # of input, kept an hour (Anthropic)
    cache_write_12h_tokens: int = 0  # of input, kept twelve hours (OpenAI)
    input_audio_tokens: int = 0  # of input
    input_image_tokens: int = 0  # of input
    output_tokens: int = 0
    reasoning_tokens: int = 0  # of output
    output_audio_tokens: int = 0  # of output
    output_image_tokens: int = 0  # of output
    web_searches: int = 0

    def __post_init__(self) -> None:
        assert min(_counts(self)) >= 0, f"a count is negative: {self}"


_counts = attrgetter(*(field.name for field in fields(Usage)))  # many are made for every call
