"""The other engine: what genai-prices asks for a usage of ours, and where it and our catalogue differ on purpose."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from functools import cache
from typing import Any

from genai_prices import data
from genai_prices.types import Usage as TheirUsage

from pricing.catalog.corrections import ONE_PRICE
from pricing.money import nanos
from pricing.price import FILE_SEARCH_DEAREST, WEB_SEARCH_DEAREST, Price
from pricing.usage import Usage
from tests.unit.pricing.build import BOOK, TODAY

LONG_AGO = datetime(2025, 1, 1, tzinfo=UTC)
TICK = timedelta(microseconds=1)
TIER_KEYS = ("service_tier", "processing", "speed")

# Theirs has no price at all for them and takes them for free. What nobody says to be free is unknown here.
UNKNOWN_HERE = {
    ("cerebras", "qwen-3-coder-480b"),
    ("huggingface_together", "prism-ml/ternary-bonsai-27b-awq-4bit"),
    ("huggingface_together", "prism-ml/ternary-bonsai-27b-gguf"),
    ("huggingface_together", "servicenow-ai/apriel-1.6-15b-thinker"),
    ("openrouter", "gemini-2.5-pro-exp-03-25"),
    ("openrouter", "google/gemini-flash-1.5-8b-exp"),
    ("openrouter", "google/lyria-3-clip-preview"),
    ("openrouter", "google/lyria-3-pro-preview"),
    ("openrouter", "stealth/crouton-alpha"),
}
# Fine-tuned models whose prices stand on OpenAI's page and not in theirs.
UNKNOWN_THERE = {
    ("openai", f"ft:{name}")
    for name in (
        "gpt-4.1",
        "gpt-4.1-mini",
        "gpt-4.1-nano",
        "o4-mini",
        "gpt-4-0613",
        "davinci-002",
        "babbage-002",
    )
}
# Prices there that are no whole nano-dollars a million: thirds, and what a float made of a round figure.
FRACTIONS = {
    ("huggingface_together", "qwen/qwen3-vl-8b-instruct"),
    ("openrouter", "~google/gemini-flash-latest"),
} | {
    ("openrouter", f"google/gemini-{name}")
    for name in (
        "2.5-flash", "2.5-flash-image", "2.5-flash-lite", "2.5-flash-lite:batch", "2.5-flash:batch",
        "3-flash-preview", "3-flash-preview:batch", "3.1-flash-lite", "3.1-flash-lite:batch", "3.5-flash",
        "3.5-flash-lite", "3.5-flash-lite:batch", "3.5-flash:batch", "3.6-flash", "3.6-flash:batch", "3.7-flash",
        "3.7-flash:batch", "3.8-flash", "3.8-flash:batch",
    )
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Model:
    """One model of theirs, and how to price with it."""

    provider: Any
    info: Any

    @property
    def name(self) -> tuple[str, str]:
        return self.provider.id, self.info.id.lower()

    @property
    def tiers(self) -> dict[str, dict[str, str]]:
        """Our name of a tier -> their context for it."""
        found: dict[str, dict[str, str]] = {"": {}}
        for variant in self.info.price_variants or ():
            ((key, value),) = variant.when.items()
            found[value if key in TIER_KEYS else f"{key}={value}"] = variant.when
        return found

    @property
    def instants(self) -> list[datetime]:
        """Long ago, today, and both sides of every change of date or hour."""
        conditional = self.info.prices if isinstance(self.info.prices, list) else []
        found = {LONG_AGO, TODAY}
        for holder in (*conditional, *(self.info.price_variants or ())):
            if hasattr(holder.constraint, "start_date"):
                start = datetime.combine(holder.constraint.start_date, time(), UTC)
                found |= {start, start - TICK}
            elif holder.constraint is not None:
                for edge in (holder.constraint.start_time, holder.constraint.end_time):
                    at = datetime.combine(TODAY.date(), edge)
                    found |= {at, at - TICK}
        return sorted(found)

    def cost(self, usage: TheirUsage, at: datetime, tier: str) -> int:
        """In nano-dollars, rounded up."""
        made = self.info.calc_price(
            usage, self.provider, genai_request_timestamp=at, price_context=self.tiers[tier]
        )
        return nanos(made.total_price)

    def ours(self, at: datetime) -> Price:
        price = BOOK.find(*self.name, at)
        assert price is not None, f"{self.name} has no price of ours"
        return price


@cache
def every_model() -> tuple[Model, ...]:
    """Of all providers, save those that are left out on purpose."""
    return tuple(model for model in all_of_theirs() if model.name not in UNKNOWN_HERE)


def all_of_theirs() -> Iterator[Model]:
    for provider in data.providers:
        yield from (Model(provider, info) for info in provider.models)


def theirs(usage: Usage) -> TheirUsage:
    """In their words, with every class told: their cache writes hold the hour-long ones, ours stand beside them."""
    assert not usage.cache_write_12h_tokens, "a class that they do not know"
    return TheirUsage(
        input_tokens=usage.input_tokens,
        cache_read_tokens=usage.cache_read_tokens,
        cache_write_tokens=usage.cache_write_tokens + usage.cache_write_1h_tokens,
        cache_write_1h_tokens=usage.cache_write_1h_tokens,
        input_audio_tokens=usage.input_audio_tokens,
        cache_audio_read_tokens=usage.cache_read_audio_tokens,
        input_image_tokens=usage.input_image_tokens,
        cache_image_read_tokens=usage.cache_read_image_tokens,
        input_video_tokens=usage.input_video_tokens,
        output_tokens=usage.output_tokens,
        output_audio_tokens=usage.output_audio_tokens,
        output_image_tokens=usage.output_image_tokens,
        output_video_tokens=usage.output_video_tokens,
        output_reasoning_tokens=usage.reasoning_tokens,
        output_citation_tokens=usage.citation_tokens,
        web_searches=usage.web_searches,
        storage_searches=usage.file_searches,
        input_characters=usage.characters,
        audio_seconds=usage.audio_seconds,
        input_audio_seconds=usage.audio_seconds,
        input_text_messages=usage.messages,
        input_document_pages=usage.pages,
        input_annotated_document_pages=usage.annotated_pages,
    )


@dataclass(frozen=True, slots=True)
class Difference:
    """One cost on which the two engines do not agree."""

    provider: str
    model: str
    tier: str
    at: datetime
    usage: Usage
    ours: int
    theirs: int


def compare(
    model: Model, usage: Usage, their_usage: TheirUsage, at: datetime, tier: str
) -> Difference | None:
    """The costs, where they differ and nothing below says why they may."""
    price, their_cost = model.ours(at), model.cost(their_usage, at, tier)
    found = price.cost(usage, service_tier=tier)
    if found.nanos == their_cost or _may_differ(model, price, usage, tier, found.nanos, their_cost):
        return None
    return Difference(*model.name, tier, at, usage, found.nanos, their_cost)


def _may_differ(model: Model, price: Price, usage: Usage, tier: str, ours: int, their: int) -> bool:
    if tier not in ("", "default", *price.variants):
        # A tier before its first date: theirs is then the standard price, ours the dearest that is known.
        return ours >= price.cost(usage).nanos
    rates = price.tariff(tier).rates_for(usage.input_tokens)
    if rates.web_search is None:  # a search without a price is free there, and here as dear as the dearest
        ours -= usage.web_searches * WEB_SEARCH_DEAREST
    if rates.file_search is None:
        ours -= usage.file_searches * FILE_SEARCH_DEAREST
    if model.name in ONE_PRICE:  # old completion models: theirs takes their output for free
        ours -= usage.output_tokens * rates.output // 1_000_000
    if model.name in FRACTIONS:  # a rate is rounded up to a whole nano-dollar a million
        return -1 <= ours - their <= usage.input_tokens // 1_000_000 + 1
    return ours == their
