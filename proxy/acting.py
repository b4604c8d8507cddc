"""What rules did to a call, and what those in shadow would have done, in the metrics: once a call, at its end."""

from pricing.charge import Charge
from proxy import metrics
from proxy.opencall import OpenCall
from rules.verdict import Verdict


def acted(call: OpenCall, owner: str | None, verdict: Verdict) -> None:
    """Counted when the call ends, and once, however often it was decided on."""
    if owner is not None:
        call.acts.add((owner, verdict.value))


def note_acts(call: OpenCall) -> None:
    """Of rules alone: budgets, rates and lists of models have owners of their own, and metrics of their own."""
    if not call.acts:
        return
    rules = {rule.rule_id for rule in call.policy.rules}
    for owner, verdict in sorted(call.acts):
        if owner in rules:
            metrics.RULE_VERDICTS.labels(metrics.bounded("rule", owner), verdict).inc()


def note_shadow(call: OpenCall, charge: Charge | None) -> None:
    """Of a call that was not refused: on one that was, a rule in shadow would have changed nothing."""
    if not call.row.shadow_ids:
        return
    actions = {rule.rule_id: rule.action.value for rule in call.policy.rules}
    for rule_id in call.row.shadow_ids:
        labels = metrics.bounded("rule", rule_id), actions.get(rule_id, metrics.OTHER)
        metrics.SHADOW_CALLS.labels(*labels).inc()
        metrics.SHADOW_COST.labels(*labels).inc(0 if charge is None else charge.nanos / 1e9)
