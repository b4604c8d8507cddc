"""What rules.yaml may hold, and what is said of everything else."""

import pytest

from pricing.document import DocumentError
from rules.rule import Mode
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
        ('scope: "user:an*"', "pattern"),
        ('category: "a?"', "pattern"),
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


@pytest.mark.parametrize("place", ["teams.search", "keys.search", "models.search", "default_team"])
@pytest.mark.parametrize(
    ("rate", "path", "sentence"),
    [
        ("{burst: 5}", "", "burst is of requests give requests_per_minute too, or remove it"),
        (
            "{}",
            "",
            "limits nothing give requests_per_minute, tokens_per_minute or max_concurrent",
        ),
        (
            "{requests_per_minute: 0}",
            ".requests_per_minute",
            "0 must be at least 1 and at most 10000000; leave it out for no limit",
        ),
        ("{tokens_per_minute: 100000000001}", ".tokens_per_minute", "at most 100000000000"),
        ("{max_concurrent: 1000001}", ".max_concurrent", "at most 1000000"),
        ("{max_concurrent: 1.5}", ".max_concurrent", "is not a whole number write one such as 600"),
        ("{requests_per_minute: 5, burst: true}", ".burst", "True is not a whole number"),
        ('{requests_per_minute: "5"}', ".requests_per_minute", "'5' is not a whole number"),
    ],
)
def test_a_rate_that_could_not_work_is_refused(place: str, rate: str, path: str, sentence: str) -> None:
    section, _, name = place.partition(".")
    inner = f"{{rate: {rate}}}"

    found = problems(f"{section}: {{{name}: {inner}}}" if name else f"{section}: {inner}")

    assert list(found) == [f"{place}.rate{path}"]
    assert sentence in found[f"{place}.rate{path}"]


@pytest.mark.parametrize("tokens", ["0", "10000001", "-1"])
@pytest.mark.parametrize("place", ["teams.search", "keys.k1", "models.o3", "default_team"])
def test_a_longest_answer_has_a_token_at_least(place: str, tokens: str) -> None:
    section, _, name = place.partition(".")
    inner = f"{{max_output_tokens: {tokens}}}"

    found = problems(f"{section}: {{{name}: {inner}}}" if name else f"{section}: {inner}")

    assert list(found) == [f"{place}.max_output_tokens"]


def test_a_model_has_no_budget_and_no_list_of_models() -> None:
    assert "unknown key" in problems("models: {o3: {budgets: []}}")["models.o3.budgets"]
    assert "unknown key" in problems("models: {o3: {models: [o3]}}")["models.o3.models"]


RULE = "rule_id: r, threshold_type: operation_cost, threshold_value: 1"


@pytest.mark.parametrize(
    ("text", "path", "sentence"),
    [
        ("rule_id: r, threshold_type: operation_cost, threshold_value: 0", ".threshold_value", "above 0"),
        (
            "rule_id: r, threshold_type: percentage_daily, threshold_value: 201",
            "",
            "threshold_value is a percentage here at most 200",
        ),
        *(
            (f"rule_id: r, threshold_type: {kind}, threshold_value: 2.5", "", "is a whole number here")
            for kind in ("requests_per_minute", "tokens_per_minute", "repeat_calls")
        ),
        (
            "rule_id: r, threshold_type: repeat_calls, threshold_value: 1",
            "",
            "threshold_value is how often the same call comes at least 2",
        ),
        (
            "rule_id: r, threshold_type: spend_velocity, threshold_value: 1",
            "",
            "threshold_value is how many times the usual above 1",
        ),
        (
            f"{RULE}, time_window_minutes: 5",
            "",
            "time_window_minutes is for rate_based, spend_velocity, repeat_calls remove it",
        ),
        (
            "rule_id: r, threshold_type: repeat_calls, threshold_value: 5, time_window_minutes: 61",
            "",
            "time_window_minutes of repeat_calls is at most 60 lower it",
        ),
        (
            "rule_id: r, threshold_type: rate_based, threshold_value: 5, time_window_minutes: 1441",
            ".time_window_minutes",
            "1440",
        ),
        (f"{RULE}, recovery_threshold: 1", "", "recovery_threshold must be below threshold_value"),
        (f"{RULE}, recovery_threshold: 0", ".recovery_threshold", "above 0"),
        *(
            (
                f"rule_id: r, threshold_type: {kind}, threshold_value: 5, per: model",
                "",
                "only percentages can be measured per model give the model a budget, and use a percentage of it",
            )
            for kind in ("absolute_daily", "absolute_monthly")
        ),
        *(
            (
                f"rule_id: r, threshold_type: {kind}, threshold_value: 5, per: user",
                "",
                "users are told apart in single calls, rates and repetitions alone use per: team or key here",
            )
            for kind in ("absolute_daily", "absolute_monthly", "percentage_daily", "spend_velocity")
        ),
        *(
            (
                f"rule_id: r, threshold_type: {kind}, threshold_value: 5, action: cap",
                "",
                "nothing tells how far to cap add max_output_tokens",
            )
            for kind in ("rate_based", "requests_per_minute", "spend_velocity", "repeat_calls")
        ),
        (f"{RULE}, max_output_tokens: 5", "", "max_output_tokens is for the action cap remove it"),
        (f"{RULE}, action: cap, max_output_tokens: 0", ".max_output_tokens", "1"),
        (
            f"{RULE}, downgrade_to: {{gpt-4o: gpt-4o-mini}}",
            "",
            "downgrade_to is for the action downgrade remove it",
        ),
        (
            f"{RULE}, action: downgrade, downgrade_to: [gpt-4o]",
            ".downgrade_to",
            "is not a map write such as {gpt-4o: gpt-4o-mini}",
        ),
        (
            f'{RULE}, action: downgrade, downgrade_to: {{"": gpt-4o}}',
            ".downgrade_to",
            "'' is no pattern of models",
        ),
        (f"{RULE}, action: downgrade, downgrade_to: {{gpt-4o: 4}}", ".downgrade_to", "is not a name"),
        (f"{RULE}, cooldown_minutes: -1", ".cooldown_minutes", "-1 must be from 0 to 10080 (a week)"),
        (f"{RULE}, cooldown_minutes: soon", ".cooldown_minutes", "write minutes such as 5 or 0.5"),
        (f"{RULE}, recovery_window_minutes: 10081", ".recovery_window_minutes", "from 0 to 10080"),
        (f"{RULE}, throttle_factor: 0", ".throttle_factor", "0 must be above 0 and at most 1"),
        (f"{RULE}, throttle_factor: 1.01", ".throttle_factor", "must be above 0 and at most 1"),
        (f"{RULE}, trial_calls: 0", ".trial_calls", "1"),
        (f"{RULE}, priority: 1001", ".priority", "1000"),
        (f"{RULE}, on_error: ignore", ".on_error", "'block' or 'allow'"),
        (f"{RULE}, action: warn", ".action", "'throttle'"),
        (f"{RULE}, applies_to_models: []", ".applies_to_models", "1"),
        (f"{RULE}, mode: loud", ".mode", "shadow"),
    ],
)
def test_a_rule_that_could_not_work_is_refused(text: str, path: str, sentence: str) -> None:
    found = problems(f"rules: [{{{text}}}]")

    assert list(found) == [f"rules[0]{path}"]
    assert sentence in found[f"rules[0]{path}"]


@pytest.mark.parametrize(
    "text",
    [
        "rule_id: r, threshold_type: percentage_daily, threshold_value: 90, per: model",
        "rule_id: r, threshold_type: requests_per_minute, threshold_value: 90, per: user, action: throttle",
        "rule_id: r, threshold_type: absolute_daily, threshold_value: 5, action: cap",
        "rule_id: r, threshold_type: rate_based, threshold_value: 5, action: cap, max_output_tokens: 50",
        "rule_id: r, threshold_type: spend_velocity, threshold_value: 1.5, time_window_minutes: 1440",
        f"{RULE}, cooldown_minutes: 0, recovery_threshold: 0.99",
        f"{RULE}, action: downgrade, downgrade_to: {{gpt-4o: gpt-4o-mini}}, on_error: allow",
    ],
)
def test_a_rule_at_the_edge_of_what_works_is_taken(text: str) -> None:
    assert problems(f"rules: [{{{text}}}]\nbudgets: [{{model: o3, period: daily, limit_usd: 1}}]") == {}


def test_a_downgrade_needs_a_cheaper_model_from_somewhere() -> None:
    rule = f"rules: [{{{RULE}, action: downgrade}}]"

    found = problems(rule)["rules[0]"]

    assert "action: downgrade names no cheaper models" in found
    assert "add downgrade_to to the rule or downgrades to the file" in found
    (made,) = policy(f"{rule}\ndowngrades: {{gpt-4o: gpt-4o-mini}}").rules
    assert made.cheaper("gpt-4o") == "gpt-4o-mini"


def test_a_rules_own_cheaper_models_stand_in_place_of_the_files() -> None:
    (made,) = policy(
        f"rules: [{{{RULE}, action: downgrade, downgrade_to: {{o3: o4-mini}}}}]\ndowngrades: {{gpt-4o: gpt-4o-mini}}"
    ).rules

    assert (made.cheaper("o3"), made.cheaper("gpt-4o")) == ("o4-mini", None)


def test_downgrades_of_the_file_are_a_map_of_names() -> None:
    assert "is not a map" in problems("downgrades: [gpt-4o]")["downgrades"]
    assert "is not a name" in problems("downgrades: {gpt-4o: 4}")["downgrades"]


def test_repetitions_are_only_told_until_somebody_says_enforce() -> None:
    loop = "rule_id: r, threshold_type: repeat_calls, threshold_value: 3"

    modes = [policy(f"rules: [{{{loop}{more}}}]").rules[0].mode for more in ("", ", mode: enforce")]

    assert modes == [Mode.SHADOW, Mode.ENFORCE]


def test_all_problems_are_told_at_once() -> None:
    found = problems(
        "timezone: Mars/Olympus\n"
        "budgets: [{period: daily, limit_usd: -5}, {period: fortnightly, limit_usd: 1}]\n"
        "rules: [{rule_id: r, threshold_type: rate_biased, threshold_value: 1}]"
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
