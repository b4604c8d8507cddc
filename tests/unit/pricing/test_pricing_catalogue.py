"""The prices that come with Spendgate: complete, in order, dated to the minute, and with their source."""

from collections.abc import Iterator
from dataclasses import astuple
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import Any

import orjson
import pytest

from pricing.book import Entry
from pricing.catalog import ALWAYS, FOLDER, entry, load
from pricing.catalog.corrections import is_free
from pricing.price import Price, Rates, Tariff
from pricing.usage import Usage
from tests.unit.pricing.build import BOOK, MTOK, TODAY, catalogue_price, per_mtok

PROVIDERS = sorted(BOOK.providers)
DATA = {path.stem: orjson.loads(path.read_bytes()) for path in FOLDER.glob("*.json")}
VERSION_CHARS_MAX = 256  # as the ledger's column


def prices(provider: str) -> Iterator[Price]:
    """Of all models and times, those of the windows within them too."""
    for each in BOOK.providers[provider]:
        for _, price in each.prices:
            yield from (price, *(window.price for window in price.windows))


def tariffs(price: Price) -> tuple[Tariff, ...]:
    return (price.standard, *price.variants.values())


def rates(price: Price) -> list[Rates]:
    return [
        each for tariff in tariffs(price) for each in (tariff.rates, *(tier.rates for tier in tariff.tiers))
    ]


def test_the_catalogue_holds_every_provider_and_model_of_its_source() -> None:
    counts = {provider: len(BOOK.providers[provider]) for provider in PROVIDERS}

    assert counts.keys() == DATA.keys()
    assert len(counts) == 47
    assert sum(counts.values()) == 2_328
    assert [counts[name] for name in ("anthropic", "openai", "google", "openrouter")] == [27, 120, 70, 918]


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_file_tells_its_sources_and_when_they_were_checked(provider: str) -> None:
    data = DATA[provider]

    assert data["provider"] == provider
    assert "genai-prices" in data["source"]
    assert "MIT" in data["source"]
    assert all(url.startswith("https://") for url in data["pricing_urls"])
    assert date(2026, 1, 1) <= date.fromisoformat(data["checked"])


@pytest.mark.parametrize("provider", PROVIDERS)
def test_every_model_of_a_file_is_found_by_its_own_name(provider: str) -> None:
    names = [model["id"] for model in DATA[provider]["models"]]

    assert len(names) == len(set(names)) > 0
    assert all(catalogue_price(provider, name.upper()).model == name for name in names)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_every_model_is_billed_by_something_or_is_known_to_be_free(provider: str) -> None:
    for price in prices(provider):
        for each in rates(price):
            asked = [rate for rate in astuple(each) if rate is not None]
            assert min(asked) >= 0
            assert max(asked) > 0 or is_free(provider, price.model)
            assert (
                each.cache_read is None or each.cache_read <= each.dearest_input
            )  # dearer than input at one host


@pytest.mark.parametrize("provider", PROVIDERS)
def test_the_prices_of_a_model_go_from_the_newest_to_the_beginning_of_time(provider: str) -> None:
    for each in BOOK.providers[provider]:
        starts = [start for start, _ in each.prices]

        assert starts == sorted(set(starts), reverse=True)
        assert starts[-1] == ALWAYS
        assert len(each.prices) == len(starts)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_longer_prompt_never_costs_less_a_token(provider: str) -> None:
    for price in prices(provider):
        for tariff in tariffs(price):
            edges = [tier.above_input_tokens for tier in tariff.tiers]
            assert edges == sorted(set(edges))
            for below, above in pairwise([tariff.rates, *(tier.rates for tier in tariff.tiers)]):
                assert above.input >= below.input
                assert above.output >= below.output
                assert above.dearest_input >= below.dearest_input


@pytest.mark.parametrize("provider", PROVIDERS)
def test_limits_are_sensible_where_they_are_known(provider: str) -> None:
    for price in prices(provider):
        assert price.context_tokens is None or 128 <= price.context_tokens <= 100_000_000
        if price.output_tokens_max is not None:
            assert price.context_tokens is not None
            assert 0 < price.output_tokens_max <= price.context_tokens


def test_limits_are_known_for_most_models_that_write() -> None:
    writing = [price for name in PROVIDERS for price in prices(name) if price.standard.rates.output]

    assert sum(price.context_tokens is not None for price in writing) > 0.6 * len(writing)
    assert sum(price.output_tokens_max is not None for price in writing) > 0.3 * len(writing)


def test_every_price_has_a_version_of_its_own_that_a_second_reading_repeats() -> None:
    versions = [price.version for name in PROVIDERS for price in prices(name)]
    again = load()

    assert len(versions) == len(set(versions))
    assert max(map(len, versions)) <= VERSION_CHARS_MAX
    for name in PROVIDERS:
        for ours, theirs in zip(BOOK.providers[name], again.providers[name], strict=True):
            assert list(ours.prices) == list(theirs.prices)


def test_a_version_names_the_model_the_start_the_hour_and_the_content() -> None:
    assert catalogue_price("openai", "gpt-4o", ALWAYS).version.startswith("openai/gpt-4o@start#")
    assert catalogue_price("openai", "gpt-4o").version.startswith("openai/gpt-4o@2026-10-14#")
    noon = catalogue_price("deepseek", "deepseek-chat", TODAY)
    assert noon.version.startswith("deepseek/deepseek-chat@startT00:30#")


@pytest.mark.parametrize(
    ("provider", "model", "usd_in", "usd_out"),
    [
        ("openai", "gpt-4o", "2.5", "10"),
        ("openai", "gpt-4o-mini", "0.15", "0.6"),
        ("openai", "gpt-4.1", "2", "8"),
        ("openai", "o1", "15", "60"),
        ("openai", "text-embedding-3-small", "0.02", "0"),
        ("openai", "ft:gpt-4.1-mini-2025-04-14:acme::id", "0.8", "3.2"),
        ("anthropic", "claude-sonnet-4-5", "3", "15"),
        ("anthropic", "claude-3-haiku", "0.25", "1.25"),
        ("google", "gemini-2.5-flash", "0.3", "2.5"),
        ("mistral", "mistral-large-2411", "2", "6"),
        ("azure", "davinci", "2", "2"),
    ],
)
def test_well_known_prices_are_as_everybody_knows_them(
    provider: str, model: str, usd_in: str, usd_out: str
) -> None:
    made = catalogue_price(provider, model)

    assert made.cost(Usage(input_tokens=100_000)).nanos * 10 == per_mtok(usd_in)
    assert made.cost(Usage(output_tokens=MTOK)).nanos == per_mtok(usd_out)


def test_what_is_kept_for_twelve_hours_costs_twice_the_plain_input_at_openai() -> None:
    made = catalogue_price("openai", "gpt-5.6-sol").standard.rates

    assert (made.input, made.cache_write, made.cache_write_12h) == (
        4_000_000_000,
        5_000_000_000,
        8_000_000_000,
    )


def test_what_is_not_billed_by_the_token_has_its_own_unit() -> None:
    hour = catalogue_price("openai", "whisper-1")
    spoken = catalogue_price("openai", "tts-1")
    page = catalogue_price("mistral", "mistral-ocr-2512")
    call = catalogue_price("perplexity", "sonar")

    assert hour.cost(Usage(audio_seconds=60)).nanos == 6_000_000
    assert spoken.cost(Usage(characters=MTOK)).nanos == per_mtok("15")
    assert page.cost(Usage(pages=1_000, annotated_pages=500)).nanos == per_mtok("2.5")
    assert call.cost(Usage()).nanos == 12_000_000
    assert [each.by_token for each in (hour, spoken, page, call)] == [False, False, False, True]


@pytest.mark.parametrize("provider", PROVIDERS)
def test_batch_and_flex_never_cost_more_than_the_standard_and_priority_never_less(provider: str) -> None:
    usage = Usage(input_tokens=100_000, cache_read_tokens=10_000, output_tokens=10_000)
    for price in prices(provider):
        standard = price.cost(usage).nanos
        for name in price.variants.keys() - {"route=mistral/eu", "search_type=fast", "search_type=web"}:
            tier = name.removeprefix("us-")
            assert tier in ("batch", "flex", "priority", "fast", "us")
            cost = price.cost(usage, service_tier=name).nanos
            assert cost <= standard if tier in ("batch", "flex") else cost >= standard


def test_work_that_stays_in_the_united_states_costs_a_tenth_more_but_for_its_searches() -> None:
    """From Claude Opus 4.6 and Sonnet 4.6 on; earlier models cannot be told to."""
    tokens = Usage(
        input_tokens=100_000,
        cache_read_tokens=10_000,
        cache_write_tokens=10_000,
        cache_write_1h_tokens=10_000,
        output_tokens=10_000,
    )
    searches = Usage(web_searches=3)
    told = {price.model: price for price in prices("anthropic") if "us" in price.variants}

    assert len(told) == 13
    assert {"claude-opus-4-6", "claude-sonnet-4-6"} <= told.keys()
    assert not told.keys() & {"claude-opus-4-5", "claude-sonnet-4-5", "claude-haiku-4-5"}
    for price in told.values():
        for tier in {"", *price.variants} - {name for name in price.variants if name.startswith("us")}:
            there = f"us-{tier}" if tier else "us"
            plain = price.cost(tokens, service_tier=tier).nanos
            assert price.cost(tokens, service_tier=there).nanos * 10 == plain * 11
            assert price.cost(searches, service_tier=there) == price.cost(searches, service_tier=tier)


def test_a_tier_that_nobody_knows_is_as_dear_as_the_dearest_of_its_place() -> None:
    price = catalogue_price("anthropic", "claude-opus-4-8", TODAY)
    usage = Usage(input_tokens=1_000, output_tokens=1_000)

    assert price.cost(usage, service_tier="priority") == price.cost(usage, service_tier="fast")
    assert price.cost(usage, service_tier="us-priority") == price.cost(usage, service_tier="us-fast")


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_price_with_a_date_is_found_from_that_date_on(provider: str) -> None:
    for each in BOOK.providers[provider]:
        for start, price in each.prices:
            assert catalogue_price(provider, each.model, start) == price.at(start)
            if start != ALWAYS:
                before = catalogue_price(provider, each.model, start - timedelta(microseconds=1))
                assert before.version != price.version


@pytest.mark.parametrize(
    ("at", "usd_in"),
    [
        ("2026-09-10T00:59:59.999999", "0.15"),
        ("2026-09-10T01:00:00", "0.3"),
        ("2026-09-10T03:59:59.999999", "0.3"),
        ("2026-09-10T04:00:00", "0.15"),
        ("2026-09-10T06:00:00", "0.3"),
        ("2026-09-10T10:00:00", "0.15"),
        ("2026-09-09T12:00:00", "0.22"),  # the price before that date
    ],
)
def test_a_price_of_the_hour_holds_within_the_price_of_the_day(at: str, usd_in: str) -> None:
    made = catalogue_price("deepseek", "deepseek-v4-flash", datetime.fromisoformat(f"{at}+00:00"))

    assert made.cost(Usage(input_tokens=MTOK)).nanos == per_mtok(usd_in)


def made_of(rates: dict[str, int]) -> Entry:
    model: dict[str, Any] = {"id": "m", "prices": [{"from": None, "standard": {"rates": rates}}]}
    return entry("maker", model)


def test_what_is_not_a_catalogue_is_refused_when_it_is_read() -> None:
    assert made_of({"input": 1}).at(TODAY).standard.rates.input == 1
    with pytest.raises(TypeError, match="inptu"):
        made_of({"inptu": 1}).at(TODAY)
