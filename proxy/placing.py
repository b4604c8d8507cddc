"""Decide and place, after every wait again: pace, ask for a cheaper model or a shorter answer, hold, or wait in line."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from proxy import clock, metrics
from proxy.acting import acted
from proxy.errors import Refused, busy, paced, refused
from proxy.holds import Busy, Crowded, Holds, Line, OverBudget, Paced
from proxy.judge import Judge, note_refusal
from proxy.moderate import can_be_edited, downgrade, shorten
from proxy.opencall import OpenCall
from proxy.pricer import Pricer
from proxy.settings import Config
from proxy.till import Till
from rules.counter import Claim, HoldMode, claims_of
from rules.objection import refusal_of_cost
from rules.refusal import Refusal, refusal_of_limit, refusal_of_rate
from rules.verdict import Cap, Decision, Verdict


@dataclass(frozen=True, slots=True)
class Placing:
    config: Config
    holds: Holds
    till: Till
    judge: Judge
    pricer: Pricer
    seed: Callable[[OpenCall], Awaitable[None] | None]
    beside: Callable[[OpenCall, Sequence[Claim]], Sequence[Claim]]
    renew: Callable[[OpenCall], None] = lambda _: None  # overrides that came while it waits

    async def place(self, call: OpenCall) -> None:
        """Raises Refused, Unavailable or JournalUnwritable; else the call holds its money, and may be sent."""
        await self._seed(call)
        decision = await self._moderate(call)
        try:
            await self._place_once(call, None, decision)
        except OverBudget as over:
            if not await self._place_capped(call, over):
                raise self._over(call, over) from over
        except Crowded as crowded:
            if not await self._place_capped(call, crowded):
                await self._place_in_turn(call, crowded)
        _note_edits(call)

    async def _seed(self, call: OpenCall) -> None:
        seeding = self.seed(call)
        if seeding is not None:
            await seeding

    # -- what rules make of a call ------------------------------------------------------------------------------------

    async def _moderate(self, call: OpenCall) -> Decision | None:
        """Edits first: what is left of the call is then paced. None: an edit or a wait calls for another decision."""
        decision = self._decided(call)
        if decision.downgrade is not None and await self._downgrade(call, decision):
            decision = self._decided(call)
        if self._shorten(call, decision.caps) or decision.paces:
            await self.judge.pace(call, decision)
            return None
        return decision

    def _decided(self, call: OpenCall) -> Decision:
        """Raises Refused."""
        decision = self.judge.decide(call)
        self.judge.obey(call, decision)
        if decision.refusal is not None:
            raise self._refused(call, decision.refusal)
        return decision

    async def _downgrade(self, call: OpenCall, decision: Decision) -> bool:
        asked = decision.downgrade
        assert asked is not None, "nothing to ask for instead"
        if not self._can_edit(call) or not downgrade(call, asked.model, provider_of=call.policy.route):
            call.row.flags.append("not_downgraded")
            return False
        call.row.flags.append("downgraded")
        call.edited_by.append(asked.rule_id)
        acted(call, asked.rule_id, Verdict.DOWNGRADE)
        call.limits = call.policy.limits(call.call, call.key.budgets)
        await self._seed(call)
        await self.pricer.price(call, lambda _, __: False)
        return True

    def _shorten(self, call: OpenCall, caps: Sequence[Cap]) -> bool:
        """To the tightest cap, where that changes the call. Raises Refused where a rule leaves no answer worth having."""
        reading = call.reading
        assert reading is not None, "an unread call cannot be capped"
        if not caps or not reading.has_output:
            return False
        asked, tightest, by = call.estimate.output_tokens_max // max(1, reading.choices), None, ""
        for cap in caps:
            tokens = cap.tokens
            if cap.nanos is not None and call.estimate.ceiling > cap.nanos:
                tokens = self.pricer.affordable_tokens(call, cap.nanos)
                if tokens is None:
                    raise self._refused(call, self._no_room(call, cap))
            if tokens is not None and tokens < (asked if tightest is None else tightest):
                tightest, by = tokens, cap.owner
        if tightest is None:
            return False
        if not self._can_edit(call):
            call.row.flags.append("not_capped")
            return False
        self.pricer.shorten(call, tightest)
        shorten(call, tightest)
        call.edited_by.append(by)
        acted(call, by, Verdict.CAP)
        return True

    def _no_room(self, call: OpenCall, cap: Cap) -> Refusal:
        for matter in call.policy.plan(call.call, call.key.budgets).matters:
            if matter.rule.rule_id == cap.owner:
                if matter.limit is not None:
                    balance = self.holds.balance(matter.limit.counter)
                    return refusal_of_limit(matter.limit, balance, call.estimate.ceiling, call.call)
                return refusal_of_cost(matter.rule, matter.scope, call.call, call.estimate)
        raise AssertionError(f"rule {cap.owner} does not look at this call")

    def _can_edit(self, call: OpenCall) -> bool:
        return can_be_edited(call, exact=self.config.transparent == "exact")

    # -- holds ----------------------------------------------------------------------------------------------------------

    async def _place_once(self, call: OpenCall, line: Line | None, decision: Decision | None = None) -> None:
        """Decide, unless that was done this very moment, and place; the journal follows without a wait in between, so that
        no hold can be stranded."""
        decision = decision or self._decided(call)
        call.limits = decision.limits
        claims = claims_of(decision.limits, call.held)
        try:
            hold = await self.holds.place(
                call.row.call_id,
                (*claims, *self.beside(call, claims)),
                call.row.at,
                line=line,
                call=call.call,
                estimate=call.held,
                pours=self.judge.pours(call, decision),
                now=clock.now(),
            )
        except Paced as late:
            raise self._too_soon(call, late) from late
        _note_limits(call, self.holds)
        self.till.open(call, hold)

    async def _place_in_turn(self, call: OpenCall, crowded: Crowded) -> None:
        """Only other open holds are in the way: wait in line, first come first served."""
        since = clock.monotonic()
        try:
            async with self.holds.line(crowded.limit.counter, self.config.hold_wait_seconds) as line:
                while True:
                    await line.turn()
                    self.renew(call)
                    try:
                        await self._place_once(call, line)
                        return
                    except Crowded as still:
                        crowded = still
                    except OverBudget as over:
                        raise self._over(call, over) from over
        except Busy as error:
            waited = clock.monotonic() - since
            balance = self.holds.balance(crowded.limit.counter)
            refusal = refusal_of_limit(crowded.limit, balance, crowded.amount, call.call)
            call.row.verdict = Verdict.BLOCK.value
            acted(call, refusal.rule_id, Verdict.BLOCK)
            raise busy(refusal, waited_seconds=waited) from error
        finally:
            waited = clock.monotonic() - since
            call.row.waited_us += int(waited * 1e6)
            metrics.WAITED.observe(waited)

    async def _place_capped(self, call: OpenCall, over: OverBudget | Crowded) -> bool:
        """`hold: capped` lowers max tokens to what the headroom affords, where that still makes an answer."""
        limit, balance = over.limit, over.balance
        if limit.hold is not HoldMode.CAPPED or limit.nanos is None or not self._can_edit(call):
            return False
        cap = self.pricer.affordable_tokens(call, limit.nanos - balance.spent - balance.held)
        if cap is None:
            return False
        self.pricer.shorten(call, cap)
        try:
            await self._place_once(call, None)
        except (OverBudget, Crowded):
            return False
        shorten(call, cap)
        return True

    # -- refusals ---------------------------------------------------------------------------------------------------------

    def _over(self, call: OpenCall, over: OverBudget) -> Refused:
        self.judge.placed_no(call, over.limit.owner, over.limit.counter.scope)
        return self._refused(call, refusal_of_limit(over.limit, over.balance, over.amount, call.call))

    def _too_soon(self, call: OpenCall, late: Paced) -> Refused:
        self.judge.placed_no(call, late.rate.owner, late.rate.bucket.scope)
        refusal = refusal_of_rate(late.rate, late.used, late.amount, late.retry_after_seconds, call.call)
        note_refusal(call, refusal)
        if late.rate.code != "rate_limited":
            return paced(refusal, late.standings, status=self.config.budget_status)
        metrics.RATE_LIMITED.labels(metrics.bounded("owner", late.rate.owner)).inc()
        return paced(refusal, late.standings, status=429)

    def _refused(self, call: OpenCall, refusal: Refusal) -> Refused:
        note_refusal(call, refusal)
        return refused(refusal, status=_STATUSES.get(refusal.code, self.config.budget_status))


_STATUSES = {"model_not_allowed": 403, "rule_error": 503}


def _note_edits(call: OpenCall) -> None:
    """What was changed of the call outweighs what was decided on what was left of it."""
    row = call.row
    if "downgraded" in row.flags:
        row.verdict = Verdict.DOWNGRADE.value
        row.reason = f'downgraded: model "{call.asked_model}" was asked for'
    elif "capped" in row.flags and row.verdict != Verdict.THROTTLE.value:
        row.verdict = Verdict.CAP.value
    elif row.verdict in (Verdict.DOWNGRADE.value, Verdict.CAP.value):
        row.verdict = Verdict.ALLOW.value  # it could not be edited, or was cheap enough as it came
    row.rule_ids += [owner for owner in call.edited_by if owner not in row.rule_ids]


def _note_limits(call: OpenCall, holds: Holds) -> None:
    call.row.limits = [
        {
            "counter": str(limit.counter),
            "owner": limit.owner,
            "limit": limit.nanos,
            "spent": balance.spent,
            "held": balance.held,
        }
        for limit in call.limits
        for balance in (holds.balance(limit.counter),)
    ]
