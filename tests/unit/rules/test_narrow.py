"""Budgets of users and categories: where they may stand, whom they cover, and what calls beyond the names count as."""

from dataclasses import replace

import pytest

from rules.call import OTHER
from rules.changes import changes
from rules.scope import Scope, ScopeKind
from tests.unit.rules.build import call, policy, problems

LIMIT = "period: daily, limit_usd: 5"
ABOVE = f"{{scope: global, {LIMIT}}}"


@pytest.mark.parametrize("scope", ["user:*", "category:a", "category:*"])
def test_such_a_budget_cannot_stand_alone(scope: str) -> None:
    free = (
        "{scope: global, period: monthly, limit_usd: null}, {provider: openai, period: daily, limit_usd: 1}"
    )

    found = problems(f"budgets: [{{scope: '{scope}', {LIMIT}}}, {free}]")

    assert "no budget stands above" in found["budgets[0]"]


@pytest.mark.parametrize(
    "above",
    [
        f"budgets: [{{scope: 'user:*', {LIMIT}}}, {ABOVE}]",
        f"budgets: [{{scope: 'user:*', {LIMIT}}}]\nteams: {{search: {{budgets: [{{{LIMIT}}}]}}}}",
        f"budgets: [{{scope: 'user:*', {LIMIT}}}]\nkeys: {{k1: {{budgets: [{{{LIMIT}}}]}}}}",
        f"budgets: [{{scope: 'user:*', {LIMIT}}}]\ndefault_team: {{budgets: [{{{LIMIT}}}]}}",
        f"budgets: [{{category: '*', {LIMIT}}}, {ABOVE}]",
        f"budgets: [{{category: a, {LIMIT}}}, {ABOVE}]",
        f"budgets: [{{user: anna, {LIMIT}}}, {{user: '*', {LIMIT}}}, {ABOVE}]",
    ],
)
def test_below_a_limit_of_a_team_a_key_or_everyone_it_stands(above: str) -> None:
    assert problems(above) == {}


def test_a_user_of_its_own_budget_needs_one_for_the_others() -> None:
    found = problems(f"budgets: [{ABOVE}, {{user: anna, {LIMIT}}}]")

    assert list(found) == ["budgets[1]"]
    assert 'scope "user:*"' in found["budgets[1]"]


def test_each_name_counts_on_a_counter_of_its_own() -> None:
    text = f"budgets: [{ABOVE}, {{user: '*', {LIMIT}}}, {{category: a, {LIMIT}}}]"
    loaded = policy(text)

    def scopes(**facts: str) -> set[str]:
        limits = loaded.limits(call(**facts))  # type: ignore[arg-type]
        return {str(limit.counter.scope) for limit in limits}

    assert scopes(user="anna", category="a") == {"global", "user:anna", "category:a"}
    assert scopes(user="bert", category="b") == {"global", "user:bert"}
    assert scopes() == {"global"}


def test_a_name_beyond_those_that_are_counted_apart_counts_as_other() -> None:
    loaded = policy(f"budgets: [{ABOVE}, {{user: '*', {LIMIT}}}, {{category: '*', {LIMIT}}}]")
    plain = call(user="anna", category="a")
    beyond = replace(plain, as_other=frozenset({ScopeKind.USER}))

    assert {str(each.counter.scope) for each in loaded.limits(plain)} >= {"user:anna", "category:a"}
    scopes = {str(each.counter.scope) for each in loaded.limits(beyond)}
    assert scopes == {"global", f"user:{OTHER}", "category:a"}


def test_rules_see_the_name_itself() -> None:
    loaded = policy(
        "rules: [{rule_id: r, threshold_type: operation_cost, threshold_value: 1, applies_to_categories: ['lit*']}]"
    )
    rule = loaded.rules[0]
    beyond = replace(call(category="literature"), as_other=frozenset({ScopeKind.CATEGORY}))

    assert (rule.applies(beyond), rule.applies(call(category="other"))) == (True, False)


def test_a_figure_per_user_tells_users_apart() -> None:
    loaded = policy(
        f"budgets: [{ABOVE}]\n"
        "rules: [{rule_id: r, threshold_type: requests_per_minute, threshold_value: 5, per: user}]"
    )

    buckets = {
        str(rate.bucket.scope) for user in ("anna", "bert") for rate in loaded.plan(call(user=user)).rates
    }

    assert buckets == {"user:anna", "user:bert"}


def test_the_file_names_users_with_budgets_and_categories_of_its_list() -> None:
    loaded = policy(
        f"categories: [{{name: a}}]\nbudgets: [{ABOVE}, {{user: '*', {LIMIT}}}, {{user: u, {LIMIT}}}]"
    )

    assert [loaded.names(Scope(ScopeKind.USER, name)) for name in ("u", "v")] == [True, False]
    assert [loaded.names(Scope(ScopeKind.CATEGORY, name)) for name in ("a", "b")] == [True, False]


def test_a_hard_budget_of_users_has_bodies_read_strictly() -> None:
    hard = policy(f"budgets: [{ABOVE}, {{user: '*', {LIMIT}, hold: strict}}]")

    assert hard.is_strict_for(call(model=""))


def test_an_edit_of_categories_is_told() -> None:
    told = changes(policy("categories: [{name: a}]"), policy("names_max: 5")).others

    assert set(told) == {"categories", "names_max"}
