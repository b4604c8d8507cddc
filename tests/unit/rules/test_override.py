"""Limits raised for a while: which of them, how far, until when; and which rules then give way."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from pricing.money import Nanos, nanos
from rules.alert import crossings
from rules.overridden import file_version, overridden
from rules.override import Override, covers, exempted, multiplied, raised
from rules.policy import Policy
from rules.rule import Rule, ThresholdType
from rules.scope import EVERYONE, Scope, ScopeKind, parse_scope
from tests.unit.rules.build import NOON, call, policy

HOUR = timedelta(hours=1)
SEARCH = Scope(ScopeKind.TEAM, "search")
HOUSE = policy(
    "default_team: {budgets: [{period: daily, limit_usd: 10}]}\n"
    "teams: {search: {budgets: [{period: daily, limit_usd: 50}, {period: total, limit_usd: null}]}}\n"
    'budgets: [{scope: "key:*", period: daily, limit_usd: 5}]\n'
    "rules: [{rule_id: p, threshold_type: percentage_daily, threshold_value: 90, applies_to_teams: [search]}]"
)


def override(budget_id: str, scope: str, usd: str, *, id_: int = 1, hours: int = 1) -> Override:
    return Override(id_, budget_id, parse_scope(scope), nanos(usd), NOON + hours * HOUR)


def limits(of: Policy, team: str = "search", key_id: str = "k1") -> dict[str, Nanos | None]:
    return {limit.owner: limit.nanos for limit in of.limits(call(team=team, key_id=key_id))}


def test_a_raised_budget_raises_its_thresholds_and_the_rules_that_are_a_share_of_it() -> None:
    now = overridden(HOUSE, [override("team:search:daily", "team:search", "80")], NOON)

    assert limits(now)["team:search:daily"] == nanos("80")
    assert limits(now)["p"] == nanos("72")
    assert limits(now)["key:*:daily"] == nanos("5")
    (budget,) = [each for each in now.budgets if each.id == "team:search:daily"]
    counter = budget.limit_on(SEARCH, NOON).counter
    assert [
        alert.facts["budget_limit"] for alert in crossings(budget, counter, nanos("59"), nanos("60"), NOON)
    ] == ["80"]


def test_it_ends_at_its_time_and_not_before() -> None:
    raise_it = [override("team:search:daily", "team:search", "80")]

    just_before = overridden(HOUSE, raise_it, NOON + HOUR - timedelta(microseconds=1))
    assert limits(just_before)["team:search:daily"] == nanos("80")
    assert overridden(HOUSE, raise_it, NOON + HOUR) is HOUSE


def test_of_several_the_highest_that_still_stands_wins() -> None:
    several = [
        override("team:search:daily", "team:search", "80", id_=1, hours=3),
        override("team:search:daily", "team:search", "99", id_=2, hours=1),
        override("team:search:daily", "team:search", "60", id_=3, hours=4),
    ]

    seen = [limits(overridden(HOUSE, several, NOON + n * HOUR))["team:search:daily"] for n in range(5)]

    assert seen == [nanos(usd) for usd in ("99", "80", "80", "60", "50")]


def test_a_limit_of_the_file_above_the_override_stands() -> None:
    assert limits(overridden(HOUSE, [override("team:search:daily", "team:search", "20")], NOON)) == limits(
        HOUSE
    )


def test_a_budget_without_a_limit_gets_none() -> None:
    assert limits(overridden(HOUSE, [override("team:search:total", "team:search", "20")], NOON)) == limits(
        HOUSE
    )


@pytest.mark.parametrize(
    ("scope", "mine", "others"),
    [("team:new", "30", "10"), ("team:*", "30", "30"), ("team:search", "10", "10")],
)
def test_a_default_budget_is_raised_for_the_teams_that_are_meant(scope: str, mine: str, others: str) -> None:
    now = overridden(HOUSE, [override("default_team:daily", scope, "30")], NOON)

    assert limits(now, team="new")["default_team:daily"] == nanos(mine)
    assert limits(now, team="other")["default_team:daily"] == nanos(others)
    assert limits(now) == limits(HOUSE), "a team with budgets of its own"
    assert [each.limit for each in now.over(Scope(ScopeKind.TEAM, "new"))] == [nanos(mine)]


def test_a_budget_over_each_key_is_raised_for_one() -> None:
    raise_it = [
        override("key:*:daily", "key:k1", "7", id_=1, hours=2),
        override("key:*:daily", "key:*", "9", id_=2, hours=1),
    ]

    assert limits(overridden(HOUSE, raise_it, NOON), key_id="k1")["key:*:daily"] == nanos("9")
    later = overridden(HOUSE, raise_it, NOON + HOUR)
    assert limits(later, key_id="k1")["key:*:daily"] == nanos("7")
    assert limits(later, key_id="k2")["key:*:daily"] == nanos("5")
    assert [each.limit for each in later.over(Scope(ScopeKind.KEY, "k1"))] == [nanos("7")]


def test_a_budget_of_another_scope_with_the_same_id_is_left_alone() -> None:
    (budget,) = HOUSE.over(Scope(ScopeKind.KEY, "k1"))
    mine = replace(budget, scope=Scope(ScopeKind.KEY, "k2"))

    assert raised(mine, [override("key:*:daily", "key:k1", "7")]) is mine


def test_rows_tell_the_version_and_the_overrides_apart() -> None:
    some = [override("x", "team:search", "1", id_=n) for n in (7, 3, 9, 11, 12)]

    assert overridden(HOUSE, some[:2], NOON).version == f"{HOUSE.version}+override3.7"
    assert overridden(HOUSE, some, NOON).version == f"{HOUSE.version}+override3.7.9.2more"
    assert file_version(overridden(HOUSE, some, NOON)) == HOUSE.version == file_version(HOUSE)


@pytest.mark.parametrize(
    ("wide", "scope", "expected"),
    [
        ("global", "team:search", True),
        ("team:search", "team:search", True),
        ("team:*", "team:search", True),
        ("team:search", "team:shop", False),
        ("team:search", "global", False),
        ("key:*", "team:search", False),
        ("team:*", "global", False),
    ],
)
def test_a_scope_is_covered_by_itself_by_each_of_its_kind_and_by_everyone(
    wide: str, scope: str, expected: bool
) -> None:
    assert covers(parse_scope(wide), parse_scope(scope)) is expected


def test_only_rules_that_allow_it_give_way_and_only_where_an_override_stands() -> None:
    strict = Rule("r", ThresholdType.ABSOLUTE_DAILY, Decimal(50))
    lenient = replace(strict, allow_emergency_override=True)
    exempt = overridden(HOUSE, [override("team:search:daily", "team:search", "80")], NOON).exempt

    assert exempted(lenient, SEARCH, exempt)
    assert not exempted(strict, SEARCH, exempt)
    assert not exempted(lenient, EVERYONE, exempt)
    assert not exempted(lenient, SEARCH, HOUSE.exempt)


@pytest.mark.parametrize(("factor", "expected"), [("1.5", 15), ("1.25", 12), ("1.01", 10)])
def test_a_factor_rounds_down(factor: str, expected: int) -> None:
    assert multiplied(Nanos(10), Decimal(factor)) == expected
