"""Budgets as people write them, and the amounts at which their thresholds are reached."""

from decimal import Decimal

import pytest
from pydantic import ValidationError

from pricing.money import Nanos, nanos
from rules.budget import Budget, BudgetSpec, budgets_for_key, share_of
from rules.counter import HoldMode
from rules.scope import EVERYONE, Scope, ScopeKind
from rules.window import Period
from tests.unit.rules.build import NOON


def spec(**values: object) -> BudgetSpec:
    return BudgetSpec.model_validate({"period": "daily", "limit_usd": "10"} | values)


@pytest.mark.parametrize("written", ["0.50", Decimal("0.50")])
def test_money_may_be_a_string_or_a_decimal(written: object) -> None:
    assert spec(limit_usd=written).limit_usd == Decimal("0.50")


def test_money_may_be_a_whole_number() -> None:
    assert spec(limit_usd=10).limit_usd == Decimal(10)


@pytest.mark.parametrize("written", [0.5, True, "ten", "NaN", "inf", -5, "-0.01", "1e10", [], "$5"])
def test_money_is_refused_when_it_is_no_plain_amount(written: object) -> None:
    with pytest.raises(ValidationError):
        spec(limit_usd=written)


def test_a_forgotten_limit_is_not_an_unlimited_budget() -> None:
    with pytest.raises(ValidationError, match="limit_usd"):
        BudgetSpec.model_validate({"period": "daily"})


@pytest.mark.parametrize("written", [[90, 75], [75, 75], [0], [201], ["x"]])
def test_thresholds_rise_within_their_bounds(written: object) -> None:
    with pytest.raises(ValidationError):
        spec(thresholds=written)


def test_a_key_is_issued_budgets_of_its_own_scope() -> None:
    (budget,) = budgets_for_key("k1", [spec(period="total", hold="strict")], timezone="Europe/Berlin")

    assert budget == Budget(
        "key:k1:issued:total",
        Scope(ScopeKind.KEY, "k1"),
        Period.TOTAL,
        nanos("10"),
        HoldMode.STRICT,
        "Europe/Berlin",
    )


def test_marks_are_the_least_spend_that_reaches_each_threshold() -> None:
    budget = Budget("b", EVERYONE, Period.DAILY, Nanos(101), thresholds=(Decimal(50), Decimal(100)))

    assert budget.marks == (51, 101)


def test_an_unlimited_budget_has_no_marks_and_sets_an_empty_limit() -> None:
    budget = Budget("b", EVERYONE, Period.DAILY, None)

    assert budget.marks == ()
    assert budget.limit_on(EVERYONE, NOON).nanos is None


def test_an_unlimited_budget_is_never_hard() -> None:
    assert not Budget("b", EVERYONE, Period.DAILY, None, HoldMode.STRICT).is_hard


def test_shares_are_exact_where_floats_are_not() -> None:
    assert share_of(nanos("0.70"), Decimal("70"), up=False) == nanos("0.49")
    assert share_of(nanos("0.70"), Decimal("70"), up=True) == nanos("0.49")
    assert share_of(Nanos(10), Decimal("33.3"), up=False) == 3
    assert share_of(Nanos(10), Decimal("33.3"), up=True) == 4
