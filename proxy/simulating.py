"""The ledger's calls through one policy, or two side by side: what is read, and what each is told of the time before."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from proxy.auth import key_of
from proxy.ledger import Ledger, calls, history, keys, past
from proxy.ledger.past import Told
from proxy.past_costs import PastCosts
from rules.budget import Budget
from rules.counter import CounterKey
from rules.past import PastCall
from rules.past_speed import QUARTERS_BEFORE, PastSpeed
from rules.policy import Policy
from rules.scope import Scope
from rules.simulate import Outcome, Setting, Simulation
from rules.tally import Changed
from rules.window import QUARTER_SECONDS


@dataclass(frozen=True, slots=True)
class Span:
    """Roll-ups tell quarter hours, so a replay begins with one."""

    since: datetime
    until: datetime

    @property
    def first_quarter(self) -> int:
        return int(self.since.timestamp()) // QUARTER_SECONDS


def whole_quarters(since: datetime) -> datetime:
    """The start of the quarter hour that holds it."""
    return datetime.fromtimestamp(
        int(since.timestamp()) // QUARTER_SECONDS * QUARTER_SECONDS, tz=since.tzinfo
    )


@dataclass(frozen=True, slots=True)
class Replayed:
    """`changed` is what the first policy does to calls that the second one treats otherwise."""

    simulations: Sequence[Simulation]
    told: Told
    changed: Changed = field(default_factory=Changed)


async def replay(
    ledger: Ledger,
    span: Span,
    policies: Sequence[Policy],
    *,
    costs: PastCosts,
    setting: Setting,
    read: Callable[[int], None],
) -> Replayed:
    """`read` hears of every chunk how many calls it had."""
    simulations = [
        Simulation(policy, key_budgets=await _key_budgets(ledger, policy), costs=costs, setting=setting)
        for policy in policies
    ]
    done = Replayed(simulations, Told())
    async for rows, chunk in past.replayed(ledger, span.since, span.until, done.told):
        for call in chunk:
            call = _as_asked(call, costs) if call.cheaper else call
            outcomes = []
            for simulation in simulations:
                counters, speeds = simulation.missing(call)
                if counters or speeds:
                    await _seed(ledger, span, simulation, counters, speeds)
                outcomes.append(simulation.run(call))
            if len(outcomes) == 2:
                _compare(done.changed, call, *outcomes)
        read(rows)
    return done


def _as_asked(call: PastCall, costs: PastCosts) -> PastCall:
    """A call that went to a cheaper model, with the figures of the one that was asked for; where no price tells them, as it
    went."""
    asked, went = costs.cost(call, call.model, None), costs.cost(call, call.cheaper, None)
    if not went or asked is None:
        return call._replace(model=call.cheaper)
    expected, ceiling = (-(-amount * asked // went) for amount in (call.expected, call.ceiling))
    charge = None if call.charge is None else -(-call.charge * asked // went)
    return call._replace(expected=expected, ceiling=ceiling, charge=charge)


def _compare(changed: Changed, call: PastCall, new: Outcome, old: Outcome) -> None:
    if new.blocked == old.blocked:
        changed.otherwise += new != old and not new.blocked
        changed.cost_nanos += new.cost - old.cost
    elif new.blocked:
        changed.blocked += 1
        changed.blocked_nanos += call.stake
    else:
        changed.allowed += 1
        changed.allowed_nanos += call.stake


async def _key_budgets(ledger: Ledger, policy: Policy) -> Mapping[str, tuple[Budget, ...]]:
    async with ledger.connect() as connection:
        rows = await keys.every(connection)
    issued = {row.key_id: key_of(row, timezone=policy.timezone).budgets for row in rows}
    return {key_id: budgets for key_id, budgets in issued.items() if budgets}


async def _seed(
    ledger: Ledger,
    span: Span,
    simulation: Simulation,
    counters: Sequence[CounterKey],
    speeds: Sequence[Scope],
) -> None:
    """With what the roll-ups tell of the time before the replay."""
    async with ledger.connect() as connection:
        for counter in counters:
            first = counter.start // QUARTER_SECONDS
            before = first < span.first_quarter
            spent = await calls.spent(connection, counter.scope, first, span.first_quarter) if before else 0
            simulation.seed(counter, spent)
        for scope in speeds:
            first = span.first_quarter
            quarters = await history.spent_by(connection, scope, first - QUARTERS_BEFORE, first, quarters=1)
            simulation.seed_speed(scope, PastSpeed(quarters, start_minute=first * 15))
