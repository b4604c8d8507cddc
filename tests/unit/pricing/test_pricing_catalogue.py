"""The prices that come with Spendgate: complete, positive, in order, and with their source and date."""

from collections.abc import Iterator
from dataclasses import fields
from datetime import date, timedelta
from importlib.resources import files
from itertools import pairwise
from typing import Any

import orjson
import pytest

from pricing.book import Entry
from pricing.catalog import ALWAYS, PROVIDERS, _entry, load
from pricing.price import Price, Rates, Tariff
from pricing.usage import Usage
from tests.unit.pricing.build import BOOK, MTOK, TODAY, catalogue_price, per_mtok

ENTRIES = [entry for provider in PROVIDERS for entry in BOOK.providers[provider]]
DATA = {
    name: orjson.loads(files("pricing.catalog").joinpath(f"{name}.json").read_bytes()) for name in PROVIDERS
}


def named(entry: Entry) -> str:
    return f"{entry.provider}/{entry.model}"


def tariffs(price: Price) -> Iterator[Tariff]:
    yield price.standard
    yield from price.variants.values()


def rates(price: Price) -> Iterator[Rates]:
    for tariff in tariffs(price):
        yield tariff.rates
        yield from (tier.rates for tier in tariff.tiers)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_file_tells_its_sources_and_when_they_were_checked(provider: str) -> None:
    data = DATA[provider]

    assert data["provider"] == provider
    assert "genai-prices" in data["source"]
    assert "MIT" in data["source"]
    assert all(url.startswith("https://") for url in data["pricing_urls"])
    assert data["pricing_urls"]
    assert date(2026, 1, 1) <= date.fromisoformat(data["checked"])


@pytest.mark.parametrize(("provider", "models"), [("openai", 104), ("anthropic", 27)])
def test_every_model_of_the_files_is_in_the_book(provider: str, models: int) -> None:
    names = [model["id"] for model in DATA[provider]["models"]]

    assert len(names) == len(set(names)) == len(BOOK.providers[provider]) == models
    for name in names:
        assert catalogue_price(provider, name).model == name


@pytest.mark.parametrize("entry", ENTRIES, ids=named)
def test_every_price_of_a_model_is_positive_and_none_is_forgotten(entry: Entry) -> None:
    for _, price in entry.prices:
        for each in rates(price):
            assert each.input > 0
            assert each.output > 0 or entry.model.startswith("text-embedding-")
            written = [getattr(each, field.name) for field in fields(each)]
            assert all(rate is None or rate >= 0 for rate in written)
            assert each.dearest_input >= each.input
            assert each.cache_read is None or 0 < each.cache_read <= each.input


@pytest.mark.parametrize("entry", ENTRIES, ids=named)
def test_the_prices_of_a_model_go_from_the_newest_to_the_beginning_of_time(entry: Entry) -> None:
    starts = [start for start, _ in entry.prices]

    assert starts == sorted(set(starts), reverse=True)
    assert starts[-1] == ALWAYS
    assert all(start.tzinfo is not None for start in starts)


@pytest.mark.parametrize("entry", ENTRIES, ids=named)
def test_a_longer_prompt_never_costs_less_a_token(entry: Entry) -> None:
    for _, price in entry.prices:
        for tariff in tariffs(price):
            steps = [tariff.rates, *(tier.rates for tier in tariff.tiers)]
            assert [tier.above_input_tokens for tier in tariff.tiers] == sorted(
                {tier.above_input_tokens for tier in tariff.tiers}
            )
            for below, above in pairwise(steps):
                assert above.input >= below.input
                assert above.output >= below.output
                assert above.dearest_input >= below.dearest_input


@pytest.mark.parametrize("entry", ENTRIES, ids=named)
def test_limits_are_sensible_where_they_are_known(entry: Entry) -> None:
    price = entry.at(TODAY)

    assert price.context_tokens is None or 2_000 <= price.context_tokens <= 2_000_000
    if price.output_tokens_max is not None:
        assert price.context_tokens is not None
        assert 0 <= price.output_tokens_max <= price.context_tokens


def test_every_price_has_a_version_of_its_own_that_a_second_reading_repeats() -> None:
    versions = [price.version for entry in ENTRIES for _, price in entry.prices]
    again = [
        price.version
        for provider in PROVIDERS
        for entry in load().providers[provider]
        for _, price in entry.prices
    ]

    assert len(versions) == len(set(versions))
    assert versions == again


def test_a_version_names_the_model_the_start_and_the_content() -> None:
    assert catalogue_price("openai", "gpt-4o", ALWAYS).version.startswith("openai/gpt-4o@start#")
    assert catalogue_price("openai", "gpt-4o").version.startswith("openai/gpt-4o@2026-10-14#")


@pytest.mark.parametrize(
    ("provider", "model", "usd_in", "usd_out"),
    [
        ("openai", "gpt-4o", "2.5", "10"),
        ("openai", "gpt-4o-mini", "0.15", "0.6"),
        ("openai", "gpt-4.1", "2", "8"),
        ("openai", "gpt-5", "1.25", "10"),
        ("openai", "o1", "15", "60"),
        ("openai", "gpt-3.5-turbo", "0.5", "1.5"),
        ("anthropic", "claude-sonnet-4-5", "3", "15"),
        ("anthropic", "claude-opus-4-1", "15", "75"),
        ("anthropic", "claude-3-haiku", "0.25", "1.25"),
    ],
)
def test_well_known_prices_are_as_everybody_knows_them(
    provider: str, model: str, usd_in: str, usd_out: str
) -> None:
    made = catalogue_price(provider, model)

    assert made.cost(Usage(input_tokens=100_000)).nanos * 10 == per_mtok(usd_in)
    assert made.cost(Usage(output_tokens=MTOK)).nanos == per_mtok(usd_out)


def test_an_embedding_costs_its_input_only() -> None:
    made = catalogue_price("openai", "text-embedding-3-small")

    assert made.cost(Usage(input_tokens=MTOK)).nanos == per_mtok("0.02")


@pytest.mark.parametrize("entry", ENTRIES, ids=named)
def test_batch_and_flex_never_cost_more_than_the_standard_and_priority_never_less(entry: Entry) -> None:
    usage = Usage(input_tokens=100_000, cache_read_tokens=10_000, output_tokens=10_000)
    for _, price in entry.prices:
        standard = price.cost(usage).nanos
        for name in price.variants:
            assert name in ("batch", "flex", "priority", "fast")
            cost = price.cost(usage, service_tier=name).nanos
            assert cost <= standard if name in ("batch", "flex") else cost >= standard


@pytest.mark.parametrize("entry", [entry for entry in ENTRIES if len(entry.prices) > 1], ids=named)
def test_a_price_with_a_date_is_found_from_that_date_on(entry: Entry) -> None:
    for start, price in entry.prices:
        assert catalogue_price(entry.provider, entry.model, start) is price
        if start != ALWAYS:
            before = catalogue_price(entry.provider, entry.model, start - timedelta(microseconds=1))
            assert before.version != price.version


def test_what_is_not_a_catalogue_is_refused_when_it_is_read() -> None:
    model: dict[str, Any] = {
        "id": "m",
        "match": {"equals": "m"},
        "prices": [{"from": None, "standard": {"rates": {"inptu": 1}}}],
    }
    with pytest.raises(TypeError, match="inptu"):
        _entry("maker", model)
