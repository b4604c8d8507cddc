"""Counters, the claims of a call on them, and the scopes that they belong to."""

import pickle
from dataclasses import replace

from pricing.money import Nanos
from rules.counter import CounterKey, HoldMode, Limit, claims_of, counter_at
from rules.scope import EVERYONE, Scope, ScopeKind
from rules.window import Period
from tests.unit.rules.build import NOON, call, estimate

DAY = counter_at(EVERYONE, Period.DAILY, "UTC", NOON)
MONTH = counter_at(EVERYONE, Period.MONTHLY, "UTC", NOON)


def limit(counter: CounterKey, hold: HoldMode, owner: str = "b") -> Limit:
    return Limit(counter, Nanos(100), owner, hold)


def test_a_soft_limit_claims_what_the_call_will_likely_cost() -> None:
    (claim,) = claims_of([limit(DAY, HoldMode.EXPECTED)], estimate("1", "3"))

    assert claim.amount == 1_000_000_000


def test_one_hard_limit_on_a_counter_makes_the_whole_claim_the_ceiling() -> None:
    limits = [limit(DAY, HoldMode.EXPECTED, "soft"), limit(DAY, HoldMode.STRICT, "hard")]

    (claim,) = claims_of(limits, estimate("1", "3"))

    assert claim.amount == 3_000_000_000
    assert claim.limits == tuple(limits)


def test_each_counter_is_claimed_once_and_for_itself() -> None:
    limits = [limit(DAY, HoldMode.CAPPED), limit(MONTH, HoldMode.EXPECTED)]

    day, month = claims_of(limits, estimate("1", "3"))

    assert (day.counter, day.amount) == (DAY, 3_000_000_000)
    assert (month.counter, month.amount) == (MONTH, 1_000_000_000)


def test_equal_counters_are_one_key() -> None:
    again = counter_at(EVERYONE, Period.DAILY, "UTC", NOON)

    assert {DAY: 1}[again] == 1
    assert again != replace(again, start=again.start + 86_400)


def test_a_counter_survives_pickling() -> None:
    assert {pickle.loads(pickle.dumps(DAY)): 1} == {DAY: 1}


def test_a_counters_name_holds_everything_that_tells_it_from_others() -> None:
    team = counter_at(Scope(ScopeKind.TEAM, "search"), Period.DAILY, "UTC", NOON)

    assert str(team) == "team:search|daily|UTC|1767571200|spend"


def test_a_call_belongs_to_everyone_and_to_each_scope_that_it_names() -> None:
    assert [str(scope) for scope in call(user="u").scopes()] == [
        "global",
        "team:search",
        "key:k1",
        "user:u",
        "model:gpt-4o",
        "provider:openai",
    ]
