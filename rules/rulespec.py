"""A rule as people write it in rules.yaml."""

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, model_validator

from rules.editors import named, of_json
from rules.glob import Globs
from rules.rule import (
    COOLDOWN_MINUTES,
    Action,
    Downgrade,
    Mode,
    OnError,
    Per,
    Rule,
    ThresholdType,
)
from rules.spec import (
    NAME_CHARS_MAX,
    PATTERNS_MAX,
    PERCENT_MAX,
    Factor,
    Minutes,
    Name,
    Patterns,
    Spec,
    UsdAboveZero,
    name_of,
)

REPEATS_WINDOW_MAX = 60  # minutes: what is remembered of calls
WINDOWS = {  # minutes, where a rule does not say
    ThresholdType.RATE_BASED: 60,
    ThresholdType.SPEND_VELOCITY: 60,
    ThresholdType.REPEAT_CALLS: 10,
}
WHOLE = frozenset(
    {ThresholdType.REQUESTS_PER_MINUTE, ThresholdType.TOKENS_PER_MINUTE, ThresholdType.REPEAT_CALLS}
)
_RATES_OF_CALLS = frozenset({ThresholdType.REQUESTS_PER_MINUTE, ThresholdType.TOKENS_PER_MINUTE})
_FACTS = {
    "applies_to_operations": "operation",
    "applies_to_teams": "team",
    "applies_to_keys": "key_id",
    "applies_to_users": "user",
    "applies_to_models": "model",
    "applies_to_providers": "provider",
    "applies_to_categories": "category",
}


def _downgrades(value: object) -> object:
    """Written as a map, kept as pairs: the first pattern that matches counts."""
    if isinstance(value, tuple):
        return value
    if not isinstance(value, dict):
        raise ValueError("is not a map: write such as {gpt-4o: gpt-4o-mini}")
    for pattern, model in value.items():
        if not isinstance(pattern, str) or not pattern:
            raise ValueError(
                f'{pattern!r} is no pattern of models: write it in quotes, as in {{"gpt-*": gpt-4o-mini}}'
            )
        name_of(model)
    return tuple(value.items())


DowngradeMap = Annotated[
    tuple[tuple[str, str], ...],
    BeforeValidator(_downgrades),
    Field(max_length=PATTERNS_MAX),
    of_json(
        {
            "type": "object",
            "propertyNames": {"minLength": 1},
            "additionalProperties": named(NAME_CHARS_MAX),
            "maxProperties": PATTERNS_MAX,
        }
    ),
]
"""Patterns of models, each with the cheaper one."""


def downgrades_of(pairs: tuple[tuple[str, str], ...]) -> tuple[Downgrade, ...]:
    return tuple(Downgrade(Globs((pattern,)), to) for pattern, to in pairs)


class RuleSpec(Spec):
    """A rule as written in rules.yaml."""

    rule_id: Name
    threshold_type: ThresholdType
    threshold_value: UsdAboveZero
    action: Action = Action.BLOCK
    mode: Mode | None = None
    per: Per | None = None
    priority: Annotated[int, Field(ge=-1000, le=1000)] = 1
    applies_to_operations: Patterns | None = None
    applies_to_teams: Patterns | None = None
    applies_to_keys: Patterns | None = None
    applies_to_users: Patterns | None = None
    applies_to_models: Patterns | None = None
    applies_to_providers: Patterns | None = None
    applies_to_categories: Patterns | None = None
    time_window_minutes: Annotated[int, Field(ge=1, le=1440)] | None = None
    cooldown_minutes: Minutes | None = None
    trial_calls: Annotated[int, Field(ge=1, le=100)] = 3
    recovery_threshold: UsdAboveZero | None = None
    recovery_window_minutes: Minutes = Decimal(10)
    throttle_factor: Factor = Decimal("0.5")
    max_output_tokens: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    downgrade_to: DowngradeMap | None = None
    on_error: OnError | None = None
    allow_emergency_override: bool = False

    @model_validator(mode="after")
    def _check(self) -> Self:
        for problem in (*self._figure_problems(), *self._scope_problems(), *self._action_problems()):
            raise ValueError(problem)
        return self

    def _figure_problems(self) -> Iterator[str]:
        kind, value = self.threshold_type, self.threshold_value
        if kind.is_percentage and value > PERCENT_MAX:
            yield f"threshold_value is a percentage here: at most {PERCENT_MAX}"
        if kind in WHOLE and value != value.to_integral_value():
            yield "threshold_value is a whole number here"
        if kind is ThresholdType.REPEAT_CALLS and value < 2:
            yield "threshold_value is how often the same call comes: at least 2"
        if kind is ThresholdType.SPEND_VELOCITY and value <= 1:
            yield "threshold_value is how many times the usual: above 1"
        if self.time_window_minutes is not None and kind not in WINDOWS:
            names = ", ".join(each.value for each in WINDOWS)
            yield f"time_window_minutes is for {names}: remove it"
        if kind is ThresholdType.REPEAT_CALLS and (self.time_window_minutes or 0) > REPEATS_WINDOW_MAX:
            yield f"time_window_minutes of repeat_calls is at most {REPEATS_WINDOW_MAX}: lower it"
        if self.recovery_threshold is not None and self.recovery_threshold >= value:
            yield "recovery_threshold must be below threshold_value"

    def _scope_problems(self) -> Iterator[str]:
        kind = self.threshold_type
        own_counter = kind.period is not None and not kind.is_percentage
        if own_counter and self.per is Per.MODEL:
            # A counter for every name that a client makes up would grow without bound.
            yield (
                "only percentages can be measured per model: give the model a budget, and use a percentage of it"
            )
        if self.per is Per.USER and (kind.period is not None or kind is ThresholdType.SPEND_VELOCITY):
            yield "users are told apart in single calls, rates and repetitions alone: use per: team or key here"

    def _action_problems(self) -> Iterator[str]:
        if (
            self.action is Action.CAP
            and self.max_output_tokens is None
            and not caps_by_itself(self.threshold_type)
        ):
            yield "nothing tells how far to cap: add max_output_tokens"
        if self.max_output_tokens is not None and self.action is not Action.CAP:
            yield "max_output_tokens is for the action cap: remove it"
        if self.downgrade_to is not None and self.action is not Action.DOWNGRADE:
            yield "downgrade_to is for the action downgrade: remove it"

    @property
    def effective_mode(self) -> Mode:
        """Repetitions are easily mistaken: they are only told, until somebody says enforce."""
        if self.mode is not None:
            return self.mode
        return Mode.SHADOW if self.threshold_type is ThresholdType.REPEAT_CALLS else Mode.ENFORCE

    @property
    def _cooldown_minutes(self) -> Decimal:
        """Who comes too often is told when to come again, and shut out only where the file says so."""
        if self.cooldown_minutes is not None:
            return self.cooldown_minutes
        return Decimal(0) if self.threshold_type in _RATES_OF_CALLS else COOLDOWN_MINUTES

    def rule(self, downgrades: tuple[Downgrade, ...] = ()) -> Rule:
        """`downgrades` are those of the file, for a rule without any of its own."""
        kind = self.threshold_type
        made = Rule(
            rule_id=self.rule_id,
            threshold_type=kind,
            threshold_value=self.threshold_value,
            action=self.action,
            mode=self.effective_mode,
            per=self.per,
            priority=self.priority,
            applies_to=tuple(self._filters()),
            window_minutes=self.time_window_minutes or WINDOWS.get(kind, 60),
            cooldown_minutes=self._cooldown_minutes,
            trial_calls=self.trial_calls,
            recovery_threshold=self.recovery_threshold,
            recovery_window_minutes=self.recovery_window_minutes,
            throttle_factor=self.throttle_factor,
            max_output_tokens=self.max_output_tokens,
            on_error=self.on_error,
            allow_emergency_override=self.allow_emergency_override,
        )
        if self.action is not Action.DOWNGRADE:
            return made
        own = self.downgrade_to
        return replace(made, downgrades=downgrades if own is None else downgrades_of(own))

    def _filters(self) -> Iterator[tuple[str, Globs]]:
        for name, fact in _FACTS.items():
            patterns: Any = getattr(self, name)
            if patterns is not None:
                yield fact, Globs(patterns)


def caps_by_itself(kind: ThresholdType) -> bool:
    """Does the threshold itself say how much may still be spent?"""
    return kind is ThresholdType.OPERATION_COST or kind.period is not None
