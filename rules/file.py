"""rules.yaml as people write it: which keys it has, and what each may hold."""

from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from pydantic import AfterValidator, Field, model_validator

from pricing.document import Place, nearest
from rules.allowance import AllowanceSpec, ModelSpec
from rules.budget import THRESHOLDS, Budget, BudgetSpec
from rules.category import CategoryList, UnknownCategory
from rules.editors import VARIABLE, Json, name_pattern, of_json
from rules.narrow import NAMES_COUNTED, NAMES_COUNTED_MAX
from rules.rulespec import DowngradeMap, RuleSpec
from rules.scope import EVERYONE, Scope, ScopeKind
from rules.spec import (
    EACH,
    ExactName,
    ListOf,
    MapOf,
    MapOfPatterns,
    Name,
    NameOrEach,
    Patterns,
    Section,
    Spec,
    Thresholds,
    exact_name,
    exact_name_or_each,
    name_of,
)

_NAMED_KINDS = frozenset(ScopeKind) - {ScopeKind.GLOBAL}
_MANY = "|".join(sorted(_NAMED_KINDS - {ScopeKind.MODEL}))
_SCOPE_JSON: Json = {
    "type": "string",
    "pattern": rf"^(global|({_MANY}):(\*|{name_pattern(exact=True)})|model:{name_pattern(exact=True)})$",
    "examples": [
        "global",
        *(f"{kind}:*" for kind in sorted(_NAMED_KINDS - {ScopeKind.MODEL})),
        "model:gpt-4o",
    ],
}
_ZONE_JSON: Json = {
    "type": "string",
    "pattern": rf"^([A-Za-z0-9_+/-]+|.*{VARIABLE}.*)$",
    "examples": ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata"],
}


def _scope_of(text: str) -> Scope:
    if text == ScopeKind.GLOBAL:
        return EVERYONE
    kind, _, name = text.partition(":")
    if kind not in _NAMED_KINDS or not name:
        raise ValueError(
            f'"{text}" is no scope: write global, team:NAME, key:ID, user:NAME, category:NAME, model:NAME or '
            "provider:NAME"
        )
    # Clients choose model names: a counter for each of them would grow without bound, so a model is named.
    checked = exact_name if kind == ScopeKind.MODEL else exact_name_or_each
    return Scope(ScopeKind(kind), checked(name_of(name)))


def _known_scope(text: str) -> str:
    _scope_of(text)
    return text


class ScopedBudgetSpec(BudgetSpec):
    """A budget that names its own scope: `scope: team:search`, or `team: search`; without either it is global."""

    scope: Annotated[str, AfterValidator(_known_scope), of_json(_SCOPE_JSON)] | None = None
    team: NameOrEach | None = None
    key: NameOrEach | None = None
    model: ExactName | None = None
    provider: NameOrEach | None = None
    user: NameOrEach | None = None
    category: NameOrEach | None = None

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
            ScopeKind.USER: self.user,
            ScopeKind.CATEGORY: self.category,
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
    timezone: Annotated[str, AfterValidator(_known_zone), of_json(_ZONE_JSON)] = "UTC"
    thresholds: Thresholds = THRESHOLDS
    default_team: AllowanceSpec = AllowanceSpec()
    teams: MapOf[AllowanceSpec] = Field(default_factory=dict)
    keys: MapOf[AllowanceSpec] = Field(default_factory=dict)
    budgets: ListOf[ScopedBudgetSpec] = ()
    models: MapOfPatterns[ModelSpec] = Field(default_factory=dict)
    rules: ListOf[RuleSpec] = ()
    downgrades: DowngradeMap = ()
    routes: ListOf[RouteSpec] = ()
    categories: CategoryList = ()
    unknown_category: UnknownCategory = UnknownCategory.KEEP
    keyword_matching: bool = False
    names_max: Annotated[int, Field(ge=1, le=NAMES_COUNTED_MAX)] = NAMES_COUNTED

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
