"""prices.yaml: which price a call finds, and what it comes to."""

from datetime import UTC, datetime, timedelta

import pytest

from pricing.book import NAME_CHARS_MAX, Entry, PriceBook
from pricing.catalog.match import matcher
from pricing.overrides import NONE, OverriddenBook
from pricing.price import Rates, Tariff
from pricing.usage import Usage
from tests.unit.pricing.build import BOOK as CATALOGUE
from tests.unit.pricing.build import TODAY, entry, per_mtok, price
from tests.unit.pricing.overriding import MADE, dollars, entries, read

# -- which price ------------------------------------------------------------------------------------------------------


def test_without_a_file_every_price_is_the_catalogues_own() -> None:
    book = OverriddenBook(MADE, NONE)

    assert book.find("maker", "m-1-big", TODAY) is MADE.find("maker", "m-1-big", TODAY)
    assert book.find("maker", "nope", TODAY) is None
    assert book.dearest("maker", TODAY) is MADE.dearest("maker", TODAY)
    assert book.suggest("maker", "m1") == MADE.suggest("maker", "m1") == "m-1"


def test_an_exact_name_goes_before_a_glob_a_glob_before_the_catalogue_and_that_before_a_star() -> None:
    book = read(
        entries(
            "'*'; input: 5, output: 0",
            "'x-*'; input: 6, output: 0",
            "'x-big*'; input: 7, output: 0",
            "x-big-1; input: 8, output: 0",
        )
    )

    wanted = {"x-big-1": 8, "x-big-2": 7, "x-small": 6, "m-1": 2, "m-2": 2, "nobody-knows": 5}
    assert {model: dollars(book, model) for model in wanted} == wanted


def test_names_are_compared_without_regard_to_case() -> None:
    book = read(entries("Our-Llama; input: 3, output: 0", "'GPT-[A-F]*'; input: 4, output: 0"))

    assert [dollars(book, name) for name in ("our-llama", "OUR-LLAMA", "gpt-a1", "gpt-z")] == [3, 3, 4, None]


def test_an_override_holds_for_every_name_that_the_catalogue_takes_for_the_model() -> None:
    """What was asked as gpt-4o is served as gpt-4o-2024-08-06, and is charged as what was served."""
    text = "prices: [{provider: openai, model: gpt-4o, per_1m: {input: 1, output: 1}}]"
    book = read(text, CATALOGUE)

    for name in ("gpt-4o", "GPT-4o", "models/gpt-4o", "gpt-4o-2024-08-06", "gpt-4o-2099-01-01"):
        found = book.find("openai", name, TODAY)
        assert found is not None
        assert (found.model, found.standard.rates.input) == ("gpt-4o", per_mtok("1")), name


@pytest.mark.parametrize("other", ["gpt-4o-mini", "gpt-4o-2024-05-13", "ft:gpt-4o-2024-08-06:acme::id"])
def test_an_override_leaves_models_with_a_price_of_their_own_alone(other: str) -> None:
    text = "prices: [{provider: openai, model: gpt-4o, per_1m: {input: 1, output: 1}}]"

    assert read(text, CATALOGUE).find("openai", other, TODAY) is CATALOGUE.find("openai", other, TODAY)


def test_a_snapshot_can_be_priced_apart_from_its_model() -> None:
    book = read(entries("m-1; input: 3, output: 0", "m-1-2024-08-06; input: 4, output: 0"))

    assert [dollars(book, name) for name in ("m-1", "m-1-2024-08-06", "m-1-2024-11-20")] == [3, 4, 3]


def test_a_dated_name_of_a_model_that_no_catalogue_knows_finds_its_price() -> None:
    book = read(entries("our-llama; input: 3, output: 0"))

    assert [dollars(book, name) for name in ("our-llama-2026-01-01", "our-llama-big")] == [3, None]


def test_an_override_is_of_one_provider() -> None:
    book = read(entries("x; input: 3, output: 0"), providers=["maker", "other"])

    assert book.find("other", "x", TODAY) is None


def test_of_equals_the_latest_start_that_is_not_after_the_call_wins() -> None:
    book = read(
        "prices:\n"
        "  - {provider: maker, model: x, per_1m: {input: 1, output: 0}}\n"
        "  - {provider: maker, model: x, from: 2026-03-01, until: 2026-04-01, per_1m: {input: 2, output: 0}}\n"
        "  - {provider: maker, model: x, from: 2026-06-01T02:00:00+02:00, per_1m: {input: 3, output: 0}}\n"
    )
    tick = timedelta(microseconds=1)
    march, april, june = (datetime(2026, month, 1, tzinfo=UTC) for month in (3, 4, 6))

    found = [dollars(book, "x", at) for at in (march - tick, march, april - tick, april, june - tick, june)]
    assert found == [1, 2, 2, 1, 1, 3]


def test_where_an_exact_price_has_ended_the_next_in_rank_holds() -> None:
    book = read(
        "prices:\n"
        "  - {provider: maker, model: m-2, until: 2026-01-01, per_1m: {input: 1, output: 0}}\n"
        "  - {provider: maker, model: 'm-*', until: 2026-02-01, per_1m: {input: 3, output: 0}}\n"
    )

    days = [datetime(2025, 12, 31, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC), TODAY]
    assert [dollars(book, "m-2", day) for day in days] == [1, 3, 2]


def test_a_star_prices_unknown_names_but_not_what_a_provider_says_it_served() -> None:
    book = read(entries("'*'; input: 5, output: 0"))

    assert dollars(book, "made-up") == 5
    assert book.find_named("maker", "made-up", TODAY) is None
    assert book.find_named("maker", "m-1", TODAY) is MADE.find("maker", "m-1", TODAY)
    assert book.find("maker", "x" * (NAME_CHARS_MAX + 1), TODAY) is None


# -- what it comes to -------------------------------------------------------------------------------------------------


def test_amounts_are_for_a_million_a_thousand_or_one_and_are_rounded_up() -> None:
    book = read(
        "prices:\n  - provider: maker\n    model: x\n"
        '    per_1m: {input: "0.1234567891", cache_read: 1}\n'
        "    per_1k: {output: 0.004, web_search: 10, file_search: 0.0000015}\n"
        "    each: {request: 0.005}\n"
    )
    found = book.find("maker", "x", TODAY)

    assert found is not None
    assert found.standard == Tariff(
        Rates(
            input=123_456_790,
            cache_read=per_mtok("1"),
            output=per_mtok("4"),
            web_search=10_000_000,
            file_search=2,
            request=5_000_000,
        )
    )


def test_other_currencies_are_changed_at_their_rate_and_rounded_up() -> None:
    book = read(
        'currency: EUR\nusd_per_unit: "1.0801"\n'
        + entries("x; input: 2, output: 0.0000000001, cache_write: 3")
    )
    found = book.find("maker", "x", TODAY)

    assert found is not None
    assert found.standard.rates == Rates(input=2_160_200_000, output=1, cache_write=3_240_300_000)


def test_tiers_and_service_tiers_have_rates_of_their_own_and_the_searches_of_the_price_around_them() -> None:
    book = read(
        "prices:\n  - provider: maker\n    model: x\n"
        "    per_1m: {input: 1, output: 2}\n    each: {web_search: 0.01}\n"
        "    tiers: [{above_input_tokens: 100, per_1m: {input: 3, output: 4}}]\n"
        "    service_tiers: {batch: {per_1m: {input: 0.5, output: 1}}}\n"
    )
    found = book.find("maker", "x", TODAY)

    assert found is not None
    assert found.standard.rates_for(100) == Rates(per_mtok("1"), per_mtok("2"), web_search=10_000_000)
    assert found.standard.rates_for(101) == Rates(per_mtok("3"), per_mtok("4"), web_search=10_000_000)
    assert found.tariff("batch").rates == Rates(per_mtok("0.5"), per_mtok("1"), web_search=10_000_000)


def test_an_override_keeps_the_limits_and_the_searches_of_the_catalogue() -> None:
    rates = Rates(input=1, output=1, web_search=7, request=9)
    listed = price(rates, context_tokens=1_000, output_tokens_max=100)
    catalogue = PriceBook([entry(listed)])

    plain = read(entries("m-1; input: 3, output: 4"), catalogue).find("maker", "m-1", TODAY)
    own = read(
        "prices: [{provider: maker, model: m-1, per_1m: {input: 3, output: 4}, each: {request: 0}, "
        "output_tokens_max: 50}]",
        catalogue,
    ).find("maker", "m-1", TODAY)

    assert plain is not None
    assert own is not None
    assert plain.standard.rates == Rates(per_mtok("3"), per_mtok("4"), web_search=7, request=9)
    assert (plain.context_tokens, plain.output_tokens_max) == (1_000, 100)
    assert (own.standard.rates.request, own.context_tokens, own.output_tokens_max) == (0, 1_000, 50)


def test_a_service_tier_that_is_not_written_costs_the_dearer_of_the_catalogue_and_the_override() -> None:
    tariffs = {
        "batch": Tariff(Rates(input=per_mtok("1"), output=per_mtok("5"))),
        "priority": Tariff(Rates(input=per_mtok("4"), output=per_mtok("20"))),
    }
    book = read(
        entries("m-1; input: 1.5, output: 7.5"), PriceBook([entry(price(model="m-1", variants=tariffs))])
    )
    found = book.find("maker", "m-1", TODAY)

    assert found is not None
    assert found.tariff("batch") == found.standard
    assert found.tariff("priority") == tariffs["priority"]


# -- discounts --------------------------------------------------------------------------------------------------------


def discount(book: OverriddenBook, model: str, at: datetime = TODAY) -> Rates:
    found = book.find("maker", model, at)
    assert found is not None
    return found.standard.rates


def test_a_discount_takes_from_every_rate_of_catalogue_and_override_alike() -> None:
    listed = price(
        tariff=Tariff(Rates(input=101, output=1_001, cache_read=3, web_search=7)),
        variants={"batch": Tariff(Rates(input=51, output=501))},
    )
    book = read(
        entries("x; input: 2, output: 10") + "discounts: [{provider: maker, percent: 12.5}]",
        PriceBook([entry(listed)]),
    )
    found = book.find("maker", "m-1", TODAY)

    assert found is not None
    assert found.standard.rates == Rates(input=89, output=876, cache_read=3, web_search=7)
    assert found.tariff("batch").rates == Rates(input=45, output=439)
    assert found.standard.rates.cache_write is None
    assert discount(book, "x") == Rates(input=per_mtok("1.75"), output=per_mtok("8.75"))


def test_one_discount_applies_the_most_exact_then_the_latest_and_only_in_its_time() -> None:
    book = read(
        "discounts:\n"
        "  - {provider: maker, percent: 10}\n"
        "  - {provider: maker, models: ['m-1*'], percent: 50, from: 2026-01-01, until: 2027-01-01}\n"
        "  - {provider: maker, models: [m-2], percent: 0}\n"
    )
    before = datetime(2025, 12, 31, tzinfo=UTC)

    assert dollars(book, "m-1") == 1
    assert dollars(book, "m-1", before) == 1.8
    assert dollars(book, "m-2") == 2


def test_a_whole_discount_is_free() -> None:
    book = read("discounts: [{provider: maker, percent: 100}]")
    found = book.find("maker", "m-1", TODAY)

    assert found is not None
    assert found.cost(Usage(input_tokens=10**9, output_tokens=10**9)).nanos == 0


# -- aliases, unknown names, versions ---------------------------------------------------------------------------------


def test_an_alias_is_priced_as_its_model_whatever_that_is_priced_by() -> None:
    book = read(entries("x; input: 3, output: 0") + "aliases: {Mine: m-1, other: X}")

    assert [dollars(book, name) for name in ("mine", "MINE", "mine-2026-01-01", "other")] == [2, 2, 2, 3]
    found = book.find("maker", "mine", TODAY)
    assert found is not None
    assert found.model == "m-1"


def test_the_nearest_name_may_be_an_overrides_an_aliases_or_the_catalogues() -> None:
    book = read(entries("our-llama", "'mistral-*'") + "aliases: {search-prod: m-1}")

    asked = ("our-lama", "serch-prod", "m1", "mistral-", "zzz")
    assert [book.suggest("maker", name) for name in asked] == ["our-llama", "search-prod", "m-1", None, None]


def test_the_dearest_is_that_of_the_catalogue_and_of_the_overrides_in_force_before_discounts() -> None:
    book = read(
        "prices:\n"
        "  - {provider: maker, model: x, until: 2026-01-01, per_1m: {input: 1, output: 99}}\n"
        "  - {provider: maker, model: 'y*', per_1m: {input: 1, output: 20}}\n"
        "  - {provider: maker, model: m-2, per_1m: {input: 1, output: 2}}\n"
        "discounts: [{provider: maker, percent: 50}]\n"
    )

    outputs = [
        book.dearest("maker", at).standard.rates.output for at in (datetime(2025, 1, 1, tzinfo=UTC), TODAY)
    ]
    assert outputs == [per_mtok("99"), per_mtok("20")]
    cheap = read(entries("x; input: 1, output: 1"))
    assert cheap.dearest("maker", TODAY) is MADE.dearest("maker", TODAY)


def test_a_prices_version_tells_the_file_its_content_and_what_of_it_applied() -> None:
    text = (
        "prices: [{provider: maker, model: x, from: 2026-01-01, per_1m: {input: 1, output: 1}}]\n"
        "discounts: [{provider: maker, models: [x, m-2], percent: 2.5}]\naliases: {mine: m-1}\n"
    )
    book = read(text)
    version = book.overrides.version

    def told(model: str) -> str:
        found = book.find("maker", model, TODAY)
        assert found is not None
        return found.version

    assert version.startswith("prices.yaml@")
    assert told("x") == f"{version}/-2.5%/maker/x@2026-01-01"
    assert told("m-2") == f"{version}/-2.5%/maker/m-2@1"
    assert told("mine") == f"{version}/alias/maker/m-1@1"
    assert told("m-1") == "maker/m-1@1"
    assert read(text + "# another").overrides.version != version


def test_a_price_is_made_once_for_a_name_and_anew_when_the_catalogues_changes() -> None:
    old, new = price(Rates(input=per_mtok("4"), output=0)), price(Rates(input=per_mtok("6"), output=0))
    listed = Entry("maker", "m-1", matcher({"equals": "m-1"}), ((TODAY, new), (TODAY - timedelta(9), old)))
    book = read("discounts: [{provider: maker, percent: 50}]", PriceBook([listed]))

    assert book.find("maker", "m-1", TODAY) is book.find("maker", "m-1", TODAY)
    yesterday = TODAY - timedelta(days=1)
    assert [dollars(book, "m-1", at) for at in (yesterday, TODAY, yesterday)] == [2, 3, 2]
