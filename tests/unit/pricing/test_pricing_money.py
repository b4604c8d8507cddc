"""Dollars in, nano-dollars inside, dollars out: nothing lost, and no fraction given away."""

from decimal import Decimal

import pytest

from pricing.money import NANOS_PER_USD, nanos, usd


@pytest.mark.parametrize(
    ("dollars", "expected"),
    [
        ("1", 1_000_000_000),
        ("0.0123", 12_300_000),
        ("0.000000001", 1),
        ("1e-9", 1),
        ("-2.5", -2_500_000_000),
        ("0", 0),
        ("-0", 0),
        ("123456789.987654321", 123_456_789_987_654_321),
        (Decimal("0.1"), 100_000_000),
        (7, 7_000_000_000),
    ],
)
def test_dollars_become_nano_dollars(dollars: str | Decimal | int, expected: int) -> None:
    assert nanos(dollars) == expected


@pytest.mark.parametrize(
    ("dollars", "expected"),
    [
        ("0.0000000001", 1),
        ("0.0000000011", 2),
        ("1e-400", 1),
        ("-0.0000000019", -1),  # up means towards more money
        ("1.0000000000000000000000000000001", 1_000_000_001),  # beyond Decimal's usual 28 digits
        ("98765432109876543210.00000000000000000001", 98_765_432_109_876_543_210_000_000_001),
    ],
)
def test_a_fraction_of_a_nano_dollar_is_rounded_up_however_many_digits_it_has(
    dollars: str, expected: int
) -> None:
    assert nanos(dollars) == expected


def test_money_is_never_a_float() -> None:
    with pytest.raises(TypeError, match="never a float"):
        nanos(0.1)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text", ["NaN", "sNaN", "Infinity", "-Infinity", "", "ten", "1,5", "$5", "1e999999999"]
)
def test_what_is_not_an_amount_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match="not an amount of money"):
        nanos(text)


@pytest.mark.parametrize(
    ("amount", "expected"),
    [
        (0, "0"),
        (1, "0.000000001"),
        (12_300_000, "0.0123"),
        (NANOS_PER_USD, "1"),
        (10 * NANOS_PER_USD, "10"),
        (1_500_000_000, "1.5"),
        (-1, "-0.000000001"),
        (-1_500_000_000, "-1.5"),
        (10**27 + 1, "1000000000000000000.000000001"),
    ],
)
def test_nano_dollars_are_shown_as_dollars_without_trailing_zeros(amount: int, expected: str) -> None:
    assert usd(amount) == expected
