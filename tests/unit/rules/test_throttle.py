"""The pace of a throttled scope, and the order in which its keys have their turns."""

from datetime import timedelta
from decimal import Decimal

import pytest

from rules.throttle import Demand, Rounds, interval_seconds
from tests.unit.rules.build import NOON

HALF = Decimal("0.5")


def demand(*seconds: float) -> Demand:
    made = Demand(NOON)
    for each in seconds:
        made.note(NOON + timedelta(seconds=each))
    return made


def at(minutes: float) -> "timedelta":
    return timedelta(minutes=minutes)


def test_a_throttled_scope_is_measured_over_ten_minutes() -> None:
    every_second = demand(*range(1200))

    assert every_second.per_minute(NOON + at(20) - timedelta(seconds=1)) == pytest.approx(60, rel=0.01)


def test_a_throttled_scope_that_was_watched_for_less_is_measured_over_that() -> None:
    assert demand(*range(180)).per_minute(NOON + at(3)) == pytest.approx(60)


def test_a_throttled_scope_is_measured_over_a_minute_at_least() -> None:
    assert demand(0, 0.1).per_minute(NOON + timedelta(seconds=1)) == 2


def test_calls_of_more_than_ten_minutes_ago_do_not_count_towards_the_throttled_pace() -> None:
    assert demand(*range(60)).per_minute(NOON + at(11)) == 0


def test_a_clock_that_was_set_back_does_not_upset_the_throttled_pace() -> None:
    made = demand(3600, 3600)
    made.note(NOON)

    assert made.per_minute(NOON) == 1


@pytest.mark.parametrize(
    ("per_minute", "factor", "seconds"),
    [(60, "0.5", 2), (60, "1", 1), (600, "0.1", 1), (0, "0.5", 10), (1, "0.5", 10), (12, "0.5", 10)],
)
def test_the_throttled_pace_is_the_factor_of_the_rate_and_never_slower_than_the_longest_delay(
    per_minute: float, factor: str, seconds: float
) -> None:
    assert interval_seconds(per_minute, Decimal(factor), longest=10) == seconds


def rounds(text: str) -> Rounds[str]:
    """`a1 a2 b1`: under a and b."""
    made: Rounds[str] = Rounds()
    for each in text.split():
        made.add(each[0], each)
    return made


def order(line: Rounds[str]) -> str:
    return " ".join(line.next() for _ in range(line.size))


def test_throttled_keys_have_their_turns_by_rounds_and_first_come_first_served_within() -> None:
    assert order(rounds("a1 a2 a3 b1 c1 c2")) == "a1 b1 c1 a2 c2 a3"


def test_a_throttled_key_that_joins_late_is_not_behind_all_of_a_busy_one() -> None:
    line = rounds("a1 a2 a3")
    line.next()
    line.add("b", "b1")

    assert order(line) == "a2 b1 a3"


def test_a_throttled_call_that_left_is_not_in_line() -> None:
    line = rounds("a1 a2 b1")
    line.remove("a", "a1")
    line.remove("b", "b1")

    assert (line.size, order(line)) == (1, "a2")
