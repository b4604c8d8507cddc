"""What an edit of the rules changes, and which counters it leaves with gaps."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules.budget import Budget
from rules.changes import TOLD_MAX, changes, counts_all
from rules.counter import HoldMode, counter_at
from rules.policy import Policy
from rules.scope import EVERYONE, Scope, ScopeKind
from rules.window import Period
from tests.unit.rules.build import NOON, policy

HARD = "{period: daily, limit_usd: 5, hold: strict}"
SOFT = "{period: daily, limit_usd: 5}"
TEAM = f"teams: {{search: {{budgets: [{HARD}]}}}}"
SEARCH = Scope(ScopeKind.TEAM, "search")
OTHER = Scope(ScopeKind.TEAM, "other")


def loosened(old: str, new: str) -> list[str]:
    return [str(each) for each in changes(policy(old), policy(new)).loosened]


def test_a_reload_of_the_same_rules_tells_nothing() -> None:
    assert changes(policy(TEAM), policy(f"{TEAM}\n# a comment")).told() == {}


def test_a_reload_tells_budgets_and_rules_by_their_ids() -> None:
    rule = "{rule_id: dear, threshold_type: operation_cost, threshold_value: VALUE, action: alert_only}"
    old = f"budgets: [{{id: a, period: daily, limit_usd: 1}}, {{id: b, period: total, limit_usd: 2}}]\nrules: [{rule}]"
    new = "budgets: [{id: a, period: daily, limit_usd: 3}, {id: c, period: total, limit_usd: null}]\nrules: [RULES]"
    both = f"{rule.replace('VALUE', '2')}, {rule.replace('VALUE', '1').replace('dear', 'new')}"

    told = changes(policy(old.replace("VALUE", "1")), policy(new.replace("RULES", both))).told()

    assert told["budgets_added"] == "c: global total no limit expected UTC at 75, 90, 100%"
    assert told["budgets_removed"] == "b: global total $2.00 expected UTC at 75, 90, 100%"
    assert told["budgets_changed"].startswith("a: global daily $1.00 expected")
    assert " -> global daily $3.00 expected" in told["budgets_changed"]
    assert (told["rules_added"], told["rules_changed"]) == ("new", "dear")
    assert "hard_budgets_dropped" not in told


def test_a_reload_tells_what_else_has_changed() -> None:
    old, new = "timezone: UTC", "timezone: Europe/Berlin\nteams: {search: {models: ['gpt-*']}}"

    told = changes(policy(old), policy(new)).told()

    assert told == {"also_changed": "timezone; models and rates of teams and keys; names of teams"}


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("keys: {k1: {rate: {max_concurrent: 2}}}", "models and rates of teams and keys"),
        ("models: {o3: {max_output_tokens: 100}}", "limits of models"),
        ("default_team: {rate: {requests_per_minute: 5}}", "models and rates of default_team"),
        ("routes: [{models: [o3], provider: openai}]", "routes"),
        ("names_max: 5", "names_max"),
    ],
)
def test_every_other_part_of_the_file_has_words_of_its_own(written: str, told: str) -> None:
    assert changes(policy(""), policy(written)).told() == {"also_changed": told}


def test_the_cheaper_models_of_the_file_change_the_rules_that_ask_for_them() -> None:
    rule = "rules: [{rule_id: r, threshold_type: operation_cost, threshold_value: 1, action: downgrade}]"
    old, new = (
        policy(f"{rule}\ndowngrades: {{gpt-4o: {model}}}") for model in ("gpt-4o-mini", "gpt-4.1-mini")
    )

    assert changes(old, new).told() == {"rules_changed": "r"}


def test_a_reload_of_very_many_budgets_is_told_in_short() -> None:
    many = ", ".join(f"{{id: b{n}, period: daily, limit_usd: 1}}" for n in range(TOLD_MAX + 2))

    told = changes(Policy(), policy(f"budgets: [{many}]")).told()["budgets_added"]

    assert told.endswith("; and 2 more")


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        pytest.param(TEAM, "", "team:search:daily: $5.00 daily, now no hard limit", id="removed"),
        pytest.param(
            TEAM, TEAM.replace("5", "5.01"), "team:search:daily: $5.00 daily, now $5.01", id="raised"
        ),
        pytest.param(
            TEAM, TEAM.replace(HARD, SOFT), "team:search:daily: $5.00 daily, now no hard limit", id="soft now"
        ),
        pytest.param(
            f"default_team: {{budgets: [{HARD}]}}",
            "",
            "default_team:daily: $5.00 daily, now no hard limit",
            id="of teams that only a key names",
        ),
        pytest.param(
            f"default_team: {{budgets: [{HARD}]}}",
            f"default_team: {{budgets: [{HARD}]}}\nteams: {{search: {{}}}}",
            "default_team:daily: $5.00 daily, now no hard limit",
            id="a team that has its own section now",
        ),
        pytest.param(
            "budgets: [{id: each, team: '*', period: total, limit_usd: 1, hold: capped}]",
            "budgets: [{id: one, team: search, period: total, limit_usd: 1, hold: capped}]",
            "each: $1.00 total, now no hard limit",
            id="over one team in place of each",
        ),
    ],
)
def test_a_reload_that_drops_or_loosens_a_hard_budget_is_told(old: str, new: str, told: str) -> None:
    assert loosened(old, new) == [told]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param(TEAM, TEAM.replace("5", "4.99"), id="lowered"),
        pytest.param(TEAM, TEAM.replace("strict", "strict, id: renamed"), id="renamed"),
        pytest.param(TEAM, TEAM.replace("strict", "capped"), id="hard in the other way"),
        pytest.param(TEAM, f"budgets: [{{team: '*', {HARD[1:]}]", id="over each team"),
        pytest.param(TEAM, f"default_team: {{budgets: [{HARD}]}}", id="over teams without a section"),
        pytest.param(TEAM.replace(HARD, SOFT), "", id="it was soft"),
        pytest.param("", TEAM, id="a new one"),
        pytest.param(f"{TEAM}\ntimezone: Asia/Tokyo", TEAM, id="of another time zone"),
    ],
)
def test_a_reload_that_keeps_every_hard_limit_raises_no_alarm(old: str, new: str) -> None:
    assert loosened(old, new) == []


_limits = st.none() | st.integers(0, 3)
_budgets = st.builds(
    lambda scope, period, limit, hold, n: Budget(f"b{n}", scope, period, limit, hold),
    st.sampled_from([EVERYONE, SEARCH, Scope(ScopeKind.TEAM, "*")]),
    st.sampled_from([Period.DAILY, Period.TOTAL]),
    _limits,
    st.sampled_from(HoldMode),
    st.integers(0, 5),
)
_policies = st.builds(
    lambda budgets: Policy(budgets=tuple({each.id: each for each in budgets}.values())),
    st.lists(_budgets, max_size=4),
)


@given(old=_policies, new=_policies)
def test_after_a_reload_without_alarm_every_hard_limit_still_holds(old: Policy, new: Policy) -> None:
    """For every subject, by the slow and obvious way: the tightest hard limit over it is no higher."""

    def tightest(of: Policy, scope: Scope, period: Period) -> int | None:
        found = [
            budget.limit
            for budget in of.over(scope)
            if budget.is_hard and budget.period is period and budget.limit is not None
        ]
        return min(found, default=None)

    looser = False
    for scope in (EVERYONE, SEARCH, OTHER):
        for period in Period:
            before, after = tightest(old, scope, period), tightest(new, scope, period)
            looser |= before is not None and (after is None or after > before)

    assert bool(changes(old, new).loosened) == looser


def test_a_counter_has_no_gaps_over_a_reload_where_budgets_of_both_count_all_its_calls() -> None:
    mine = counter_at(SEARCH, Period.DAILY, "UTC", NOON)
    others = counter_at(OTHER, Period.DAILY, "UTC", NOON)
    each = policy(f"budgets: [{{team: '*', {SOFT[1:]}]")
    default = policy(f"default_team: {{budgets: [{SOFT}]}}\nteams: {{other: {{}}}}")

    assert counts_all(policy(TEAM), mine)
    assert counts_all(each, mine)
    assert counts_all(default, mine)
    assert not counts_all(default, others)
    assert not counts_all(policy(TEAM), others)
    assert not counts_all(policy(f"{TEAM}\ntimezone: Asia/Tokyo"), mine)
    assert not counts_all(policy(TEAM), counter_at(SEARCH, Period.MONTHLY, "UTC", NOON))


def test_a_rule_alone_leaves_gaps_for_a_reload() -> None:
    """It counts only the calls that it looks at."""
    ruled = "rules: [{rule_id: r, threshold_type: absolute_daily, threshold_value: 1, applies_to_models: ['gpt-*']}]"

    assert not counts_all(policy(ruled), counter_at(SEARCH, Period.DAILY, "UTC", NOON))
