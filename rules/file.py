"""rules.yaml as people write it: which keys it has, and what each may hold."""

from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from pydantic import AfterValidator, Field, model_validator

from pricing.document import Place, nearest
from rules.budget import THRESHOLDS, Budget, BudgetSpec
from rules.rule import RuleSpec
from rules.scope import EVERYONE, Scope, ScopeKind
from rules.spec import (
    EACH,
    ExactName,
    ListOf,
    MapOf,
    Name,
    NameOrEach,
    NotYet,
    Patterns,
    Section,
    Spec,
    Thresholds,
    exact_name,
    exact_name_or_each,
    name_of,
)

_NAMED_KINDS = frozenset(ScopeKind) - {ScopeKind.GLOBAL}
_ONLY_NARROWING = frozenset({ScopeKind.USER, ScopeKind.CATEGORY})


def _scope_of(text: str) -> Scope:
    if text == ScopeKind.GLOBAL:
        return EVERYONE
    kind, _, name = text.partition(":")
    if kind not in _NAMED_KINDS or not name:
        raise ValueError(
            f'"{text}" is no scope: write global, team:NAME, key:ID, model:NAME or provider:NAME'
        )
    if kind in _ONLY_NARROWING:
        raise ValueError(f"{kind} scopes are not available in this version: budget the team or the key")
    # Clients choose model names: a counter for each of them would grow without bound, so a model is named.
    checked = exact_name if kind == ScopeKind.MODEL else exact_name_or_each
    return Scope(ScopeKind(kind), checked(name_of(name)))


def _known_scope(text: str) -> str:
    _scope_of(text)
    return text


class AllowanceSpec(Section):
    """What a team or a key may use: its budgets, and the models it may ask for (left out: all)."""

    budgets: ListOf[BudgetSpec] = ()
    models: Patterns | None = None
    rate: NotYet = None


class ScopedBudgetSpec(BudgetSpec):
    """A budget that names its own scope: `scope: team:search`, or `team: search`; without either it is global."""

    scope: Annotated[str, AfterValidator(_known_scope)] | None = None
    team: NameOrEach | None = None
    key: NameOrEach | None = None
    model: ExactName | None = None
    provider: NameOrEach | None = None
    user: NotYet = None
    category: NotYet = None

    @property
    def covers(self) -> Scope:
        scopes = self._scopes()
        return scopes[0] if scopes else EVERYONE

    @model_validator(mode="after")
    def _at_most_one_scope(self) -> Self:
        scopes = self._scopes()
        if len(scopes) > 1:
            raise ValueError(f"names {len(scopes)} scopes ({', '.join(map(str, scopes))}): keep one")
        return self

    def _scopes(self) -> list[Scope]:
        named = {
            ScopeKind.TEAM: self.team,
            ScopeKind.KEY: self.key,
            ScopeKind.MODEL: self.model,
            ScopeKind.PROVIDER: self.provider,
        }
        scopes = [Scope(kind, name) for kind, name in named.items() if name is not None]
        return scopes if self.scope is None else [_scope_of(self.scope), *scopes]


class RouteSpec(Spec):
    """Which provider serves the models that match."""

    models: Patterns
    provider: Name


def _known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        near = nearest(name, sorted(available_timezones()))
        remedy = f'did you mean "{near}"?' if near else "write a name such as UTC or Europe/Berlin"
        raise ValueError(f'"{name}" is no time zone: {remedy}') from None
    return name


class RulesFile(Section):
    """The whole file."""

    version: Literal[1] = 1
    timezone: Annotated[str, AfterValidator(_known_zone)] = "UTC"
    thresholds: Thresholds = THRESHOLDS
    default_team: AllowanceSpec = AllowanceSpec()
    teams: MapOf[AllowanceSpec] = Field(default_factory=dict)
    keys: MapOf[AllowanceSpec] = Field(default_factory=dict)
    budgets: ListOf[ScopedBudgetSpec] = ()
    rules: ListOf[RuleSpec] = ()
    routes: ListOf[RouteSpec] = ()
    categories: NotYet = None

    def placed_budgets(self) -> list[tuple[Place, Budget]]:
        """Every budget of the file with its place in it; those of teams that only a key names are not among them."""
        found: list[tuple[Place, Budget]] = []
        for section, kind, allowances in (
            ("teams", ScopeKind.TEAM, self.teams),
            ("keys", ScopeKind.KEY, self.keys),
        ):
            for name, allowance in allowances.items():
                for n, spec in enumerate(allowance.budgets):
                    found.append(((section, name, "budgets", n), self._budget(spec, Scope(kind, name))))
        for n, spec in enumerate(self.budgets):
            found.append((("budgets", n), self._budget(spec, spec.covers)))
        return found

    def placed_defaults(self) -> list[tuple[Place, Budget]]:
        each = Scope(ScopeKind.TEAM, EACH)
        return [
            (("default_team", "budgets", n), self._budget(spec, each, owner="default_team"))
            for n, spec in enumerate(self.default_team.budgets)
        ]

    def _budget(self, spec: BudgetSpec, scope: Scope, *, owner: str = "") -> Budget:
        return spec.budget(
            scope,
            timezone=self.timezone,
            default_id=f"{owner or scope}:{spec.period.value}",
            thresholds=self.thresholds,
        )
