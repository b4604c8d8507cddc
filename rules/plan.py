"""Everything a policy has to say on calls with the same facts within one quarter hour, worked out once."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain

from rules.budget import Budget
from rules.call import Call
from rules.counter import Limit
from rules.glob import Globs
from rules.matter import Matter, matters_of, own_counter
from rules.override import exempted
from rules.rate import Rate
from rules.rule import Action, Rule
from rules.scope import Scope, ScopeKind


@dataclass(frozen=True, slots=True)
class AllowList:
    """The models that a team or a key may ask for."""

    owner: str  # as told in a refusal
    scope: Scope
    models: Globs


@dataclass(frozen=True, slots=True)
class OutputCap:
    """The longest answer that a team, a key or a model may be asked for, in tokens of one choice."""

    owner: str
    tokens: int


@dataclass(frozen=True, slots=True)
class Plan:
    """`limits` and `rates` are what place enforces, and what it only counts; everything else is for decide."""

    key_budgets: tuple[Budget, ...]  # that it was made with
    budgets: tuple[Budget, ...]
    limits: tuple[Limit, ...]
    rates: tuple[Rate, ...]
    matters: tuple[Matter, ...]  # the highest priority first
    closed: AllowList | None  # the first list that the model is not on
    output_cap: OutputCap | None  # the tightest
    is_hard: bool  # does a hard budget cover these calls?

    @property
    def is_quiet(self) -> bool:
        """No rule has anything to look at: what remains is for place alone."""
        return not (self.matters or self.closed or self.output_cap)


def make_plan(
    call: Call,
    *,
    budgets: Iterable[tuple[Budget, Scope]],
    key_budgets: tuple[Budget, ...],
    concurrency: Iterable[Limit],
    rates: Iterable[Rate],
    output_caps: Iterable[OutputCap],
    rules: Iterable[Rule],
    counting: Iterable[Rule],
    allow_lists: Iterable[AllowList],
    exempt: Collection[Scope],
    timezone: str,
) -> Plan:
    """`budgets` come with the scope of this call that each covers; `rules` in the order of their priority;
    `counting` are others whose figure these calls belong to. Rules that allow it do not block in the scopes `exempt`."""
    own = Scope(ScopeKind.KEY, call.key_id)
    covering = (*budgets, *((budget, own) for budget in key_budgets))
    limits = tuple(budget.limit_on(scope, call.at) for budget, scope in covering)
    rules = tuple(rules)
    matters = tuple(
        matter
        for rule in rules
        if rule.applies(call)
        for matter in matters_of(rule, call, limits, timezone=timezone)
        if not (rule.action is Action.BLOCK and exempted(rule, matter.scope, exempt))
    )
    placed = (*limits, *concurrency, *_placed_limits(matters))
    placed = (*placed, *_counted((*rules, *counting), call, placed, timezone=timezone))
    return Plan(
        key_budgets=key_budgets,
        budgets=tuple(budget for budget, _ in covering),
        limits=placed,
        rates=tuple(chain(rates, _placed_rates(matters))),
        matters=matters,
        closed=next((each for each in allow_lists if not each.models.match(call.model)), None),
        output_cap=min(output_caps, key=lambda each: each.tokens, default=None),
        is_hard=any(limit.hold.hard and limit.nanos is not None for limit in limits),
    )


def _placed_limits(matters: Iterable[Matter]) -> Iterator[Limit]:
    return (matter.limit for matter in matters if matter.is_placed and matter.limit is not None)


def _counted(rules: Iterable[Rule], call: Call, placed: Iterable[Limit], *, timezone: str) -> Iterator[Limit]:
    """The figure of a rule is the whole of its scope: calls that it does not look at count, too."""
    counters = {
        counter: rule.rule_id
        for rule in rules
        if (counter := own_counter(rule, call, timezone=timezone)) is not None
    }
    known = {limit.counter for limit in placed}
    return (Limit(counter, None, owner) for counter, owner in counters.items() if counter not in known)


def _placed_rates(matters: Iterable[Matter]) -> Iterator[Rate]:
    for matter in matters:
        if matter.rate is not None:
            yield matter.rate if matter.is_placed else replace(matter.rate, watched=True)
