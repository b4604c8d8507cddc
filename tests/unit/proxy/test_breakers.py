"""The registry of breakers: what it remembers, whom it tells, and what a hand makes of it."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from pricing.money import nanos
from proxy import breakers as module
from proxy import metrics
from proxy.breakers import Breakers, Forced
from rules.alert import Alert
from rules.breaker import Cause, State
from rules.counter import counter_at
from rules.rule import Action, Rule, ThresholdType
from rules.scope import EVERYONE, Scope, ScopeKind
from rules.window import Period
from tests.unit.rules.build import NOON

MINUTE = timedelta(minutes=1)
SEARCH, SHOP = Scope(ScopeKind.TEAM, "search"), Scope(ScopeKind.TEAM, "shop")
TODAY = Cause(counter_at(SEARCH, Period.DAILY, "UTC", NOON), nanos("50"))


def dear(rule_id: str = "dear", **terms: Any) -> Rule:
    """One trial call, unless the test says otherwise."""
    return Rule(rule_id, ThresholdType.ABSOLUTE_DAILY, Decimal(50), **{"trial_calls": 1, **terms})


class Told(list[Alert]):
    @property
    def states(self) -> list[str]:
        return [f"{alert.level.value} {alert.facts['state']}" for alert in self]


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def breakers(told: Told) -> Breakers:
    return Breakers(told.extend)


def forced(scope: Scope | None = None, *, is_open: bool = True) -> Forced:
    return Forced("dear", scope, is_open, "by hand", "operator", NOON)


def gauge(rule_id: str, state: State) -> float:
    return (
        metrics.REGISTRY.get_sample_value("spendgate_breaker_state", {"rule": rule_id, "state": state.value})
        or 0.0
    )


def test_a_breaker_nobody_knows_is_closed(breakers: Breakers) -> None:
    assert breakers.view("dear", SEARCH, NOON).state is State.CLOSED
    assert list(breakers.listed(NOON)) == []


def test_a_breaker_trips_tries_and_closes_and_each_turn_is_told_once(breakers: Breakers, told: Told) -> None:
    breakers.trip(dear(), SEARCH, TODAY, Decimal("51.2"), NOON)
    breakers.trip(dear(), SEARCH, TODAY, Decimal("51.3"), NOON)
    assert breakers.admit("dear", SEARCH, NOON + MINUTE) is None
    assert breakers.view("dear", SHOP, NOON).state is State.CLOSED
    assert told.states == ["critical open"]
    assert 'Breaker of rule "dear" for team "search" is open' in told[0].message
    assert told[0].message.endswith("the figure reached 51.2")

    again = breakers.admit("dear", SEARCH, NOON + 5 * MINUTE)
    assert again is not None
    assert breakers.admit("dear", SEARCH, NOON + 5 * MINUTE) is None
    breakers.failed(again, NOON + 6 * MINUTE)
    trial = breakers.admit("dear", SEARCH, NOON + 11 * MINUTE)
    assert trial is not None
    breakers.succeeded(again, NOON + 11 * MINUTE)
    assert breakers.view("dear", SEARCH, NOON + 11 * MINUTE).state is State.HALF_OPEN, "of another generation"
    breakers.succeeded(trial, NOON + 11 * MINUTE)

    assert told.states == ["critical open", "warning open", "info closed"]
    assert len({alert.key for alert in told}) == 3
    assert list(breakers.listed(NOON + 11 * MINUTE)) == []


def test_a_ticket_from_before_a_breaker_was_forgotten_opens_nothing(breakers: Breakers) -> None:
    breakers.trip(dear(trial_calls=2), SEARCH, None, None, NOON)
    old = breakers.admit("dear", SEARCH, NOON + 5 * MINUTE)
    assert old is not None
    breakers.reset("over", NOON + 6 * MINUTE)
    breakers.trip(dear(trial_calls=2), SEARCH, None, None, NOON + 7 * MINUTE)
    assert breakers.view("dear", SEARCH, NOON + 12 * MINUTE).state is State.HALF_OPEN

    breakers.failed(old, NOON + 12 * MINUTE)

    assert breakers.view("dear", SEARCH, NOON + 12 * MINUTE).state is State.HALF_OPEN


def test_a_trial_that_left_without_result_makes_room(breakers: Breakers) -> None:
    breakers.trip(dear(), SEARCH, None, None, NOON)
    trial = breakers.admit("dear", SEARCH, NOON + 5 * MINUTE)
    assert trial is not None

    breakers.left(trial, NOON + 6 * MINUTE)

    assert breakers.admit("dear", SEARCH, NOON + 6 * MINUTE) is not None


@pytest.mark.parametrize("action", [Action.THROTTLE, Action.DOWNGRADE, Action.CAP])
def test_a_rule_that_does_not_block_limits_and_its_breaker_ends_although_nobody_asks(
    breakers: Breakers, told: Told, action: Action
) -> None:
    breakers.trip(dear(action=action), SEARCH, None, None, NOON)
    assert breakers.view("dear", SEARCH, NOON).state is State.LIMITED

    breakers.look(NOON + 5 * MINUTE)

    assert told.states == ["warning limited", "info closed"]


def test_a_raised_limit_closes_a_breaker_at_the_next_look(breakers: Breakers, told: Told) -> None:
    breakers.trip(dear(), SEARCH, TODAY, None, NOON)
    assert breakers.view("dear", SEARCH, NOON, [TODAY]).state is State.OPEN

    seen = breakers.view("dear", SEARCH, NOON, [Cause(TODAY.counter, nanos("80"))])

    assert seen.state is State.CLOSED
    assert told.states == ["critical open", "info closed"]


def test_a_breaker_with_a_recovery_threshold_waits_for_a_low_figure(breakers: Breakers) -> None:
    rule = dear(recovery_threshold=Decimal(10))
    breakers.trip(rule, SEARCH, None, Decimal(60), NOON)
    breakers.measured("dear", SEARCH, Decimal(9), NOON)
    assert breakers.view("dear", SEARCH, NOON + 9 * MINUTE).state is State.OPEN

    assert breakers.view("dear", SEARCH, NOON + 10 * MINUTE).state is State.HALF_OPEN


def test_a_rule_without_a_cooldown_leaves_no_breaker(breakers: Breakers, told: Told) -> None:
    breakers.trip(dear(cooldown_minutes=Decimal(0)), SEARCH, None, None, NOON)

    assert breakers.view("dear", SEARCH, NOON).state is State.CLOSED
    assert told == []


def test_a_breaker_forced_for_the_whole_rule_stands_in_every_scope(breakers: Breakers, told: Told) -> None:
    breakers.trip(dear(), SEARCH, None, None, NOON)
    breakers.force(forced(is_open=False))
    breakers.trip(dear(), SEARCH, None, None, NOON)
    assert breakers.view("dear", SEARCH, NOON) == breakers.view("dear", SHOP, NOON)
    assert breakers.view("dear", SEARCH, NOON).state is State.CLOSED
    assert told.states == ["critical open", "warning closed"]

    breakers.force(forced(SHOP))

    assert breakers.view("dear", SHOP, NOON + timedelta(days=9)).state is State.OPEN
    assert breakers.view("dear", SEARCH, NOON).state is State.CLOSED
    assert breakers.view("other", SHOP, NOON).state is State.CLOSED
    assert told[-1].message == 'Breaker of rule "dear" for team "shop" is forced open: by hand'


def test_a_reset_takes_off_what_it_names_and_no_more(breakers: Breakers) -> None:
    for scope in (SEARCH, SHOP):
        breakers.force(forced(scope))
    breakers.trip(dear("other"), SEARCH, None, None, NOON)

    assert breakers.reset("over", NOON, rule_id="dear", scope=SHOP) == 1
    assert breakers.view("dear", SHOP, NOON).state is State.CLOSED
    assert breakers.view("dear", SEARCH, NOON).state is State.OPEN
    assert breakers.reset("over", NOON) == 2
    assert list(breakers.listed(NOON)) == []


def test_breakers_of_rules_that_are_gone_go_and_the_forced_ones_are_named(breakers: Breakers) -> None:
    breakers.force(forced())
    breakers.trip(dear("other"), SEARCH, None, None, NOON)
    breakers.trip(dear("kept"), EVERYONE, None, None, NOON)

    assert breakers.keep({"kept"}) == [("dear", None)]
    assert [key for key, _ in breakers.listed(NOON)] == [("kept", EVERYONE)]


def test_breakers_of_edited_rules_begin_anew_save_what_a_hand_has_set(breakers: Breakers) -> None:
    breakers.force(forced(SHOP))
    breakers.trip(dear(), SEARCH, None, None, NOON)
    breakers.trip(dear("kept"), SEARCH, None, None, NOON)

    breakers.renew({"dear"}, NOON)

    assert [key for key, _ in breakers.listed(NOON)] == [("dear", SHOP), ("kept", SEARCH)]


def test_breakers_are_bounded_and_the_oldest_that_is_not_forced_goes(
    breakers: Breakers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BREAKERS_MAX", 3)
    breakers.force(forced(SHOP))
    users = [Scope(ScopeKind.USER, f"u{n}") for n in range(3)]
    for user in users:
        breakers.trip(dear(), user, None, None, NOON)

    assert [scope for (_, scope), _ in breakers.listed(NOON)] == [SHOP, *users[1:]]


def test_metrics_count_the_breakers_of_each_state_and_the_trips(breakers: Breakers) -> None:
    rule = dear("metered-breaker")
    breakers.trip(rule, SEARCH, None, None, NOON)
    breakers.trip(rule, SHOP, None, None, NOON)
    assert gauge(rule.rule_id, State.OPEN) == 2
    trial = breakers.admit(rule.rule_id, SHOP, NOON + 5 * MINUTE)
    assert trial is not None
    assert (gauge(rule.rule_id, State.OPEN), gauge(rule.rule_id, State.HALF_OPEN)) == (1, 1)

    breakers.failed(trial, NOON + 6 * MINUTE)
    breakers.reset("over", NOON + 6 * MINUTE)

    assert (gauge(rule.rule_id, State.OPEN), gauge(rule.rule_id, State.HALF_OPEN)) == (0, 0)
    trips = metrics.REGISTRY.get_sample_value("spendgate_breaker_trips_total", {"rule": rule.rule_id})
    assert trips == 3
