"""A replay against the real holds and breakers: whatever the calls and the policy, both refuse the same ones."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from pricing.money import Nanos
from proxy.holds import OverBudget, Paced
from proxy.holds.local import LocalHolds
from rules.call import Call, CallId, Operation
from rules.counter import Balance, CounterKey, claims_of
from rules.decide import decide
from rules.figures import Balances
from rules.matter import amount_of
from rules.past import NoPrices, PastCall, instant
from rules.policy import Policy
from rules.rate import Pour
from rules.simulate import Simulation
from tests.properties.test_holds_machine import run
from tests.support.records import NOON
from tests.unit.rules.build import policy
from tests.unit.rules.test_simulate import past

POLICIES = (
    "teams: {a: {budgets: [{period: hourly, limit_usd: 3}, {period: daily, limit_usd: 5, hold: strict}]}}",
    "default_team: {budgets: [{period: daily, limit_usd: 4}], rate: {requests_per_minute: 2, burst: 3}}",
    "default_team: {rate: {tokens_per_minute: 600}}\nbudgets: [{id: all, scope: global, period: daily, limit_usd: 6}]",
    "rules: [{rule_id: dear, threshold_type: operation_cost, threshold_value: 1}, "
    "{rule_id: day, threshold_type: absolute_daily, threshold_value: 3, cooldown_minutes: 0}]",
    "timezone: Asia/Kolkata\nbudgets: [{scope: 'team:*', period: hourly, limit_usd: 2, hold: strict}]\n"
    "rules: [{rule_id: fast, threshold_type: rate_based, threshold_value: 6, cooldown_minutes: 0}]",
)


@st.composite
def calls(draw: st.DrawFn) -> list[PastCall]:
    at, made = NOON, []
    for _ in range(draw(st.integers(1, 25))):
        at += timedelta(seconds=draw(st.sampled_from((0, 1, 20, 600, 4_000))))
        cents = draw(st.integers(1, 200))
        charge = draw(st.none() | st.integers(0, 250))
        made.append(
            past(
                at, cents, ceiling=cents + draw(st.integers(0, 100)), team=draw(st.sampled_from("ab"))
            )._replace(
                charge=None if charge is None else charge * 10_000_000, tokens=draw(st.integers(1, 400))
            )
        )
    return made


class Live:
    """The parts of a server, each call settled before the next one comes."""

    def __init__(self, rules: Policy) -> None:
        self._rules = rules
        self._holds = LocalHolds(queue_max=1)

    def refuses(self, past: PastCall, n: int) -> bool:
        at = instant(past.at)
        call = Call(CallId(f"c{n}"), at, Operation.LLM, "openai", past.model, past.team, past.key_id)
        for limit in self._rules.limits(call):
            self._holds.seed(limit.counter, Nanos(0))
        figures = Balances(self._balance)
        estimate = past.estimate()
        decision = decide(self._rules, call, estimate, figures=figures, now=at)
        if decision.refusal is not None:
            return True
        pours = [Pour(rate, amount_of(rate.bucket.measure, estimate)) for rate in decision.rates]
        try:
            hold = run(
                self._holds.place(call.id, claims_of(decision.limits, estimate), at, pours=pours, now=at)
            )
        except (OverBudget, Paced):
            return True
        if past.charge is None:
            self._holds.release(hold)
        else:
            self._holds.settle(hold, Nanos(past.charge), tokens=past.tokens)
        return False

    def _balance(self, counter: CounterKey) -> Balance:
        return self._holds.balance(counter)


@given(st.sampled_from(POLICIES), calls())
def test_a_replay_refuses_what_the_real_holds_refuse(text: str, made: list[PastCall]) -> None:
    """Without waits and without a breaker's memory, each call by itself."""
    live, replayed = Live(policy(text)), Simulation(policy(text), key_budgets={}, costs=NoPrices())
    for n, call in enumerate(made):
        for counter in replayed.missing(call)[0]:
            replayed.seed(counter, 0)

        assert replayed.run(call).blocked == live.refuses(call, n), n


@given(st.sampled_from(POLICIES), calls())
def test_what_a_replay_tells_of_owners_and_of_all_adds_up(text: str, made: list[PastCall]) -> None:
    replayed = Simulation(policy(text), key_budgets={}, costs=NoPrices())
    for call in made:
        for counter in replayed.missing(call)[0]:
            replayed.seed(counter, 0)
        replayed.run(call)

    totals, tallies = replayed.tallies.totals, replayed.tallies.of.values()
    assert sum(each.blocked for each in tallies) == totals.blocked == totals.newly_blocked
    assert sum(each.blocked_nanos for each in tallies) == totals.blocked_nanos
    assert (totals.calls, totals.nanos) == (len(made), sum(call.paid for call in made))
    assert all(sum(each.hours.values()) == each.hits for each in tallies)
