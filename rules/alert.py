"""Facts that somebody should hear of, each with a key that makes it happen once."""

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from pricing.estimate import Estimate
from pricing.money import Nanos, usd
from rules.breaker import Breaker, State
from rules.budget import Budget
from rules.call import Call
from rules.counter import CounterKey, Limit
from rules.rule import Rule
from rules.scope import EVERYONE, Scope
from rules.sentence import dollars, dollars_needed, during, figure_told, subject
from rules.window import period_key

CRITICAL_FROM, EXCEEDED_FROM = Decimal(90), Decimal(100)
"""Percentages at which a threshold's alert is critical, or tells that the budget is used up."""


class Level(StrEnum):
    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"
    EXCEEDED = "exceeded"


@dataclass(frozen=True, slots=True)
class Alert:
    """`key` is unique per (counter, window, threshold, limit) for thresholds, per call for single events:
    the ledger keeps the first of each key and drops the rest. `facts` are strings: money as decimal dollars."""

    key: str
    kind: str  # budget_threshold | rule | breaker | emergency_shutdown | hold_exceeded | served_other_model | ...
    level: Level
    at: datetime
    scope: Scope
    message: str
    facts: dict[str, str] = field(default_factory=dict)


def crossings(
    budget: Budget, counter: CounterKey, before: Nanos, after: Nanos, at: datetime
) -> tuple[Alert, ...]:
    """The thresholds that a counter passed when its settled spend went from `before` to `after`."""
    return tuple(
        _threshold_alert(budget, counter, threshold, after, at)
        for threshold, mark in zip(budget.thresholds, budget.marks, strict=False)
        if before < mark <= after
    )


def standing(budget: Budget, counter: CounterKey, spent: Nanos, at: datetime) -> tuple[Alert, ...]:
    """Every threshold that the present figure has reached: after a start, a fact may have been missed."""
    return crossings(budget, counter, Nanos(0), spent, at)


def _threshold_alert(
    budget: Budget, counter: CounterKey, threshold: Decimal, spent: Nanos, at: datetime
) -> Alert:
    limit = budget.limit
    assert limit is not None, f"{budget.id} has no limit, so no threshold of it can be crossed"
    level, figure = _level(threshold), f"{threshold.normalize():f}"
    key = period_key(counter.period, counter.timezone, counter.window.start)
    return Alert(
        key=f"budget:{counter}:{limit}:{figure}",
        kind="budget_threshold",
        level=level,
        at=at,
        scope=counter.scope,
        message=(
            f"{counter.period.value.capitalize()} budget {level.value}: {figure}% of budget used; "
            f"{subject(counter.scope)} spent {dollars(spent)} of {dollars(limit)} ({key})"
        ),
        facts={
            "alert_level": level.value,
            "period_type": counter.period.value,
            "period_key": key,
            "current_cost": usd(spent),
            "budget_limit": usd(limit),
            "percentage_used": _percentage(spent, limit),
            "threshold_percentage": figure,
            "budget_id": budget.id,
            "scope": str(counter.scope),
            "timezone": counter.timezone,
        },
    )


def _level(threshold: Decimal) -> Level:
    if threshold < CRITICAL_FROM:
        return Level.WARNING
    return Level.CRITICAL if threshold < EXCEEDED_FROM else Level.EXCEEDED


def _percentage(spent: int, limit: int) -> str:
    """With two decimals, rounded down: 99.99 never reads as 100. A budget of zero is used up by its first charge."""
    hundredths = spent * 10_000 // limit if limit else 10_000
    return f"{hundredths // 100}.{hundredths % 100:02d}"


def cost_alert(rule: Rule, scope: Scope, call: Call, estimate: Estimate, now: datetime) -> Alert:
    """A single call reached a rule's threshold: told once a call."""
    message = (
        f'Rule "{rule.rule_id}": a call of {subject(scope)} will likely cost {dollars_needed(estimate.expected)}, '
        f"the threshold is {dollars(rule.threshold)}"
    )
    facts = {"estimate": usd(estimate.expected), "model": call.model, "threshold": usd(rule.threshold)}
    return _rule_alert(rule, f"{call.id}:{rule.threshold}", scope, message, facts, call, now)


def balance_alert(rule: Rule, limit: Limit, spent: Nanos, call: Call, now: datetime) -> Alert:
    """A balance reached a rule's threshold, this call counted in: told once a window."""
    counter, threshold = limit.counter, limit.nanos
    assert threshold is not None, f"{rule.rule_id} watches nothing"
    key = period_key(counter.period, counter.timezone, counter.window.start)
    message = (
        f'Rule "{rule.rule_id}": {subject(counter.scope)} spent {dollars(spent)} {during(counter.period)} ({key}) '
        f"before this call, the threshold is {dollars(threshold)}"
    )
    facts = {
        "period_type": counter.period.value,
        "period_key": key,
        "current_cost": usd(spent),
        "threshold": usd(threshold),
        "timezone": counter.timezone,
    }
    return _rule_alert(rule, f"{counter}:{threshold}", counter.scope, message, facts, call, now)


def figure_alert(rule: Rule, scope: Scope, figure: Decimal | None, call: Call, now: datetime) -> Alert:
    """A rate, a velocity or a repetition reached a rule's threshold: told once an hour."""
    now_figure, threshold = figure_told(rule, figure), figure_told(rule, rule.threshold_value)
    message = f'Rule "{rule.rule_id}": {subject(scope)} is at {now_figure}, the threshold is {threshold}'
    facts = {"figure": now_figure, "threshold": threshold, "model": call.model}
    return _rule_alert(rule, f"{scope}:{now:%Y-%m-%dT%H}", scope, message, facts, call, now)


def error_alert(
    rule: Rule, scope: Scope, call: Call, error: Exception, now: datetime, *, blocks: bool
) -> Alert:
    """A rule could not tell its figure: told once an hour."""
    done = "calls are refused" if blocks else "calls pass"
    message = (
        f'Rule "{rule.rule_id}" cannot be evaluated for {subject(scope)}, so {done}: {type(error).__name__}'
    )
    facts = {"error": type(error).__name__}
    return _rule_alert(rule, f"error:{scope}:{now:%Y-%m-%dT%H}", scope, message, facts, call, now)


def _rule_alert(
    rule: Rule, once: str, scope: Scope, message: str, facts: dict[str, str], call: Call, now: datetime
) -> Alert:
    own = {
        "alert_level": Level.WARNING.value,
        "rule_id": rule.rule_id,
        "scope": str(scope),
        "call_id": call.id,
    }
    return Alert(f"rule:{rule.rule_id}:{once}", "rule", Level.WARNING, now, scope, message, own | facts)


def breaker_alert(
    rule_id: str, scope: Scope | None, before: State, after: Breaker, now: datetime
) -> Alert | None:
    """A breaker came into another state. `scope` None: a hand on the rule as a whole. None: a trial, told in the log."""
    if after.state is State.HALF_OPEN:
        return None
    level, verb = _BREAKER_WORDS[after.state]
    if before is State.HALF_OPEN and after.state is State.OPEN and not after.forced:
        level, verb = Level.WARNING, "open again"
    if after.forced:
        level = Level.CRITICAL if after.state is State.OPEN else Level.WARNING
        verb = f"forced {after.state.value}"
    whom = "every scope" if scope is None else subject(scope)
    until = "" if after.until is None else f", until {after.until:%Y-%m-%d %H:%M:%S} UTC at least"
    why = f": {after.reason}" if after.reason else ""
    return Alert(
        key=f"breaker:{rule_id}:{scope or '*'}:{after.generation}:{int(now.timestamp() * 1e6)}",
        kind="breaker",
        level=level,
        at=now,
        scope=scope or EVERYONE,
        message=f'Breaker of rule "{rule_id}" for {whom} is {verb}{until}{why}',
        facts={
            "alert_level": level.value,
            "rule_id": rule_id,
            "scope": "*" if scope is None else str(scope),
            "state": after.state.value,
            "previous_state": before.value,
            "forced": str(after.forced).lower(),
            "reason": after.reason,
            "until": "" if after.until is None else after.until.isoformat(),
        },
    )


_BREAKER_WORDS = {
    State.CLOSED: (Level.INFO, "closed"),
    State.OPEN: (Level.CRITICAL, "open"),
    State.LIMITED: (Level.WARNING, "limiting calls"),
}
