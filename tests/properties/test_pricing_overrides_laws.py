"""Laws of price overrides: which entry wins, what a discount leaves, and that no file breaks the reader."""

import json
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from itertools import product
from random import Random
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pricing.book import PriceBook
from pricing.document import DocumentError, parse
from pricing.overrides import OverriddenBook
from pricing.overrides_load import load_overrides
from pricing.overrides_pattern import Pattern
from pricing.overrides_spec import less
from tests.unit.pricing.build import TODAY, entry, price

CATALOGUE = PriceBook([entry(price(model="ab"))])
NAMES = ["".join(letters) for size in range(1, 7) for letters in product("abc", repeat=size)]
START = datetime(2026, 1, 1, tzinfo=UTC)
EVER = datetime(1, 1, 1, tzinfo=UTC)

patterns = st.lists(
    st.sampled_from(["a", "b", "*", "?", "[ab]", "[!a]", "[b-c]"]), min_size=1, max_size=3
).map("".join)
percents = st.decimals(0, 100, places=4)
days = st.integers(0, 6)
priced = st.fixed_dictionaries(
    {"model": patterns, "usd": st.integers(1, 99)}, optional={"from": days, "until": days}
)


def day(number: int) -> str:
    return (START + timedelta(days=number)).date().isoformat()


def file_of(entries: list[dict[str, Any]]) -> dict[str, Any]:
    prices = [
        {"provider": "maker", "model": each["model"], "per_1m": {"input": each["usd"], "output": 0}}
        | {key: day(each[key]) for key in ("from", "until") if key in each}
        for each in entries
    ]
    return {"version": 1, "prices": prices}


def book_of(data: dict[str, Any]) -> OverriddenBook:
    document = parse(json.dumps(data), file="prices.yaml", environ={})  # JSON is YAML too
    return OverriddenBook(CATALOGUE, load_overrides(document, CATALOGUE, providers=["maker"]))


def valid_book(data: dict[str, Any]) -> OverriddenBook:
    try:
        return book_of(data)
    except DocumentError:
        assume(False)
        raise


# -- patterns ---------------------------------------------------------------------------------------------------------


@given(patterns, patterns)
def test_two_patterns_can_meet_exactly_when_a_name_matches_both(one: str, two: str) -> None:
    """Of three parts each, they meet in six letters or never."""
    left, right = Pattern(one), Pattern(two)

    met = any(left.match(name) and right.match(name) for name in NAMES)
    assert left.can_meet(right) == right.can_meet(left) == (met or (left.match("") and right.match("")))


@given(st.text(max_size=12), st.text(max_size=12))
def test_any_text_is_a_pattern_and_meets_itself_unless_it_matches_nothing(one: str, two: str) -> None:
    pattern = Pattern(one)

    assert pattern.is_exact == all(mark not in "*?" and len(mark) == 1 for mark in pattern.parts)
    if pattern.is_exact:
        assert pattern.match(one.lower())
        assert pattern.can_meet(pattern)
    assert pattern.can_meet(Pattern(two)) == Pattern(two).can_meet(pattern)


# -- which price ------------------------------------------------------------------------------------------------------


def expected(entries: list[dict[str, Any]], name: str, at: datetime) -> int | None:
    """The rule in its plainest words: exact, glob by what it spells out, catalogue, star; then the latest start."""

    def rank(each: dict[str, Any]) -> tuple[Any, ...]:
        pattern = Pattern(each["model"])
        return (
            not pattern.is_all,
            *pattern.rank,
            START + timedelta(each["from"]) if "from" in each else EVER,
        )

    holding = [
        each
        for each in entries
        if Pattern(each["model"]).match(name)
        and ("from" not in each or START + timedelta(each["from"]) <= at)
        and ("until" not in each or at < START + timedelta(each["until"]))
    ]
    best = max(holding, key=rank, default=None)
    listed = 2 if name == "ab" else None
    if best is None or (listed is not None and Pattern(best["model"]).is_all):
        return listed
    return int(best["usd"])


@given(st.lists(priced, max_size=6), st.integers(-2, 8), st.integers())
@settings(max_examples=300)
def test_the_price_is_that_of_the_rule_and_the_order_of_the_file_does_not_matter(
    entries: list[dict[str, Any]], number: int, seed: int
) -> None:
    book = valid_book(file_of(entries))
    shuffled = entries.copy()
    Random(seed).shuffle(shuffled)
    other = valid_book(file_of(shuffled))
    at = START + timedelta(days=number)

    for name in ("a", "ab", "b", "bc", "cab", "c"):
        found, again = book.find("maker", name, at), other.find("maker", name, at)
        wanted = expected(entries, name, at)
        assert (None if found is None else found.standard.rates.input) == (
            None if wanted is None else wanted * 10**9
        )
        assert (found is None) == (again is None)
        if found is not None and again is not None:
            assert found.standard == again.standard


@given(st.lists(priced, max_size=4), st.integers(-2, 8))
def test_the_dearest_is_never_below_any_price_without_a_discount(
    entries: list[dict[str, Any]], number: int
) -> None:
    book, at = valid_book(file_of(entries)), START + timedelta(days=number)
    top = book.dearest("maker", at).standard.rates.output

    for name in ("a", "ab", "b", "bc", "cab"):
        found = book.find("maker", name, at)
        assert found is None or found.standard.rates.output <= top


# -- what it comes to -------------------------------------------------------------------------------------------------


@given(st.integers(0, 10**15), percents)
def test_a_discount_is_exact_and_rounded_up_and_never_adds(rate: int, percent: Any) -> None:
    exact = Fraction(rate) * (100 - Fraction(percent)) / 100

    assert exact <= less(rate, percent) < exact + 1
    assert less(rate, percent) <= rate


@given(
    st.decimals(0, 10**5, places=9),
    st.decimals("0.0001", "9", places=4),
    st.sampled_from(["per_1m", "per_1k"]),
)
def test_an_amount_in_any_currency_and_unit_is_changed_exactly_and_rounded_up(
    amount: Any, rate: Any, unit: str
) -> None:
    thousand = 1_000 if unit == "per_1k" else 1
    exact = Fraction(amount) * Fraction(rate) * 10**9 * thousand
    assume(exact <= 10**15)

    written = {"provider": "maker", "model": "x", unit: {"input": str(amount), "output": 0}}
    book = book_of({"version": 1, "currency": "EUR", "usd_per_unit": str(rate), "prices": [written]})
    found = book.find("maker", "x", TODAY)

    assert found is not None
    assert exact <= found.standard.rates.input < exact + 1


# -- any file ---------------------------------------------------------------------------------------------------------

scalars = st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.floats(allow_nan=False)
words = st.sampled_from(
    [
        *("provider", "model", "models", "per_1m", "per_1k", "each", "input", "output", "from", "until"),
        *("tiers", "above_input_tokens", "service_tiers", "percent", "maker", "*"),
    ]
)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=4),
    max_leaves=12,
)


@given(
    st.dictionaries(
        st.sampled_from(["prices", "discounts", "aliases", "currency", "usd_per_unit", "other"]), anything
    )
)
def test_any_file_is_read_or_refused_and_breaks_nothing(data: dict[str, Any]) -> None:
    try:
        book = book_of({"version": 1, **data})
    except DocumentError:
        return
    assert book.find("maker", "ab", TODAY) is not None
