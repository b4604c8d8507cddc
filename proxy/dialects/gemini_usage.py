"""Gemini's usage block in our normal form, and whether it can be believed."""

from collections.abc import Mapping
from typing import Any

from pricing.usage import Usage
from proxy.dialects.body import written
from proxy.dialects.usage import Checked, checked

# By name, or by number where the caller asked for enums as numbers.
_AUDIO = ("AUDIO", 4)
_IMAGE = ("IMAGE", 2)
_VIDEO = ("VIDEO", 3)
_TIERS = {"on_demand_flex": "flex", "on_demand_priority": "priority", "on_demand": "standard"}


def read_usage(block: Any, *, searches: int = 0) -> Checked | None:
    """None where there is none. Never raises: what cannot be believed counts as zero and is told.

    Cached input is part of the prompt; what tools brought in and what was thought stand beside it."""
    if block is None:
        return None
    if not isinstance(block, Mapping):
        return Checked(Usage(), [f"usage is {type(block).__name__}, not an object"])
    reader = _Reader(block)
    prompt = reader.count("promptTokenCount")
    tool_use = reader.count("toolUsePromptTokenCount")
    wrote = reader.count("candidatesTokenCount", "responseTokenCount")
    thought = reader.count("thoughtsTokenCount")
    total = reader.count("totalTokenCount")
    cached = reader.count("cachedContentTokenCount")
    if not reader.told:
        reader.problems.append("usage holds no token counts")
    if cached > prompt:
        reader.problems.append("more cached tokens than input")
        cached = prompt
    if 0 < total < prompt + wrote:
        reader.problems.append("the total is less than its parts")
    # Sometimes thinking is told in the total only.
    thought = max(thought, total - prompt - tool_use - wrote)
    inputs, output = prompt + tool_use, wrote + thought
    audio = min(reader.modality(_AUDIO, *_READ), inputs)
    image = min(reader.modality(_IMAGE, *_READ), inputs)
    cached_audio = min(reader.modality(_AUDIO, _CACHED), audio, cached)
    # What was read of a film from the cache is billed as a cache read.
    video = max(0, reader.modality(_VIDEO, *_READ) - reader.modality(_VIDEO, _CACHED))
    usage = Usage(
        input_tokens=inputs,
        cache_read_tokens=cached,
        cache_read_audio_tokens=cached_audio,
        cache_read_image_tokens=min(reader.modality(_IMAGE, _CACHED), image, cached - cached_audio),
        input_audio_tokens=audio,
        input_image_tokens=image,
        input_video_tokens=min(video, inputs),
        output_tokens=output,
        reasoning_tokens=thought,
        output_audio_tokens=min(reader.modality(_AUDIO, *_WRITTEN), wrote),
        output_image_tokens=min(reader.modality(_IMAGE, *_WRITTEN), wrote),
        output_video_tokens=min(reader.modality(_VIDEO, *_WRITTEN), wrote),
        web_searches=searches,
    )
    return Checked(usage, reader.problems)


_READ = ("promptTokensDetails", "toolUsePromptTokensDetails")
_CACHED = "cacheTokensDetails"
_WRITTEN = ("candidatesTokensDetails", "responseTokensDetails")


def tier_of(block: Any) -> str:
    """The tier that the usage tells of, in the words of the catalogue. Empty where it tells none that we know."""
    if not isinstance(block, Mapping):
        return ""
    told, traffic = block.get("serviceTier"), block.get("trafficType")
    if isinstance(told, str) and told:
        return tier_named(told)
    return _TIERS.get(traffic.lower(), "") if isinstance(traffic, str) else ""


def tier_named(name: str) -> str:
    """`SERVICE_TIER_FLEX` and `flex` are the same."""
    plain = written(name).lower().removeprefix("service_tier_")
    return "" if plain == "unspecified" else plain


class _Reader:
    """One block, read number by number. Counts that are nothing are left out of it."""

    def __init__(self, block: Mapping[str, Any]) -> None:
        self._block = block
        self.problems: list[str] = []
        self.told = False

    def count(self, *names: str) -> int:
        for name in names:
            value = self._block.get(name)
            if value is not None:
                self.told = self.told or name != "totalTokenCount"
                return checked(value, name, self.problems)
        return 0

    def modality(self, kind: tuple[str, int], *places: str) -> int:
        """Of one modality, over several lists of details."""
        tokens = 0
        for place in places:
            details = self._block.get(place)
            for detail in details if isinstance(details, list) else ():
                if isinstance(detail, Mapping) and _is(detail.get("modality"), kind):
                    tokens += checked(detail.get("tokenCount") or 0, f"{place}.tokenCount", self.problems)
        return tokens


def _is(value: Any, kind: tuple[str, int]) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool) and value in kind
