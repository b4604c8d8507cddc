"""Why a call does not go: the figures, and one plain sentence with the way out."""

from dataclasses import dataclass
from datetime import datetime

from pricing.money import Nanos
from rules.call import Call, Operation
from rules.counter import Balance, CounterKey, Limit
from rules.measure import Measure
from rules.plan import AllowList
from rules.rate import Rate
from rules.scope import Scope
from rules.sentence import counted, dollars, dollars_left, dollars_needed, during, soon, subject

MODELS_TOLD_MAX = 10
MODEL_CHARS_TOLD_MAX = 80
CONCURRENT_RETRY_SECONDS = 1.0  # nobody knows when a call in flight ends


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a call does not go: the figures for the answer's body, and one plain sentence with the way out."""

    code: str  # budget_exceeded | circuit_breaker_open | model_not_allowed | rule_error, and those of rates, or of calls in flight
    rule_id: str | None
    scope: Scope
    limit: Nanos | None
    spent: Nanos | None
    held: Nanos | None
    estimate: Nanos | None
    resets_at: datetime | None
    retry_after_seconds: float | None
    sentence: str
    counts: tuple[tuple[str, int], ...] = ()  # figures that are no money, by name


def refusal_of_limit(limit: Limit, balance: Balance, amount: Nanos, call: Call) -> Refusal:
    """The refusal of a call that asked for `amount` more than a limit has left."""
    if limit.counter.measure is Measure.CONCURRENT:
        return _refusal_of_concurrency(limit, balance)
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


def _refusal_of_concurrency(limit: Limit, balance: Balance) -> Refusal:
    assert limit.nanos is not None, f"{limit.owner} has no limit, so it refuses nothing"
    scope, most = limit.counter.scope, counted(limit.nanos, "call")
    return Refusal(
        code="concurrency_limited",
        rule_id=limit.owner,
        scope=scope,
        limit=None,
        spent=None,
        held=None,
        estimate=None,
        resets_at=None,
        retry_after_seconds=CONCURRENT_RETRY_SECONDS,
        sentence=(
            f"{subject(scope)} may have {most} in flight at once, and {balance.held:,} are. "
            "Try again when one has ended, or ask an admin to raise max_concurrent."
        ),
        counts=(("limit_concurrent", limit.nanos), ("used_concurrent", balance.held)),
    )


def refusal_of_rate(rate: Rate, used: int, amount: int, retry_after: float, call: Call) -> Refusal:
    """The refusal of a call that comes too soon: after `retry_after` seconds it would go."""
    is_money = rate.bucket.measure is Measure.SPEND
    kind = rate.bucket.measure.value
    counts = (
        ()
        if is_money
        else ((f"limit_{kind}", rate.capacity or 0), (f"used_{kind}", used), (f"asked_{kind}", amount))
    )
    return Refusal(
        code=rate.code,
        rule_id=rate.owner,
        scope=rate.bucket.scope,
        limit=Nanos(rate.capacity) if is_money and rate.capacity is not None else None,
        spent=Nanos(used) if is_money else None,
        held=None,
        estimate=Nanos(amount) if is_money else None,
        resets_at=None,
        retry_after_seconds=retry_after,
        sentence=_rate_sentence(rate, used, amount, soon(retry_after), call),
        counts=counts,
    )


def _rate_sentence(rate: Rate, used: int, amount: int, wait: str, call: Call) -> str:
    who, capacity = subject(rate.bucket.scope), rate.capacity
    assert capacity is not None, f"{rate.owner} has no capacity, so it refuses nothing"
    match rate.bucket.measure:
        case Measure.SPEND:
            an_hour = round(rate.per_minute * 60)
            burst = "" if capacity == an_hour else f", at most {dollars(capacity)} at once"
            return (
                f"{who} may spend {dollars(an_hour)} an hour{burst}; {dollars_needed(used)} of it is in use, and this call "
                f"will likely cost {dollars_needed(amount)}. Try again in {wait}, or ask an admin."
            )
        case Measure.TOKENS:
            remedy = "lower max_tokens" if call.operation is Operation.LLM else "send less at once"
            takes = f"this call will likely take {amount:,}" + (
                ", and goes when none are" if amount > capacity else ""
            )
            return (
                f"{who} may use {counted(rate.per_minute, 'token')} a minute; {used:,} are in use, and {takes}. "
                f"Try again in {wait}, or {remedy}."
            )
        case _:
            burst = "" if capacity == rate.per_minute else f", at most {capacity:,} at once"
            return (
                f"{who} may send {counted(rate.per_minute, 'request')} a minute{burst}; try again in {wait}."
            )


def _sentence(limit: Limit, balance: Balance, amount: Nanos, call: Call) -> str:
    assert limit.nanos is not None, f"{limit.owner} has no limit, so it refuses nothing"
    counter = limit.counter
    left = max(0, limit.nanos - balance.spent - balance.held)
    held = f" ({dollars_needed(balance.held)} is held for calls in flight)" if balance.held > 0 else ""
    costs = "may cost up to" if limit.hold.hard else "will likely cost"
    return (
        f"{subject(counter.scope)} has {dollars_left(left)} left of {dollars(limit.nanos)} {during(counter.period)}{held}; "
        f"this call {costs} {dollars_needed(amount)}. {_reset(counter)} {remedy(limit.nanos, call)}"
    )


def _reset(counter: CounterKey) -> str:
    end = counter.window.end
    return "It does not reset." if end is None else f"Resets {end:%Y-%m-%d %H:%M} UTC."


def remedy(limit: Nanos, call: Call) -> str:
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
