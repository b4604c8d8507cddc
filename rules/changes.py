"""What an edit of rules.yaml changes: told to people, and to the counters that it leaves uncounted."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from pricing.money import Nanos
from rules.budget import Budget
from rules.counter import CounterKey
from rules.policy import Policy
from rules.scope import Scope, ScopeKind
from rules.sentence import dollars
from rules.window import Period

TOLD_MAX = 20  # of one kind of change: an edit may touch thousands

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Loosened:
    """A hard budget that stops less than it did: `to` is the tightest hard limit that is left, None for none."""

    id: str
    scope: Scope
    period: Period
    limit: Nanos
    to: Nanos | None

    def __str__(self) -> str:
        left = "no hard limit" if self.to is None else f"{dollars(self.to)}"
        return f"{self.id}: {dollars(self.limit)} {self.period.value}, now {left}"


@dataclass(frozen=True, slots=True)
class Changes:
    """From one policy to another. Each entry is a short sentence that begins with the id."""

    budgets_added: tuple[str, ...] = ()
    budgets_removed: tuple[str, ...] = ()
    budgets_changed: tuple[str, ...] = ()
    rules_added: tuple[str, ...] = ()
    rules_removed: tuple[str, ...] = ()
    rules_changed: tuple[str, ...] = ()
    others: tuple[str, ...] = ()  # parts of the file
    loosened: tuple[Loosened, ...] = ()

    def told(self) -> dict[str, str]:
        """For an audit entry: every kind of change that there is, the first of each."""
        kinds: dict[str, tuple[object, ...]] = {
            "budgets_added": self.budgets_added,
            "budgets_removed": self.budgets_removed,
            "budgets_changed": self.budgets_changed,
            "rules_added": self.rules_added,
            "rules_removed": self.rules_removed,
            "rules_changed": self.rules_changed,
            "also_changed": self.others,
            "hard_budgets_dropped": self.loosened,
        }
        return {kind: _first(entries) for kind, entries in kinds.items() if entries}


def changes(old: Policy, new: Policy) -> Changes:
    budgets = _by_id(old), _by_id(new)
    rules = {rule.rule_id: rule for rule in old.rules}, {rule.rule_id: rule for rule in new.rules}
    others = [told for part, told in _PARTS.items() if getattr(old, part) != getattr(new, part)]
    if old.default_team.allowance != new.default_team.allowance:
        others.append("models and rates of default_team")
    return Changes(
        budgets_added=tuple(f"{id_}: {_words(budgets[1][id_])}" for id_ in _gone(*reversed(budgets))),
        budgets_removed=tuple(f"{id_}: {_words(budgets[0][id_])}" for id_ in _gone(*budgets)),
        budgets_changed=tuple(
            f"{id_}: {_words(before)} -> {_words(after)}" for id_, before, after in _changed(*budgets)
        ),
        rules_added=tuple(_gone(*reversed(rules))),
        rules_removed=tuple(_gone(*rules)),
        rules_changed=tuple(id_ for id_, _, _ in _changed(*rules)),
        others=tuple(others),
        loosened=tuple(_loosened(old, new)),
    )


_PARTS = {
    "timezone": "timezone",
    "allowances": "models and rates of teams and keys",
    "model_allowances": "limits of models",
    "routes": "routes",
    "teams": "names of teams",
    "categories": "categories",
    "names_max": "names_max",
}


def counts_all(policy: Policy, counter: CounterKey) -> bool:
    """Does every call of the counter's scope count on it? Rules count only the calls that they look at, and budgets
    that a key was issued with are no part of a policy."""
    return any(budget.counts_on(counter) for budget in policy.over(counter.scope))


def _loosened(old: Policy, new: Policy) -> Iterator[Loosened]:
    """By subject, not by id: a hard budget may be renamed, or give way to a tighter one. Each budget once."""
    told: set[str] = set()
    for scope in _subjects(old, new):
        for period in Period:
            before, after = _tightest(old, scope, period), _tightest(new, scope, period)
            if before is None or before.limit is None or before.id in told:
                continue
            to = None if after is None else after.limit
            if to is None or to > before.limit:
                told.add(before.id)
                yield Loosened(before.id, before.scope, period, before.limit, to)


def _subjects(old: Policy, new: Policy) -> Iterator[Scope]:
    """Whom hard budgets of the old policy are over: those that either file names, and * for all others."""
    named: dict[ScopeKind, dict[str, None]] = {}
    for policy in (old, new):
        for budget in (*policy.budgets, *policy.default_team.budgets):
            named.setdefault(budget.scope.kind, {})[budget.scope.name] = None  # may be *
        for team in sorted(policy.teams):
            named.setdefault(ScopeKind.TEAM, {})[team] = None
    for kind, names in named.items():
        yield from (Scope(kind, name) for name in names)


def _tightest(policy: Policy, scope: Scope, period: Period) -> Budget | None:
    hard = (each for each in policy.over(scope) if each.is_hard and each.period is period)
    return min(hard, key=lambda budget: budget.limit or 0, default=None)


def _by_id(policy: Policy) -> dict[str, Budget]:
    return {budget.id: budget for budget in (*policy.budgets, *policy.default_team.budgets)}


def _gone(before: Mapping[str, T], after: Mapping[str, T]) -> list[str]:
    return [id_ for id_ in before if id_ not in after]


def _changed(before: Mapping[str, T], after: Mapping[str, T]) -> list[tuple[str, T, T]]:
    return [(id_, old, after[id_]) for id_, old in before.items() if id_ in after and after[id_] != old]


def _words(budget: Budget) -> str:
    limit = "no limit" if budget.limit is None else dollars(budget.limit)
    alerts = ", ".join(f"{each.normalize():f}" for each in budget.thresholds)
    parts = (
        str(budget.scope),
        budget.period.value,
        limit,
        budget.hold.value,
        budget.timezone,
        f"at {alerts}%",
    )
    return " ".join(parts)


def _first(entries: Iterable[object]) -> str:
    told = [str(entry) for entry in entries]
    more = f"; and {len(told) - TOLD_MAX} more" if len(told) > TOLD_MAX else ""
    return "; ".join(told[:TOLD_MAX]) + more
