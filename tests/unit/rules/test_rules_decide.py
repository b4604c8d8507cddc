"""What the policy says of a call before anything is held for it."""

from dataclasses import replace

import pytest

from pricing.money import nanos
from rules.alert import Level
from rules.budget import BudgetSpec, budgets_for_key
from rules.call import Call, CallId
from rules.counter import Balance, CounterKey
from rules.decide import Decision, Verdict, decide
from rules.figures import Balances
from rules.policy import EMPTY, Policy
from rules.scope import Scope, ScopeKind
from tests.unit.rules.build import NOON, call, estimate, no_spend, policy, spent


def judge(
    policy: Policy,
    *,
    costs: str = "0.10",
    ceiling: str | None = None,
    balance: Balance | None = None,
    of: Call | None = None,
) -> Decision:
    def balances(counter: CounterKey) -> Balance:
        return no_spend(counter) if balance is None else balance

    return decide(policy, of or call(), estimate(costs, ceiling), figures=Balances(balances), now=NOON)


def rules(*written: str) -> Policy:
    return policy("rules:\n" + "\n".join(f"  - {{{rule}}}" for rule in written))


DEAR = "rule_id: dear, threshold_type: operation_cost, threshold_value: 0.50"
DAY = "rule_id: day, threshold_type: absolute_daily, threshold_value: 20"


def test_without_rules_a_call_is_allowed_with_a_reason() -> None:
    decision = judge(EMPTY)

    assert decision.verdict is Verdict.ALLOW
    assert decision.reason == "no rule stands against it"


def test_a_call_as_dear_as_the_threshold_is_refused_alone() -> None:
    ruled = rules(f"{DEAR}, action: block")

    assert judge(ruled, costs="0.499999999").verdict is Verdict.ALLOW
    refused = judge(ruled, costs="0.50")
    assert refused.verdict is Verdict.BLOCK
    assert refused.rule_id == "dear"
    assert refused.matched == ("dear",)


def test_the_refusal_of_a_dear_call_tells_its_figures() -> None:
    refusal = judge(rules(f"{DEAR}, action: block"), costs="0.613").refusal

    assert refusal is not None
    assert (refusal.code, refusal.rule_id) == ("budget_exceeded", "dear")
    assert (refusal.limit, refusal.estimate) == (nanos("0.50"), nanos("0.613"))
    assert refusal.scope == Scope(ScopeKind.TEAM, "search")
    assert refusal.retry_after_seconds is None
    assert refusal.sentence == (
        'this call will likely cost $0.62; rule "dear" refuses calls of $0.50 and more. '
        "Ask an admin, or lower max_tokens."
    )


def test_the_cost_of_a_call_is_its_expected_cost_not_its_ceiling() -> None:
    assert judge(rules(f"{DEAR}, action: block"), costs="0.10", ceiling="5").verdict is Verdict.ALLOW


def test_a_rule_that_does_not_apply_says_nothing() -> None:
    ruled = rules(
        f"{DEAR}, action: block, applies_to_operations: [embedding_call], applies_to_teams: [search]"
    )

    assert judge(ruled, costs="9").verdict is Verdict.ALLOW


def test_of_two_rules_that_refuse_the_higher_priority_speaks_and_both_match() -> None:
    ruled = rules(
        f"{DEAR}, action: block, priority: 1",
        "rule_id: dearer, threshold_type: operation_cost, threshold_value: 0.40, action: block, priority: 9",
    )

    decision = judge(ruled, costs="1")

    assert decision.rule_id == "dearer"
    assert decision.matched == ("dearer", "dear")


def test_an_alert_fires_even_when_another_rule_refuses() -> None:
    ruled = rules(
        f"{DEAR}, action: block, priority: 9",
        "rule_id: tell, threshold_type: operation_cost, threshold_value: 0.30, action: alert_only",
    )

    decision = judge(ruled, costs="1")

    assert decision.verdict is Verdict.BLOCK
    assert [alert.facts["rule_id"] for alert in decision.alerts] == ["tell"]


def test_an_alert_on_a_calls_cost_is_told_once_a_call() -> None:
    ruled = rules(f"{DEAR}, action: alert_only")

    (alert,) = judge(ruled, costs="0.7").alerts
    (other,) = judge(ruled, costs="0.7", of=replace(call(), id=CallId("c2"))).alerts

    assert alert.kind == "rule"
    assert alert.level is Level.WARNING
    assert alert.message == (
        'Rule "dear": a call of team "search" will likely cost $0.70, the threshold is $0.50'
    )
    assert alert.key != other.key


def test_an_alert_on_a_balance_counts_the_pending_call() -> None:
    ruled = rules(f"{DAY}, action: alert_only")

    assert judge(ruled, costs="0.10", balance=spent("19.89")).alerts == ()
    (alert,) = judge(ruled, costs="0.10", balance=spent("19.90")).alerts
    assert alert.message == (
        'Rule "day": team "search" spent $19.90 today (2026-01-05) before this call, the threshold is $20.00'
    )
    assert alert.facts["period_key"] == "2026-01-05"


def test_an_alert_on_a_balance_is_told_once_a_window() -> None:
    ruled = rules(f"{DAY}, action: alert_only")

    (first,) = judge(ruled, balance=spent("21")).alerts
    (again,) = judge(ruled, balance=spent("25"), of=replace(call(), id=CallId("c2"))).alerts
    (tomorrow,) = judge(ruled, balance=spent("21"), of=call(at=NOON.replace(day=6))).alerts

    assert first.key == again.key
    assert first.key != tomorrow.key


def test_an_alert_only_percentage_looks_at_the_budget() -> None:
    ruled = policy(
        "teams: {search: {budgets: [{period: daily, limit_usd: 50}]}}\n"
        "rules: [{rule_id: p, threshold_type: percentage_daily, threshold_value: 80, action: alert_only}]"
    )

    assert judge(ruled, costs="0.10", balance=spent("39.80")).alerts == ()
    assert len(judge(ruled, costs="0.10", balance=spent("39.90")).alerts) == 1


def test_a_percentage_between_two_nano_dollars_is_reached_at_the_upper() -> None:
    ruled = policy(
        "teams: {search: {budgets: [{period: daily, limit_usd: '0.000000003'}]}}\n"
        "rules: [{rule_id: p, threshold_type: percentage_daily, threshold_value: 50, action: alert_only}]"
    )

    assert judge(ruled, costs="0", balance=spent("0.000000001")).alerts == ()
    assert len(judge(ruled, costs="0", balance=spent("0.000000002")).alerts) == 1


def test_what_a_balance_blocks_is_left_to_place() -> None:
    decision = judge(rules(f"{DAY}, action: block"), balance=spent("100"))

    assert decision.verdict is Verdict.ALLOW
    assert [limit.owner for limit in decision.limits] == ["day"]


def test_a_shadow_rule_is_told_and_changes_nothing() -> None:
    ruled = rules(f"{DEAR}, action: block, mode: shadow", f"{DAY}, action: block, mode: shadow")

    decision = judge(ruled, costs="1", balance=spent("19.50"))

    assert decision.shadow == ("dear", "day")
    assert decision.verdict is Verdict.ALLOW
    assert (decision.matched, decision.alerts, decision.refusal) == ((), (), None)


def test_a_shadow_block_matches_where_place_would_refuse() -> None:
    ruled = rules(f"{DAY}, action: block, mode: shadow")

    assert judge(ruled, costs="0.10", balance=spent("19.90")).shadow == ()
    assert judge(ruled, costs="0.10", balance=spent("19.90", held="5")).shadow == ()
    assert judge(ruled, costs="0.11", balance=spent("19.90")).shadow == ("day",)


def test_a_shadow_block_over_a_hard_budget_counts_the_ceiling() -> None:
    ruled = policy(
        "teams: {search: {budgets: [{period: daily, limit_usd: 50, hold: strict}]}}\n"
        "rules: [{rule_id: p, threshold_type: percentage_daily, threshold_value: 80, mode: shadow}]"
    )

    assert judge(ruled, costs="0.10", ceiling="3", balance=spent("38")).shadow == ("p",)


def test_a_shadow_alert_is_silent() -> None:
    decision = judge(rules(f"{DEAR}, action: alert_only, mode: shadow"), costs="1")

    assert decision.shadow == ("dear",)
    assert decision.alerts == ()


LISTS = """
default_team: {models: ["gpt-4o-mini"]}
teams: {search: {models: ["gpt-*", "o3"]}, free: {}}
keys: {k9: {models: ["o3"]}}
"""


@pytest.mark.parametrize(
    ("team", "key", "model", "owner"),
    [
        ("search", "k1", "gpt-4o", None),
        ("search", "k1", "o3-mini", "team:search:models"),
        ("search", "k1", "", "team:search:models"),
        ("search", "k9", "gpt-4o", "key:k9:models"),
        ("search", "k9", "o3", None),
        ("free", "k1", "anything", None),
        ("new", "k1", "gpt-4o", "default_team:models"),
        ("new", "k1", "gpt-4o-mini", None),
    ],
)
def test_a_model_must_be_on_every_list_that_covers_the_call(
    team: str, key: str, model: str, owner: str | None
) -> None:
    decision = judge(policy(LISTS), of=call(team=team, key_id=key, model=model))

    assert decision.rule_id == owner
    assert decision.verdict is (Verdict.ALLOW if owner is None else Verdict.BLOCK)
    assert decision.matched == (() if owner is None else (owner,))


def test_the_refusal_of_a_model_names_those_that_are_allowed() -> None:
    refusal = judge(policy(LISTS), of=call(model="claude-4")).refusal

    assert refusal is not None
    assert refusal.code == "model_not_allowed"
    assert refusal.sentence == (
        'team "search" may not use model "claude-4"; allowed: gpt-*, o3. Use one of these, or ask an admin.'
    )


def test_a_long_list_is_told_in_part() -> None:
    listed = policy(f"teams: {{search: {{models: [{', '.join(f'm{n}' for n in range(50))}]}}}}")

    refusal = judge(listed, of=call(model="x" * 500)).refusal

    assert refusal is not None
    assert "m9 and 40 more." in refusal.sentence
    assert len(refusal.sentence) < 250


def test_a_model_that_is_not_allowed_is_refused_before_its_price_is_looked_at() -> None:
    ruled = policy(
        f'teams: {{search: {{models: ["o3"]}}}}\nrules: [{{{DEAR}, action: block, priority: 1000}}]'
    )

    decision = judge(ruled, costs="9")

    assert decision.rule_id == "team:search:models"
    assert decision.matched == ("team:search:models", "dear")


def test_a_keys_own_budgets_are_among_the_limits() -> None:
    own = budgets_for_key(
        "k1", [BudgetSpec.model_validate({"period": "total", "limit_usd": 5})], timezone="UTC"
    )

    decision = decide(EMPTY, call(), estimate("1"), key_budgets=own, figures=Balances(no_spend), now=NOON)

    assert [limit.owner for limit in decision.limits] == ["key:k1:issued:total"]


def test_a_rule_that_allows_it_gives_way_to_an_emergency_override_of_its_scope() -> None:
    ruled = rules(f"{DEAR}, allow_emergency_override: true", f"{DAY}, allow_emergency_override: true")
    overridden = replace(ruled, exempt=frozenset({Scope(ScopeKind.TEAM, "search")}))

    assert judge(ruled, costs="0.60").rule_id == "dear"
    assert judge(overridden, costs="0.60").verdict is Verdict.ALLOW
    assert [limit.nanos for limit in judge(overridden).limits] == [None], "it still counts"
    elsewhere = replace(ruled, exempt=frozenset({Scope(ScopeKind.TEAM, "ads")}))
    assert judge(elsewhere, costs="0.60").rule_id == "dear"


def test_a_rule_that_does_not_allow_it_blocks_under_an_override_too() -> None:
    overridden = replace(rules(DEAR), exempt=frozenset({Scope(ScopeKind.TEAM, "search")}))

    assert judge(overridden, costs="0.60").rule_id == "dear"
