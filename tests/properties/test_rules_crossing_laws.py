"""Law: a threshold fires once, with the charge that reaches it, whatever the charges are."""

from decimal import Decimal
from fractions import Fraction
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from pricing.money import Nanos
from rules.alert import crossings, standing
from rules.budget import Budget, share_of
from rules.counter import counter_at
from rules.scope import EVERYONE
from rules.window import Period
from tests.unit.rules.build import NOON

DAY = counter_at(EVERYONE, Period.DAILY, "UTC", NOON)

percents = st.decimals(Decimal("0.001"), Decimal(200), places=3)
limits = st.one_of(st.integers(0, 200), st.integers(0, 10**18)).map(Nanos)


@st.composite
def budgets(draw: st.DrawFn) -> Budget:
    thresholds = draw(st.lists(percents, max_size=5, unique=True).map(sorted))
    return Budget("b", EVERYONE, Period.DAILY, draw(limits), thresholds=tuple(thresholds))


@st.composite
def spends(draw: st.DrawFn, limit: int) -> list[Nanos]:
    """The settled figure after each charge: it never falls."""
    steps = draw(st.lists(st.integers(0, max(10, limit // 3)), max_size=12))
    total, found = 0, [Nanos(0)]
    for step in steps:
        total += step
        found.append(Nanos(total))
    return found


@given(data=st.data(), budget=budgets())
def test_each_threshold_that_is_reached_fires_exactly_once(data: st.DataObject, budget: Budget) -> None:
    figures = data.draw(spends(budget.limit or 0))

    fired = [
        alert.facts["threshold_percentage"]
        for before, after in pairwise(figures)
        for alert in crossings(budget, DAY, before, after, NOON)
    ]

    reached = [
        f"{threshold.normalize():f}"
        for threshold in budget.thresholds
        if figures[-1] > 0
        and Fraction(figures[-1]) * 100 >= Fraction(budget.limit or 0) * Fraction(threshold)
    ]
    assert fired == reached


@given(data=st.data(), budget=budgets())
def test_what_stands_at_a_start_is_what_has_fired_before(data: st.DataObject, budget: Budget) -> None:
    figures = data.draw(spends(budget.limit or 0))

    fired = [
        alert.key
        for before, after in pairwise(figures)
        for alert in crossings(budget, DAY, before, after, NOON)
    ]

    assert [alert.key for alert in standing(budget, DAY, figures[-1], NOON)] == fired


@given(limit=limits, percent=percents)
def test_a_share_is_within_one_nano_dollar_of_the_exact_figure(limit: Nanos, percent: Decimal) -> None:
    exact = Fraction(limit) * Fraction(percent) / 100

    assert 0 <= exact - share_of(limit, percent, up=False) < 1
    assert 0 <= share_of(limit, percent, up=True) - exact < 1
