"""What rules.yaml may hold, and what is said of everything else."""

import pytest

from pricing.document import DocumentError
from rules.scope import EVERYONE, Scope, ScopeKind
from tests.unit.rules.build import policy, problems


@pytest.mark.parametrize(
    ("written", "scope"),
    [
        ("", EVERYONE),
        ("scope: global,", EVERYONE),
        ('scope: "team:search",', Scope(ScopeKind.TEAM, "search")),
        ("team: search,", Scope(ScopeKind.TEAM, "search")),
        ('scope: "key:k1",', Scope(ScopeKind.KEY, "k1")),
        ('key: "*",', Scope(ScopeKind.KEY, "*")),
        ('scope: "model:gpt-4o",', Scope(ScopeKind.MODEL, "gpt-4o")),
        ('scope: "model:ft:gpt-4o:acme",', Scope(ScopeKind.MODEL, "ft:gpt-4o:acme")),
        ("provider: openai,", Scope(ScopeKind.PROVIDER, "openai")),
    ],
)
def test_a_budget_names_its_scope_in_one_way_or_the_other(written: str, scope: Scope) -> None:
    (budget,) = policy(f"budgets: [{{{written} period: daily, limit_usd: 10}}]").budgets

    assert budget.scope == scope
    assert budget.id == f"{scope}:daily"


@pytest.mark.parametrize(
    ("written", "word"),
    [
        ("scope: everyone", "no scope"),
        ('scope: "global:x"', "no scope"),
        ('scope: "team:"', "no scope"),
        ('scope: "team:se*"', "pattern"),
        ('team: "se?rch"', "pattern"),
        ('scope: "model:*"', "pattern"),
        ('model: "*"', "pattern"),
        ('scope: "user:*"', "not available in this version"),
        ('scope: "category:x"', "not available in this version"),
        ("user: anna", "not available in this version"),
        ('team: " search"', "spaces"),
        ('team: "a|b"', "character"),
        ("team: 7", "quotes"),
    ],
)
def test_a_scope_that_would_not_work_is_refused_at_its_place(written: str, word: str) -> None:
    found = problems(f"budgets: [{{{written}, period: daily, limit_usd: 10}}]")

    (path,) = found
    assert path == f"budgets[0].{written.partition(':')[0]}"
    assert word in found[path]


def test_a_budget_has_one_scope() -> None:
    found = problems("budgets: [{scope: global, team: search, period: daily, limit_usd: 10}]")

    assert "2 scopes (global, team:search)" in found["budgets[0]"]


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("categories: [{name: x}]", "categories"),
        ("teams: {search: {rate: {requests_per_minute: 5}}}", "teams.search.rate"),
        ("default_team: {rate: {burst: 5}}", "default_team.rate"),
    ],
)
def test_keys_of_later_versions_are_refused_not_ignored(text: str, path: str) -> None:
    assert "not available in this version" in problems(text)[path]


RULE = "rule_id: r, threshold_type: operation_cost, threshold_value: 1"


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("rule_id: r, threshold_type: rate_based, threshold_value: 50", "threshold_type"),
        ("rule_id: r, threshold_type: repeat_calls, threshold_value: 5", "threshold_type"),
        (f"{RULE}, action: throttle", "action"),
        (f"{RULE}, action: downgrade", "action"),
        (f"{RULE}, throttle_factor: 0.5", "throttle_factor"),
        (f"{RULE}, cooldown_minutes: 5", "cooldown_minutes"),
        (f"{RULE}, per: user", "per"),
    ],
)
def test_rules_of_later_versions_are_refused_not_ignored(text: str, path: str) -> None:
    found = problems(f"rules: [{{{text}}}]")

    assert list(found) == [f"rules[0].{path}"]
    assert "not available in this version" in found[f"rules[0].{path}"]


@pytest.mark.parametrize(
    ("text", "path", "word"),
    [
        ("rule_id: r, threshold_type: operation_cost, threshold_value: 0", ".threshold_value", "above 0"),
        ("rule_id: r, threshold_type: percentage_daily, threshold_value: 201", "", "at most 200"),
        (
            "rule_id: r, threshold_type: absolute_daily, threshold_value: 5, per: model",
            "",
            "only percentages",
        ),
        (f"{RULE}, applies_to_models: []", ".applies_to_models", "1"),
        (f"{RULE}, mode: loud", ".mode", "shadow"),
    ],
)
def test_a_rule_that_could_not_work_is_refused(text: str, path: str, word: str) -> None:
    assert word in problems(f"rules: [{{{text}}}]")[f"rules[0]{path}"]


def test_all_problems_are_told_at_once() -> None:
    found = problems(
        "timezone: Mars/Olympus\n"
        "budgets: [{period: daily, limit_usd: -5}, {period: fortnightly, limit_usd: 1}]\n"
        "rules: [{rule_id: r, threshold_type: rate_based, threshold_value: 1}]"
    )

    assert set(found) == {
        "timezone",
        "budgets[0].limit_usd",
        "budgets[1].period",
        "rules[0].threshold_type",
    }
    assert "-5 must be at least 0" in found["budgets[0].limit_usd"]
    assert "Mars/Olympus" in found["timezone"]


def test_a_problem_tells_its_line() -> None:
    with pytest.raises(DocumentError) as raised:
        policy("budgets:\n  - period: daily\n    limit_usd: 5\n  - period: daily\n    limit_usd: 6")

    (problem,) = raised.value.problems
    assert (problem.path, problem.line) == ("budgets[1]", 5)


def test_a_misspelt_key_is_answered_with_the_nearest() -> None:
    assert (
        "limit_usd"
        in problems("budgets: [{period: daily, limit_usd: 1, limit_us: 2}]")["budgets[0].limit_us"]
    )


@pytest.mark.parametrize(
    ("written", "remedy"),
    [("Europe/Berln", "Europe/Berlin"), ("x", "write a name"), ("../etc", "write a name"), ("Europe", "")],
)
def test_a_time_zone_that_does_not_exist_is_answered_with_the_nearest(written: str, remedy: str) -> None:
    assert remedy in problems(f"timezone: {written}")["timezone"]


def test_two_budgets_of_one_id_are_refused_with_both_places() -> None:
    found = problems(
        "teams: {search: {budgets: [{period: daily, limit_usd: 1}]}}\n"
        "budgets: [{team: search, period: daily, limit_usd: 2}]"
    )

    assert 'the id "team:search:daily" is already that of teams.search.budgets[0]' in found["budgets[0]"]


def test_a_rule_and_a_budget_cannot_share_an_id() -> None:
    found = problems(f"budgets: [{{id: r, period: daily, limit_usd: 1}}]\nrules: [{{{RULE}}}]")

    assert "rule_id of its own" in found["rules[0]"]


def test_sections_with_nothing_below_them_are_empty() -> None:
    empty = policy("teams:\nkeys:\nbudgets:\nrules:\nroutes:\ndefault_team:")

    assert empty.budgets == ()


def test_a_team_with_nothing_below_it_is_known_and_unlimited() -> None:
    known = policy("teams: {search: }\ndefault_team: {budgets: [{period: daily, limit_usd: 1}]}")

    assert known.teams == {"search"}


def test_an_empty_file_is_a_policy_without_limits() -> None:
    assert policy("").rules == ()
