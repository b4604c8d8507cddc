"""May this call go, and with how much money held? Price, estimate, decide, place, journal: in that order."""

from collections.abc import Mapping
from dataclasses import dataclass

from pricing.estimate import Estimate
from proxy.errors import Unavailable
from proxy.journal import JournalUnwritable
from proxy.opencall import OpenCall
from proxy.placing import Placing
from proxy.pricer import Pricer
from rules.counter import claims_of
from rules.verdict import Verdict

AMPLE_FACTOR = 2  # room for twice the upper end: the exact count cannot change the verdict


@dataclass(frozen=True, slots=True)
class Admission:
    """Turns a read call into a held one, or raises the refusal. Waits only for a budget, for a turn, or for a long count."""

    pricer: Pricer
    placing: Placing

    def must_be_strict(self, call: OpenCall) -> bool:
        """Doubled keys in long bodies matter where the model or the limits in them are enforced."""
        return call.policy.is_strict_for(call.call, call.key.budgets)

    async def admit(self, call: OpenCall, headers: Mapping[str, str]) -> None:
        call.limits = call.policy.limits(call.call, call.key.budgets)
        assert call.reading is not None, "an unread call cannot be admitted"
        if call.reading.background:
            call.row.flags.append("background")
        self.placing.judge.arrive(call, headers)
        if call.reading.batch is None:  # a batch has its estimate already
            await self.pricer.price(call, self._is_ample)
        try:
            await self.placing.place(call)
        except JournalUnwritable as error:
            raise Unavailable(
                503,
                "journal_unavailable",
                "Spendgate cannot write its journal, and this call is under a hard budget: try again shortly.",
                kind="api_error",
                retry_after_seconds=2,
            ) from error
        finally:
            if call.hold is None:
                self.placing.judge.left(call)

    def count_free(self, call: OpenCall) -> None:
        self.pricer.count_free(call)

    def _is_ample(self, call: OpenCall, lower: Estimate) -> bool:
        """The same verdict at both ends of the interval, and room for twice the upper end under every limit."""
        judge, holds = self.placing.judge, self.placing.holds
        decided = judge.decide(call)
        if decided.verdict is not Verdict.ALLOW or judge.decide(call, lower).verdict is not Verdict.ALLOW:
            return False
        for claim in claims_of(decided.limits, call.held):
            balance = holds.balance(claim.counter)
            for limit in claim.limits:
                room = None if limit.nanos is None else limit.nanos - balance.spent - balance.held
                if room is not None and room < AMPLE_FACTOR * claim.amount:
                    return False
        return not decided.rates
