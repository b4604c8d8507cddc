"""How the name in a call finds its price, at the instant of the call."""

from datetime import UTC, datetime, timedelta

import pytest

from pricing.book import NAME_CHARS_MAX, REMEMBERED_MAX, Entry, PriceBook
from pricing.catalog.match import matcher
from pricing.price import Rates
from tests.unit.pricing.build import BOOK, TODAY, entry, per_mtok, price


def found(provider: str, model: str) -> str | None:
    known = BOOK.find(provider, model, TODAY)
    return None if known is None else known.model


@pytest.mark.parametrize(
    ("asked", "model"),
    [
        ("gpt-4o", "gpt-4o"),
        ("GPT-4o", "gpt-4o"),
        ("models/gpt-4o", "gpt-4o"),
        ("gpt-4o-2024-08-06", "gpt-4o"),
        ("gpt-4o-2024-05-13", "gpt-4o-2024-05-13"),  # a snapshot with a price of its own
        ("gpt-4o-2099-01-01", "gpt-4o"),  # one that nobody knows yet
        ("gpt-4o-20990101", "gpt-4o"),
        ("gpt-4o-mini", "gpt-4o-mini"),
        ("gpt-4o-mini-2024-07-18", "gpt-4o-mini"),
        ("o1-2024-12-17", "o1"),
        ("ft:gpt-4o-2024-08-06:acme::id", "ft:gpt-4o"),
        ("ft:gpt-4o-mini-2024-07-18:acme:x:1", "ft:gpt-4o-mini"),
        ("ft:gpt-3.5-turbo-0125:acme::id", "ft:gpt-3.5-turbo-"),
        ("ft:gpt-4o:acme::id", "ft:gpt-4o"),
        ("ft:gpt-4.1-2025-04-14:acme::id", "ft:gpt-4.1"),
        ("gpt-4o-20240513", "gpt-4o-2024-05-13"),  # that snapshot in other writing, not the cheaper model
        ("openai/gpt-4o", "gpt-4o"),
    ],
)
def test_a_name_in_all_its_forms_finds_the_price_of_its_model(asked: str, model: str) -> None:
    assert found("openai", asked) == model


@pytest.mark.parametrize(
    ("asked", "model"),
    [
        ("claude-sonnet-4-5", "claude-sonnet-4-5"),
        ("claude-sonnet-4-5-20250929", "claude-sonnet-4-5"),
        ("claude-sonnet-4-5@20250929", "claude-sonnet-4-5"),
        ("claude-opus-4-20250514", "claude-opus-4-0"),
        ("claude-3-opus-20240229", "claude-3-opus-latest"),
    ],
)
def test_dated_names_of_anthropic_find_their_model(asked: str, model: str) -> None:
    assert found("anthropic", asked) == model


@pytest.mark.parametrize(
    ("provider", "asked"),
    [
        ("openai", "nope"),
        ("openai", ""),
        ("openai", "claude-sonnet-4-5"),  # another maker's
        ("openai", "gpt-4o\x00"),
        ("nobody", "gpt-4o"),
        ("openai", "gpt-4o" + "-" * NAME_CHARS_MAX),
        ("openai", "ft:nope:acme::id"),
        ("openai", "ft:gpt-5-2025-08-07:acme::id"),  # its base is cheaper
        ("openai", "gpt-4o:free"),  # a route of OpenRouter's, of nobody else
        ("azure", "our-own-deployment"),
    ],
)
def test_a_name_that_nobody_knows_has_no_price(provider: str, asked: str) -> None:
    assert found(provider, asked) is None


@pytest.mark.parametrize(
    ("provider", "asked", "seller", "model"),
    [
        ("gemini", "models/gemini-2.5-pro", "google", "gemini-2.5-pro"),
        ("Gemini", "publishers/google/models/gemini-2.5-pro", "google", "gemini-2.5-pro"),
        ("xai", "grok-3", "x-ai", "grok-3"),
        ("bedrock", "us.amazon.nova-2-lite-v1:0", "aws", "regional.amazon.nova-2-lite-v1:0"),
        ("openrouter", "openai/gpt-4o:nitro", "openrouter", "openai/gpt-4o"),
        ("openrouter", "OpenAI/gpt-4o:Online", "openrouter", "openai/gpt-4o"),
        ("openrouter", "deepseek/deepseek-r1:free", "openrouter", "deepseek/deepseek-r1:free"),
        ("azure", "gpt-4.1-nano", "openai", "gpt-4.1-nano"),  # sold there at its maker's price
        ("azure", "gpt-41-nano", "openai", "gpt-4.1-nano"),
        ("azure-openai", "phi-4", "azure", "phi-4"),
        ("vertex_ai", "claude-sonnet-4-5@20250929", "google", "claude-sonnet-4-5"),
        ("fireworks", "accounts/fireworks/models/gpt-oss-20b", "fireworks", "gpt-oss-20b"),
    ],
)
def test_providers_and_names_in_the_forms_of_gateways_find_their_price(
    provider: str, asked: str, seller: str, model: str
) -> None:
    known = BOOK.find(provider, asked, TODAY)

    assert known is not None
    assert (known.provider, known.model) == (seller, model)


def test_a_provider_by_another_name_is_the_same_provider() -> None:
    names = ("openai", "OpenAI", "vertex_ai", "our-own-server")

    assert [BOOK.provider(name) for name in names] == ["openai", "openai", "google", "our-own-server"]


def test_a_deployment_name_that_two_models_would_have_without_dots_is_nobodys() -> None:
    book = PriceBook(
        [entry(price(model="m-1.1", provider="azure")), entry(price(model="m-11.", provider="azure"))]
    )

    assert book.find("azure", "m-11", TODAY) is None
    assert PriceBook([entry(price(model="m-1.1", provider="azure"))]).find("azure", "m-11", TODAY) is not None


def dated(*starts: datetime) -> PriceBook:
    """A model whose price is one dollar a million dearer from each start on."""
    prices = [(start, price(Rates(input=per_mtok(str(n))))) for n, start in enumerate(starts, 1)]
    return PriceBook([Entry("maker", "m-1", matcher({"equals": "m-1"}), tuple(reversed(prices)))])


@pytest.mark.parametrize(
    ("offset", "dollars"),
    [
        (timedelta(days=-400), "1"),
        (timedelta(microseconds=-1), "1"),
        (timedelta(0), "2"),
        (timedelta(days=400), "2"),
    ],
)
def test_a_price_holds_from_its_very_first_instant(offset: timedelta, dollars: str) -> None:
    book = dated(TODAY - timedelta(days=30), TODAY)

    at = book.find("maker", "m-1", TODAY + offset)

    assert at is not None
    assert at.standard.rates.input == per_mtok(dollars)


def test_before_the_first_start_the_oldest_price_holds() -> None:
    at = dated(TODAY, TODAY + timedelta(days=1)).find("maker", "m-1", datetime(1999, 1, 1, tzinfo=UTC))

    assert at is not None
    assert at.standard.rates.input == per_mtok("1")


def test_a_models_own_name_wins_over_an_earlier_pattern() -> None:
    wide = entry(price(model="m-1"), match={"starts_with": "m-1"})
    book = PriceBook([wide, entry(price(model="m-1-mini"))])

    own = book.find("maker", "m-1-mini", TODAY)
    other = book.find("maker", "m-1-large", TODAY)

    assert own is not None
    assert own.model == "m-1-mini"
    assert other is not None
    assert other.model == "m-1"


def test_the_names_that_clients_make_up_do_not_pile_up() -> None:
    book = PriceBook([entry(price())])

    for number in range(REMEMBERED_MAX + 50):
        assert book.find("maker", f"made-up-{number}", TODAY) is None

    assert len(book._remembered) == REMEMBERED_MAX
    assert book.find("maker", "m-1", TODAY) is not None


def test_an_unknown_model_is_charged_at_its_providers_dearest() -> None:
    dear = price(Rates(input=per_mtok("1"), output=per_mtok("80")), model="dear")
    book = PriceBook([entry(price()), entry(dear), entry(price(model="m-2"))])

    assert book.dearest("maker", TODAY) is dear
    assert book.dearest("nobody", TODAY) is dear


def test_the_dearest_is_that_of_the_minute() -> None:
    book = dated(TODAY, TODAY + timedelta(minutes=1))

    found = [book.dearest("maker", TODAY + timedelta(seconds=n)).standard.rates.input for n in (0, 59, 60)]
    assert found == [per_mtok("1"), per_mtok("1"), per_mtok("2")]


def test_where_nothing_is_billed_by_the_token_the_dearest_is_that_of_all() -> None:
    free = entry(price(Rates(audio_hour=per_mtok("1")), model="voice", provider="voices"))
    book = PriceBook([free, entry(price())])

    assert book.dearest("voices", TODAY).model == "m-1"
    with pytest.raises(LookupError):
        PriceBook([free]).dearest("voices", TODAY)


def test_the_dearest_of_a_provider_that_sells_others_models_may_be_one_of_these() -> None:
    dear = price(Rates(input=per_mtok("1"), output=per_mtok("80")), model="dear")
    book = PriceBook(
        [entry(dear), entry(price(model="m-2", provider="azure"))], fallbacks={"azure": ["maker"]}
    )

    assert book.dearest("azure", TODAY) is dear
    assert book.suggest("azure", "daer") == "dear"


@pytest.mark.parametrize("provider", ["openai", "anthropic", "openrouter"])
def test_no_price_of_the_catalogue_puts_out_for_more_than_its_dearest(provider: str) -> None:
    dearest = BOOK.dearest(provider, TODAY).standard.rates.output

    assert dearest == max(each.at(TODAY).standard.rates.output for each in BOOK.providers[provider])


@pytest.mark.parametrize(
    ("provider", "asked", "nearest"),
    [
        ("openai", "gpt-4o-mni", "gpt-4o-mini"),
        ("openai", "GPT4o", "gpt-4o"),
        ("anthropic", "claude-sonet-4-5", "claude-sonnet-4-5"),
        ("openai", "zzzzzz", None),
        ("nobody", "gpt-4o", None),
    ],
)
def test_the_nearest_known_name_is_suggested(provider: str, asked: str, nearest: str | None) -> None:
    assert BOOK.suggest(provider, asked) == nearest


@pytest.mark.parametrize(
    ("clause", "yes", "no"),
    [
        ({"equals": "x"}, "x", "xy"),
        ({"starts_with": "x"}, "xy", "yx"),
        ({"ends_with": "x"}, "yx", "xy"),
        ({"contains": "x"}, "yxy", "yyy"),
        ({"regex": r"^x-\d+$"}, "x-12", "x-12a"),
        ({"or": [{"equals": "x"}, {"equals": "y"}]}, "y", "z"),
        ({"and": [{"starts_with": "x"}, {"ends_with": "y"}]}, "x-y", "x-z"),
    ],
)
def test_clauses_say_which_names_are_meant(clause: dict[str, object], yes: str, no: str) -> None:
    matches = matcher(clause)

    assert matches(yes)
    assert not matches(no)


def test_an_unknown_clause_is_refused_when_the_catalogue_is_read() -> None:
    with pytest.raises(ValueError, match="unknown clause 'like'"):
        matcher({"like": "x"})
