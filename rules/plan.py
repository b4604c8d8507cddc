"""Everything a policy has to say on calls with the same facts within one quarter hour, worked out once."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

from pricing.money import Nanos
from rules.budget import Budget, share_of
from rules.call import Call
from rules.counter import Limit, counter_at
from rules.glob import Globs
from rules.rule import Action, Mode, Per, Rule, ThresholdType
from rules.scope import EVERYONE, Scope, ScopeKind
from rules.window import Period


@dataclass(frozen=True, slots=True)
class AllowList:
    """The models that a team or a key may ask for."""

    owner: str  # as told in a refusal
    scope: Scope
    models: Globs


@dataclass(frozen=True, slots=True)
class Watch:
    """A rule over a balance that nothing enforces: it alerts, or is in shadow. `limit.nanos` is its threshold."""

    rule: Rule
    limit: Limit
    hard: bool  # is the ceiling held on this counter?


@dataclass(frozen=True, slots=True)
class Plan:
    """`limits` is what place enforces; everything else is for decide."""

    key_budgets: tuple[Budget, ...]  # that it was made with
    budgets: tuple[Budget, ...]
    limits: tuple[Limit, ...]
    watches: tuple[Watch, ...]
    cost_rules: tuple[tuple[Nanos, Rule], ...]  # with the cost from which on each speaks
    closed: AllowList | None  # the first list that the model is not on

    @property
    def is_quiet(self) -> bool:
        """No rule has anything to look at: what remains is for place alone."""
        return not (self.cost_rules or self.watches or self.closed)


def make_plan(
    call: Call,
    *,
    budgets: Iterable[tuple[Budget, Scope]],
    key_budgets: tuple[Budget, ...],
    rules: tuple[Rule, ...],
    allow_lists: Iterable[AllowList],
    timezone: str,
) -> Plan:
    """`budgets` come with the scope of this call that each covers; `rules` in the order of their priority."""
    own = Scope(ScopeKind.KEY, call.key_id)
    covering = (*budgets, *((budget, own) for budget in key_budgets))
    limits = tuple(budget.limit_on(scope, call.at) for budget, scope in covering)
    matching = tuple(rule for rule in rules if rule.applies(call))
    hard = {limit.counter for limit in limits if limit.hold.hard}
    watches = tuple(
        Watch(rule, limit, limit.counter in hard)
        for rule in matching
        for limit in _limits_of(rule, call, limits, timezone=timezone)
    )
    return Plan(
        key_budgets=key_budgets,
        budgets=tuple(budget for budget, _ in covering),
        limits=tuple(chain(limits, *(_placed(watch) for watch in watches))),
        watches=tuple(watch for watch in watches if not _is_enforced(watch.rule)),
        cost_rules=tuple(
            (rule.threshold, rule) for rule in matching if rule.threshold_type is ThresholdType.OPERATION_COST
        ),
        closed=next((each for each in allow_lists if not each.models.match(call.model)), None),
    )


def scope_of(call: Call, per: Per | None) -> Scope:
    """The scope of a call that a rule's figure is measured per: the team, unless the rule says otherwise."""
    match per:
        case Per.GLOBAL:
            return EVERYONE
        case Per.KEY:
            return Scope(ScopeKind.KEY, call.key_id)
        case Per.MODEL:
            return Scope(ScopeKind.MODEL, call.model)
        case _:
            return Scope(ScopeKind.TEAM, call.team)


def _is_enforced(rule: Rule) -> bool:
    return rule.action is Action.BLOCK and rule.mode is Mode.ENFORCE


def _placed(watch: Watch) -> Iterator[Limit]:
    """What place sees of a rule: its limit, or, where it only looks on, its counter, so that it counts."""
    limit = watch.limit
    if _is_enforced(watch.rule):
        yield limit
    elif not watch.rule.threshold_type.is_percentage:
        yield Limit(limit.counter, None, limit.owner)


def _limits_of(rule: Rule, call: Call, budgets: tuple[Limit, ...], *, timezone: str) -> Iterator[Limit]:
    period = rule.threshold_type.period
    if period is None:
        return
    if rule.threshold_type.is_percentage:
        yield from _shares(rule, call, budgets, period)
    else:
        yield _absolute(rule, call, period, timezone=timezone)


def _absolute(rule: Rule, call: Call, period: Period, *, timezone: str) -> Limit:
    return Limit(
        counter_at(scope_of(call, rule.per), period, timezone, call.at), rule.threshold, rule.rule_id
    )


def _shares(rule: Rule, call: Call, budgets: tuple[Limit, ...], period: Period) -> Iterator[Limit]:
    """The rule's share of each budget of that period: the scope's, or without `per` the team's, else everyone's."""
    # An alert fires when the share is reached, a block when it would be passed: each rounds to its own side.
    up = rule.action is Action.ALERT_ONLY
    scopes = [scope_of(call, rule.per)] if rule.per is not None else [scope_of(call, Per.TEAM), EVERYONE]
    for scope in scopes:
        found = False
        for limit in budgets:
            counter = limit.counter
            if counter.scope == scope and counter.period is period and limit.nanos is not None:
                found = True
                yield Limit(counter, share_of(limit.nanos, rule.threshold_value, up=up), rule.rule_id)
        if found:
            return
