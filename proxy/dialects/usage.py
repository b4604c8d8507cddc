"""OpenAI-shaped usage blocks in one normal form, and whether they can be believed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pricing.usage import Usage
from proxy.dialects.own_cost import UNTOLD, OwnCost, read_own_cost

ABSURD_TOKENS = 100_000_000  # no context window comes near; a count beyond it is an error of the provider's


@dataclass(slots=True)
class Checked:
    """What a usage block says. `problems` is empty where all of it can be believed."""

    usage: Usage
    problems: list[str] = field(default_factory=list)
    own_cost: OwnCost = UNTOLD


def read_usage(block: Any) -> Checked | None:
    """None where there is none. Never raises: what cannot be believed counts as zero and is told."""
    if block is None:
        return None
    if not isinstance(block, Mapping):
        return Checked(Usage(), [f"usage is {type(block).__name__}, not an object"])
    reader = _Reader(block)
    total_input = reader.count("prompt_tokens", "input_tokens")
    total_output = reader.count("completion_tokens", "output_tokens")
    total = reader.count("total_tokens")
    read, write, write_12h = reader.cached(total_input)
    reasoning = reader.detail(("completion_tokens_details", "output_tokens_details"), "reasoning_tokens")
    research = _Research.of(reader)
    total_output += research.citations + research.reasoning
    if total > total_input + total_output:
        # Some providers leave their thinking out of the output and tell it only in the total.
        total_output = total - total_input
    audio = min(reader.detail(_INPUT, "audio_tokens"), total_input)
    image = min(reader.detail(_INPUT, "image_tokens"), total_input)
    read_audio = min(reader.cached_detail("audio_tokens"), audio, read)
    usage = Usage(
        input_tokens=total_input,
        cache_read_tokens=read,
        cache_read_audio_tokens=read_audio,
        cache_read_image_tokens=min(reader.cached_detail("image_tokens"), image, read - read_audio),
        cache_write_tokens=write,
        cache_write_12h_tokens=write_12h,
        input_audio_tokens=audio,
        input_image_tokens=image,
        output_tokens=total_output,
        reasoning_tokens=min(reasoning or research.reasoning, total_output),
        output_audio_tokens=min(reader.detail(_OUTPUT, "audio_tokens"), total_output),
        output_image_tokens=min(reader.detail(_OUTPUT, "image_tokens"), total_output),
        citation_tokens=research.citations,
        web_searches=research.searches,
    )
    if not reader.told:
        reader.problems.append("usage holds no token counts")
    return Checked(usage, reader.problems, read_own_cost(block))


@dataclass(frozen=True, slots=True)
class _Research:
    """Perplexity's deep research: what was quoted, thought and searched stands beside the completion, and in no total.
    Its other models tell searches too, which their price of a call includes."""

    citations: int = 0
    reasoning: int = 0
    searches: int = 0

    @classmethod
    def of(cls, reader: "_Reader") -> "_Research":
        citations = reader.top("citation_tokens")
        if not citations:
            return cls()
        return cls(citations, reader.top("reasoning_tokens"), reader.top("num_search_queries"))


# Transcriptions and realtime sessions write the singular.
_INPUT = ("prompt_tokens_details", "input_tokens_details", "input_token_details")
_OUTPUT = ("completion_tokens_details", "output_tokens_details", "output_token_details")


class _Reader:
    """One block, read number by number."""

    def __init__(self, block: Mapping[str, Any]) -> None:
        self._block = block
        self.problems: list[str] = []
        self.told = False

    def count(self, *names: str) -> int:
        for name in names:
            if name in self._block:
                self.told = self.told or name != "total_tokens"
                return checked(self._block[name], name, self.problems)
        return 0

    def detail(self, places: tuple[str, ...], name: str) -> int:
        for place in places:
            inner = self._block.get(place)
            if isinstance(inner, Mapping) and inner.get(name) is not None:
                return checked(inner[name], f"{place}.{name}", self.problems)
        return 0

    def cached_detail(self, name: str) -> int:
        """What of the cache reads was sound, or pictures."""
        for place in _INPUT:
            inner = self._block.get(place)
            kinds = inner.get("cached_tokens_details") if isinstance(inner, Mapping) else None
            if isinstance(kinds, Mapping) and kinds.get(name) is not None:
                return checked(kinds[name], f"cached_tokens_details.{name}", self.problems)
        return 0

    def top(self, name: str) -> int:
        """Null and absent are none."""
        value = self._block.get(name)
        return 0 if value is None else checked(value, name, self.problems)

    def cached(self, total_input: int) -> tuple[int, int, int]:
        """Cache reads, plain cache writes, twelve-hour writes: together never more than the input."""
        read = self.detail(_INPUT, "cached_tokens")
        if not read and self._block.get("prompt_cache_hit_tokens") is not None:
            read = checked(self._block["prompt_cache_hit_tokens"], "prompt_cache_hit_tokens", self.problems)
        write = self.detail(_INPUT, "cache_write_tokens")
        write_12h = 0
        for place in _INPUT:
            inner = self._block.get(place)
            by_ttl = inner.get("cache_write_tokens_details") if isinstance(inner, Mapping) else None
            if isinstance(by_ttl, Mapping):
                write_12h = checked(by_ttl.get("ttl_12h_tokens") or 0, "ttl_12h_tokens", self.problems)
        write = max(0, write - write_12h)
        if read + write + write_12h > total_input:
            self.problems.append("more cached tokens than input")
            read = min(read, total_input)
            write = min(write, total_input - read)
            write_12h = min(write_12h, total_input - read - write)
        return read, write, write_12h


def checked(value: Any, name: str, problems: list[str]) -> int:
    """A count that can be believed, else none, and the problem told."""
    if isinstance(value, float) and value.is_integer() and 0 <= value <= ABSURD_TOKENS:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        problems.append(f"{name} is no whole number")
        return 0
    if value < 0:
        problems.append(f"{name} is negative")
        return 0
    if value > ABSURD_TOKENS:
        problems.append(f"{name} is absurd")
        return 0
    return value
