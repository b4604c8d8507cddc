"""Whatever overrides come and go: a limit is the highest of those that stand, never lower than the file's, and money
stays on the counters where it is."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from pricing.money import Nanos, nanos
from rules.budget import Budget
from rules.overridden import overridden
from rules.override import Override
from rules.policy import DefaultTeam, Policy
from rules.scope import EVERYONE, Scope, ScopeKind
from rules.window import Period
from tests.unit.rules.build import NOON, call

MINUTE = timedelta(minutes=1)
TEAMS = [Scope(ScopeKind.TEAM, name) for name in ("a", "b", "*")]
SCOPES = [EVERYONE, *TEAMS]
IDS = ("x", "y", "z")
amounts = st.integers(0, 20).map(lambda usd: nanos(usd))

budgets = st.lists(st.tuples(st.sampled_from(SCOPES), st.none() | amounts), max_size=3).map(
    lambda found: tuple(
        Budget(id_, scope, Period.DAILY, limit) for id_, (scope, limit) in zip(IDS, found, strict=False)
    )
)
policies = st.builds(
    lambda own, default, teams: Policy("v", budgets=own, default_team=DefaultTeam(default), teams=teams),
    budgets,
    amounts.map(lambda limit: (Budget("d", Scope(ScopeKind.TEAM, "*"), Period.DAILY, limit),)),
    st.frozensets(st.sampled_from(["a", "b"])),
)
override_lists = st.lists(
    st.builds(
        Override,
        st.integers(1, 9),
        st.sampled_from([*IDS, "d", "gone"]),
        st.sampled_from(SCOPES),
        amounts,
        st.integers(0, 5).map(lambda n: NOON + n * MINUTE),
    ),
    max_size=6,
)


def expected(budget: Budget, team: str, overrides: list[Override], minute: int) -> Nanos | None:
    """By the sentence: the highest of the file's and of every override over the budget or over this team's share of it."""
    if budget.limit is None:
        return None
    mine = {budget.scope} | ({Scope(ScopeKind.TEAM, team)} if budget.scope.name == "*" else set())
    over = [
        each.limit
        for each in overrides
        if each.budget_id == budget.id and each.scope in mine and NOON + minute * MINUTE < each.until
    ]
    return max([budget.limit, *over])


@given(policies, override_lists, st.integers(0, 5), st.sampled_from(["a", "b", "c"]))
def test_the_highest_limit_that_stands_wins_and_none_is_lowered(
    policy: Policy, overrides: list[Override], minute: int, team: str
) -> None:
    now = overridden(policy, overrides, NOON + minute * MINUTE)
    asked = call(team=team)
    in_file = {budget.id: budget for budget in (*policy.budgets, *policy.default_team.budgets)}

    limits = now.limits(asked)

    assert [limit.counter for limit in limits] == [limit.counter for limit in policy.limits(asked)]
    assert {limit.owner: limit.nanos for limit in limits} == {
        limit.owner: expected(in_file[limit.owner], team, overrides, minute) for limit in limits
    }


@given(policies, override_lists)
def test_once_all_are_over_the_file_stands_as_it_was(policy: Policy, overrides: list[Override]) -> None:
    assert overridden(policy, overrides, NOON + 5 * MINUTE) is policy


@given(policies, override_lists, st.integers(0, 4))
def test_marks_follow_the_limit_that_stands(policy: Policy, overrides: list[Override], minute: int) -> None:
    now = overridden(policy, overrides, NOON + minute * MINUTE)

    for budget in (*now.budgets, *now.default_team.budgets, *now.raised.values()):
        if budget.limit:
            assert budget.marks[-1] == budget.limit, "the last threshold is 100 %"
