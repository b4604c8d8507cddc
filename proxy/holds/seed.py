"""What a counter holds when this process first uses it, or comes back to it: the spending that the ledger knows of."""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from pricing.money import Nanos
from proxy import clock
from proxy.errors import Unavailable
from proxy.holds.local import LocalHolds
from proxy.ledger import Ledger, write
from proxy.ledger.ship import Shipper
from proxy.opencall import OpenCall
from proxy.records import Ended, Settled
from rules.alert import standing
from rules.budget import in_timezone
from rules.counter import Claim, CounterKey, Measure, claims_of
from rules.policy import Policy
from rules.window import QUARTER_SECONDS


@dataclass(frozen=True, slots=True)
class Seeds:
    """A counter is unknown at the first call of its window, of a new team or key, after a start, and where a new policy
    counts what the one before did not. What was charged before, roll-ups tell, and the records that are on their way to
    them; what calls in flight hold, the holds themselves."""

    holds: LocalHolds
    ledger: Ledger
    shipper: Shipper
    policy: Callable[[], Policy]
    flush_seconds: float = 10.0

    def of(self, call: OpenCall) -> Awaitable[None] | None:
        """None where every counter of the call is known, which is nearly always."""
        unknown = self.holds.unknown(limit.counter for limit in call.limits)
        return self._seed(call, unknown) if unknown else None

    def beside(self, call: OpenCall, claims: Iterable[Claim]) -> tuple[Claim, ...]:
        """For a call whose policy has been replaced while it waited: claims without a limit on the counters of the policy
        in force. Those that nobody has used yet find the call's hold when they are seeded."""
        policy = self.policy()
        if policy is call.policy:
            return ()
        has = {claim.counter for claim in claims}
        limits = policy.limits(call.call, in_timezone(call.key.budgets, policy.timezone))
        wanted = {claim.counter: claim for claim in claims_of(limits, call.held) if claim.counter not in has}
        unknown = set(self.holds.unknown(wanted))
        return tuple(replace(each, limits=()) for each in wanted.values() if each.counter not in unknown)

    async def _seed(self, call: OpenCall, unknown: list[CounterKey]) -> None:
        hard = {limit.counter for limit in call.limits if limit.hold.hard}
        for counter in dict.fromkeys(unknown):
            spent = await self.seed(counter, hard=counter in hard)
            if spent:
                await self._tell_standing(call, counter, spent)

    async def seed(self, counter: CounterKey, *, hard: bool) -> Nanos:
        """Gives what was spent. Raises Unavailable: a counter seeded without all that has ended would lack it for as long
        as it lives."""
        try:
            async with self.holds.past, self.shipper.still(self.flush_seconds) as on_their_way:
                spent = await spent_on(self.ledger, counter)
                # From here on without a wait: not a nano-dollar moves between the two.
                spent = Nanos(spent + charged_on(counter, on_their_way))
                self.holds.seed(counter, spent, hard=hard)
                return spent
        except TimeoutError as error:
            raise Unavailable(
                503,
                "ledger_unavailable",
                "Spendgate cannot read what was spent before on a budget of this call: try again shortly.",
                kind="api_error",
                retry_after_seconds=2,
            ) from error

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
    """What the roll-ups tell of a counter's window: of money, for calls in flight are never spent."""
    if counter.measure is not Measure.SPEND:
        return Nanos(0)
    end = counter.window.end
    until = None if end is None else int(end.timestamp()) // QUARTER_SECONDS
    return await ledger.spent(counter.scope, counter.start // QUARTER_SECONDS, until)


def charged_on(counter: CounterKey, records: Iterable[Ended]) -> int:
    """What such records add to a counter."""
    window = counter.window
    return sum(
        record.charge.nanos
        for record in records
        if isinstance(record, Settled)
        and record.charge is not None
        and window.start <= record.row.at
        and (window.end is None or record.row.at < window.end)
        and counter.scope in write.scopes_of(record.row)
    )
