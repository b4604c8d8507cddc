"""A limit raised by hand for a while: over which budget, how far, until when, and which rules then give way."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from pricing.money import Nanos
from rules.budget import Budget
from rules.rule import Rule
from rules.scope import EVERYONE, Scope
from rules.spec import EACH


@dataclass(frozen=True, slots=True)
class Override:
    """In force before `until`, not at it. `scope` is the budget's own; of a budget over each of a kind, perhaps one."""

    id: int
    budget_id: str
    scope: Scope
    limit: Nanos
    until: datetime


def in_force(overrides: Iterable[Override], now: datetime) -> tuple[Override, ...]:
    return tuple(each for each in overrides if now < each.until)


def raised(budget: Budget, overrides: Iterable[Override], scope: Scope | None = None) -> Budget:
    """The budget with its highest limit, thresholds and all; for one scope of those that it is over, where named. An
    override never lowers a limit, and adds none where there is none."""
    if budget.limit is None:
        return budget
    over = (budget.scope, budget.scope if scope is None else scope)
    limit = max(
        (each.limit for each in overrides if each.budget_id == budget.id and each.scope in over),
        default=budget.limit,
    )
    return budget if limit <= budget.limit else replace(budget, limit=limit)


def multiplied(limit: Nanos, factor: Decimal) -> Nanos:
    """Rounded down to whole nano-dollars."""
    times, per = factor.as_integer_ratio()
    return Nanos(limit * times // per)


def covers(wide: Scope, scope: Scope) -> bool:
    """Is whatever `scope` spends also spent by `wide`? Everyone covers all, * each of its kind."""
    return wide in (EVERYONE, scope) or (wide.kind is scope.kind and wide.name == EACH)


def exempted(rule: Rule, scope: Scope, exempt: Collection[Scope]) -> bool:
    """May calls go that the rule would block in that scope? `exempt`: the scopes of the overrides in force."""
    return rule.allow_emergency_override and any(covers(wide, scope) for wide in exempt)
