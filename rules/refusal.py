"""Why a call does not go: the figures, and one plain sentence with the way out."""

from dataclasses import dataclass
from datetime import datetime

from pricing.estimate import Estimate
from pricing.money import Nanos
from rules.call import Call, Operation
from rules.counter import Balance, CounterKey, Limit
from rules.plan import AllowList
from rules.rule import Rule
from rules.scope import Scope
from rules.sentence import dollars, dollars_left, dollars_needed, during, subject

MODELS_TOLD_MAX = 10
MODEL_CHARS_TOLD_MAX = 80


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a call does not go: the figures for the answer's body, and one plain sentence with the way out."""

    code: str  # budget_exceeded | circuit_breaker_open | model_not_allowed
    rule_id: str | None
    scope: Scope
    limit: Nanos | None
    spent: Nanos | None
    held: Nanos | None
    estimate: Nanos | None
    resets_at: datetime | None
    retry_after_seconds: float | None
    sentence: str


def refusal_of_limit(limit: Limit, balance: Balance, amount: Nanos, call: Call) -> Refusal:
    """The refusal of a call that asked for `amount` more than a limit has left."""
    return Refusal(
        code=limit.code,
        rule_id=limit.owner,
        scope=limit.counter.scope,
        limit=limit.nanos,
        spent=balance.spent,
        held=balance.held,
        estimate=amount,
        resets_at=limit.counter.window.end,
        retry_after_seconds=None,
        sentence=_sentence(limit, balance, amount, call),
    )


def _sentence(limit: Limit, balance: Balance, amount: Nanos, call: Call) -> str:
    assert limit.nanos is not None, f"{limit.owner} has no limit, so it refuses nothing"
    counter = limit.counter
    left = max(0, limit.nanos - balance.spent - balance.held)
    held = f" ({dollars_needed(balance.held)} is held for calls in flight)" if balance.held > 0 else ""
    costs = "may cost up to" if limit.hold.hard else "will likely cost"
    return (
        f"{subject(counter.scope)} has {dollars_left(left)} left of {dollars(limit.nanos)} {during(counter.period)}{held}; "
        f"this call {costs} {dollars_needed(amount)}. {_reset(counter)} {_remedy(limit.nanos, call)}"
    )


def _reset(counter: CounterKey) -> str:
    end = counter.window.end
    return "It does not reset." if end is None else f"Resets {end:%Y-%m-%d %H:%M} UTC."


def _remedy(limit: Nanos, call: Call) -> str:
    """Asking for less helps only where something may be spent, and where the caller sets how much it is."""
    if limit == 0:
        return "Ask an admin to raise the limit."
    if call.operation is Operation.LLM:
        return "Ask an admin, or lower max_tokens."
    return "Ask an admin, or send less at once."


def refusal_of_model(closed: AllowList, call: Call) -> Refusal:
    """A list is told as far as a person would read it."""
    models = closed.models.patterns
    more = len(models) - MODELS_TOLD_MAX
    told = ", ".join(models[:MODELS_TOLD_MAX]) + (f" and {more} more" if more > 0 else "")
    return Refusal(
        code="model_not_allowed",
        rule_id=closed.owner,
        scope=closed.scope,
        limit=None,
        spent=None,
        held=None,
        estimate=None,
        resets_at=None,
        retry_after_seconds=None,
        sentence=(
            f'{subject(closed.scope)} may not use model "{call.model[:MODEL_CHARS_TOLD_MAX]}"; allowed: {told}. '
            "Use one of these, or ask an admin."
        ),
    )


def refusal_of_cost(rule: Rule, scope: Scope, call: Call, estimate: Estimate) -> Refusal:
    return Refusal(
        code="budget_exceeded",
        rule_id=rule.rule_id,
        scope=scope,
        limit=rule.threshold,
        spent=None,
        held=None,
        estimate=estimate.expected,
        resets_at=None,
        retry_after_seconds=None,
        sentence=(
            f'this call will likely cost {dollars_needed(estimate.expected)}; rule "{rule.rule_id}" refuses calls of '
            f"{dollars(rule.threshold)} and more. {_remedy(rule.threshold, call)}"
        ),
    )
