"""One rule of the policy: a figure, a threshold, what happens beyond it, and the calls it looks at."""

from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum

from pricing.money import Nanos, nanos
from rules.call import Call
from rules.glob import Globs
from rules.scope import ScopeKind
from rules.window import Period

COOLDOWN_MINUTES = Decimal(5)
TRIAL_CALLS = 3
RECOVERY_WINDOW_MINUTES = Decimal(10)
THROTTLE_FACTOR = Decimal("0.5")


class ThresholdType(StrEnum):
    """Which figure a rule looks at."""

    OPERATION_COST = "operation_cost"  # what this one call will likely cost
    ABSOLUTE_DAILY = "absolute_daily"  # dollars spent today, this call included
    ABSOLUTE_MONTHLY = "absolute_monthly"
    PERCENTAGE_DAILY = "percentage_daily"  # share of the daily budgets spent, this call included
    PERCENTAGE_MONTHLY = "percentage_monthly"
    RATE_BASED = "rate_based"  # dollars an hour
    REQUESTS_PER_MINUTE = "requests_per_minute"
    TOKENS_PER_MINUTE = "tokens_per_minute"
    SPEND_VELOCITY = "spend_velocity"  # how many times the usual for this hour of the week
    REPEAT_CALLS = "repeat_calls"  # how often the same call came, this one included

    @property
    def period(self) -> Period | None:
        """The period of the balance it looks at; None where it looks at none."""
        return _PERIODS.get(self)

    @property
    def is_percentage(self) -> bool:
        return self in (ThresholdType.PERCENTAGE_DAILY, ThresholdType.PERCENTAGE_MONTHLY)

    @property
    def is_rate(self) -> bool:
        """Is its figure what flowed through a bucket?"""
        return self in _RATES

    @property
    def is_money(self) -> bool:
        """Is its threshold in dollars?"""
        return self in _MONEY


_PERIODS = {
    ThresholdType.ABSOLUTE_DAILY: Period.DAILY,
    ThresholdType.ABSOLUTE_MONTHLY: Period.MONTHLY,
    ThresholdType.PERCENTAGE_DAILY: Period.DAILY,
    ThresholdType.PERCENTAGE_MONTHLY: Period.MONTHLY,
}
_RATES = frozenset(
    {ThresholdType.RATE_BASED, ThresholdType.REQUESTS_PER_MINUTE, ThresholdType.TOKENS_PER_MINUTE}
)
_MONEY = frozenset(
    {
        ThresholdType.OPERATION_COST,
        ThresholdType.ABSOLUTE_DAILY,
        ThresholdType.ABSOLUTE_MONTHLY,
        ThresholdType.RATE_BASED,
    }
)


class Action(StrEnum):
    """What a rule does, from the mildest to the most severe."""

    ALERT_ONLY = "alert_only"
    CAP = "cap"
    DOWNGRADE = "downgrade"
    THROTTLE = "throttle"
    BLOCK = "block"


class Mode(StrEnum):
    ENFORCE = "enforce"
    SHADOW = "shadow"  # told on the call's row, never acted on


class OnError(StrEnum):
    """What becomes of a call when a figure cannot be told."""

    BLOCK = "block"
    ALLOW = "allow"


class Per(StrEnum):
    """Whose figure it is."""

    GLOBAL = "global"
    TEAM = "team"
    KEY = "key"
    USER = "user"
    MODEL = "model"

    @property
    def kind(self) -> ScopeKind:
        return ScopeKind(self.value)


@dataclass(frozen=True, slots=True)
class Downgrade:
    """Models, and the cheaper one that is asked for instead."""

    models: Globs
    to: str


@dataclass(frozen=True, slots=True)
class Rule:
    """`applies_to` pairs a fact of the call with the globs that it must match; a rule without any looks at every
    call. The figure itself is always the whole of its scope, whichever calls the rule looks at. `per` None:
    the team's; for percentages the global budgets where the team has none. `on_error` None: block where a hard
    budget covers the call. `cooldown_minutes` 0: no breaker, each call is judged by itself."""

    rule_id: str
    threshold_type: ThresholdType
    threshold_value: Decimal
    action: Action = Action.BLOCK
    mode: Mode = Mode.ENFORCE
    per: Per | None = None
    priority: int = 1
    applies_to: tuple[tuple[str, Globs], ...] = ()
    window_minutes: int = 60  # of rates of dollars, velocities and repetitions
    cooldown_minutes: Decimal = COOLDOWN_MINUTES
    trial_calls: int = TRIAL_CALLS
    recovery_threshold: Decimal | None = None
    recovery_window_minutes: Decimal = RECOVERY_WINDOW_MINUTES
    throttle_factor: Decimal = THROTTLE_FACTOR
    max_output_tokens: int | None = None  # of the action cap
    downgrades: tuple[Downgrade, ...] = ()
    on_error: OnError | None = None
    allow_emergency_override: bool = False

    _threshold: Nanos | None = field(init=False, repr=False, compare=False)
    """Worked out once: it is looked at by every call."""

    def __post_init__(self) -> None:
        threshold = nanos(self.threshold_value) if self.threshold_type.is_money else None
        object.__setattr__(self, "_threshold", threshold)

    def applies(self, call: Call) -> bool:
        return all(globs.match(getattr(call, fact)) for fact, globs in self.applies_to)

    @property
    def teams(self) -> frozenset[str] | None:
        """The teams it looks at, where it names them plainly; None for patterns, and for a rule over all."""
        named = next((globs.patterns for fact, globs in self.applies_to if fact == "team"), None)
        if named is None or any(mark in name for name in named for mark in "*?["):
            return None
        return frozenset(named)

    @property
    def threshold(self) -> Nanos:
        """The threshold of a rule over money. A percentage has none of its own: it follows each budget."""
        threshold = self._threshold
        assert threshold is not None, f"{self.rule_id} has no threshold in dollars"
        return threshold

    @property
    def is_enforced(self) -> bool:
        return self.mode is Mode.ENFORCE

    @property
    def has_breaker(self) -> bool:
        """Does it remember having matched? A dear call alone is refused without that."""
        refuses_the_call_alone = (
            self.threshold_type is ThresholdType.OPERATION_COST and self.action is Action.BLOCK
        )
        acts = self.is_enforced and self.action is not Action.ALERT_ONLY
        return acts and bool(self.cooldown_minutes) and not refuses_the_call_alone

    def cheaper(self, model: str) -> str | None:
        """The model to ask for instead; None where none is named, or the call asks for that one already."""
        found = next((each.to for each in self.downgrades if each.models.match(model)), None)
        return None if found == model else found
