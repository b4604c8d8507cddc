"""What a call will likely cost, and what it can cost at most, before it goes."""

import pytest

from pricing.estimate import CONTEXT_UNKNOWN, FREE, OUTPUT_EXPECTED_DEFAULT, OUTPUT_MAX_UNKNOWN, Ask, Estimate
from pricing.estimate import estimate as estimated
from pricing.money import Nanos
from pricing.price import Rates, Tariff, Tier
from pricing.tokens import TokenCount
from pricing.usage import Usage
from tests.unit.pricing.build import catalogue_price, per_mtok, price

COUNTED = TokenCount(1_000, 1_200, exact=True, basis="tiktoken o200k_base")
IN, OUT = 2_000, 10_000  # nano-dollars a token of the usual price


def test_expected_is_the_likely_input_and_output_and_the_ceiling_all_that_may_come() -> None:
    made = estimated(COUNTED, price(), Ask(output_tokens_max=800, output_expected=300))

    assert made.expected == 1_000 * IN + 300 * OUT
    assert made.ceiling == 1_200 * IN + 800 * OUT
    assert (made.input_tokens, made.input_tokens_max) == (1_000, 1_200)
    assert (made.output_tokens, made.output_tokens_max) == (300, 800)


def test_all_choices_are_counted_together() -> None:
    made = estimated(COUNTED, price(), Ask(choices=3, output_tokens_max=800, output_expected=300))

    assert made.expected == 1_000 * IN + 900 * OUT
    assert made.ceiling == 1_200 * IN + 2_400 * OUT
    assert (made.output_tokens, made.output_tokens_max) == (900, 2_400)


def test_a_cap_lowers_the_ceiling_and_what_is_expected_with_it() -> None:
    open_ended = estimated(COUNTED, price(), Ask(output_expected=300))
    capped = estimated(COUNTED, price(), Ask(output_expected=300, output_tokens_max=100))

    assert open_ended.ceiling == 1_200 * IN + 4_096 * OUT
    assert capped.ceiling == 1_200 * IN + 100 * OUT
    assert capped.expected == 1_000 * IN + 100 * OUT


@pytest.mark.parametrize(
    ("output_tokens_max", "context_tokens", "expected"),
    [
        (4_096, 128_000, 4_096),
        (None, 128_000, 128_000),
        (None, None, OUTPUT_MAX_UNKNOWN),
    ],
)
def test_without_a_limit_in_the_call_the_models_own_stands(
    output_tokens_max: int | None, context_tokens: int | None, expected: int
) -> None:
    made = price(output_tokens_max=output_tokens_max, context_tokens=context_tokens)

    assert estimated(COUNTED, made, Ask()).output_tokens_max == expected


def test_until_the_teams_calls_have_taught_better_an_answer_has_its_default_length() -> None:
    made = estimated(COUNTED, price(), Ask())

    assert made.output_tokens == OUTPUT_EXPECTED_DEFAULT
    assert made.basis == "tiktoken o200k_base, default output"
    assert estimated(COUNTED, price(), Ask(output_expected=9)).basis == "tiktoken o200k_base, learned output"


def test_a_call_without_output_costs_its_input() -> None:
    made = estimated(COUNTED, price(), Ask(has_output=False, output_tokens_max=800, output_expected=300))

    assert (made.expected, made.ceiling) == (1_000 * IN, 1_200 * IN)
    assert made.output_tokens_max == 0
    assert made.basis == "tiktoken o200k_base"


@pytest.mark.parametrize(("context", "tokens"), [(128_000, 128_000), (None, CONTEXT_UNKNOWN)])
def test_hidden_input_is_taken_for_the_whole_context(context: int | None, tokens: int) -> None:
    made = estimated(COUNTED, price(context_tokens=context), Ask(output_tokens_max=0), hidden=True)

    assert made.ceiling == tokens * IN
    assert made.input_tokens == 1_000


CACHED = Rates(
    input=per_mtok("2"), output=per_mtok("10"), cache_write=per_mtok("2.5"), cache_write_1h=per_mtok("4")
)


def test_where_cache_writes_cost_more_than_input_the_ceiling_takes_the_dearest() -> None:
    made = estimated(COUNTED, price(CACHED), Ask(output_tokens_max=0))

    assert made.ceiling == 1_200 * 4_000
    assert made.expected == 1_000 * IN


def test_output_that_may_be_sound_is_held_at_the_rate_of_sound() -> None:
    rates = Rates(input=per_mtok("2"), output=per_mtok("10"), output_audio=per_mtok("80"))

    made = estimated(COUNTED, price(rates), Ask(output_tokens_max=10, output_expected=10))

    assert made.ceiling == 1_200 * IN + 10 * 80_000


LONG = Tariff(
    Rates(input=per_mtok("2"), output=per_mtok("10")),
    (Tier(200_000, Rates(input=per_mtok("4"), output=per_mtok("15"))),),
)


def test_a_prompt_that_may_reach_the_long_context_is_held_at_its_rates() -> None:
    near = TokenCount(190_000, 200_001, exact=False, basis="bytes")

    made = estimated(near, price(tariff=LONG), Ask(output_tokens_max=10, output_expected=10))

    assert made.expected == 190_000 * 2_000 + 10 * 10_000
    assert made.ceiling == 200_001 * 4_000 + 10 * 15_000


def test_the_service_tier_that_was_asked_for_is_estimated_at_its_tariff() -> None:
    made = price(variants={"priority": Tariff(Rates(input=per_mtok("4"), output=per_mtok("20")))})
    ask = Ask(output_tokens_max=800, output_expected=300, service_tier="priority")

    dear = estimated(COUNTED, made, ask)

    assert dear.expected == 1_000 * 4_000 + 300 * 20_000
    assert dear.ceiling == 1_200 * 4_000 + 800 * 20_000


def test_a_fraction_of_a_nano_dollar_is_rounded_up_in_both() -> None:
    made = estimated(TokenCount(1, 1, exact=True, basis="x"), price(Rates(input=1)), Ask(has_output=False))

    assert (made.expected, made.ceiling) == (1, 1)


@pytest.mark.parametrize(
    ("exact", "ask", "hidden", "confidence"),
    [
        (True, Ask(output_expected=300), False, 0.9),
        (True, Ask(has_output=False), False, 0.9),
        (True, Ask(), False, 0.6),
        (False, Ask(output_expected=300), False, 0.7),
        (False, Ask(), False, 0.4),
        (True, Ask(output_expected=300), True, 0.1),
    ],
)
def test_confidence_tells_how_much_of_it_is_known(
    exact: bool, ask: Ask, hidden: bool, confidence: float
) -> None:
    made = estimated(TokenCount(10, 20, exact=exact, basis="x"), price(), ask, hidden=hidden)

    assert made.confidence == pytest.approx(confidence)


def test_expected_above_the_ceiling_cannot_be_made() -> None:
    with pytest.raises(AssertionError, match="expected 2 above ceiling 1"):
        Estimate(Nanos(2), Nanos(1), 1.0, "", 0, 0, 0, 0)


def test_a_free_call_is_estimated_at_nothing() -> None:
    assert (FREE.expected, FREE.ceiling, FREE.confidence) == (0, 0, 1.0)


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("openai", "gpt-4o"),
        ("openai", "gpt-5.4"),
        ("anthropic", "claude-sonnet-4-5"),
        ("openai", "gpt-5.6-sol"),
    ],
)
def test_the_ceiling_of_a_real_model_covers_its_dearest_bill(provider: str, model: str) -> None:
    """All input written to the longest-lived cache, all output used."""
    made = catalogue_price(provider, model)
    count = TokenCount(250_000, 300_000, exact=False, basis="x")
    ceiling = estimated(count, made, Ask(output_tokens_max=1_000)).ceiling

    for usage in (
        Usage(input_tokens=300_000, output_tokens=1_000),
        Usage(input_tokens=300_000, cache_write_tokens=300_000, output_tokens=1_000),
        Usage(input_tokens=300_000, cache_write_1h_tokens=300_000, output_tokens=1_000),
        Usage(input_tokens=300_000, cache_write_12h_tokens=300_000, output_tokens=1_000),
    ):
        assert made.cost(usage).nanos <= ceiling


def test_a_cheap_tier_that_may_be_served_as_the_standard_one_lowers_only_what_is_expected() -> None:
    flex = price(variants={"flex": Tariff(Rates(input=per_mtok("1"), output=per_mtok("5")))})
    ask = Ask(output_tokens_max=800, output_expected=300, service_tier="flex")

    made = estimated(COUNTED, flex, ask)

    assert made.expected == (1_000 * IN + 300 * OUT) // 2
    assert made.ceiling == 1_200 * IN + 800 * OUT


def test_a_call_that_sends_sound_may_be_billed_at_the_rate_of_sound() -> None:
    """gpt-audio takes $2.50 a million for words and $32 for sound."""
    heard = price(Rates(input=per_mtok("2.5"), output=per_mtok("10"), input_audio=per_mtok("32")))

    spoken = estimated(COUNTED, heard, Ask(output_tokens_max=0, mixed=True))
    written = estimated(COUNTED, heard, Ask(output_tokens_max=0))

    assert spoken.ceiling == 1_200 * 32_000
    assert written.ceiling == 1_200 * 2_500
