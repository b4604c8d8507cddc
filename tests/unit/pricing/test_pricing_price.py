"""What a usage costs: each class at its rate, nothing twice, nothing free by omission, rounded up once a call."""

import pytest

from pricing.price import Part, Rates, Tariff, Tier
from pricing.usage import Usage
from tests.unit.pricing.build import MTOK, per_mtok, price

RATES = Rates(
    input=per_mtok("2"),
    output=per_mtok("10"),
    cache_read=per_mtok("0.2"),
    cache_write=per_mtok("2.5"),
    cache_write_1h=per_mtok("4"),
    cache_write_12h=per_mtok("5"),
    input_audio=per_mtok("40"),
    input_image=per_mtok("3"),
    output_audio=per_mtok("80"),
    output_image=per_mtok("30"),
    web_search=10_000_000,
)
PLAIN = Rates(input=per_mtok("2"), output=per_mtok("10"))

DOLLAR = 1_000_000_000


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (Usage(), 0),
        (Usage(input_tokens=MTOK), 2 * DOLLAR),
        (Usage(output_tokens=MTOK), 10 * DOLLAR),
        (Usage(input_tokens=MTOK, cache_read_tokens=MTOK), DOLLAR // 5),
        (Usage(input_tokens=MTOK, cache_write_tokens=MTOK), 5 * DOLLAR // 2),
        (Usage(input_tokens=MTOK, cache_write_1h_tokens=MTOK), 4 * DOLLAR),
        (Usage(input_tokens=MTOK, cache_write_12h_tokens=MTOK), 5 * DOLLAR),
        (Usage(input_tokens=MTOK, input_audio_tokens=MTOK), 40 * DOLLAR),
        (Usage(input_tokens=MTOK, input_image_tokens=MTOK), 3 * DOLLAR),
        (Usage(output_tokens=MTOK, output_audio_tokens=MTOK), 80 * DOLLAR),
        (Usage(output_tokens=MTOK, output_image_tokens=MTOK), 30 * DOLLAR),
        (Usage(web_searches=3), 30_000_000),
    ],
)
def test_each_class_is_billed_at_its_own_rate(usage: Usage, expected: int) -> None:
    assert price(RATES).cost(usage).nanos == expected


def test_a_class_is_taken_from_the_whole_it_is_part_of() -> None:
    usage = Usage(
        input_tokens=1_000,
        cache_read_tokens=600,
        cache_write_tokens=100,
        output_tokens=50,
        output_audio_tokens=20,
    )

    cost = price(RATES).cost(usage)

    assert cost.parts == (
        Part("cache_read", 600, per_mtok("0.2")),
        Part("cache_write", 100, per_mtok("2.5")),
        Part("input", 300, per_mtok("2")),
        Part("output_audio", 20, per_mtok("80")),
        Part("output", 30, per_mtok("10")),
    )
    assert cost.nanos == 120_000 + 250_000 + 600_000 + 1_600_000 + 300_000


def test_reasoning_is_output_and_costs_nothing_more() -> None:
    reasoned = Usage(input_tokens=100, output_tokens=900, reasoning_tokens=800)

    assert price(RATES).cost(reasoned) == price(RATES).cost(Usage(input_tokens=100, output_tokens=900))


@pytest.mark.parametrize(
    "usage",
    [
        Usage(input_tokens=MTOK, cache_read_tokens=MTOK),
        Usage(input_tokens=MTOK, cache_write_tokens=MTOK),
        Usage(input_tokens=MTOK, cache_write_1h_tokens=MTOK),
        Usage(input_tokens=MTOK, cache_write_12h_tokens=MTOK),
        Usage(input_tokens=MTOK, input_audio_tokens=MTOK),
        Usage(input_tokens=MTOK, input_image_tokens=MTOK),
    ],
)
def test_a_class_without_a_price_costs_what_plain_input_costs(usage: Usage) -> None:
    assert price(PLAIN).cost(usage).nanos == 2 * DOLLAR


def test_output_without_a_price_of_its_own_costs_what_plain_output_costs() -> None:
    usage = Usage(output_tokens=MTOK, output_audio_tokens=MTOK // 2, output_image_tokens=MTOK // 2)

    assert price(PLAIN).cost(usage).nanos == 10 * DOLLAR


def test_a_longer_cache_write_without_a_price_costs_what_the_shorter_costs() -> None:
    rates = Rates(input=per_mtok("2"), cache_write=per_mtok("2.5"))
    usage = Usage(input_tokens=2 * MTOK, cache_write_1h_tokens=MTOK, cache_write_12h_tokens=MTOK)

    assert price(rates).cost(usage).nanos == 5 * DOLLAR


def test_more_parts_than_the_whole_are_not_billed_beyond_it() -> None:
    usage = Usage(input_tokens=100, cache_read_tokens=70, cache_write_tokens=70)

    assert [(part.name, part.quantity) for part in price(RATES).cost(usage).parts] == [
        ("cache_read", 70),
        ("cache_write", 30),
    ]


def test_a_call_is_rounded_up_once_not_at_each_class() -> None:
    """Three classes of 0.4 nano-dollars each are 1.2 together: 2, not 3."""
    rates = Rates(input=400_000, output=400_000, cache_read=400_000)

    assert price(rates).cost(Usage(input_tokens=2, cache_read_tokens=1, output_tokens=1)).nanos == 2
    assert price(rates).cost(Usage(input_tokens=1)).nanos == 1
    assert price(rates).cost(Usage(input_tokens=5)).nanos == 2  # 2.0 exactly: nothing is added


def test_a_cost_beyond_what_a_float_can_hold_is_exact() -> None:
    assert price(PLAIN).cost(Usage(input_tokens=10**18 + 1)).nanos == 2_000 * (10**18 + 1)


LONG = Tariff(
    PLAIN,
    (
        Tier(200_000, Rates(input=per_mtok("4"), output=per_mtok("15"))),
        Tier(500_000, Rates(input=per_mtok("8"), output=per_mtok("20"))),
    ),
)


@pytest.mark.parametrize(
    ("input_tokens", "expected"),
    [
        (200_000, 200_000 * 2_000 + 1_000 * 10_000),
        (200_001, 200_001 * 4_000 + 1_000 * 15_000),
        (500_000, 500_000 * 4_000 + 1_000 * 15_000),
        (500_001, 500_001 * 8_000 + 1_000 * 20_000),
    ],
)
def test_above_a_tier_the_whole_call_is_billed_at_its_rates(input_tokens: int, expected: int) -> None:
    usage = Usage(input_tokens=input_tokens, output_tokens=1_000)

    assert price(tariff=LONG).cost(usage).nanos == expected


def test_cached_input_counts_towards_a_tier() -> None:
    usage = Usage(input_tokens=200_001, cache_read_tokens=200_001)

    assert price(tariff=LONG).cost(usage).nanos == 200_001 * 4_000


VARIANTS = {
    "flex": Tariff(Rates(input=per_mtok("1"), output=per_mtok("5"))),
    "priority": Tariff(Rates(input=per_mtok("4"), output=per_mtok("20"))),
}


@pytest.mark.parametrize(
    ("tier", "dollars"),
    [
        ("", 2),
        ("auto", 2),
        ("default", 2),
        ("standard", 2),
        ("standard_only", 2),
        ("flex", 1),
        ("priority", 4),
        ("ultrafast", 4),  # unknown: the dearest known
    ],
)
def test_the_service_tier_chooses_the_tariff(tier: str, dollars: int) -> None:
    made = price(variants=VARIANTS)

    assert made.cost(Usage(input_tokens=MTOK), service_tier=tier).nanos == dollars * DOLLAR


def test_an_unknown_tier_is_never_cheaper_than_the_standard() -> None:
    made = price(variants={"flex": VARIANTS["flex"]})

    assert made.cost(Usage(output_tokens=MTOK), service_tier="priority").nanos == 10 * DOLLAR


def test_the_dearest_input_is_a_write_or_a_sound_and_the_dearest_output_what_it_may_be() -> None:
    assert RATES.dearest_input == per_mtok("40")
    assert RATES.dearest_output == per_mtok("80")
    assert PLAIN.dearest_input == per_mtok("2")
    assert PLAIN.dearest_output == per_mtok("10")


@pytest.mark.parametrize("name", ["input_tokens", "cache_read_tokens", "output_tokens", "web_searches"])
def test_a_usage_is_never_negative(name: str) -> None:
    with pytest.raises(AssertionError, match=f"a count is negative.*{name}=-1"):
        Usage(**{name: -1})
