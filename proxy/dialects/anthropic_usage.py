"""Anthropic's usage blocks in the one normal form, and whether they can be believed."""

from collections.abc import Mapping
from typing import Any

from pricing.price import STANDARD, US
from pricing.usage import Usage
from proxy.dialects.body import string_of
from proxy.dialects.usage import Checked, checked


def read_usage(block: Any) -> Checked | None:
    """None where there is none. Never raises: what cannot be believed counts as zero and is told.

    `input_tokens` there leaves out what was read from the cache and written to it; ours is the sum of all three."""
    if block is None:
        return None
    if not isinstance(block, Mapping):
        return Checked(Usage(), [f"usage is {type(block).__name__}, not an object"])
    problems: list[str] = []
    total = _part(block, problems)
    if block.get("input_tokens") is None or block.get("output_tokens") is None:
        problems.append("usage holds no token counts")
    for entry in _beside(block.get("iterations")):
        if entry.get("type") == "advisor_message":
            problems.append("an advisor of another model worked along")
        total = _sum(total, _part(entry, problems))
    searches = _inner(block, "server_tool_use", "web_search_requests", problems)
    return Checked(
        Usage(
            input_tokens=total.input_tokens,
            cache_read_tokens=total.cache_read_tokens,
            cache_write_tokens=total.cache_write_tokens,
            cache_write_1h_tokens=total.cache_write_1h_tokens,
            output_tokens=total.output_tokens,
            reasoning_tokens=total.reasoning_tokens,
            web_searches=searches,
        ),
        problems,
    )


def tier_of(block: Any) -> str:
    """The tier that the call is billed at. Fast mode is told apart from the tiers, and has a price of its own; so has
    work that stays in the United States."""
    if not isinstance(block, Mapping):
        return ""
    tier = "fast" if block.get("speed") == "fast" else string_of(block.get("service_tier"))
    return tier_in(tier, block.get("inference_geo"))


def tier_in(tier: str, geo: Any) -> str:
    """`us` and `us-fast` are the standard tier and fast mode, in the United States."""
    if geo != "us":
        return tier
    return US if tier in STANDARD else f"{US}-{tier}"


def _beside(iterations: Any) -> list[Mapping[str, Any]]:
    """Work that the figures at the top leave out: compactions, and what an advisor did."""
    entries = iterations if isinstance(iterations, list) else []
    return [
        entry
        for entry in entries
        if isinstance(entry, Mapping) and entry.get("type") in ("compaction", "advisor_message")
    ]


def _part(block: Mapping[str, Any], problems: list[str]) -> Usage:
    fresh = _count(block, "input_tokens", problems)
    read = _count(block, "cache_read_input_tokens", problems)
    write, write_1h = _written(block, problems)
    output = _count(block, "output_tokens", problems)
    thinking = _inner(block, "output_tokens_details", "thinking_tokens", problems)
    return Usage(
        input_tokens=fresh + read + write + write_1h,
        cache_read_tokens=read,
        cache_write_tokens=write,
        cache_write_1h_tokens=write_1h,
        output_tokens=output,
        reasoning_tokens=min(thinking, output),
    )


def _written(block: Mapping[str, Any], problems: list[str]) -> tuple[int, int]:
    """Written to the cache for five minutes, and for an hour. A stream tells the split at its start only; what comes on
    top of it later is taken for the kind that was asked for, and for the dearer one in doubt."""
    total = _count(block, "cache_creation_input_tokens", problems)
    short = _inner(block, "cache_creation", "ephemeral_5m_input_tokens", problems)
    long = _inner(block, "cache_creation", "ephemeral_1h_input_tokens", problems)
    if block.get("cache_creation_input_tokens") is not None and short + long > total:
        problems.append("more cache writes by kind than in all")
    rest = max(0, total - short - long)
    return (short, long + rest) if long else (short + rest, long)


def _sum(one: Usage, other: Usage) -> Usage:
    return Usage(
        input_tokens=one.input_tokens + other.input_tokens,
        cache_read_tokens=one.cache_read_tokens + other.cache_read_tokens,
        cache_write_tokens=one.cache_write_tokens + other.cache_write_tokens,
        cache_write_1h_tokens=one.cache_write_1h_tokens + other.cache_write_1h_tokens,
        output_tokens=one.output_tokens + other.output_tokens,
        reasoning_tokens=one.reasoning_tokens + other.reasoning_tokens,
    )


def _inner(block: Mapping[str, Any], place: str, name: str, problems: list[str]) -> int:
    inner = block.get(place)
    return _count(inner, name, problems) if isinstance(inner, Mapping) else 0


def _count(block: Mapping[str, Any], name: str, problems: list[str]) -> int:
    """Null and absent are none."""
    value = block.get(name)
    if value is None:
        return 0
    return checked(value, name, problems)
