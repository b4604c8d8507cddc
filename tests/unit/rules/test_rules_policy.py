"""Which limits, lists and routes of a policy cover a call."""

from datetime import timedelta

from pricing.money import nanos
from rules.budget import BudgetSpec, budgets_for_key
from rules.call import Call
from rules.counter import HoldMode
from rules.policy import EMPTY, PLANS_MAX, Policy, has_hard_limit
from rules.scope import EVERYONE
from rules.window import Period
from tests.unit.rules.build import NOON, call, policy

HOUSE = """
timezone: Europe/Berlin
default_team: {budgets: [{period: daily, limit_usd: 10}]}
teams:
  search: {budgets: [{period: daily, limit_usd: 50}, {period: monthly, limit_usd: 1000, hold: strict}]}
budgets:
  - {id: everyone, scope: global, period: monthly, limit_usd: 2000}
  - {scope: "key:*", period: daily, limit_usd: 5}
  - {scope: "model:o3", period: daily, limit_usd: 3}
"""


def owners(policy: Policy, call: Call) -> dict[str, str]:
    return {limit.owner: str(limit.counter.scope) for limit in policy.limits(call)}


def test_a_call_is_under_every_budget_of_its_scopes() -> None:
    assert owners(policy(HOUSE), call()) == {
        "everyone": "global",
        "team:search:daily": "team:search",
        "team:search:monthly": "team:search",
        "key:*:daily": "key:k1",
    }


def test_a_team_that_only_a_key_names_gets_the_default_budget_on_a_counter_of_its_own() -> None:
    limits = policy(HOUSE).limits(call(team="new"))

    (own,) = [limit for limit in limits if limit.owner == "default_team:daily"]
    assert str(own.counter.scope) == "team:new"
    assert own.nanos == nanos("10")


def test_a_listed_team_has_no_default_budget_even_when_it_has_none() -> None:
    listed = policy("teams: {search: {}}\ndefault_team: {budgets: [{period: daily, limit_usd: 1}]}")

    assert listed.limits(call()) == ()


def test_a_model_budget_covers_that_model_alone() -> None:
    assert owners(policy(HOUSE), call(model="o3"))["model:o3:daily"] == "model:o3"
    assert "model:o3:daily" not in owners(policy(HOUSE), call(model="o3-mini"))


def test_limits_carry_the_hold_mode_and_the_window_of_the_budgets_zone() -> None:
    (monthly,) = [limit for limit in policy(HOUSE).limits(call()) if limit.owner == "team:search:monthly"]

    assert monthly.hold is HoldMode.STRICT
    assert monthly.counter.period is Period.MONTHLY
    assert f"{monthly.counter.window.start:%Y-%m-%dT%H:%M}" == "2025-12-31T23:00"


def test_the_same_facts_on_another_day_meet_another_counter() -> None:
    house = policy(HOUSE)

    today, tomorrow = house.limits(call()), house.limits(call(at=NOON + timedelta(days=1)))

    daily = [[each.counter for each in day if each.owner == "team:search:daily"] for day in (today, tomorrow)]
    assert daily[0] != daily[1]


def test_an_unlimited_budget_counts_without_limiting() -> None:
    (limit,) = policy("budgets: [{period: daily, limit_usd: null}]").limits(call())

    assert limit.nanos is None


def test_a_keys_own_budgets_stand_beside_the_files() -> None:
    own = budgets_for_key(
        "k1", [BudgetSpec.model_validate({"period": "total", "limit_usd": 5})], timezone="UTC"
    )
    house = policy(HOUSE)

    owners = [limit.owner for limit in house.limits(call(), own)]

    assert "key:k1:issued:total" in owners
    assert "key:*:daily" in owners
    assert "key:k1:issued:total" not in [limit.owner for limit in house.limits(call())]


def test_changed_budgets_of_a_key_are_seen_at_once() -> None:
    house = policy(HOUSE)
    for usd in ("5", "6"):
        spec = BudgetSpec.model_validate({"period": "total", "limit_usd": usd})
        own = budgets_for_key("k1", [spec], timezone="UTC")

        assert [limit.nanos for limit in house.limits(call(), own)][-1] == nanos(usd)


def test_budgets_of_a_call_are_the_owners_of_its_limits() -> None:
    house = policy(HOUSE)

    assert {budget.id for budget in house.budgets_of(call())} == set(owners(house, call()))


def test_names_that_clients_choose_do_not_grow_the_memory() -> None:
    house = policy(HOUSE)
    for n in range(PLANS_MAX + 10):
        house.limits(call(model=f"made-up-{n}"))

    assert len(house._plans) == PLANS_MAX


def test_a_blocking_rule_over_a_balance_is_a_limit_on_the_scopes_counter() -> None:
    ruled = policy(
        "rules: [{rule_id: cap, threshold_type: absolute_daily, threshold_value: 20, action: block}]"
    )

    (limit,) = ruled.limits(call())

    assert (limit.owner, limit.nanos, str(limit.counter.scope)) == ("cap", nanos("20"), "team:search")
    assert limit.code == "budget_exceeded"


def test_a_percentage_rule_limits_the_teams_budget_of_its_period() -> None:
    ruled = policy(
        HOUSE + "rules: [{rule_id: p, threshold_type: percentage_daily, threshold_value: 90, action: block}]"
    )

    (limit,) = [limit for limit in ruled.limits(call()) if limit.owner == "p"]

    assert (limit.nanos, str(limit.counter.scope)) == (nanos("45"), "team:search")


def test_a_percentage_rule_falls_back_to_the_global_budget() -> None:
    ruled = policy(
        "budgets: [{period: monthly, limit_usd: 100}]\n"
        "rules: [{rule_id: p, threshold_type: percentage_monthly, threshold_value: 90, action: block}]"
    )

    (limit,) = [limit for limit in ruled.limits(call()) if limit.owner == "p"]

    assert (limit.nanos, str(limit.counter.scope)) == (nanos("90"), "global")


def test_a_percentage_rule_leaves_the_global_budget_alone_where_the_team_has_one() -> None:
    ruled = policy(
        "teams: {search: {budgets: [{period: daily, limit_usd: 10}]}}\n"
        "budgets: [{period: daily, limit_usd: 100}]\n"
        "rules: [{rule_id: p, threshold_type: percentage_daily, threshold_value: 90, action: block}]"
    )

    scopes = [str(limit.counter.scope) for limit in ruled.limits(call()) if limit.owner == "p"]

    assert scopes == ["team:search"]


def test_a_percentage_rule_with_per_does_not_fall_back() -> None:
    ruled = policy(
        "budgets: [{period: monthly, limit_usd: 100}]\n"
        "rules: [{rule_id: p, threshold_type: percentage_monthly, threshold_value: 90, per: team}]"
    )

    assert [limit.owner for limit in ruled.limits(call())] == ["global:monthly"]


def test_a_percentage_rule_per_key_follows_the_budgets_that_keys_were_issued_with() -> None:
    ruled = policy("rules: [{rule_id: p, threshold_type: percentage_daily, threshold_value: 50, per: key}]")
    own = budgets_for_key(
        "k1", [BudgetSpec.model_validate({"period": "daily", "limit_usd": 8})], timezone="UTC"
    )

    assert [(limit.owner, limit.nanos) for limit in ruled.limits(call(), own)][-1] == ("p", nanos("4"))
    assert ruled.warnings == ()


def test_a_percentage_of_budgets_that_do_not_exist_is_a_warning() -> None:
    ruled = policy("rules: [{rule_id: p, threshold_type: percentage_daily, threshold_value: 90}]")

    (warning,) = ruled.warnings
    assert warning.startswith('rules[0]: no daily budget of scope team or global has a limit, so rule "p"')


def test_a_rule_that_only_looks_on_still_has_its_counter_counted() -> None:
    for rest in ("action: alert_only", "action: block, mode: shadow"):
        ruled = policy(f"rules: [{{rule_id: r, threshold_type: absolute_daily, threshold_value: 1, {rest}}}]")

        (limit,) = ruled.limits(call())

        assert limit.nanos is None


def limited(policy: Policy, call: Call) -> list[str]:
    return [limit.owner for limit in policy.limits(call) if limit.nanos is not None]


def test_a_rule_limits_only_the_calls_it_applies_to() -> None:
    ruled = policy(
        "rules: [{rule_id: r, threshold_type: absolute_daily, threshold_value: 1, "
        "applies_to_models: ['gpt-*', 'o?']}]"
    )

    assert limited(ruled, call(model="gpt-4o")) == ["r"]
    assert limited(ruled, call(model="o3")) == ["r"]
    assert limited(ruled, call(model="GPT-4o")) == []
    assert limited(ruled, call(model="my-gpt-4")) == []


def test_the_figure_of_a_rule_over_a_period_is_that_of_all_calls_of_its_scope() -> None:
    """Whichever calls it looks at: the others are counted, and not limited."""
    ruled = policy(
        "rules: [{rule_id: r, threshold_type: absolute_daily, threshold_value: 1, applies_to_models: ['gpt-*']}]"
    )

    ((looked_at,), (other,)) = (ruled.limits(call(model=model)) for model in ("gpt-4o", "o3"))

    assert looked_at.counter == other.counter
    assert (looked_at.nanos, other.nanos) == (nanos("1"), None)


def test_the_figure_of_a_rule_over_everyone_counts_teams_that_it_does_not_look_at() -> None:
    ruled = policy(
        "rules: [{rule_id: r, threshold_type: absolute_daily, threshold_value: 1, per: global, "
        "applies_to_teams: [search]}]"
    )

    assert [limit.nanos for limit in ruled.limits(call(team="batch"))] == [None]


def test_rules_that_look_at_the_user_tell_users_apart() -> None:
    ruled = policy(
        "rules: [{rule_id: r, threshold_type: absolute_daily, threshold_value: 1, applies_to_users: [anna]}]"
    )

    assert limited(ruled, call(user="anna")) == ["r"]
    assert limited(ruled, call(user="bert")) == []


def test_the_first_route_that_names_a_model_wins() -> None:
    routed = policy(
        'routes: [{models: ["claude-3*"], provider: old}, {models: ["claude-*", haiku], provider: anthropic}]'
    )

    assert routed.route("claude-3-opus") == "old"
    assert routed.route("claude-4") == "anthropic"
    assert routed.route("haiku") == "anthropic"
    assert routed.route("gpt-4o") is None


def test_bodies_are_read_strictly_where_something_in_them_is_enforced_hard() -> None:
    soft = policy("budgets: [{period: daily, limit_usd: 10}]")
    hard = policy("budgets: [{period: daily, limit_usd: 10, hold: strict}]")
    unlimited = policy("budgets: [{period: daily, limit_usd: null, hold: strict}]")
    other_model = policy("budgets: [{model: o3, period: daily, limit_usd: 10, hold: strict}]")
    listed = policy('teams: {search: {models: ["gpt-*"]}}')

    unread = call(model="")
    assert [each.is_strict_for(unread) for each in (soft, hard, unlimited, other_model, listed)] == [
        False,
        True,
        False,
        True,
        True,
    ]


def test_a_limit_is_hard_only_with_an_amount() -> None:
    assert has_hard_limit(policy("budgets: [{period: daily, limit_usd: 0, hold: capped}]").limits(call()))
    assert not has_hard_limit(policy("budgets: [{period: daily, limit_usd: 0}]").limits(call()))


def test_the_version_is_that_of_the_text() -> None:
    assert policy(HOUSE).version == policy(HOUSE).version != policy(HOUSE + "# new").version


def test_thresholds_of_the_file_hold_for_budgets_without_their_own() -> None:
    told = policy(
        "thresholds: [50]\n"
        "budgets: [{period: daily, limit_usd: 1}, {period: monthly, limit_usd: 1, thresholds: [10]}]"
    )

    assert [list(map(int, budget.thresholds)) for budget in told.budgets] == [[50], [10]]


def test_an_empty_policy_limits_nothing() -> None:
    assert EMPTY.limits(call()) == ()
    assert EMPTY.route("gpt-4o") is None
    assert not EMPTY.is_strict_for(call())


def test_a_budget_of_a_team_does_not_cover_a_provider_of_the_same_name() -> None:
    odd = policy('budgets: [{scope: "team:openai", period: daily, limit_usd: 1}]')

    assert odd.limits(call(provider="openai", team="search")) == ()


def test_a_rule_over_everyones_spending_counts_the_calls_of_teams_that_it_does_not_look_at() -> None:
    ruled = policy(
        "rules: [{rule_id: r, threshold_type: absolute_daily, threshold_value: 1, per: global, "
        "applies_to_teams: [ads]}]"
    )

    (limit,) = ruled.limits(call(team="search"))
    assert (limit.counter.scope, limit.nanos) == (EVERYONE, None)
    (limit,) = ruled.limits(call(team="ads"))
    assert (limit.counter.scope, limit.nanos) == (EVERYONE, nanos("1"))
