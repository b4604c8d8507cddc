"""The policy at work on one call: what `decide` may know of the world, and what becomes of what it says."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from pricing.charge import Charge
from pricing.estimate import Estimate
from proxy import clock, metrics
from proxy.acting import acted
from proxy.breakers import Breakers
from proxy.errors import refused, throttled
from proxy.holds import Holds
from proxy.opencall import OpenCall
from proxy.pacing import Pacers, Throttled
from proxy.repeats import Repeats
from proxy.velocity import Velocities
from rules.breaker import Breaker, Cause
from rules.call import Call
from rules.counter import Balance, CounterKey
from rules.decide import decide
from rules.matter import amount_of
from rules.objection import refusal_of_breaker
from rules.rate import BucketKey, Pour
from rules.refusal import Refusal
from rules.rule import Action, Rule, ThresholdType
from rules.scope import Scope
from rules.verdict import Decision, Verdict


@dataclass(frozen=True, slots=True)
class Judge:
    """Plain methods but for `pace`: between looking at a breaker and changing it no wait can come."""

    holds: Holds
    breakers: Breakers
    velocities: Velocities
    repetitions: Repeats
    pacers: Pacers

    def arrive(self, call: OpenCall, headers: Mapping[str, str]) -> None:
        """Once a call, before anything is decided: what rules look at over many calls is counted."""
        plan = call.policy.plan(call.call, call.key.budgets)
        if plan.is_quiet:
            return
        now = call.row.at
        alike = [
            each.scope for each in plan.matters if each.rule.threshold_type is ThresholdType.REPEAT_CALLS
        ]
        if alike and call.reading is not None:
            call.likeness = self.repetitions.likeness(call.reading)
            if call.likeness is not None:
                self.repetitions.note(
                    call.likeness, dict.fromkeys(alike), now, key_id=call.row.key_id, headers=headers
                )
        for scope in dict.fromkeys(
            each.scope for each in plan.matters if each.rule.action is Action.THROTTLE
        ):
            self.pacers.note(scope, now)

    def decide(self, call: OpenCall, estimate: Estimate | None = None) -> Decision:
        """Of a batch every model must be allowed."""
        for model in call.models:
            if model != call.call.model:
                decision = self._decide_on(call, replace(call.call, model=model), estimate)
                if decision.refusal is not None:
                    return decision
        return self._decide_on(call, call.call, estimate)

    def _decide_on(self, call: OpenCall, asked: Call, estimate: Estimate | None) -> Decision:
        now = clock.now()
        return decide(
            call.policy,
            asked,
            estimate or call.estimate,
            key_budgets=call.key.budgets,
            figures=_Figures(self, call, now),
            now=now,
        )

    def obey(self, call: OpenCall, decision: Decision) -> None:
        """Write the decision down, and move breakers by it. Raises Refused where a half-open one has no place left."""
        now, row = clock.now(), call.row
        row.verdict, row.reason = decision.verdict.value, decision.reason
        row.rule_ids = list(decision.matched)
        # One that would have acted before a wait or an edit would have acted, whatever is decided after it.
        row.shadow_ids += [each for each in decision.shadow if each not in row.shadow_ids]
        call.alerts = list(decision.alerts)
        for seen in decision.measured:
            self.breakers.measured(seen.rule_id, seen.scope, seen.figure, now)
        for trip in decision.trips:
            self.breakers.trip(trip.rule, trip.scope, trip.cause, trip.figure, now)
        if decision.refusal is None:
            for rule, scope in decision.trials:
                self._try(call, rule, scope, now)

    def _try(self, call: OpenCall, rule: Rule, scope: Scope, now: datetime) -> None:
        if any((trial.rule_id, trial.scope) == (rule.rule_id, scope) for trial in call.trials):
            return
        trial = self.breakers.admit(rule.rule_id, scope, now)
        if trial is not None:
            call.trials.append(trial)
            return
        refusal = refusal_of_breaker(rule, scope, self.breakers.view(rule.rule_id, scope, now), now)
        note_refusal(call, refusal)
        raise refused(refusal, status=402)

    def placed_no(self, call: OpenCall, owner: str, scope: Scope) -> None:
        """A limit was in the way. Where a rule has set it, the rule is tripped from now on."""
        now = clock.now()
        for matter in call.policy.plan(call.call, call.key.budgets).matters:
            rule = matter.rule
            if matter.is_placed and rule.rule_id == owner and matter.scope == scope and rule.has_breaker:
                self.breakers.trip(rule, scope, matter.cause, None, now)
                return

    async def pace(self, call: OpenCall, decision: Decision) -> None:
        """Wait for a turn of every rule that slows this call. Raises Refused where that would take too long."""
        since = clock.monotonic()
        try:
            for pace in decision.paces:
                await self.pacers.turn(pace.rule_id, pace.scope, call.row.key_id, pace.factor)
                acted(call, pace.rule_id, Verdict.THROTTLE)
        except Throttled as late:
            call.row.verdict = Verdict.BLOCK.value
            acted(call, late.rule_id, Verdict.BLOCK)
            raise throttled(
                late.rule_id,
                late.scope,
                interval_seconds=late.interval_seconds,
                retry_after_seconds=late.retry_after_seconds,
            ) from late
        finally:
            waited = clock.monotonic() - since
            call.row.waited_us += int(waited * 1e6)
            if decision.paces:
                metrics.THROTTLE_WAIT.observe(waited)

    def pours(self, call: OpenCall, decision: Decision) -> tuple[Pour, ...]:
        return tuple(Pour(rate, amount_of(rate.bucket.measure, call.estimate)) for rate in decision.rates)

    def ended(self, call: OpenCall, charge: Charge | None) -> None:
        """A call that was sent has ended."""
        if charge is None:
            self.left(call)
            return
        now = clock.now()
        for scope in call.call.scopes():
            self.velocities.note(scope, charge.nanos, now)
        for trial in call.trials:
            self.breakers.succeeded(trial, now)
        call.trials.clear()

    def left(self, call: OpenCall) -> None:
        """A call ended without a result."""
        if not call.trials:
            return
        now = clock.now()
        for trial in call.trials:
            self.breakers.left(trial, now)
        call.trials.clear()


@dataclass(frozen=True, slots=True)
class _Figures:
    """The last known figures, as one call sees them at an instant."""

    judge: Judge
    call: OpenCall
    now: datetime

    def balance(self, counter: CounterKey) -> Balance:
        return self.judge.holds.balance(counter)

    def used(self, bucket: BucketKey) -> int:
        return self.judge.holds.used(bucket, self.now)

    def breaker(self, rule_id: str, scope: Scope, causes: tuple[Cause, ...]) -> Breaker | None:
        return self.judge.breakers.view(rule_id, scope, self.now, causes)

    def velocity(self, scope: Scope, minutes: int) -> Decimal | None:
        return self.judge.velocities.velocity(scope, minutes, self.now)

    def repeats(self, scope: Scope, minutes: int) -> int:
        likeness = self.call.likeness
        if likeness is None:
            return 1
        return self.judge.repetitions.repeats(scope, likeness, minutes, self.now)


def note_refusal(call: OpenCall, refusal: Refusal) -> None:
    """On the call's row, of what stands in no decision."""
    call.row.verdict = Verdict.BLOCK.value
    acted(call, refusal.rule_id, Verdict.BLOCK)
    if refusal.rule_id is not None and refusal.rule_id not in call.row.rule_ids:
        call.row.rule_ids.append(refusal.rule_id)
