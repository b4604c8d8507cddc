"""What a counter holds when this process first uses it: the spending that the ledger knows of."""

from collections.abc import Awaitable
from dataclasses import dataclass
from datetime import UTC, datetime

from pricing.money import Nanos
from proxy import clock
from proxy.errors import Unavailable
from proxy.holds.local import LocalHolds
from proxy.ledger import Ledger, write
from proxy.ledger.ship import Shipper
from proxy.opencall import OpenCall
from rules.alert import standing
from rules.counter import CounterKey
from rules.window import QUARTER_SECONDS


@dataclass(frozen=True, slots=True)
class Seeds:
    """A counter is unknown at the first call of its window, of a new team or key, and after a start. What was charged
    before, roll-ups tell; what has ended but is on its way to them is shipped first. Calls still open hold the
    counter already, or belong to a window before it."""

    holds: LocalHolds
    ledger: Ledger
    shipper: Shipper
    flush_seconds: float = 10.0

    def of(self, call: OpenCall) -> Awaitable[None] | None:
        """None where every counter of the call is known, which is nearly always."""
        unknown = self.holds.unknown(limit.counter for limit in call.limits)
        return self._seed(call, unknown) if unknown else None

    async def _seed(self, call: OpenCall, unknown: list[CounterKey]) -> None:
        if not await self.shipper.flush(self.flush_seconds):
            # A counter seeded now would lack what still waits, for as long as it lives.
            raise Unavailable(
                503,
                "ledger_unavailable",
                "Spendgate cannot read what was spent before on a budget of this call: try again shortly.",
                kind="api_error",
                retry_after_seconds=2,
            )
        for counter in dict.fromkeys(unknown):
            async with self.holds.past:
                spent = await spent_on(self.ledger, counter)
                self.holds.seed(counter, spent)
            if spent:
                await self._tell_standing(call, counter, spent)

    async def _tell_standing(self, call: OpenCall, counter: CounterKey, spent: Nanos) -> None:
        """Thresholds that were passed by charges found after a crash, which nobody saw cross them."""
        now = clock.now()
        at = datetime.fromtimestamp(counter.start, tz=UTC) if now.timestamp() < counter.start else now
        alerts = [
            alert
            for budget in (*call.policy.budgets_of(call.call), *call.key.budgets)
            for limit in call.limits
            if limit.owner == budget.id and limit.counter == counter
            for alert in standing(budget, counter, spent, at)
        ]
        if alerts:
            async with self.ledger.connect() as connection:
                await write.raise_alerts(connection, alerts)


async def spent_on(ledger: Ledger, counter: CounterKey) -> Nanos:
    """What the roll-ups tell of a counter's window."""
    end = counter.window.end
    until = None if end is None else int(end.timestamp()) // QUARTER_SECONDS
    return await ledger.spent(counter.scope, counter.start // QUARTER_SECONDS, until)
