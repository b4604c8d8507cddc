"""Laws of money: nothing is lost between dollars and nano-dollars, and every rounding is up, by less than one."""

from decimal import Decimal
from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from pricing.money import NANOS_PER_USD, nanos, usd
from pricing.price import MILLION, Rates, Tariff, Tier
from pricing.usage import Usage
from tests.unit.pricing.build import price

law = settings(deadline=None)  # the machine may be busy with something else

amounts = st.integers(-(10**30), 10**30)
decimals = st.decimals(
    allow_nan=False, allow_infinity=False, min_value=-(10**15), max_value=10**15, places=18
)
counts = st.integers(0, 10**9)
each_rate = st.integers(0, 10**12)
maybe_rate = st.none() | each_rate
rates = st.builds(
    Rates,
    input=each_rate,
    output=each_rate,
    cache_read=maybe_rate,
    cache_write=maybe_rate,
    cache_write_1h=maybe_rate,
    cache_write_12h=maybe_rate,
    input_audio=maybe_rate,
    input_image=maybe_rate,
    output_audio=maybe_rate,
    output_image=maybe_rate,
    web_search=st.integers(0, 10**9),
)
usages = st.builds(
    Usage,
    input_tokens=counts,
    cache_read_tokens=counts,
    cache_write_tokens=counts,
    cache_write_1h_tokens=counts,
    cache_write_12h_tokens=counts,
    input_audio_tokens=counts,
    input_image_tokens=counts,
    output_tokens=counts,
    reasoning_tokens=counts,
    output_audio_tokens=counts,
    output_image_tokens=counts,
    web_searches=st.integers(0, 1_000),
)


@law
@given(amounts)
def test_what_is_shown_is_what_was_meant(amount: int) -> None:
    assert nanos(usd(amount)) == amount


@law
@given(decimals)
def test_an_amount_is_rounded_up_by_less_than_a_nano_dollar(amount: Decimal) -> None:
    exact = Fraction(amount) * NANOS_PER_USD

    assert 0 <= nanos(amount) - exact < 1


@law
@given(amounts)
def test_no_exponent_and_no_trailing_zero_is_ever_shown(amount: int) -> None:
    shown = usd(amount)

    assert "e" not in shown.lower()
    assert not ("." in shown and shown.endswith(("0", ".")))


@law
@given(rates=rates, usage=usages)
def test_a_cost_is_the_exact_sum_of_its_parts_rounded_up_once(rates: Rates, usage: Usage) -> None:
    cost = price(rates).cost(usage)
    tokens = [part for part in cost.parts if part.name != "web_search"]
    searches = usage.web_searches * (rates.web_search or 0)

    exact = searches + sum(Fraction(part.quantity * part.rate, MILLION) for part in tokens)

    assert 0 <= cost.nanos - exact < 1


@law
@given(rates=rates, usage=usages)
def test_no_token_is_billed_twice_and_none_is_left_out(rates: Rates, usage: Usage) -> None:
    parts = price(rates).cost(usage).parts
    out = ("output", "output_audio", "output_image")

    assert sum(part.quantity for part in parts if part.name in out) == usage.output_tokens
    assert sum(part.quantity for part in parts if part.name not in (*out, "web_search")) == usage.input_tokens


@law
@given(rates=rates, usage=usages)
def test_no_bill_is_above_all_of_it_at_the_dearest_rates(rates: Rates, usage: Usage) -> None:
    read = rates.input if rates.cache_read is None else rates.cache_read
    most = (
        usage.input_tokens * max(rates.dearest_input, read)
        + usage.output_tokens * rates.dearest_output
        + usage.web_searches * (rates.web_search or 0) * MILLION
    )

    assert price(rates).cost(usage).nanos <= -(-most // MILLION)


@law
@given(low=rates, high=rates, edge=st.integers(1, 10**6), usage=usages)
def test_a_tier_prices_a_call_wholly_or_not_at_all(low: Rates, high: Rates, edge: int, usage: Usage) -> None:
    tiered = price(tariff=Tariff(low, (Tier(edge, high),)))

    assert tiered.cost(usage) == price(high if usage.input_tokens > edge else low).cost(usage)


@law
@given(first=usages, second=usages, rates=rates)
def test_two_calls_never_cost_less_than_their_tokens_in_one(
    first: Usage, second: Usage, rates: Rates
) -> None:
    """Each call is rounded up by itself: at most one nano-dollar more than together."""
    plain = price(Rates(input=rates.input, output=rates.output))
    one, two = (Usage(input_tokens=u.input_tokens, output_tokens=u.output_tokens) for u in (first, second))
    both = Usage(
        input_tokens=one.input_tokens + two.input_tokens, output_tokens=one.output_tokens + two.output_tokens
    )

    together = plain.cost(both).nanos
    assert together <= plain.cost(one).nanos + plain.cost(two).nanos <= together + 1
