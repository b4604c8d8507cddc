"""The policy in force: one immutable snapshot of rules.yaml, and what of it covers a call."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pricing.document import Document, DocumentError, Place, Problem, check, content_version, path_of
from rules.allowance import NO_ALLOWANCE, Allowance
from rules.budget import Budget
from rules.call import Call
from rules.category import NO_CATEGORIES, Categories, categories_of, unfit_categories
from rules.counter import Limit
from rules.file import RulesFile
from rules.glob import Globs
from rules.narrow import CHOSEN, NAMES_COUNTED, unsupported
from rules.plan import AllowList, OutputCap, Plan, make_plan
from rules.rule import Action, Per, Rule
from rules.rulespec import downgrades_of
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
    allowance: Allowance = NO_ALLOWANCE


@dataclass(frozen=True, slots=True)
class Policy:
    """Facts of a call in, everything that covers it out. `plan` remembers; nothing else here ever changes."""

    version: str = ""
    timezone: str = "UTC"
    budgets: tuple[Budget, ...] = ()  # a scope named * stands for each of its kind
    default_team: DefaultTeam = DefaultTeam()
    teams: frozenset[str] = frozenset()
    allowances: Mapping[Scope, Allowance] = field(default_factory=dict)  # of teams and keys
    model_allowances: tuple[
        tuple[Globs, Scope, Allowance], ...
    ] = ()  # every one whose pattern matches counts
    rules: tuple[Rule, ...] = ()  # the highest priority first
    routes: tuple[Route, ...] = ()
    categories: Categories = NO_CATEGORIES
    names_max: int = NAMES_COUNTED  # users, and categories, that are counted apart
    warnings: tuple[str, ...] = ()
    raised: Mapping[tuple[str, Scope], Budget] = field(default_factory=dict)
    """By its id and a scope: what stands there in place of a budget over each of a kind, while that one is overridden."""
    exempt: frozenset[Scope] = frozenset()  # of overrides: see rules.override.exempted
    _by_scope: Mapping[Scope, tuple[Budget, ...]] = field(init=False, repr=False, compare=False)
    _facts_of_rules: tuple[str, ...] = field(init=False, repr=False, compare=False)
    _rules_by_team: Mapping[str, tuple[Rule, ...]] = field(init=False, repr=False, compare=False)
    _rules_of_any_team: tuple[Rule, ...] = field(init=False, repr=False, compare=False)
    _global_rules: tuple[Rule, ...] = field(init=False, repr=False, compare=False)
    _plans: dict[tuple[object, ...], Plan] = field(
        init=False, repr=False, compare=False, default_factory=dict
    )

    def __post_init__(self) -> None:
        by_scope: dict[Scope, tuple[Budget, ...]] = {}
        for budget in self.budgets:
            by_scope[budget.scope] = (*by_scope.get(budget.scope, ()), budget)
        looked_at = {fact for rule in self.rules for fact, _ in rule.applies_to}
        looked_at |= {rule.per.value for rule in self.rules if rule.per is not None}
        looked_at |= {budget.scope.kind.value for budget in self.budgets}
        object.__setattr__(self, "_by_scope", by_scope)
        named = {team for rule in self.rules for team in rule.teams or ()}
        object.__setattr__(
            self,
            "_rules_by_team",
            {
                team: tuple(rule for rule in self.rules if rule.teams is None or team in rule.teams)
                for team in named
            },
        )
        object.__setattr__(
            self, "_global_rules", tuple(rule for rule in self.rules if rule.per is Per.GLOBAL)
        )
        object.__setattr__(
            self, "_rules_of_any_team", tuple(rule for rule in self.rules if rule.teams is None)
        )
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

    def over(self, scope: Scope) -> Iterator[Budget]:
        """The file's budgets over a scope, those that are over each of its kind included."""
        for name in dict.fromkeys((scope.name, EACH)):
            for budget in self._by_scope.get(Scope(scope.kind, name), ()):
                yield self.raised.get((budget.id, scope), budget)
        if scope.kind is ScopeKind.TEAM and scope.name not in self.teams:
            for budget in self.default_team.budgets:
                yield self.raised.get((budget.id, scope), budget)

    def names(self, scope: Scope) -> bool:
        """Does the file itself name this user or category?"""
        is_listed = scope.kind is ScopeKind.CATEGORY and self.categories.lists(scope.name)
        return is_listed or scope in self._by_scope

    def route(self, model: str) -> str | None:
        """The provider that serves this model, by the first route that names it."""
        return next((route.provider for route in self.routes if route.models.match(model)), None)

    def is_strict_for(self, call: Call, key_budgets: Sequence[Budget] = ()) -> bool:
        """Is anything in the body of this call enforced hard? Asked before the body is read, so with no model
        and perhaps another provider than the one that will serve it."""
        unread = (ScopeKind.MODEL, ScopeKind.PROVIDER, *CHOSEN)
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
        allowances = tuple(self._allowances(call))
        rated = [(owner, scope, each.rate) for owner, scope, each in allowances if each.rate is not None]
        return make_plan(
            call,
            budgets=self._covering(call),
            key_budgets=key_budgets,
            concurrency=[
                limit
                for owner, scope, rate in rated
                if (limit := rate.concurrency(scope, f"{owner}:rate")) is not None
            ],
            rates=[each for owner, scope, rate in rated for each in rate.rates(scope, f"{owner}:rate")],
            output_caps=[
                OutputCap(f"{owner}:max_output_tokens", each.max_output_tokens)
                for owner, _, each in allowances
                if each.max_output_tokens is not None
            ],
            rules=self._rules_for(call),
            counting=self._global_rules,
            allow_lists=self._allow_lists(call),
            exempt=self.exempt,
            timezone=self.timezone,
        )

    def _facts(self, call: Call) -> tuple[object, ...]:
        """Windows start on quarter hours, so within one these facts decide the plan."""
        seldom = tuple(getattr(call, fact) for fact in self._facts_of_rules)
        quarter = int(call.at.timestamp()) // QUARTER_SECONDS
        return (
            quarter,
            call.team,
            call.key_id,
            call.model,
            call.provider,
            call.operation,
            seldom,
            call.as_other,
        )

    def _covering(self, call: Call) -> Iterator[tuple[Budget, Scope]]:
        for scope in call.scopes():
            for name in dict.fromkeys((scope.name, EACH)):
                for budget in self._by_scope.get(Scope(scope.kind, name), ()):
                    yield self.raised.get((budget.id, scope), budget), scope
        if call.team not in self.teams:
            team = Scope(ScopeKind.TEAM, call.team)
            for budget in self.default_team.budgets:
                yield self.raised.get((budget.id, team), budget), team

    def _allowances(self, call: Call) -> Iterator[tuple[str, Scope, Allowance]]:
        """With the name that each goes by, and the scope that it is counted on."""
        team, key = Scope(ScopeKind.TEAM, call.team), Scope(ScopeKind.KEY, call.key_id)
        if call.team not in self.teams and not self.default_team.allowance.is_empty:
            yield "default_team", team, self.default_team.allowance
        for scope in (team, key):
            allowance = self.allowances.get(scope)
            if allowance is not None:
                yield str(scope), scope, allowance
        for models, scope, allowance in self.model_allowances:
            if models.match(call.model):
                yield str(scope), scope, allowance

    def _allow_lists(self, call: Call) -> Iterator[AllowList]:
        for owner, scope, allowance in self._allowances(call):
            if allowance.models is not None:
                yield AllowList(f"{owner}:models", scope, allowance.models)

    def _rules_for(self, call: Call) -> Iterable[Rule]:
        """Those that name this team or name none, by their priority: of a thousand rules few are looked at."""
        return self._rules_by_team.get(call.team, self._rules_of_any_team)


def load_policy(document: Document) -> Policy:
    """Raises DocumentError with everything that is wrong with the file."""
    written = check(RulesFile, document)
    budgets, defaults = written.placed_budgets(), written.placed_defaults()
    cheaper = downgrades_of(written.downgrades)
    rules = [(("rules", n), spec.rule(cheaper)) for n, spec in enumerate(written.rules)]
    owners = [(place, budget.id) for place, budget in (*budgets, *defaults)]
    owners += [(place, rule.rule_id) for place, rule in rules]
    problems = (
        *_doubled(owners, document),
        *_without_a_cheaper_model(rules, document),
        *unsupported((*budgets, *defaults), document),
        *unfit_categories(
            written.categories,
            unknown=written.unknown_category,
            keyword_matching=written.keyword_matching,
            document=document,
        ),
    )
    if problems:
        raise DocumentError(document.file, problems)
    return Policy(
        version=content_version(document.text),
        timezone=written.timezone,
        budgets=tuple(budget for _, budget in budgets),
        default_team=DefaultTeam(tuple(budget for _, budget in defaults), written.default_team.allowance()),
        teams=frozenset(written.teams),
        allowances=_allowances(written),
        model_allowances=tuple(
            (Globs((pattern,)), Scope(ScopeKind.MODEL, pattern), spec.allowance())
            for pattern, spec in written.models.items()
        ),
        rules=tuple(sorted((rule for _, rule in rules), key=lambda rule: -rule.priority)),
        routes=tuple(Route(Globs(route.models), route.provider) for route in written.routes),
        categories=categories_of(
            written.categories,
            unknown=written.unknown_category,
            keyword_matching=written.keyword_matching,
        ),
        names_max=written.names_max,
        warnings=(*document.warnings, *_idle_rules(rules, (*budgets, *defaults))),
    )


EMPTY = Policy()
"""No rules file: every call is counted nowhere and refused never."""


def has_hard_limit(limits: Iterable[Limit]) -> bool:
    return any(limit.hold.hard and limit.nanos is not None for limit in limits)


def _allowances(written: RulesFile) -> dict[Scope, Allowance]:
    return {
        Scope(kind, name): allowance
        for kind, specs in ((ScopeKind.TEAM, written.teams), (ScopeKind.KEY, written.keys))
        for name, spec in specs.items()
        if not (allowance := spec.allowance()).is_empty
    }


def _without_a_cheaper_model(rules: Iterable[tuple[Place, Rule]], document: Document) -> Iterator[Problem]:
    for place, rule in rules:
        if rule.action is Action.DOWNGRADE and not rule.downgrades:
            yield Problem(
                path=path_of(place),
                message="action: downgrade names no cheaper models",
                remedy="add downgrade_to to the rule or downgrades to the file, as in {gpt-4o: gpt-4o-mini}",
                line=document.line_of(place),
            )


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
