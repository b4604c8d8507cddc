"""prices.yaml: what is said of each way the file can be wrong, and the example."""

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import BaseModel

from pricing.document import DocumentError, parse
from pricing.overrides import OverriddenBook
from pricing.overrides_load import load_overrides
from pricing.overrides_spec import KINDS, DiscountSpec, PricesFile, PriceSpec, TierSpec
from pricing.price import Price
from tests.unit.pricing.build import BOOK as CATALOGUE
from tests.unit.pricing.build import TODAY, catalogue_price, per_mtok
from tests.unit.pricing.overriding import dollars, entries, read

ROOT = Path(__file__).resolve().parents[3]


def problems(text: str) -> list[str]:
    with pytest.raises(DocumentError) as raised:
        read(text)
    return [str(problem) for problem in raised.value.problems]


# -- what is wrong ----------------------------------------------------------------------------------------------------


def test_all_problems_are_told_at_once_each_with_its_line_value_and_remedy() -> None:
    text = (
        "currency: EUR\n"
        "prices:\n"
        "  - {provider: maker, model: x, per_1m: {inptu: 1, output: -2}}\n"
        "  - {provider: maker, model: 'y*', per_1m: {input: 1}}\n"
        "  - {provider: maker, model: z, form: 2026-01-01, until: soon, per_1k: {input: 1, output: 1}}\n"
        "discounts: [{provider: maker, percent: 101}]\n"
        "aliases: {'a*': m-1}\n"
    )

    assert problems(text) == [
        "usd_per_unit: is missing; write how many dollars one EUR is",
        'line 4  prices[0].per_1m.inptu: "inptu" is nothing that has a price; did you mean "input"?',
        "line 4  prices[0].per_1m.output: -2 must be at least 0",
        "line 5  prices[1]: has no price for output; add it, 0 where it is free",
        'line 6  prices[2].until: "soon" is no date; write a day such as 2026-01-31, or an instant such as '
        "2026-01-31T18:00:00Z",
        'line 6  prices[2].form: unknown key; did you mean "from"?',
        "line 7  discounts[0].percent: 101 must be at most 100",
        'line 8  aliases.a*: "a*" looks like a pattern; write one whole name',
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (entries("x; input: 1e99, output: 1"), "must be at most"),
        (entries("x; input: '1e-999999999', output: 1"), "has more than 12 places"),
        (entries("x; input: '1e999999999', output: 1"), "must be at most"),
        (entries("x; input: .nan, output: 1"), "is not a number"),
        (entries("x; input: yes, output: 1"), "is no number"),
        (entries("x; input: 2000000, output: 1"), "more than a dollar for each one"),
        ("prices: [{provider: maker, model: 4, per_1m: {input: 1, output: 1}}]", "write it in quotes"),
        ("prices: [{provider: maker, model: x}]", "has no price for input and output"),
        (entries("x").replace("}}", "}, per_1k: {input: 1}}"), "input has two prices; keep one"),
        (entries("x").replace("}}", "}, each: {input: 1}}"), "input has no price for one"),
        (entries("x").replace("}}", "}, from: 2026-02-01, until: 2026-02-01}"), "must be later than from"),
        (entries("x").replace("}}", "}, from: '2026-02-01T10:00:00'}"), "has no time zone"),
        (entries("x").replace("}}", "}, from: 2026}"), '"2026" is no date'),
        (
            entries("x").replace(
                "}}",
                "}, tiers: [{above_input_tokens: 5, per_1m: {input: 1, output: 1}}, "
                "{above_input_tokens: 5, per_1m: {input: 1, output: 1}}]}",
            ),
            "must rise from tier to tier",
        ),
        (
            entries("x").replace("}}", "}, service_tiers: {default: {per_1m: {input: 1, output: 1}}}}"),
            "is the price itself",
        ),
        (entries("x").replace("maker", "makre"), 'did you mean "maker"?'),
        ("discounts: [{provider: makre, percent: 1}]", 'did you mean "maker"?'),
        ("discounts: [{provider: maker, percent: -1}]", "must be at least 0"),
        ("discounts: [{provider: maker, models: [], percent: 1}]", "at least 1 item"),
        ("currency: eur\nusd_per_unit: 1", "three capital letters"),
        ("currency: EUR\nusd_per_unit: 0", "must be above 0"),
        ("usd_per_unit: 1.08", "name the currency"),
        ("aliases: {mine: n-2}", '"n-2" has no price; did you mean "m-2"?'),
        ("aliases: {a: b, b: m-1}", '"b" is an alias itself'),
        ("aliases: {a: m-1, A: m-2}", "stands twice"),
        (entries("x") + "aliases: {X: m-1}", "has a price of its own"),
        (entries("'*'") + "aliases: {a: n-2}", '"n-2" has no price'),
    ],
)
def test_a_wrong_value_is_told(text: str, told: str) -> None:
    (problem,) = problems(text)

    assert told in problem


@pytest.mark.parametrize(
    ("one", "two"),
    [("x", "X"), ("x-*", "x-*"), ("a*b", "ac*"), ("?-1", "x-?"), ("x[ab]", "x[bc]"), ("*", "**")],
)
def test_equals_that_cover_the_same_model_from_the_same_instant_are_refused_at_their_place(
    one: str, two: str
) -> None:
    (problem,) = problems(entries(f"'{one}'", "m-1", f"'{two}'"))

    assert problem == (
        f'line 5  prices[2]: "{two.lower()}" and "{one.lower()}" of prices[0] cover the same models from the same '
        "instant; give one a later from, or spell out more of it"
    )


def test_overlapping_discounts_are_refused_but_patterns_of_one_may_overlap() -> None:
    (problem,) = problems(
        "discounts: [{provider: maker, models: ['m*'], percent: 1}, {provider: maker, models: ['*1'], percent: 2}]"
    )
    assert problem.startswith('line 2  discounts[1]: "*1" and "m*" of discounts[0] cover the same models')

    assert dollars(read("discounts: [{provider: maker, models: ['m*', '*1'], percent: 50}]"), "m-1") == 1


@pytest.mark.parametrize(("one", "two"), [("x-*", "y-*"), ("x[ab]", "x[cd]"), ("x-*", "x-1*"), ("x?", "x?z")])
def test_patterns_that_never_meet_or_differ_in_rank_stand_side_by_side(one: str, two: str) -> None:
    assert len(read(entries(f"'{one}'", f"'{two}'")).overrides.prices) == 2


def test_what_is_more_often_a_slip_is_warned_of() -> None:
    book = read(
        "prices: [{provider: maker, model: m-2, per_1k: {input: 2, output: 10}}]\naliases: {m-1-small: m-2}"
    )

    assert book.overrides.warnings == (
        "prices.yaml: prices[0]: input is 1000 times as dear as in the catalogue; is it per_1m or per_1k?",
        "prices.yaml: prices[0]: output is 1000 times as dear as in the catalogue; is it per_1m or per_1k?",
        "prices.yaml: aliases.m-1-small: hides a model of the catalogue",
    )


# -- the example ------------------------------------------------------------------------------------------------------


def test_the_example_loads_without_a_warning_and_prices_what_it_says() -> None:
    text = (ROOT / "examples" / "prices.yaml").read_text()
    document = parse(text, file="prices.yaml", environ={})
    book = OverriddenBook(CATALOGUE, load_overrides(document, CATALOGUE, providers=["openai"]))

    def found(model: str, at: datetime = TODAY) -> Price:
        known = book.find("openai", model, at)
        assert known is not None
        return known

    assert book.overrides.warnings == ()
    assert found("gpt-4o-2024-08-06").standard.rates.input == per_mtok(
        "1.836"
    )  # 2 EUR at 1.08, less 15 percent
    assert found("gpt-4o", datetime(2025, 5, 5, tzinfo=UTC)).standard.rates.output == per_mtok("9.504")
    assert found("search-prod").standard == catalogue_price("openai", "gpt-4o-mini").standard
    assert found("chat-eu").output_tokens_max == 8_192
    assert found("nobody-knows").standard.rates.input == per_mtok("10.8")


def keys(model: type[BaseModel]) -> set[str]:
    return {info.alias or name for name, info in model.model_fields.items()}


SECTIONS: dict[str, type[BaseModel]] = {
    "## The file": PricesFile,
    "## A price": PriceSpec,
    "## A tier": TierSpec,
    "## A discount": DiscountSpec,
}


@pytest.mark.parametrize(("heading", "model"), SECTIONS.items())
def test_the_reference_has_every_key(heading: str, model: type[BaseModel]) -> None:
    page = (ROOT / "docs" / "reference" / "price-overrides.md").read_text()
    section = page.partition(f"\n{heading}\n")[2].partition("\n## ")[0]

    rows = re.findall(r"^\| `(\w+)` \| (`[^|]*`|required) \|", section, re.MULTILINE)
    assert {key for key, _ in rows} == keys(model)
    required = {info.alias or name for name, info in model.model_fields.items() if info.is_required()}
    assert {key for key, default in rows if default == "required"} == required


def test_the_reference_has_every_kind_that_can_have_a_price() -> None:
    page = (ROOT / "docs" / "reference" / "price-overrides.md").read_text()

    assert [kind for kind in KINDS if f"`{kind}`" not in page] == []


def test_the_example_uses_every_key() -> None:
    used = set(re.findall(r"(\w+):", (ROOT / "examples" / "prices.yaml").read_text()))

    assert [key for model in SECTIONS.values() for key in keys(model) if key not in used] == []
