"""Law of the ceiling: within the tokens that a call may use, no bill is above it, and no estimate either."""

from hypothesis import given, settings
from hypothesis import strategies as st

from pricing.charge import Basis, Outcome, Seen, charge_for
from pricing.estimate import Ask, estimate
from pricing.price import Price, Rates, Tariff
from pricing.tokens import TokenCount
from pricing.usage import Usage
from tests.unit.pricing.build import BOOK, price

law = settings(deadline=None)  # the machine may be busy with something else

ENTRIES = [entry for entries in BOOK.providers.values() for entry in entries]
PRICES = [made for entry in ENTRIES for _, made in entry.prices]
DEAR_PIXELS = ("input_audio", "input_image")

prices = st.sampled_from(PRICES)
TEXT_PRICES = [made for made in PRICES if not any(getattr(made.standard.rates, name) for name in DEAR_PIXELS)]
asks = st.builds(
    Ask,
    choices=st.integers(1, 8),
    output_tokens_max=st.none() | st.integers(0, 200_000),
    output_expected=st.none() | st.integers(0, 200_000),
    has_output=st.booleans(),
    service_tier=st.sampled_from(["", "auto", "batch", "flex", "priority", "fast", "made up"]),
)


@st.composite
def counts(draw: st.DrawFn) -> TokenCount:
    most = draw(st.integers(0, 400_000))
    return TokenCount(draw(st.integers(0, most)), most, exact=draw(st.booleans()), basis="test")


@st.composite
def usages_within(draw: st.DrawFn, input_max: int, output_max: int, *, sound: bool = False) -> Usage:
    """Any split of any number of tokens up to the bounds."""
    total, out = draw(st.integers(0, input_max)), draw(st.integers(0, output_max))
    share = st.integers(0, max(1, total))
    return Usage(
        input_tokens=total,
        cache_read_tokens=draw(share),
        cache_write_tokens=draw(share),
        cache_write_1h_tokens=draw(share),
        cache_write_12h_tokens=draw(share),
        input_audio_tokens=draw(share) if sound else 0,
        input_image_tokens=draw(share) if sound else 0,
        output_tokens=out,
        reasoning_tokens=draw(st.integers(0, out)),
        output_audio_tokens=draw(st.integers(0, out)),
        output_image_tokens=draw(st.integers(0, out)),
    )


@law
@given(count=counts(), made=prices, ask=asks, hidden=st.booleans())
def test_expected_is_never_above_the_ceiling(count: TokenCount, made: Price, ask: Ask, hidden: bool) -> None:
    found = estimate(count, made, ask, hidden=hidden)

    assert 0 <= found.expected <= found.ceiling
    assert 0 <= found.output_tokens <= found.output_tokens_max
    assert 0 < found.confidence <= 1


@law
@given(data=st.data(), count=counts(), made=prices, ask=asks, hidden=st.booleans())
def test_no_bill_of_text_within_the_bounds_is_above_the_ceiling(
    data: st.DataObject, count: TokenCount, made: Price, ask: Ask, hidden: bool
) -> None:
    found = estimate(count, made, ask, hidden=hidden)
    usage = data.draw(usages_within(found.input_tokens_max, found.output_tokens_max))

    assert made.cost(usage, service_tier=ask.service_tier).nanos <= found.ceiling


@law
@given(data=st.data(), count=counts(), made=st.sampled_from(TEXT_PRICES), ask=asks)
def test_nor_is_one_of_pictures_and_sound_where_the_model_has_no_rate_of_their_own(
    data: st.DataObject, count: TokenCount, made: Price, ask: Ask
) -> None:
    found = estimate(count, made, ask)
    usage = data.draw(usages_within(found.input_tokens_max, found.output_tokens_max, sound=True))

    assert made.cost(usage, service_tier=ask.service_tier).nanos <= found.ceiling


@law
@given(data=st.data(), count=counts(), made=prices, ask=asks)
def test_hidden_input_is_held_for_at_least_a_full_context_of_anything(
    data: st.DataObject, count: TokenCount, made: Price, ask: Ask
) -> None:
    found = estimate(count, made, ask, hidden=True)
    usage = data.draw(usages_within(made.context_tokens or 1_000_000, found.output_tokens_max, sound=True))

    assert made.cost(usage, service_tier=ask.service_tier).nanos <= found.ceiling


@law
@given(count=counts(), made=prices, ask=asks, cap=st.integers(0, 200_000))
def test_a_lower_cap_is_never_a_higher_ceiling(count: TokenCount, made: Price, ask: Ask, cap: int) -> None:
    def capped(tokens: int) -> int:
        return estimate(
            count, made, Ask(ask.choices, tokens, ask.output_expected, ask.has_output, ask.service_tier)
        ).ceiling

    assert capped(cap // 2) <= capped(cap)


@law
@given(count=counts(), ask=asks, choices=st.integers(1, 128))
def test_choices_multiply_the_output_and_nothing_else(count: TokenCount, ask: Ask, choices: int) -> None:
    made = price()
    one = estimate(count, made, Ask(1, ask.output_tokens_max, ask.output_expected, ask.has_output))
    many = estimate(count, made, Ask(choices, ask.output_tokens_max, ask.output_expected, ask.has_output))

    assert many.output_tokens_max == choices * one.output_tokens_max
    assert many.ceiling - one.ceiling == (choices - 1) * one.output_tokens_max * 10_000


rates = st.builds(
    Rates, input=st.integers(0, 10**11), output=st.integers(0, 10**11), cache_read=st.none() | st.just(1)
)


@law
@given(
    data=st.data(),
    standard=rates,
    dear=rates,
    outcome=st.sampled_from(Outcome),
    suspect=st.booleans(),
    tier=st.sampled_from(["", "priority", "made up"]),
)
def test_a_charge_is_free_reported_or_never_under_what_was_seen(
    data: st.DataObject, standard: Rates, dear: Rates, outcome: Outcome, suspect: bool, tier: str
) -> None:
    made = price(tariff=Tariff(standard), variants={"priority": Tariff(dear)})
    found = estimate(data.draw(counts()), made, Ask(service_tier=tier))
    usage = data.draw(st.none() | usages_within(100_000, 10_000))
    seen = Seen(data.draw(st.integers(0, 10_000)), data.draw(st.integers(0, 1_000)))

    charge = charge_for(
        outcome, price=made, estimate=found, usage=usage, suspect=suspect, seen=seen, service_tier=tier
    )

    if charge is None:
        assert outcome is Outcome.NOT_SENT
        return
    free = outcome in (Outcome.UNPROVEN, Outcome.PROVIDER_REFUSED)
    if free or charge.basis is Basis.REPORTED:
        assert charge.nanos == (0 if free or usage is None else made.cost(usage, service_tier=tier).nanos)
        return
    witnessed = Usage(input_tokens=found.input_tokens, output_tokens=seen.output_tokens)
    assert charge.nanos >= made.cost(witnessed, service_tier=tier).nanos
    assert charge.nanos >= made.cost(charge.usage, service_tier=tier).nanos
    assert charge.reason
