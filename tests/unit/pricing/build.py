"""Prices, entries and estimates for the tests of pricing: round figures, so that sums can be checked by eye."""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache

import tiktoken

from pricing.book import Entry
from pricing.catalog import load
from pricing.catalog.match import matcher
from pricing.estimate import Estimate
from pricing.money import nanos
from pricing.price import Price, Rates, Tariff
from pricing.tokens import Counter
from proxy.ranks import load_ranks

TODAY = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
MTOK = 1_000_000

BOOK = load()


def per_mtok(usd: str) -> int:
    """A rate, from the dollars per million tokens that price lists show."""
    return nanos(usd)


def price(
    rates: Rates | None = None,
    *,
    model: str = "m-1",
    provider: str = "maker",
    tariff: Tariff | None = None,
    variants: dict[str, Tariff] | None = None,
    context_tokens: int | None = 128_000,
    output_tokens_max: int | None = 4_096,
) -> Price:
    """Two dollars a million in and ten out, unless told otherwise."""
    standard = tariff or Tariff(rates or Rates(input=per_mtok("2"), output=per_mtok("10")))
    return Price(
        provider, model, f"{provider}/{model}@1", standard, variants or {}, context_tokens, output_tokens_max
    )


def entry(made: Price, *, start: datetime = TODAY, match: dict[str, str] | None = None) -> Entry:
    return Entry(made.provider, made.model, matcher(match or {"equals": made.model}), ((start, made),))


def estimate(
    *, expected: str = "0.01", ceiling: str = "0.05", input_tokens: int = 1_000, output_tokens: int = 500
) -> Estimate:
    """Money in dollars."""
    return Estimate(
        nanos(expected), nanos(ceiling), 0.9, "test", input_tokens, input_tokens, output_tokens, output_tokens
    )


@cache
def encodings() -> Mapping[str, tiktoken.Encoding]:
    """tiktoken's own, read once for all tests."""
    return load_ranks().encodings


def counter() -> Counter:
    return Counter(encodings())


def catalogue_price(provider: str, model: str, at: datetime = TODAY) -> Price:
    found = BOOK.find(provider, model, at)
    assert found is not None, f"{model} of {provider} has no price"
    return found
