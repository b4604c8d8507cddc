"""How things stand in a case of a table test: the figures that a decision asks for, as the case gives them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal

from pricing.document import Place, nearest
from pricing.money import Nanos, nanos
from rules.breaker import Breaker, Cause, State, Terms
from rules.budget import Budget
from rules.call import Call
from rules.cases import CaseSpec
from rules.counter import Balance, CounterKey, counter_at, in_flight
from rules.matter import own_counter
from rules.measure import Measure
from rules.policy import Policy
from rules.rate import BucketKey
from rules.rule import Rule
from rules.scope import Scope, ScopeKind, parse_scope
from rules.spec import EACH
from rules.window import Period

EMPTY = Balance(Nanos(0), Nanos(0))
_ROUTED = (ScopeKind.MODEL, ScopeKind.PROVIDER)  # a downgrade may lead there


class CaseError(Exception):
    """A case that cannot be run. `place` is below the case."""

    def __init__(self, place: Place, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.place, self.message, self.remedy = place, message, remedy


@dataclass(frozen=True, slots=True)
class Given:
    """What is not given is nothing: no money spent, no bucket used, no breaker tripped, the usual not known."""

    balances: Mapping[CounterKey, Balance] = field(default_factory=dict)
    buckets: Mapping[tuple[str, Measure], int] = field(default_factory=dict)  # by the owner of the rate
    breakers: Mapping[str, Breaker] = field(default_factory=dict)  # by rule, whatever the scope
    times_usual: Decimal | None = None
    repetitions: int = 1

    def balance(self, counter: CounterKey) -> Balance:
        return self.balances.get(counter, EMPTY)

    def used(self, bucket: BucketKey) -> int:
        return self.buckets.get((bucket.owner, bucket.measure), 0)

    def breaker(self, rule_id: str, scope: Scope, causes: tuple[Cause, ...]) -> Breaker | None:
        return self.breakers.get(rule_id)

    def velocity(self, scope: Scope, minutes: int) -> Decimal | None:
        return self.times_usual

    def repeats(self, scope: Scope, minutes: int) -> int:
        return self.repetitions


def given(case: CaseSpec, call: Call, policy: Policy, key_budgets: Sequence[Budget]) -> Given:
    """Raises CaseError for a name that the policy, or this call, does not have."""
    balances: dict[CounterKey, Balance] = {}
    for name, each in case.balances.items():
        counter = _counter(name, call, policy, key_budgets)
        if counter in balances:
            raise CaseError(("balances", name), "is the same money as another one here", "keep one of them")
        balances[counter] = Balance(nanos(each.spent_usd), nanos(each.held_usd))
    for name, count in case.in_flight.items():
        balances[in_flight(_scope(("in_flight", name), name, call))] = Balance(Nanos(0), Nanos(count))
    return Given(
        balances,
        dict(_buckets(case, policy)),
        {rule_id: _breaker(rule_id, state, call, policy) for rule_id, state in case.breakers.items()},
        case.velocity,
        case.repeats,
    )


def _counter(name: str, call: Call, policy: Policy, key_budgets: Sequence[Budget]) -> CounterKey:
    """Of a budget or a rule by its id, or of SCOPE:PERIOD."""
    place = ("balances", name)
    budgets = {each.id: each for each in (*policy.budgets, *policy.default_team.budgets, *key_budgets)}
    rules = {each.rule_id: each for each in policy.rules}
    if name in budgets:
        budget = budgets[name]
        scope = budget.scope if budget.scope.name != EACH else _of_kind(place, budget.scope.kind, call)
        return counter_at(_checked(place, scope, call), budget.period, budget.timezone, call.at)
    if name in rules:
        counter = own_counter(rules[name], call, timezone=policy.timezone)
        if counter is None:
            raise CaseError(place, "this rule has no balance of its own", "name the budget that it looks at")
        return counter
    scope_name, _, period = name.rpartition(":")
    if period not in list(Period):
        near = nearest(name, (*budgets, *rules))
        remedy = f'did you mean "{near}"?' if near else "write such as team:search:daily"
        raise CaseError(place, "is no budget, no rule and no SCOPE:PERIOD", remedy)
    return counter_at(_scope(place, scope_name, call), Period(period), policy.timezone, call.at)


def _scope(place: Place, text: str, call: Call) -> Scope:
    try:
        scope = parse_scope(text)
    except ValueError as error:
        message, _, remedy = str(error).partition(": ")
        raise CaseError(place, message, remedy) from None
    return _checked(place, scope, call)


def _checked(place: Place, scope: Scope, call: Call) -> Scope:
    if scope not in call.scopes() and scope.kind not in _ROUTED:
        raise CaseError(
            place, f"{scope} says nothing of this call", f"it counts on {', '.join(map(str, call.scopes()))}"
        )
    return scope


def _of_kind(place: Place, kind: ScopeKind, call: Call) -> Scope:
    found = next((scope for scope in call.scopes() if scope.kind is kind), None)
    if found is None:
        raise CaseError(place, f"this call has no {kind.value}", "give it one")
    return found


def _buckets(case: CaseSpec, policy: Policy) -> Iterator[tuple[tuple[str, Measure], int]]:
    owners = list(_rated(policy))
    for name, each in case.used.items():
        if name not in owners:
            near = nearest(name, owners)
            known = f"it has {', '.join(owners)}" if owners else "it has none"
            raise CaseError(
                ("used", name), "the policy has no such rate", f'did you mean "{near}"?' if near else known
            )
        amounts = (
            (Measure.REQUESTS, each.requests),
            (Measure.TOKENS, each.tokens),
            (Measure.SPEND, None if each.usd is None else nanos(each.usd)),
        )
        yield from (((name, measure), amount) for measure, amount in amounts if amount is not None)


def _rated(policy: Policy) -> Iterator[str]:
    yield from (rule.rule_id for rule in policy.rules if rule.threshold_type.is_rate)
    yield from (f"{scope}:rate" for scope, each in policy.allowances.items() if each.rate is not None)
    yield from (f"{scope}:rate" for _, scope, each in policy.model_allowances if each.rate is not None)
    if policy.default_team.allowance.rate is not None:
        yield "default_team:rate"


def _breaker(rule_id: str, state: State, call: Call, policy: Policy) -> Breaker:
    rule = _rule(rule_id, policy.rules)
    cooldown = timedelta(minutes=float(rule.cooldown_minutes))
    until = call.at + cooldown if state in (State.OPEN, State.LIMITED) else None
    return Breaker(call.at, state, 1, until=until, terms=Terms(cooldown, rule.trial_calls))


def _rule(rule_id: str, rules: Iterable[Rule]) -> Rule:
    known = {rule.rule_id: rule for rule in rules}
    if rule_id not in known:
        near = nearest(rule_id, known)
        raise CaseError(
            ("breakers", rule_id), "the policy has no such rule", f'did you mean "{near}"?' if near else ""
        )
    return known[rule_id]
