"""What a policy would have made of calls of the past: the same `decide`, and a model of `place`. Read `Simulation.run`.

Holds last no time here: each call is placed and settled at its charge as it comes, so no money is ever held by others.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from rules.breaker import Cause
from rules.budget import Budget
from rules.call import Operation
from rules.counter import CounterKey, HoldMode, Limit
from rules.decide import decide
from rules.matter import amount_of
from rules.measure import Measure
from rules.past import Costs, PastCall
from rules.past_edits import Edits, Going, Refused
from rules.past_facts import PAST, FactsBook
from rules.past_speed import PastSpeed
from rules.past_world import Counter, PastWorld
from rules.policy import Policy
from rules.rate import Rate
from rules.rule import Rule
from rules.scope import Scope
from rules.tally import Tallies
from rules.verdict import Decision


@dataclass(frozen=True, slots=True)
class Setting:
    """What config.yaml adds to a policy."""

    max_delay_seconds: float = 10.0
    hold_wait_seconds: float = 10.0
    edits: bool = True  # False: `transparent: exact`


DEFAULT = Setting()


class Outcome(NamedTuple):
    """What becomes of one call. `owner` names what refuses it, and `cost` is then nothing."""

    blocked: bool
    owner: str = ""
    delay_us: int = 0
    cost: int = 0
    model: str = ""


class Simulation:
    """One policy. Calls come in the order of their arrival; before each, what `missing` names is seeded."""

    def __init__(
        self,
        policy: Policy,
        *,
        key_budgets: Mapping[str, tuple[Budget, ...]],
        costs: Costs,
        setting: Setting = DEFAULT,
    ) -> None:
        """`key_budgets` are those that keys were issued with, in the policy's time zone."""
        self.policy = policy
        self.tallies = Tallies()
        self._world = PastWorld(max_delay_seconds=setting.max_delay_seconds)
        self._book = FactsBook(policy, key_budgets, self._world)
        self._edits = Edits(policy, self._book, costs, self.tallies, allowed=setting.edits)
        self._wait_us = int(setting.hold_wait_seconds * 1_000_000)
        self._told: set[str] = set()  # alerts that are told once

    def missing(self, past: PastCall) -> tuple[list[CounterKey], list[Scope]]:
        return self._book.missing(past)

    def seed(self, counter: CounterKey, spent: int) -> None:
        """What was spent on it before the replay began."""
        self._world.counters[counter] = Counter(spent)

    def seed_speed(self, scope: Scope, speed: PastSpeed) -> None:
        self._world.speeds[scope] = speed

    def run(self, past: PastCall) -> Outcome:
        """Counted in `tallies`."""
        self._world.move_to(past.at)
        facts = self._book.of(past, past.model)
        going = Going(past, facts, past.at, past.cost, past.estimate(), past.model)
        try:
            for scope in facts.paced:
                self._world.arrived(scope)
            if not facts.plan.is_quiet:
                self._moderate(going)
            self._place(going)
        except Refused as refused:
            self._try_over(going, went=False)
            return self._blocked(going, refused.owner)
        self._settle(going)
        return self._went(going)

    # -- what rules make of it --------------------------------------------------------------------------------------------

    def _moderate(self, going: Going) -> None:
        """Edits first: what is left of the call is then paced."""
        decision = self._decided(going)
        if decision.downgrade is not None and self._edits.downgrade(going, decision.downgrade):
            decision = self._decided(going)
        for cap in decision.caps:
            self._edits.shorten(going, cap)
        for pace in decision.paces:
            delay = self._world.turn(pace.rule_id, pace.scope, pace.factor, going.at)
            if delay is None:
                raise Refused(pace.rule_id)
            self._delay(going, pace.rule_id, delay)

    def _decided(self, going: Going) -> Decision:
        world, facts = self._world, going.facts
        decision = decide(
            self.policy, facts.call, going.estimate, key_budgets=facts.own, figures=world, now=world.now
        )
        self._obey(going, decision)
        if decision.refusal is not None:
            raise Refused(decision.rule_id or "")
        for rule, scope in decision.trials:
            if any(each[:2] == (rule.rule_id, scope) for each in going.trials):
                continue
            ticket = world.admit(rule.rule_id, scope)
            if ticket is None:
                raise Refused(rule.rule_id)
            going.trials.append((rule.rule_id, scope, ticket))
        return decision

    def _obey(self, going: Going, decision: Decision) -> None:
        for seen in decision.measured:
            self._world.measured(seen.rule_id, seen.scope, seen.figure)
        for trip in decision.trips:
            self._trip(trip.rule, trip.scope, trip.cause)
        for alert in decision.alerts:
            if alert.key not in self._told:
                if PAST not in alert.key:
                    self._told.add(alert.key)
                going.hit(self.tallies, alert.facts["rule_id"]).alerts += 1
        for rule_id in decision.shadow:
            going.hit(self.tallies, rule_id).shadow += 1

    def _trip(self, rule: Rule, scope: Scope, cause: Cause | None) -> None:
        if self._world.trip(rule, scope, cause):
            self.tallies[rule.rule_id].trips += 1

    # -- place and settle -----------------------------------------------------------------------------------------------

    def _place(self, going: Going) -> None:
        """In the order of place itself: balances, rates, places in flight."""
        over = self._over(going)
        if over is not None and not self._place_capped(going, over):
            raise self._in_the_way(going, over.owner, over.counter.scope)
        slow = self._too_soon(going)
        if slow is not None:
            raise self._in_the_way(going, slow.owner, slow.bucket.scope)
        for limit in going.facts.in_flight:
            wait = self._world.free_at(limit.counter, limit.nanos or 0, going.at) - going.at
            if wait > self._wait_us:
                raise Refused(limit.owner)
            self._delay(going, limit.owner, wait)

    def _over(self, going: Going) -> Limit | None:
        ceiling, expected = going.estimate.ceiling, going.estimate.expected
        if going.past.goes_on and going.facts.plan.is_hard:
            expected = ceiling
        for claim in going.facts.claims:
            asked = claim.counter.spent + (ceiling if claim.hard else expected)
            for limit in claim.limits:
                assert limit.nanos is not None, "kept for its figure"
                if asked > limit.nanos or limit.nanos == 0:
                    return limit
        return None

    def _place_capped(self, going: Going, over: Limit) -> bool:
        """`hold: capped` lowers the answer to what is left, where that still makes one."""
        left = (over.nanos or 0) - self._world.balance(over.counter).spent
        capped = over.hold is HoldMode.CAPPED and left > 0 and going.past.operation == Operation.LLM
        if (
            not capped
            or not self._edits.can_edit(going.past)
            or not self._edits.cut_to(going, over.owner, left)
        ):
            return False
        return self._over(going) is None

    def _too_soon(self, going: Going) -> Rate | None:
        """The rate that would let it pass last."""
        longest, found = 0, None
        for rate, bucket in going.facts.rates:
            if not rate.watched:
                wait = bucket.wait(rate, amount_of(rate.bucket.measure, going.estimate), going.at)
                if wait > longest:
                    longest, found = wait, rate
        return found

    def _in_the_way(self, going: Going, owner: str, scope: Scope) -> Refused:
        """Where a rule has set the limit, it is tripped from now on."""
        for matter in going.facts.plan.matters:
            rule = matter.rule
            if matter.is_placed and rule.rule_id == owner and matter.scope == scope and rule.has_breaker:
                self._trip(rule, scope, matter.cause)
                break
        return Refused(owner)

    def _settle(self, going: Going) -> None:
        past, facts, world = going.past, going.facts, self._world
        for claim in facts.claims:
            before = claim.counter.spent
            after = claim.counter.spent = before + going.cost
            for budget in claim.budgets:
                for mark in budget.marks:
                    if before < mark <= after:
                        going.hit(self.tallies, budget.id).alerts += 1
        for rate, bucket in facts.rates:
            amount = amount_of(rate.bucket.measure, going.estimate)
            if not (rate.watched and bucket.wait(rate, amount, going.at)):
                bucket.pour(rate, self._poured(going, rate, amount), going.at)
        for limit in facts.in_flight:
            world.fly(limit.counter, limit.nanos or 0, going.at + past.in_flight_us)
        if world.speeds:
            world.spent(facts.scopes, going.cost, going.at)
        self._try_over(going, went=past.refused or past.charge is not None)

    def _poured(self, going: Going, rate: Rate, asked: int) -> int:
        """The truth, where it is known."""
        past = going.past
        match rate.bucket.measure:
            case Measure.SPEND:
                return going.cost
            case Measure.TOKENS if not past.refused:
                return 0 if past.charge is None else past.tokens or asked
            case _:
                return asked

    def _try_over(self, going: Going, *, went: bool) -> None:
        for rule_id, scope, ticket in going.trials:
            self._world.tried(rule_id, scope, ticket, went=went)

    # -- what it comes to -----------------------------------------------------------------------------------------------

    def _delay(self, going: Going, owner: str, delay: int) -> None:
        if delay > 0:
            going.at += delay
            tally = going.hit(self.tallies, owner)
            tally.delayed += 1
            tally.delay_us += delay

    def _blocked(self, going: Going, owner: str) -> Outcome:
        past = going.past
        tally = going.hit(self.tallies, owner)
        tally.blocked += 1
        tally.blocked_nanos += past.stake
        self.tallies.totals.blocked_one(past.stake, paid=past.paid, then=past.refused)
        return Outcome(True, owner)

    def _went(self, going: Going) -> Outcome:
        past, delay = going.past, going.at - going.past.at
        self.tallies.totals.let_one_go(
            past.stake, paid=past.paid, then=past.refused, delay_us=delay, saved=past.cost - going.cost
        )
        return Outcome(False, "", delay, going.cost, going.model)
