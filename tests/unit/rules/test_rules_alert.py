"""Which thresholds a charge crosses, and what is told of them."""

from decimal import Decimal

from pricing.money import Nanos, nanos
from rules.alert import Level, crossings, standing
from rules.budget import Budget
from rules.counter import counter_at
from rules.scope import Scope, ScopeKind
from rules.window import Period
from tests.unit.rules.build import NOON

TEAM = Scope(ScopeKind.TEAM, "search")
DAY = counter_at(TEAM, Period.DAILY, "UTC", NOON)
FIFTY = Budget("team:search:daily", TEAM, Period.DAILY, nanos("50"))


def crossed(before: str, after: str, budget: Budget = FIFTY) -> list[str]:
    alerts = crossings(budget, DAY, nanos(before), nanos(after), NOON)
    return [alert.facts["threshold_percentage"] for alert in alerts]


def test_a_threshold_is_crossed_by_the_charge_that_reaches_it() -> None:
    assert crossed("37.49", "37.499999999") == []
    assert crossed("37.49", "37.50") == ["75"]
    assert crossed("37.50", "37.51") == []


def test_one_charge_may_cross_several() -> None:
    assert crossed("0", "60") == ["75", "90", "100"]


def test_a_correction_downwards_crosses_nothing() -> None:
    assert crossed("60", "10") == []


def test_the_alert_tells_scope_and_figures() -> None:
    (alert,) = crossings(FIFTY, DAY, nanos("30"), nanos("37.60"), NOON)

    assert alert.message == (
        'Daily budget warning: 75% of budget used; team "search" spent $37.60 of $50.00 (2026-01-05)'
    )
    assert alert.scope == TEAM
    assert alert.at == NOON
    assert alert.kind == "budget_threshold"
    assert alert.facts == {
        "alert_level": "warning",
        "period_type": "daily",
        "period_key": "2026-01-05",
        "current_cost": "37.6",
        "budget_limit": "50",
        "percentage_used": "75.20",
        "threshold_percentage": "75",
        "budget_id": "team:search:daily",
        "scope": "team:search",
        "timezone": "UTC",
    }


def test_levels_follow_the_percentage() -> None:
    alerts = crossings(FIFTY, DAY, nanos("0"), nanos("50"), NOON)

    assert [alert.level for alert in alerts] == [Level.WARNING, Level.CRITICAL, Level.EXCEEDED]


def test_a_key_is_one_per_counter_threshold_and_limit() -> None:
    raised = Budget("team:search:daily", TEAM, Period.DAILY, nanos("51"))
    tomorrow = counter_at(TEAM, Period.DAILY, "UTC", NOON.replace(day=6))

    keys = [
        alert.key
        for budget, counter in ((FIFTY, DAY), (raised, DAY), (FIFTY, tomorrow))
        for alert in crossings(budget, counter, nanos("0"), nanos("51"), NOON)
    ]

    assert len(set(keys)) == len(keys) == 9


def test_standing_tells_every_threshold_that_is_reached_now() -> None:
    alerts = standing(FIFTY, DAY, nanos("46"), NOON)

    assert [alert.facts["threshold_percentage"] for alert in alerts] == ["75", "90"]


def test_standing_and_crossing_are_one_fact() -> None:
    (crossing,) = crossings(FIFTY, DAY, nanos("0"), nanos("38"), NOON)
    (stands,) = standing(FIFTY, DAY, nanos("39"), NOON)

    assert crossing.key == stands.key


def test_a_budget_of_zero_is_crossed_by_its_first_charge_only() -> None:
    zero = Budget("z", TEAM, Period.DAILY, Nanos(0))

    assert crossed("0", "0", zero) == []
    assert crossed("0", "0.000000001", zero) == ["75", "90", "100"]
    assert crossed("0.000000001", "1", zero) == []
    assert standing(zero, DAY, nanos("0"), NOON) == ()


def test_an_unlimited_budget_has_no_thresholds() -> None:
    assert crossed("0", "1000000", Budget("u", TEAM, Period.DAILY, None)) == []


def test_a_percentage_is_never_rounded_up_to_a_threshold() -> None:
    tight = Budget("t", TEAM, Period.DAILY, nanos("3"), thresholds=(Decimal("66.5"),))

    (alert,) = crossings(tight, DAY, nanos("0"), nanos("2.999999999"), NOON)

    assert alert.facts["percentage_used"] == "99.99"
    assert alert.facts["threshold_percentage"] == "66.5"
