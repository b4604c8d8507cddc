"""Figures that no call brings along: how late the event loop is, and how full each budget."""

import asyncio
from collections.abc import Callable

from proxy import clock, metrics
from proxy.holds.local import LocalHolds
from rules.policy import Policy
from rules.spec import EACH

LOOK_SECONDS = 0.5


async def watch(holds: LocalHolds, policy: Callable[[], Policy]) -> None:
    """Never ends."""
    while True:
        before = clock.monotonic()
        await asyncio.sleep(LOOK_SECONDS)
        metrics.LOOP_LAG.set(max(0.0, clock.monotonic() - before - LOOK_SECONDS))
        _note_budgets(holds, policy())


def _note_budgets(holds: LocalHolds, policy: Policy) -> None:
    now = clock.now()
    for budget in policy.budgets:
        if not budget.limit or budget.scope.name == EACH:
            continue
        balance = holds.balance(budget.limit_on(budget.scope, now).counter)
        used = (balance.spent + balance.held) / budget.limit * 100
        metrics.BUDGET_USED.labels(metrics.bounded("budget", budget.id)).set(used)
