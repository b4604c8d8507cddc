"""A policy under overrides: another snapshot of the same file, whose calls can be told from those before."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from rules.budget import Budget
from rules.override import Override, in_force, raised
from rules.policy import Policy
from rules.scope import Scope
from rules.spec import EACH

IDS_TOLD_MAX = 3
MARK = "+"  # between the file's version and the overrides'


def overridden(policy: Policy, overrides: Iterable[Override], now: datetime) -> Policy:
    """The file's policy with every limit that is raised now; itself, where none is. Counters stay as they are."""
    standing = in_force(overrides, now)
    if not standing:
        return policy
    return replace(
        policy,
        version=f"{policy.version}{MARK}{_ids(standing)}",
        budgets=tuple(raised(budget, standing) for budget in policy.budgets),
        default_team=replace(
            policy.default_team,
            budgets=tuple(raised(budget, standing) for budget in policy.default_team.budgets),
        ),
        raised=_raised_for_one(policy, standing),
        exempt=frozenset(each.scope for each in standing),
    )


def file_version(policy: Policy) -> str:
    """Without its overrides."""
    return policy.version.partition(MARK)[0]


def _raised_for_one(policy: Policy, standing: tuple[Override, ...]) -> dict[tuple[str, Scope], Budget]:
    """Budgets over each of a kind, where only some of them spend more."""
    over_each = {
        budget.id: budget
        for budget in (*policy.budgets, *policy.default_team.budgets)
        if budget.scope.name == EACH
    }
    found: dict[tuple[str, Scope], Budget] = {}
    for each in standing:
        budget = over_each.get(each.budget_id)
        if budget is not None and each.scope.kind is budget.scope.kind and each.scope != budget.scope:
            found[budget.id, each.scope] = raised(budget, standing, each.scope)
    return found


def _ids(standing: tuple[Override, ...]) -> str:
    ids = sorted(each.id for each in standing)
    more = f".{len(ids) - IDS_TOLD_MAX}more" if len(ids) > IDS_TOLD_MAX else ""
    return "override" + ".".join(map(str, ids[:IDS_TOLD_MAX])) + more
