"""Why a rule refuses a call: of its own cost, of a figure that was reached, or of one that was reached before."""

from datetime import datetime
from decimal import Decimal

from pricing.estimate import Estimate
from pricing.money import Nanos
from rules.breaker import Breaker
from rules.call import Call
from rules.refusal import Refusal, remedy
from rules.rule import Rule
from rules.scope import Scope
from rules.sentence import dollars, dollars_needed, figure_told, soon, subject

ERROR_RETRY_SECONDS = 2.0


def refusal_of_cost(rule: Rule, scope: Scope, call: Call, estimate: Estimate) -> Refusal:
    return _of_rule(
        rule,
        scope,
        "budget_exceeded",
        estimate=estimate.expected,
        sentence=(
            f'this call will likely cost {dollars_needed(estimate.expected)}; rule "{rule.rule_id}" refuses calls of '
            f"{dollars(rule.threshold)} and more. {remedy(rule.threshold, call)}"
        ),
    )


def refusal_of_figure(rule: Rule, scope: Scope, figure: Decimal | None) -> Refusal:
    """Of a rate, a velocity or a repetition."""
    return _of_rule(
        rule,
        scope,
        "circuit_breaker_open",
        retry_after_seconds=float(60 * (rule.cooldown_minutes or rule.window_minutes)),
        sentence=(
            f'{subject(scope)} is at {figure_told(rule, figure)}; rule "{rule.rule_id}" blocks from '
            f"{figure_told(rule, rule.threshold_value)} on. Slow down, or ask an admin to look at the rule."
        ),
    )


def refusal_of_breaker(rule: Rule, scope: Scope, breaker: Breaker, now: datetime) -> Refusal:
    """Of a rule that matched before, or that somebody holds open."""
    wait = breaker.retry_after_seconds(now)
    if breaker.forced:
        until = f"An admin opened it: {breaker.reason}."
    elif wait is None:
        until = "It stays open until an admin closes it."
    else:
        until = f"Try again in {soon(wait)}, or ask an admin to close it."
    return _of_rule(
        rule,
        scope,
        "circuit_breaker_open",
        retry_after_seconds=wait,
        sentence=f'the circuit breaker of rule "{rule.rule_id}" is open for {subject(scope)}. {until}',
    )


def refusal_of_error(rule: Rule, scope: Scope) -> Refusal:
    return _of_rule(
        rule,
        scope,
        "rule_error",
        retry_after_seconds=ERROR_RETRY_SECONDS,
        sentence=(
            f'rule "{rule.rule_id}" cannot tell its figure for {subject(scope)} at the moment, and blocks then: try again '
            "shortly, or ask an admin."
        ),
    )


def _of_rule(
    rule: Rule,
    scope: Scope,
    code: str,
    *,
    sentence: str,
    estimate: Nanos | None = None,
    retry_after_seconds: float | None = None,
) -> Refusal:
    return Refusal(
        code=code,
        rule_id=rule.rule_id,
        scope=scope,
        limit=rule.threshold if rule.threshold_type.is_money else None,
        spent=None,
        held=None,
        estimate=estimate,
        resets_at=None,
        retry_after_seconds=retry_after_seconds,
        sentence=sentence,
    )
