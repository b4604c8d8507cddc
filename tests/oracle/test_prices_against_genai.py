"""Our costs against another engine's: every model of genai-prices, on both sides of every date and hour at which a
price of it changes, in every tier, for usages of every kind. What differs stands in `genai.py` or below, with its reason."""

from collections import Counter
from datetime import UTC, datetime
from functools import cache

import pytest
from genai_prices import calc_price
from genai_prices.types import Usage as TheirUsage

from pricing.catalog.corrections import AUDIO_SECONDS_MIN
from pricing.money import nanos
from pricing.price import FILE_SEARCH_DEAREST, WEB_SEARCH_DEAREST
from pricing.usage import Usage
from tests.oracle.genai import (
    FRACTIONS,
    UNKNOWN_HERE,
    UNKNOWN_THERE,
    Model,
    all_of_theirs,
    compare,
    every_model,
    theirs,
)
from tests.unit.pricing.build import BOOK, TODAY

CASES = {
    "nothing": Usage(),
    "a token each": Usage(input_tokens=1, output_tokens=1),
    "reasoning": Usage(input_tokens=1_001, output_tokens=5_003, reasoning_tokens=4_801, citation_tokens=97),
    "all cached": Usage(input_tokens=1_001, cache_read_tokens=1_001, output_tokens=3),
    "read and written": Usage(
        input_tokens=9_001,
        cache_read_tokens=5_003,
        cache_write_tokens=1_009,
        cache_write_1h_tokens=211,
        output_tokens=7,
    ),
    "audio": Usage(
        input_tokens=1_001,
        cache_read_tokens=211,
        input_audio_tokens=307,
        cache_read_audio_tokens=101,
        output_tokens=503,
        output_audio_tokens=251,
    ),
    "image": Usage(
        input_tokens=1_001,
        cache_read_tokens=211,
        input_image_tokens=307,
        cache_read_image_tokens=101,
        output_tokens=503,
        output_image_tokens=251,
    ),
    "video": Usage(input_tokens=1_001, input_video_tokens=307, output_tokens=503, output_video_tokens=251),
    "searches": Usage(input_tokens=1_001, output_tokens=503, web_searches=3, file_searches=2),
    "no tokens": Usage(characters=1_013, audio_seconds=7, messages=3, pages=11, annotated_pages=5),
    "long": Usage(input_tokens=300_001, cache_read_tokens=100_003, cache_write_tokens=7, output_tokens=503),
} | {
    f"{edge + more} in": Usage(input_tokens=edge + more)
    for edge in (32_000, 100_000, 128_000, 200_000, 256_000, 272_000, 512_000)
    for more in (0, 1)
}
TOLD = {name: theirs(usage) for name, usage in CASES.items()}


@cache
def models() -> dict[tuple[str, str], Model]:
    """Those whose prices are whole nano-dollars on both sides."""
    return {model.name: model for model in every_model() if model.name not in FRACTIONS}


def test_every_model_of_theirs_is_ours_save_those_of_which_nobody_knows_the_price() -> None:
    missing = {model.name for model in all_of_theirs() if BOOK.find(*model.name, TODAY) is None}
    ours = {(entry.provider, entry.model) for each in BOOK.providers.values() for entry in each}

    assert missing == UNKNOWN_HERE
    assert ours - {model.name for model in all_of_theirs()} == UNKNOWN_THERE


@pytest.mark.parametrize("provider", sorted(BOOK.providers))
def test_every_cost_is_theirs_to_the_nano_dollar_but_for_named_reasons(provider: str) -> None:
    unexplained = [
        found
        for model in every_model()
        if model.provider.id == provider
        for at in model.instants
        for tier in model.tiers
        for name, usage in CASES.items()
        if (found := compare(model, usage, TOLD[name], at, tier)) is not None
    ]

    assert unexplained == []


def test_enough_was_compared() -> None:
    """So that an empty catalogue, or an oracle that changed its form, is not taken for agreement."""
    tiers = Counter(tier for model in every_model() for tier in model.tiers)
    today = {model.name: model.cost(TOLD["read and written"], TODAY, "") for model in every_model()}

    assert len(BOOK.providers) == 47
    assert len(today) == 2_321
    assert sum(cost > 0 for cost in today.values()) > 2_100
    assert sum(len(model.instants) * len(model.tiers) for model in every_model()) > 6_000
    assert tiers.keys() == {
        "", "default", "batch", "flex", "priority", "fast", "route=mistral/eu", "search_type=fast", "search_type=web",
    }  # fmt: skip
    assert tiers["batch"] > 100


# Models with a batch price of which some other tier was known before it was, and what else came late.
TIERS_LEARNED_LATE = {
    ("anthropic", "batch"): 3,
    ("openai", "batch"): 22,
}


def test_a_tier_that_differs_is_one_of_a_day_before_its_price_was_known_and_never_cheaper() -> None:
    usage, told = CASES["reasoning"], TOLD["reasoning"]
    differing = []
    for model in every_model():
        for at in model.instants:
            for tier in model.tiers:
                our, their = model.ours(at).cost(usage, service_tier=tier).nanos, model.cost(told, at, tier)
                if tier and our != their:
                    differing.append((model, tier, at, our, their))

    late = {(model.name, tier) for model, tier, *_ in differing}
    assert Counter((name[0], tier) for name, tier in late) == TIERS_LEARNED_LATE
    assert all(at < datetime(2026, 10, 14, tzinfo=UTC) for _, _, at, *_ in differing)
    assert all(our > their for *_, our, their in differing)


@pytest.mark.parametrize("kind", ["audio", "image"])
def test_cached_sound_and_pictures_that_are_not_told_are_dearer_here_while_text_could_be_what_was_cached(
    kind: str,
) -> None:
    usage = {"input_tokens": 1_000, "cache_read_tokens": 400, f"input_{kind}_tokens": 600}
    told = TheirUsage(**usage, **{f"cache_{kind}_read_tokens": 300})
    costs = {
        model.name: (model.ours(TODAY).cost(Usage(**usage)).nanos, model.cost(told, TODAY, ""))
        for model in models().values()
    }

    assert all(our >= their for our, their in costs.values())
    assert sum(our > their for our, their in costs.values()) >= 10


@pytest.mark.parametrize("kind", ["audio", "image"])
def test_where_all_of_a_prompt_is_cached_sound_or_pictures_that_need_not_be_told(kind: str) -> None:
    usage = {"input_tokens": 1_000, "cache_read_tokens": 1_000, f"input_{kind}_tokens": 1_000}
    told = TheirUsage(**usage, **{f"cache_{kind}_read_tokens": 1_000})

    for model in models().values():
        assert model.ours(TODAY).cost(Usage(**usage)).nanos == model.cost(told, TODAY, "")


def test_searches_are_theirs_where_they_have_a_price_and_never_free_where_they_have_none() -> None:
    plain, searched = Usage(input_tokens=1_000), Usage(input_tokens=1_000, web_searches=1, file_searches=1)
    told = TheirUsage(input_tokens=1_000, web_searches=1, storage_searches=1)
    unpriced = Counter[tuple[str, ...]]()
    for model in models().values():
        price = model.ours(TODAY)
        cost = price.cost(searched)
        unpriced[cost.unpriced] += 1
        if not cost.unpriced:
            assert cost.nanos == model.cost(told, TODAY, "")
        assert cost.nanos - price.cost(plain).nanos >= 2_500_000

    assert unpriced[()] == 30
    assert unpriced[("file_search",)] == 66
    assert set(unpriced) == {(), ("file_search",), ("web_search", "file_search")}


def test_what_an_unpriced_search_is_billed_is_the_dearest_of_the_catalogue() -> None:
    prices = [price for each in BOOK.providers.values() for entry in each for _, price in entry.prices]
    rates = [tariff.rates for price in prices for tariff in (price.standard, *price.variants.values())]

    assert max(each.web_search or 0 for each in rates) == WEB_SEARCH_DEAREST
    assert max(each.file_search or 0 for each in rates) == FILE_SEARCH_DEAREST


@pytest.mark.parametrize("seconds", [0, 1, 9, 10, 11, 3_600])
def test_a_short_sound_is_billed_as_the_shortest_that_is(seconds: int) -> None:
    for name in AUDIO_SECONDS_MIN:
        model, usage = models()[name], Usage(audio_seconds=seconds)

        assert compare(model, usage, theirs(usage), TODAY, "") is None
        assert model.ours(TODAY).cost(usage) == model.ours(TODAY).cost(
            Usage(audio_seconds=max(10, seconds) if seconds else 0)
        )


@pytest.mark.parametrize(("context", "tier"), [({}, ""), ({"processing": "batch"}, "batch")])
def test_a_model_sold_by_another_provider_has_its_makers_price_and_tiers(
    context: dict[str, str], tier: str
) -> None:
    """Theirs has the maker's standard price for every tier of it."""
    usage = Usage(input_tokens=1_000_000)
    price = BOOK.find("azure", "gpt-4.1-nano", TODAY)
    their = calc_price(
        theirs(usage),
        "gpt-4.1-nano",
        provider_id="azure",
        genai_request_timestamp=TODAY,
        price_context=context,
    )

    assert price is not None
    assert nanos(their.total_price) == price.cost(usage).nanos == 100_000_000
    assert price.cost(usage, service_tier=tier).nanos == (50_000_000 if tier else 100_000_000)
