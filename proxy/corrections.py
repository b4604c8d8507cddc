"""What a charge that was corrected sets off: the alerts for it."""

from pricing.charge import Charge
from pricing.money import Nanos, usd
from proxy import clock
from proxy.callrow import AS_OTHER, CallRow
from proxy.holds import Moved
from proxy.ledger.deferred import Waiting
from rules.alert import Alert, Level, crossings
from rules.call import Call, CallId, Operation
from rules.policy import Policy
from rules.scope import Scope, ScopeKind


def crossed(policy: Policy, row: CallRow, moved: tuple[Moved, ...]) -> list[Alert]:
    """Thresholds of the file's budgets that the correction of a call passed."""
    call = Call(
        CallId(row.call_id),
        row.at,
        Operation.LLM,
        row.provider,
        row.model,
        row.team,
        row.key_id,
        user=row.user,
        category=row.category,
        as_other=frozenset(kind for kind, flag in AS_OTHER.items() if flag in row.flags),
    )
    budgets = {budget.id: budget for budget in policy.budgets_of(call)}
    return [
        alert
        for limit in policy.limits(call)
        for move in moved
        if move.counter == limit.counter and limit.owner in budgets
        for alert in crossings(budgets[limit.owner], move.counter, move.before, move.after, clock.now())
    ]


def exceeded(waiting: Waiting, charge: Charge) -> list[Alert]:
    row = waiting.row
    if charge.nanos <= row.estimate_ceiling_nanos:
        return []
    message = f"cost ${usd(charge.nanos)}, more than the ${usd(Nanos(row.estimate_ceiling_nanos))} it could cost at most"
    facts = {"call_id": row.call_id, "model": row.model, "provider": row.provider}
    scope = Scope(ScopeKind.TEAM, row.team)
    key = f"hold_exceeded:{row.call_id}"
    return [Alert(key, "hold_exceeded", Level.CRITICAL, clock.now(), scope, message, facts)]


def lost(waiting: Waiting, charge: Charge) -> Alert:
    row = waiting.row
    message = f"{charge.reason}: ${usd(charge.nanos)} stay charged for {waiting.work.object_id}"
    facts = {"call_id": row.call_id, "model": row.model, "provider": row.provider}
    scope = Scope(ScopeKind.TEAM, row.team)
    return Alert(
        f"deferred_lost:{row.call_id}", "deferred_lost", Level.WARNING, clock.now(), scope, message, facts
    )
