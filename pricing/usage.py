"""What a call consumed, by billable class, in one normal form for every provider's usage block."""

from dataclasses import dataclass, fields
from operator import attrgetter


@dataclass(frozen=True, slots=True)
class Usage:
    """Counts of one call. Classes nest: `input_tokens` holds all input, cache reads, cache writes and audio
    included; `output_tokens` holds all output, reasoning and audio included. Nothing is ever negative."""

    input_tokens: int = 0
    cache_read_tokens: int = 0  # of input
    cache_write_tokens: int = 0  # of input, at the provider's default time to live: 5 minutes, at OpenAI 30
    cache_write_1h_tokens: int = 0  # of input, kept an hour (Anthropic)
    cache_write_12h_tokens: int = 0  # of input, kept twelve hours (OpenAI)
    input_audio_tokens: int = 0  # of input
    input_image_tokens: int = 0  # of input
    output_tokens: int = 0
    reasoning_tokens: int = 0  # of output
    output_audio_tokens: int = 0  # of output
    output_image_tokens: int = 0  # of output
    web_searches: int = 0
    cache_read_audio_tokens: int = 0  # of cache reads, and of audio input
    cache_read_image_tokens: int = 0  # of cache reads, and of image input
    input_video_tokens: int = 0  # of input
    output_video_tokens: int = 0  # of output
    citation_tokens: int = 0  # of output (Perplexity)
    file_searches: int = 0
    characters: int = 0  # to be spoken
    audio_seconds: int = 0  # heard or spoken, where sound is billed by time
    messages: int = 0  # of text, to a voice that is billed by time
    pages: int = 0  # of documents read
    annotated_pages: int = 0  # of pages

    def __post_init__(self) -> None:
        assert min(_counts(self)) >= 0, f"a count is negative: {self}"


_counts = attrgetter(*(field.name for field in fields(Usage)))  # many are made for every call
