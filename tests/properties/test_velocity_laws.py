"""Laws of velocity: no one hour makes the usual, more spent is never slower, and trailing sums are those of a plain list."""

from hypothesis import given
from hypothesis import strategies as st

from pricing.money import NANOS_PER_USD as USD
from rules.minutes import Minutes
from rules.velocity import WEEK_HOURS, times_usual, usual_of_hour, usual_of_window

NOW = 490_000
dollars = st.integers(0, 10**6).map(lambda amount: amount * USD)


@given(st.lists(dollars, min_size=3, max_size=8), st.integers(0, 7), st.integers(0, 10**18))
def test_no_single_hour_moves_the_usual_velocity_beyond_the_others(
    weeks: list[int], bad: int, burst: int
) -> None:
    bad %= len(weeks)
    others = weeks[:bad] + weeks[bad + 1 :]
    weeks[bad] = burst
    spend = {NOW - WEEK_HOURS * n: each for n, each in enumerate(weeks, start=1)}

    usual = usual_of_hour(spend, NOW, since=NOW - WEEK_HOURS * len(weeks), until=NOW)

    assert usual is not None
    assert min(others) <= usual <= max(others)


@given(dollars, dollars, dollars, st.integers(1, 1_440))
def test_velocity_grows_with_what_is_spent_and_falls_with_what_is_usual(
    spent: int, more: int, usual: int, minutes: int
) -> None:
    figure = times_usual(spent, usual, minutes)

    assert times_usual(spent + more, usual, minutes) >= figure
    assert times_usual(spent, usual + more, minutes) <= figure


@given(dollars, st.integers(1, 1_440), st.integers(0, 10_000))
def test_the_usual_of_an_even_velocity_is_the_same_wherever_its_window_lies(
    hourly: int, minutes: int, minute: int
) -> None:
    assert usual_of_window(lambda _: hourly, minute, minutes) == hourly * minutes // 60


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(-50, 100)), max_size=100),
    st.integers(1, 12),
    st.integers(0, 5),
)
def test_trailing_sums_of_velocity_are_those_of_a_plain_list(
    steps: list[tuple[int, int]], count: int, later: int
) -> None:
    kept, plain, minute = Minutes(12), list[tuple[int, int]](), 1_000
    for passed, amount in steps:
        minute += passed
        kept.add(amount, minute)
        plain.append((minute, amount))
        now = minute + later
        assert kept.total(count, now) == sum(amount for at, amount in plain if now - count < at)
