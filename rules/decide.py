"""May this call go? Every rule that looks at it is evaluated, and the most severe verdict wins."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from pricing.estimate import Estimate
from pricing.money import Nanos
from rules.alert import Alert, balance_alert, cost_alert
from rules.budget import Budget
from rules.call import Call
from rules.counter import Balance, CounterKey, Limit
from rules.plan import Plan, Watch, scope_of
from rules.policy import Policy
from rules.refusal import Refusal, refusal_of_cost, refusal_of_limit, refusal_of_model
from rules.rule import Action, Mode, Rule

__all__ = ["Balances", "Decision", "Refusal", "Verdict", "decide", "refusal_of_limit"]

NOTHING_AGAINST = "no rule stands against it"

Balances = Callable[[CounterKey], Balance]


class Verdict(StrEnum):
    """What becomes of a call, from the mildest to the most severe."""

    ALLOW = "allow"
    CAP = "cap"
    DOWNGRADE = "downgrade"
    THROTTLE = "throttle"
    BLOCK = "block"


@dataclass(frozen=True, slots=True)
class Decision:
    """`limits` is for place, which alone enforces balances. `matched` and `shadow` are rule ids."""

    verdict: Verdict
    reason: str
    rule_id: str | None
    limits: tuple[Limit, ...]
    matched: tuple[str, ...]
    shadow: tuple[str, ...]
    alerts: tuple[Alert, ...]
    refusal: Refusal | None


def decide(
    policy: Policy,
    call: Call,
    estimate: Estimate,
    *,
    key_budgets: Sequence[Budget] = (),
    balances: Balances,
    now: datetime,
) -> Decision:
    """Never raises. Balances decide alerts and shadow verdicts here; what they block, place blocks."""
    plan = policy.plan(call, key_budgets)
    if plan.is_quiet:
        return Decision(Verdict.ALLOW, NOTHING_AGAINST, None, plan.limits, (), (), (), None)
    dear = [rule for threshold, rule in plan.cost_rules if estimate.expected >= threshold]
    passed = list(_passed(plan, estimate, balances))
    matching = (*dear, *(watch.rule for watch, _ in passed))
    refusal = _refusal(plan, dear, call, estimate)
    alerts = (
        *(cost_alert(rule, scope_of(call, rule.per), call, estimate, now) for rule in dear if _alerts(rule)),
        *(
            balance_alert(each.rule, each.limit, spent, call, now)
            for each, spent in passed
            if _alerts(each.rule)
        ),
    )
    return Decision(
        verdict=Verdict.ALLOW if refusal is None else Verdict.BLOCK,
        reason=_reason(matching) if refusal is None else refusal.sentence,
        rule_id=None if refusal is None else refusal.rule_id,
        limits=plan.limits,
        matched=(*_closed_by(plan), *_ids(matching, Mode.ENFORCE)),
        shadow=_ids(matching, Mode.SHADOW),
        alerts=alerts,
        refusal=refusal,
    )


def _passed(plan: Plan, estimate: Estimate, balances: Balances) -> Iterator[tuple[Watch, Nanos]]:
    """The watched balances that this call would carry to the threshold (alerts) or beyond it (blocks)."""
    for watch in plan.watches:
        # Others' open holds make place wait, not refuse: only what is spent counts towards a verdict.
        spent, threshold = balances(watch.limit.counter).spent, watch.limit.nanos
        assert threshold is not None, f"{watch.rule.rule_id} watches nothing"
        if watch.rule.action is Action.ALERT_ONLY:
            passed = spent + estimate.expected >= threshold
        else:
            passed = spent + (estimate.ceiling if watch.hard else estimate.expected) > threshold
        if passed:
            yield watch, spent


def _refusal(plan: Plan, dear: Sequence[Rule], call: Call, estimate: Estimate) -> Refusal | None:
    """No price makes up for a model that is not allowed; then the rule of the highest priority speaks."""
    if plan.closed is not None:
        return refusal_of_model(plan.closed, call)
    for rule in dear:
        if rule.action is Action.BLOCK and rule.mode is Mode.ENFORCE:
            return refusal_of_cost(rule, scope_of(call, rule.per), call, estimate)
    return None


def _closed_by(plan: Plan) -> tuple[str, ...]:
    return () if plan.closed is None else (plan.closed.owner,)


def _alerts(rule: Rule) -> bool:
    return rule.action is Action.ALERT_ONLY and rule.mode is Mode.ENFORCE


def _ids(matching: Sequence[Rule], mode: Mode) -> tuple[str, ...]:
    """Each rule once, though it may watch several balances."""
    return tuple(dict.fromkeys(rule.rule_id for rule in matching if rule.mode is mode))


def _reason(matching: Sequence[Rule]) -> str:
    alerting = _ids(matching, Mode.ENFORCE)
    return f"allowed; alerting: {', '.join(alerting)}" if alerting else NOTHING_AGAINST
