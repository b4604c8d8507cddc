"""The sentence of a refused call: what is left, of how much, what was asked, when it resets, what helps."""

import pytest

from pricing.money import nanos
from rules.call import Operation
from rules.counter import HoldMode, Limit, counter_at
from rules.decide import refusal_of_limit
from rules.scope import EVERYONE, Scope, ScopeKind
from rules.sentence import dollars, dollars_left, dollars_needed
from rules.window import Period
from tests.unit.rules.build import NOON, call, spent

TEAM = Scope(ScopeKind.TEAM, "search")


def limit(
    usd: str, *, scope: Scope = TEAM, period: Period = Period.MONTHLY, hold: HoldMode = HoldMode.STRICT
) -> Limit:
    return Limit(counter_at(scope, period, "UTC", NOON), nanos(usd), "team:search:monthly", hold)


def test_a_hard_budget_refuses_with_all_its_figures() -> None:
    refusal = refusal_of_limit(limit("500"), spent("499.58"), nanos("1.10"), call())

    assert refusal.sentence == (
        'team "search" has $0.42 left of $500.00 this month; this call may cost up to $1.10. '
        "Resets 2026-02-01 00:00 UTC. Ask an admin, or lower max_tokens."
    )
    assert (refusal.code, refusal.rule_id, refusal.scope) == ("budget_exceeded", "team:search:monthly", TEAM)
    assert (refusal.limit, refusal.spent, refusal.held) == (nanos("500"), nanos("499.58"), 0)
    assert refusal.estimate == nanos("1.10")
    assert f"{refusal.resets_at:%Y-%m-%d}" == "2026-02-01"
    assert refusal.retry_after_seconds is None


def test_a_soft_budget_speaks_of_the_likely_cost() -> None:
    soft = limit("5", scope=EVERYONE, period=Period.DAILY, hold=HoldMode.EXPECTED)

    assert refusal_of_limit(soft, spent("5"), nanos("0.0123"), call()).sentence == (
        "everyone together has $0.00 left of $5.00 today; this call will likely cost $0.013. "
        "Resets 2026-01-06 00:00 UTC. Ask an admin, or lower max_tokens."
    )


def test_what_other_calls_hold_is_told_apart_from_what_is_spent() -> None:
    sentence = refusal_of_limit(limit("10"), spent("4", held="5.50"), nanos("1"), call()).sentence

    assert "has $0.50 left of $10.00 this month ($5.50 is held for calls in flight);" in sentence


def test_an_overdrawn_budget_has_nothing_left() -> None:
    assert "has $0.00 left" in refusal_of_limit(limit("10"), spent("12"), nanos("1"), call()).sentence


def test_a_total_budget_does_not_promise_a_reset() -> None:
    refusal = refusal_of_limit(limit("5", period=Period.TOTAL), spent("5"), nanos("1"), call())

    assert refusal.resets_at is None
    assert "of $5.00 in total; this call may cost up to $1.00. It does not reset." in refusal.sentence


def test_max_tokens_is_not_the_advice_where_it_does_not_help() -> None:
    zero = refusal_of_limit(limit("0"), spent("0"), nanos("1"), call())
    embedding = refusal_of_limit(limit("5"), spent("5"), nanos("1"), call(operation=Operation.EMBEDDING))

    assert zero.sentence.endswith("Ask an admin to raise the limit.")
    assert embedding.sentence.endswith("Ask an admin, or send less at once.")


@pytest.mark.parametrize(
    ("usd", "told"),
    [("500", "$500.00"), ("0", "$0.00"), ("0.5", "$0.50"), ("0.0123", "$0.0123"), ("47.125", "$47.125")],
)
def test_a_limit_is_told_exactly(usd: str, told: str) -> None:
    assert dollars(nanos(usd)) == told


@pytest.mark.parametrize(
    ("usd", "left", "needed"),
    [
        ("0.424913117", "$0.42", "$0.43"),
        ("1.10", "$1.10", "$1.10"),
        ("0.0123", "$0.012", "$0.013"),
        ("0.000000123", "$0.00000012", "$0.00000013"),
        ("0.000000001", "$0.000000001", "$0.000000001"),
        ("0.0999", "$0.099", "$0.10"),
    ],
)
def test_what_is_left_never_looks_like_more_and_what_is_needed_never_like_less(
    usd: str, left: str, needed: str
) -> None:
    assert dollars_left(nanos(usd)) == left
    assert dollars_needed(nanos(usd)) == needed
