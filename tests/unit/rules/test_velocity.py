"""How fast a scope spends: what is usual for an hour, for a window, and how many times that."""

from decimal import Decimal

import pytest

from pricing.money import NANOS_PER_USD as USD
from rules.velocity import DAY_HOURS, WEEK_HOURS, times_usual, usual_of_hour, usual_of_window

NOW = 490_000  # an hour since 1970


def weekly(*dollars: int) -> dict[int, int]:
    """Of this hour one week ago, two weeks ago, ..."""
    return {NOW - WEEK_HOURS * n: each * USD for n, each in enumerate(dollars, start=1)}


def daily(*dollars: int) -> dict[int, int]:
    return {NOW - DAY_HOURS * n: each * USD for n, each in enumerate(dollars, start=1)}


def usual(spend: dict[int, int], *, hours_known: int = 10_000) -> int | None:
    return usual_of_hour(spend, NOW, since=NOW - hours_known, until=NOW)


def test_usual_velocity_is_the_median_of_the_same_hour_of_past_weeks() -> None:
    assert usual(weekly(5, 1, 9), hours_known=3 * WEEK_HOURS) == 5 * USD
    assert usual(weekly(5, 1, 9, 7), hours_known=4 * WEEK_HOURS) == 6 * USD


def test_one_burst_does_not_become_the_usual_velocity() -> None:
    assert usual(weekly(4, 1_000_000, 4, 4, 4, 4, 4, 4)) == 4 * USD


def test_usual_velocity_looks_back_eight_weeks() -> None:
    assert usual(weekly(*[2] * 4, *[8] * 20)) == 5 * USD


def test_weeks_without_spending_count_towards_the_usual_velocity() -> None:
    assert usual(weekly(5), hours_known=3 * WEEK_HOURS) == 0


def test_usual_velocity_is_that_of_the_same_hour_of_the_day_until_three_weeks_are_known() -> None:
    days = daily(7, 7, 7, 7, 7, 0, 0)

    assert usual(days, hours_known=7 * DAY_HOURS) == 7 * USD
    assert usual({**days, **weekly(0, 0)}, hours_known=3 * WEEK_HOURS - 1) == 0


def test_velocity_is_not_known_before_a_week_is() -> None:
    """Two of six days may be a weekend, and the third a holiday."""
    assert usual(daily(*[7] * 7), hours_known=7 * DAY_HOURS - 1) is None
    assert usual({}, hours_known=0) is None


def test_velocity_of_hours_to_come_is_known_by_those_that_were() -> None:
    spend, since = weekly(9, 5, 5, 5), NOW - 4 * WEEK_HOURS

    assert usual_of_hour(spend, NOW, since=since, until=NOW - WEEK_HOURS) == 5 * USD
    assert usual_of_hour(spend, NOW, since=since, until=NOW - 2 * WEEK_HOURS) is None


def test_the_usual_of_a_velocity_window_is_the_share_of_each_of_its_hours() -> None:
    hours = {NOW: 60 * USD, NOW - 1: 600 * USD}

    assert usual_of_window(hours.get, NOW * 60 + 9, 10) == 10 * USD
    assert usual_of_window(hours.get, NOW * 60 + 9, 15) == (10 + 50) * USD
    assert usual_of_window(hours.get, NOW * 60 + 59, 120) == 660 * USD


def test_velocity_is_not_known_where_one_of_its_hours_is_not() -> None:
    assert usual_of_window({NOW: USD}.get, NOW * 60 + 9, 10) is not None
    assert usual_of_window({NOW: USD}.get, NOW * 60 + 9, 11) is None


@pytest.mark.parametrize(
    ("spent", "known", "minutes", "times"),
    [
        (50 * USD, 10 * USD, 60, "5.00"),
        (USD // 100, 0, 60, "0.01"),  # a cent in a quiet hour
        (5 * USD, 0, 60, "5.00"),
        (5 * USD, 0, 30, "10.00"),
        (USD // 4, 0, 1, "1.00"),  # a short window has the floor of a quarter of an hour
        (USD * 2, USD * 3, 60, "0.66"),
        (0, 10 * USD, 60, "0.00"),
        (-USD, 10 * USD, 60, "-0.10"),  # corrected downwards
    ],
)
def test_velocity_is_spent_over_usual_but_never_over_less_than_a_dollar_an_hour(
    spent: int, known: int, minutes: int, times: str
) -> None:
    assert str(times_usual(spent, known, minutes)) == times


def test_the_largest_velocity_is_still_a_number() -> None:
    assert times_usual(1 << 63, 0, 1) > Decimal(10) ** 10
