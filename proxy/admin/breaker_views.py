"""How breakers stand, as people read it."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from proxy.admin.breakers import load, scope_words
from proxy.breakers import Breakers
from proxy.ledger import Ledger
from proxy.shutdown import Shutdown
from rules.breaker import Breaker, State
from rules.policy import Policy
from rules.rule import Rule
from rules.scope import Scope

_SEVEREST = (State.OPEN, State.HALF_OPEN, State.LIMITED, State.CLOSED)


async def listed_from(ledger: Ledger, policy: Policy, now: datetime) -> dict[str, Any]:
    """Without a server there is no memory but the ledger's."""
    found = await load(ledger, now)
    breakers = Breakers(lambda _: None)
    for forced in found.forced:
        breakers.force(forced, told=False)
    breakers.keep({rule.rule_id for rule in policy.rules if rule.has_breaker})
    return listed(breakers, policy, found.shutdown, now)


def listed(breakers: Breakers, policy: Policy, shutdown: Shutdown | None, now: datetime) -> dict[str, Any]:
    """Every rule that has breakers, with those that are not simply closed."""
    by_rule: dict[str, list[tuple[Scope | None, Breaker]]] = {}
    for (rule_id, scope), breaker in breakers.listed(now):
        by_rule.setdefault(rule_id, []).append((scope, breaker))
    rules = [rule for rule in policy.rules if rule.has_breaker]
    return {
        "circuit_breakers": [_shown_rule(rule, by_rule.get(rule.rule_id, ()), now) for rule in rules],
        "emergency_shutdown": None if shutdown is None else shutdown.details(),
    }


def shown(breakers: Breakers, rule: Rule, now: datetime) -> dict[str, Any]:
    """One rule with its breakers."""
    own = [(scope, breaker) for (rule_id, scope), breaker in breakers.listed(now) if rule_id == rule.rule_id]
    return _shown_rule(rule, own, now)


def _shown_rule(
    rule: Rule, breakers: Iterable[tuple[Scope | None, Breaker]], now: datetime
) -> dict[str, Any]:
    """Its state is that of the severest of its breakers."""
    listed = [_shown(scope, breaker, now) for scope, breaker in breakers]
    states = {each["state"] for each in listed}
    severest = next((state for state in _SEVEREST if state in states), State.CLOSED)
    return {
        "rule_id": rule.rule_id,
        "action": rule.action.value,
        "state": severest.value,
        "breakers": listed,
    }


def _shown(scope: Scope | None, breaker: Breaker, now: datetime) -> dict[str, Any]:
    seconds = breaker.retry_after_seconds(now)
    return {
        "scope": scope_words(scope),
        "state": breaker.state.value,
        "forced": breaker.forced,
        "reason": breaker.reason,
        "since": breaker.since.isoformat(timespec="seconds"),
        "until": None if breaker.until is None else breaker.until.isoformat(timespec="seconds"),
        "retry_after_seconds": None if seconds is None else round(seconds, 1),
        "trials_out": breaker.trials_out,
        "trials_ok": breaker.trials_ok,
    }
