"""The policy in force: one immutable snapshot of rules.yaml, and what of it covers a call."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pricing.document import Document, DocumentError, Place, Problem, check, content_version, path_of
from rules.budget import Budget
from rules.call import Call
from rules.counter import Limit
from rules.file import RulesFile
from rules.glob import Globs
from rules.plan import AllowList, Plan, make_plan
from rules.rule import Per, Rule
from rules.scope import Scope, ScopeKind
from rules.spec import EACH
from rules.window import QUARTER_SECONDS

PLANS_MAX = 4096
"""Clients choose model names, so the memory of plans is bounded: the oldest goes first, and is made again at need."""

_SELDOM_LOOKED_AT = ("user", "category")


@dataclass(frozen=True, slots=True)
class Route:
    """Models that one provider serves."""

    models: Globs
    provider: str


@dataclass(frozen=True, slots=True)
class DefaultTeam:
    """What holds for each team that only a key names."""

    budgets: tuple[Budget, ...] = ()
    models: Globs | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """Facts of a call in, everything that covers it out. `plan` remembers; nothing else here ever changes."""

    version: str = ""
    timezone: str = "UTC"
    budgets: tuple[Budget, ...] = ()  # a scope named * stands for each of its kind
    default_team: DefaultTeam = DefaultTeam()
    teams: frozenset[str] = frozenset()
    models: Mapping[Scope, Globs] = field(default_factory=dict)  # allow lists of teams and keys
    rules: tuple[Rule, ...] = ()  # the highest priority first
    routes: tuple[Route, ...] = ()
    warnings: tuple[str, ...] = ()
    _by_scope: Mapping[Scope, tuple[Budget, ...]] = field(init=False, repr=False, compare=False)
    _facts_of_rules: tuple[str, ...] = field(init=False, repr=False, compare=False)
    _plans: dict[tuple[object, ...], Plan] = field(
        init=False, repr=False, compare=False, default_factory=dict
    )

    def __post_init__(self) -> None:
        by_scope: dict[Scope, tuple[Budget, ...]] = {}
        for budget in self.budgets:
            by_scope[budget.scope] = (*by_scope.get(budget.scope, ()), budget)
        looked_at = {fact for rule in self.rules for fact, _ in rule.applies_to}
        object.__setattr__(self, "_by_scope", by_scope)
        object.__setattr__(
            self, "_facts_of_rules", tuple(fact for fact in _SELDOM_LOOKED_AT if fact in looked_at)
        )

    def limits(self, call: Call, key_budgets: Sequence[Budget] = ()) -> tuple[Limit, ...]:
        """Every limit over the counters that this call touches; counted but unlimited ones have no nanos."""
        return self.plan(call, key_budgets).limits

    def budgets_of(self, call: Call) -> tuple[Budget, ...]:
        """The file's budgets that cover this call, with the ids that stand as owners on its limits."""
        plan = self._plans.get(self._facts(call)) or self.plan(call)
        return plan.budgets

    def route(self, model: str) -> str | None:
        """The provider that serves this model, by the first route that names it."""
        return next((route.provider for route in self.routes if route.models.match(model)), None)

    def is_strict_for(self, call: Call, key_budgets: Sequence[Budget] = ()) -> bool:
        """Is anything in the body of this call enforced hard? Asked before the body is read, so with no model
        and perhaps another provider than the one that will serve it."""
        unread = (ScopeKind.MODEL, ScopeKind.PROVIDER)
        return (
            has_hard_limit(self.limits(call, key_budgets))
            or any(True for _ in self._allow_lists(call))
            or any(budget.scope.kind in unread and budget.is_hard for budget in self.budgets)
        )

    def plan(self, call: Call, key_budgets: Sequence[Budget] = ()) -> Plan:
        facts, own = self._facts(call), tuple(key_budgets)
        plan = self._plans.get(facts)
        if plan is None or plan.key_budgets != own:
            if len(self._plans) >= PLANS_MAX:
                del self._plans[next(iter(self._plans))]
            plan = self._plans[facts] = self._make_plan(call, own)
        return plan

    def _make_plan(self, call: Call, key_budgets: tuple[Budget, ...]) -> Plan:
        return make_plan(
            call,
            budgets=self._covering(call),
            key_budgets=key_budgets,
            rules=self.rules,
            allow_lists=self._allow_lists(call),
            timezone=self.timezone,
        )

    def _facts(self, call: Call) -> tuple[object, ...]:
        """Windows start on quarter hours, so within one these facts decide the plan."""
        seldom = tuple(getattr(call, fact) for fact in self._facts_of_rules)
        quarter = int(call.at.timestamp()) // QUARTER_SECONDS
        return (quarter, call.team, call.key_id, call.model, call.provider, call.operation, seldom)

    def _covering(self, call: Call) -> Iterator[tuple[Budget, Scope]]:
        for scope in call.scopes():
            for name in dict.fromkeys((scope.name, EACH)):
                for budget in self._by_scope.get(Scope(scope.kind, name), ()):
                    yield budget, scope
        if call.team not in self.teams:
            team = Scope(ScopeKind.TEAM, call.team)
            for budget in self.default_team.budgets:
                yield budget, team

    def _allow_lists(self, call: Call) -> Iterator[AllowList]:
        team, key = Scope(ScopeKind.TEAM, call.team), Scope(ScopeKind.KEY, call.key_id)
        if call.team not in self.teams and self.default_team.models is not None:
            yield AllowList("default_team:models", team, self.default_team.models)
        for scope in (team, key):
            models = self.models.get(scope)
            if models is not None:
                yield AllowList(f"{scope}:models", scope, models)


def load_policy(document: Document) -> Policy:
    """Raises DocumentError with everything that is wrong with the file."""
    written = check(RulesFile, document)
    budgets, defaults = written.placed_budgets(), written.placed_defaults()
    rules = [(("rules", n), spec.rule()) for n, spec in enumerate(written.rules)]
    owners = [(place, budget.id) for place, budget in (*budgets, *defaults)]
    owners += [(place, rule.rule_id) for place, rule in rules]
    problems = tuple(_doubled(owners, document))
    if problems:
        raise DocumentError(document.file, problems)
    return Policy(
        version=content_version(document.text),
        timezone=written.timezone,
        budgets=tuple(budget for _, budget in budgets),
        default_team=DefaultTeam(
            tuple(budget for _, budget in defaults), _globs(written.default_team.models)
        ),
        teams=frozenset(written.teams),
        models=_allowed_models(written),
        rules=tuple(sorted((rule for _, rule in rules), key=lambda rule: -rule.priority)),
        routes=tuple(Route(Globs(route.models), route.provider) for route in written.routes),
        warnings=(*document.warnings, *_idle_rules(rules, (*budgets, *defaults))),
    )


EMPTY = Policy()
"""No rules file: every call is counted nowhere and refused never."""


def has_hard_limit(limits: Iterable[Limit]) -> bool:
    return any(limit.hold.hard and limit.nanos is not None for limit in limits)


def _globs(patterns: tuple[str, ...] | None) -> Globs | None:
    return None if patterns is None else Globs(patterns)


def _allowed_models(written: RulesFile) -> dict[Scope, Globs]:
    return {
        Scope(kind, name): Globs(allowance.models)
        for kind, allowances in ((ScopeKind.TEAM, written.teams), (ScopeKind.KEY, written.keys))
        for name, allowance in allowances.items()
        if allowance.models is not None
    }


def _doubled(owners: Iterable[tuple[Place, str]], document: Document) -> Iterator[Problem]:
    """Alerts, refusals and rows name a limit by its id alone."""
    first: dict[str, Place] = {}
    for place, owner in owners:
        if owner not in first:
            first[owner] = place
            continue
        name = "rule_id" if place[0] == "rules" else "id"
        yield Problem(
            path=path_of(place),
            message=f'the id "{owner}" is already that of {path_of(first[owner])}',
            remedy=f"give this one an {name} of its own",
            line=document.line_of(place),
        )


def _idle_rules(
    rules: Iterable[tuple[Place, Rule]], budgets: Iterable[tuple[Place, Budget]]
) -> Iterator[str]:
    """Percentages of budgets that do not exist: such a rule can never match. Keys bring budgets of their own."""
    limited = {(budget.scope.kind, budget.period) for _, budget in budgets if budget.limit is not None}
    for place, rule in rules:
        if not rule.threshold_type.is_percentage or rule.per is Per.KEY:
            continue
        kinds = (ScopeKind.TEAM, ScopeKind.GLOBAL) if rule.per is None else (rule.per.kind,)
        period = rule.threshold_type.period
        if not any((kind, period) in limited for kind in kinds):
            names = " or ".join(kind.value for kind in kinds)
            yield (
                f'{path_of(place)}: no {period} budget of scope {names} has a limit, so rule "{rule.rule_id}" '
                "never matches: add such a budget, or set per"
            )
