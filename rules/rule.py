"""One rule of the policy: a figure, a threshold, what happens beyond it, and the calls it looks at."""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, model_validator

from pricing.money import Nanos, nanos
from rules.call import Call
from rules.glob import Globs
from rules.scope import ScopeKind
from rules.spec import PERCENT_MAX, Name, NotYet, Patterns, Spec, UsdAboveZero, later
from rules.window import Period


class ThresholdType(StrEnum):
    """Which figure a rule looks at."""

    OPERATION_COST = "operation_cost"  # what this one call will likely cost
    ABSOLUTE_DAILY = "absolute_daily"  # dollars spent today, this call included
    ABSOLUTE_MONTHLY = "absolute_monthly"
    PERCENTAGE_DAILY = "percentage_daily"  # share of the daily budgets spent, this call included
    PERCENTAGE_MONTHLY = "percentage_monthly"

    @property
    def period(self) -> Period | None:
        """The period of the balance it looks at; None for a single call's cost."""
        return _PERIODS.get(self)

    @property
    def is_percentage(self) -> bool:
        return self in (ThresholdType.PERCENTAGE_DAILY, ThresholdType.PERCENTAGE_MONTHLY)


_PERIODS = {
    ThresholdType.ABSOLUTE_DAILY: Period.DAILY,
    ThresholdType.ABSOLUTE_MONTHLY: Period.MONTHLY,
    ThresholdType.PERCENTAGE_DAILY: Period.DAILY,
    ThresholdType.PERCENTAGE_MONTHLY: Period.MONTHLY,
}


class Action(StrEnum):
    ALERT_ONLY = "alert_only"
    BLOCK = "block"


class Mode(StrEnum):
    ENFORCE = "enforce"
    SHADOW = "shadow"  # told on the call's row, never acted on


class Per(StrEnum):
    """Whose figure it is."""

    GLOBAL = "global"
    TEAM = "team"
    KEY = "key"
    MODEL = "model"

    @property
    def kind(self) -> ScopeKind:
        return ScopeKind(self.value)


@dataclass(frozen=True, slots=True)
class Rule:
    """`applies_to` pairs a fact of the call with the globs that it must match; a rule without any looks at every
    call. The figure itself is always the whole of its scope, whichever calls the rule looks at. `per` None:
    the team's; for percentages the global budgets where the team has none."""

    rule_id: str
    threshold_type: ThresholdType
    threshold_value: Decimal
    action: Action = Action.BLOCK
    mode: Mode = Mode.ENFORCE
    per: Per | None = None
    priority: int = 1
    applies_to: tuple[tuple[str, Globs], ...] = ()

    def applies(self, call: Call) -> bool:
        return all(globs.match(getattr(call, fact)) for fact, globs in self.applies_to)

    @property
    def threshold(self) -> Nanos:
        """The threshold of a rule over money. A percentage has none of its own: it follows each budget."""
        assert not self.threshold_type.is_percentage, f"{self.rule_id} is a percentage"
        return nanos(self.threshold_value)


_LATER_TYPES = frozenset(
    {"rate_based", "requests_per_minute", "tokens_per_minute", "spend_velocity", "repeat_calls"}
)
_LATER_ACTIONS = frozenset({"throttle", "downgrade", "cap"})
_FACTS = {
    "applies_to_operations": "operation",
    "applies_to_teams": "team",
    "applies_to_keys": "key_id",
    "applies_to_users": "user",
    "applies_to_models": "model",
    "applies_to_providers": "provider",
    "applies_to_categories": "category",
}


class RuleSpec(Spec):
    """A rule as written in rules.yaml."""

    rule_id: Name
    threshold_type: Annotated[ThresholdType, later(_LATER_TYPES, tuple(ThresholdType))]
    threshold_value: UsdAboveZero
    action: Annotated[Action, later(_LATER_ACTIONS, tuple(Action))] = Action.BLOCK
    mode: Mode = Mode.ENFORCE
    per: Annotated[Per, later(frozenset({"user"}), tuple(Per))] | None = None
    priority: Annotated[int, Field(ge=-1000, le=1000)] = 1
    applies_to_operations: Patterns | None = None
    applies_to_teams: Patterns | None = None
    applies_to_keys: Patterns | None = None
    applies_to_users: Patterns | None = None
    applies_to_models: Patterns | None = None
    applies_to_providers: Patterns | None = None
    applies_to_categories: Patterns | None = None
    throttle_factor: NotYet = None
    cooldown_minutes: NotYet = None
    time_window_minutes: NotYet = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.threshold_type.is_percentage and self.threshold_value > PERCENT_MAX:
            raise ValueError(f"threshold_value is a percentage here: at most {PERCENT_MAX}")
        own_counter = self.threshold_type.period is not None and not self.threshold_type.is_percentage
        if own_counter and self.per is Per.MODEL:
            # A counter for every name that a client makes up would grow without bound.
            raise ValueError(
                "only percentages can be measured per model: give the model a budget, and use a percentage of it"
            )
        return self

    def rule(self) -> Rule:
        return Rule(
            rule_id=self.rule_id,
            threshold_type=self.threshold_type,
            threshold_value=self.threshold_value,
            action=self.action,
            mode=self.mode,
            per=self.per,
            priority=self.priority,
            applies_to=tuple(self._filters()),
        )

    def _filters(self) -> Iterator[tuple[str, Globs]]:
        for name, fact in _FACTS.items():
            patterns = getattr(self, name)
            if patterns is not None:
                yield fact, Globs(patterns)
