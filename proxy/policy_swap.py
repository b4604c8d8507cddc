"""A new policy comes into force between two calls, over counters that are right from the first of them on."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy.exc import SQLAlchemyError

from proxy import clock, log, metrics
from proxy.auth import Keyring
from proxy.errors import Unavailable
from proxy.holds.local import LocalHolds
from proxy.holds.seed import Seeds
from proxy.ledger import Ledger, write
from proxy.opencall import OpenCall
from proxy.records import micros
from proxy.reload import InForce, Swapped
from rules.alert import Alert, Level, standing
from rules.budget import Budget
from rules.changes import Changes, changes, counts_all
from rules.overridden import file_version, overridden
from rules.override import Override, in_force
from rules.policy import Policy
from rules.scope import EVERYONE
from rules.spec import EACH

SEEDED_MAX = 1_000  # budgets whose counters are seeded at once; the others at their first call
SHOWN_MAX = 5


@dataclass(slots=True)
class PolicySwap:
    """`swap` and `override` are one step each, `follow_up` what can wait: figures and alerts that no call has asked for
    yet. In force is the file's policy under the overrides of now."""

    policy: InForce[Policy]
    holds: LocalHolds
    keyring: Keyring
    seeds: Seeds
    ledger: Ledger
    file: Policy = field(init=False)
    overrides: tuple[Override, ...] = ()
    _fresh: set[Budget] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.file = self.policy.now
        metrics.note_policy(self.policy.now.version)

    def swap(self, new: Policy, at: datetime) -> Swapped:
        old = self.file
        changed = changes(old, new)
        self.file = new
        # What only one of the two counts has gaps, or would get them before a third one counts it again.
        self.holds.doubt(lambda counter: not (counts_all(old, counter) and counts_all(new, counter)))
        self.keyring.use_timezone(new.timezone)
        self._enforce(at)
        for warning in new.warnings:
            log.get().warning("configuration_warning", detail=warning)
        alerts = [_dropped(changed, old, new, at)] if changed.loosened else []
        return Swapped(changed.told(), alerts)

    def override(self, overrides: Iterable[Override], at: datetime) -> None:
        """Those whose time is over are left out."""
        now = in_force(overrides, at)
        if now != self.overrides:
            self.overrides = now
            self._enforce(at)

    def renew(self, call: OpenCall) -> None:
        """A call that waits for its budget goes by the overrides of now. An edit of the file it does not see."""
        policy = self.policy.now
        if policy is call.policy or file_version(policy) != file_version(call.policy):
            return
        call.policy, call.row.policy_version = policy, policy.version
        call.key = self.keyring.present(call.key)

    def _enforce(self, at: datetime) -> None:
        before, after = self.policy.now, overridden(self.file, self.overrides, at)
        self.policy.now = after
        self._fresh |= _budgets(after) - _budgets(before)
        self._fresh |= self.keyring.use_overrides(in_force(self.overrides, at))
        metrics.note_policy(after.version)

    async def follow_up(self) -> None:
        """Raises nothing: what fails here is done at the first call that needs it."""
        try:
            await self._seed()
            alerts = list(self._standing())
            if alerts:
                async with self.ledger.connect() as connection:
                    await write.raise_alerts(connection, alerts)
        except (SQLAlchemyError, OSError, Unavailable) as error:
            log.get().warning("counters_not_seeded", error_code="DATABASE_ERROR", detail=str(error)[:300])

    async def _seed(self) -> None:
        policy, now = self.policy.now, clock.now()
        for budget in policy.budgets[:SEEDED_MAX]:
            counter = budget.limit_on(budget.scope, now).counter
            if budget.scope.name == EACH or not self.holds.unknown([counter]):
                continue
            over = (each for each in policy.over(budget.scope) if each.counts_on(counter))
            await self.seeds.seed(counter, hard=any(each.hold.hard for each in over))

    def _standing(self) -> Iterator[Alert]:
        """Thresholds of new and changed budgets that were passed before: no call will be seen to cross them."""
        policy, now = self.policy.now, clock.now()
        fresh, self._fresh = self._fresh, set()
        issued = [each for each in self.keyring.budgets if each in fresh] if fresh else []
        for counter in self.holds.known if fresh else ():
            own = (budget for budget in issued if budget.scope == counter.scope)
            for budget in (*policy.over(counter.scope), *own):
                if budget in fresh and budget.limit_on(counter.scope, now).counter == counter:
                    spent = self.holds.balance(counter).spent
                    yield from standing(budget, counter, spent, now)


def _budgets(policy: Policy) -> set[Budget]:
    return {*policy.budgets, *policy.default_team.budgets, *policy.raised.values()}


def _dropped(changed: Changes, old: Policy, new: Policy, at: datetime) -> Alert:
    """One for an edit, however many budgets it loosens."""
    told = [str(each) for each in changed.loosened]
    more = f"; and {len(told) - SHOWN_MAX} more" if len(told) > SHOWN_MAX else ""
    scopes = {each.scope for each in changed.loosened}
    return Alert(
        key=f"hard_budget_dropped:{old.version}:{new.version}:{micros(at)}",
        kind="hard_budget_dropped",
        level=Level.WARNING,
        at=at,
        scope=scopes.pop() if len(scopes) == 1 else EVERYONE,
        message=f"An edit of the rules drops or loosens hard budgets: {'; '.join(told[:SHOWN_MAX])}{more}",
        facts={
            "alert_level": Level.WARNING.value,
            "old_version": old.version,
            "new_version": new.version,
            "budgets": "; ".join(told[:SHOWN_MAX]) + more,
        },
    )
