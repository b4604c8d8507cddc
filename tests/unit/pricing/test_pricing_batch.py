"""Batch prices, and the exact sum of what many requests cost together."""

from fractions import Fraction
from math import ceil

from hypothesis import given
from hypothesis import strategies as st

from pricing.batch import Tally, at_batch, has_batch_price
from pricing.price import Price, Rates, Tariff, Tier
from pricing.usage import Usage

PLAIN = Tariff(Rates(input=3_000_000, output=15_000_000))
HALF = Tariff(Rates(input=1_500_001, output=7_500_003, web_search=10))
US_HALF = Tariff(Rates(input=1_650_000, output=8_250_000))
PRICE = Price("p", "m", "v1", PLAIN, {"batch": HALF, "fast": PLAIN, "us": PLAIN, "us-batch": US_HALF})


def test_a_batch_has_a_tariff_of_its_own_and_no_other() -> None:
    assert has_batch_price(PRICE)
    for tier in ("", "batch", "fast", "priority"):
        assert at_batch(PRICE).tariff(tier) == HALF
    assert at_batch(PRICE, "us").standard == at_batch(PRICE, "us-batch").standard == US_HALF


def test_without_one_the_price_of_single_calls_holds() -> None:
    dear = Tariff(Rates(input=4_000_000, output=16_000_000))
    plain = Price("p", "m", "v1", PLAIN, {"priority": dear, "us": dear})

    assert not has_batch_price(plain)
    assert at_batch(plain).standard == PLAIN
    assert at_batch(plain, "us").standard == dear


def test_each_request_is_priced_by_its_own_length() -> None:
    long = Tariff(Rates(input=1_000_000), (Tier(10, Rates(input=9_000_000)),))
    tally = Tally()
    for _ in range(5):
        tally.add(Usage(input_tokens=10), Price("p", "m", "v1", long))

    assert tally.nanos == 50
    assert tally.usage == Usage(input_tokens=50)


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 9)), max_size=30))
def test_the_sum_is_exact_and_rounded_up_once(requests: list[tuple[int, int, int]]) -> None:
    tally, exact = Tally(), Fraction()
    for given_tokens, written, searches in requests:
        tally.add(Usage(given_tokens, output_tokens=written, web_searches=searches), at_batch(PRICE))
        exact += Fraction(given_tokens * 1_500_001 + written * 7_500_003, 10**6) + searches * 10

    assert tally.nanos == ceil(exact)
    assert tally.usage.output_tokens == sum(written for _, written, _ in requests)
    assert tally.versions == ({"v1"} if requests else set())
