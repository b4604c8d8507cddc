"""What calls of the past have in common: the plan that a policy has for them, and the counters that it names."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from pricing.estimate import FREE
from rules.budget import Budget
from rules.call import Call, CallId, Operation
from rules.counter import CounterKey, Limit, claims_of
from rules.measure import Measure
from rules.past import PastCall, instant
from rules.past_world import Bucket, Counter, PastWorld
from rules.plan import Plan
from rules.policy import Policy
from rules.rate import Rate
from rules.rule import Action, ThresholdType
from rules.scope import Scope
from rules.window import Period, window_of

FACTS_MAX = 20_000  # combinations of team, key, model and so on that are remembered at once
PAST = CallId("|past|")  # no name holds a bar: alerts that are told once a call are known by it


class PlacedClaim(NamedTuple):
    """One counter that a call spends on."""

    counter: Counter
    hard: bool
    limits: tuple[Limit, ...]  # those that have a figure
    budgets: tuple[Budget, ...]  # whose thresholds lie on that counter


@dataclass(frozen=True, slots=True)
class Facts:
    call: Call  # its instant is the start of the finest window: all that it counts on is the same
    scopes: tuple[Scope, ...]
    own: tuple[Budget, ...]
    plan: Plan
    claims: tuple[PlacedClaim, ...]
    rates: tuple[tuple[Rate, Bucket], ...]
    in_flight: tuple[Limit, ...]
    paced: tuple[Scope, ...]  # whose arrivals a throttle rule counts


class FactsBook:
    """Facts of one policy, remembered until the next window begins."""

    def __init__(
        self, policy: Policy, key_budgets: Mapping[str, tuple[Budget, ...]], world: PastWorld
    ) -> None:
        self._policy = policy
        self._key_budgets = key_budgets
        self._world = world
        self._known: dict[tuple[object, ...], Facts] = {}
        self._found: tuple[PastCall, Facts] | None = None  # what was asked about last
        self._finest = _finest(policy, key_budgets)
        self._start = instant(0)
        self._end = 0

    def missing(self, past: PastCall) -> tuple[list[CounterKey], list[Scope]]:
        """Counters, and scopes whose speed a rule asks about, that are not seeded yet."""
        if past.at < self._end:
            facts = self._known.get(_key(past, past.model))
            if facts is not None:  # mostly
                self._found = past, facts
                return [], []
        self._turn(past.at)
        counters: dict[CounterKey, None] = {}
        speeds: dict[Scope, None] = {}
        for call in self._calls(past):
            plan = self._policy.plan(call, self._own(past))
            for limit in plan.limits:
                if limit.counter.measure is Measure.SPEND and limit.counter not in self._world.counters:
                    counters[limit.counter] = None
            for matter in plan.matters:
                asks = matter.rule.threshold_type is ThresholdType.SPEND_VELOCITY
                if asks and matter.scope not in self._world.speeds:
                    speeds[matter.scope] = None
        return list(counters), list(speeds)

    def of(self, past: PastCall, model: str) -> Facts:
        """Its counters are seeded."""
        if self._found is not None and self._found[0] is past and model == past.model:
            return self._found[1]
        key = _key(past, model)
        facts = self._known.get(key)
        if facts is None:
            if len(self._known) >= FACTS_MAX:
                self._forget()
            facts = self._known[key] = self._made(past, model)
        return facts

    def _made(self, past: PastCall, model: str) -> Facts:
        call, own = self._call(past, model), self._own(past)
        plan = self._policy.plan(call, own)
        for matter in plan.matters:
            if matter.limit is not None:
                self._world.remember(matter.limit.counter)
        budgets = {budget.id: budget for budget in plan.budgets}
        claims = claims_of([each for each in plan.limits if each.counter.measure is Measure.SPEND], FREE)
        throttled = (each.scope for each in plan.matters if each.rule.action is Action.THROTTLE)
        return Facts(
            call,
            call.scopes(),
            own,
            plan,
            claims=tuple(
                PlacedClaim(
                    self._world.counters[claim.counter],
                    any(limit.hold.hard for limit in claim.limits),
                    tuple(limit for limit in claim.limits if limit.nanos is not None),
                    tuple(budgets[limit.owner] for limit in claim.limits if limit.owner in budgets),
                )
                for claim in claims
            ),
            rates=tuple((rate, self._world.bucket(rate)) for rate in plan.rates),
            in_flight=tuple(each for each in plan.limits if each.counter.measure is Measure.CONCURRENT),
            paced=tuple(dict.fromkeys(throttled)),
        )

    def _forget(self) -> None:
        self._known.clear()
        self._world.forget_plans()

    def _calls(self, past: PastCall) -> list[Call]:
        """The call, and what a rule may make of it."""
        call = self._call(past, past.model)
        plan = self._policy.plan(call, self._own(past))
        models = (matter.rule.cheaper(past.model) for matter in plan.matters)
        return [call, *(self._call(past, model) for model in dict.fromkeys(models) if model is not None)]

    def _call(self, past: PastCall, model: str) -> Call:
        return Call(
            PAST,
            self._start,
            Operation(past.operation),
            past.provider,
            model,
            past.team,
            past.key_id,
            user=past.user,
            category=past.category,
            as_other=past.as_other,
        )

    def _own(self, past: PastCall) -> tuple[Budget, ...]:
        return self._key_budgets.get(past.key_id, ())

    def _turn(self, at: int) -> None:
        """Into the window of that instant: of windows that are over nothing is kept."""
        if at < self._end:
            return
        window = window_of(self._finest, self._policy.timezone, instant(at))
        assert window.end is not None, "hours and days end"
        self._start, self._end = window.start, int(window.end.timestamp()) * 1_000_000
        self._forget()
        self._world.forget(int(window.start.timestamp()) * 1_000_000)


def _finest(policy: Policy, key_budgets: Mapping[str, tuple[Budget, ...]]) -> Period:
    """Days lie within weeks, months and all of time; only hours are finer."""
    of_keys = (budget for budgets in key_budgets.values() for budget in budgets)
    budgets = (*policy.budgets, *policy.default_team.budgets, *of_keys)
    return Period.HOURLY if any(each.period is Period.HOURLY for each in budgets) else Period.DAILY


def _key(past: PastCall, model: str) -> tuple[object, ...]:
    return (
        past.team,
        past.key_id,
        model,
        past.provider,
        past.operation,
        past.user,
        past.category,
        past.as_other,
    )
