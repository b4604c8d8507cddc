"""Counters over reloads: whatever policies come and go while calls are in flight, a counter that is used holds every
nano-dollar of its scope and window, each once."""

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from pricing.estimate import Estimate
from pricing.money import Nanos
from proxy import clock, dialects
from proxy.auth import Key, Keyring, Kind, mint
from proxy.dialects import Surface
from proxy.holds.local import LocalHolds
from proxy.holds.seed import Seeds
from proxy.journal import Journal
from proxy.ledger import Ledger, outbox, sqlite_url
from proxy.ledger.ship import Shipper
from proxy.opencall import OpenCall
from proxy.policy_swap import PolicySwap
from proxy.reload import InForce
from proxy.routing import Route
from rules.budget import BudgetSpec
from rules.call import CallId
from rules.counter import CounterKey, Hold, claims_of, counter_at
from rules.policy import Policy
from rules.scope import EVERYONE, Scope, ScopeKind
from rules.window import Period
from tests.support.records import row, settled
from tests.unit.rules.build import call, policy

TEAM = Scope(ScopeKind.TEAM, "search")
ALL_DAILY = "budgets: [{id: all, period: total, limit_usd: 1000}]"
TEAM_TOTAL = "budgets: [{id: team, team: search, period: total, limit_usd: 1000, hold: strict}]"
BOTH = ALL_DAILY[:-1] + ", " + TEAM_TOTAL.removeprefix("budgets: [")
EXPECTED, CEILING, COST = Nanos(100), Nanos(700), 130
ESTIMATE = Estimate(EXPECTED, CEILING, 0.9, "test", 1, 1, 1, 1)
NOBODY: list[str] = []


@dataclass
class Server:
    """Holds, ledger, shipper and policy of a server; its calls go step by step."""

    folder: Path
    ledger: Ledger
    charged: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.policy = InForce(Policy())
        self.holds = LocalHolds(queue_max=100)
        self.journal = Journal(self.folder / "journal", full=False)
        self.shipper = Shipper(self.ledger, self.journal)
        self.keyring = Keyring((), timezone="UTC")
        self.seeds = Seeds(self.holds, self.ledger, self.shipper, self.policy)
        self.swapping = PolicySwap(self.policy, self.holds, self.keyring, self.seeds, self.ledger)

    def reload(self, text: str) -> None:
        self.swapping.swap(policy(text), clock.now())

    def arrive(self, call_id: str) -> OpenCall:
        facts = replace(call(at=clock.now()), id=CallId(call_id))
        opened = OpenCall(
            row=row(call_id, at=facts.at),
            started=0.0,
            route=Route("openai", "/v1/chat/completions", "", chosen=False),
            key=Key("k1", "search", Kind.LIVE, "", "", (), facts.at),
            policy=self.policy.now,
            dialect=dialects.find("openai"),
            surface=Surface("metered"),
            call=facts,
            estimate=ESTIMATE,
        )
        opened.limits = opened.policy.limits(facts, ())
        return opened

    async def place(self, opened: OpenCall) -> Hold:
        seeding = self.seeds.of(opened)
        if seeding is not None:
            await seeding
        claims = claims_of(opened.limits, opened.estimate)
        return await self.holds.place(
            opened.row.call_id,
            (*claims, *self.seeds.beside(opened, claims)),
            opened.row.at,
            call=opened.call,
            estimate=opened.estimate,
        )

    def finish(self, opened: OpenCall, hold: Hold, cost: int = COST) -> None:
        record = settled(opened.row.call_id, cost, at=opened.row.at)
        self.holds.settle(hold, Nanos(cost))
        self.shipper.submit(record, self.journal.append(record))
        self.charged[opened.row.call_id] = cost

    async def call(self, call_id: str, cost: int = COST) -> None:
        opened = self.arrive(call_id)
        self.finish(opened, await self.place(opened), cost)

    def spent(self, counter: CounterKey) -> int:
        return self.holds.balance(counter).spent


def counter(scope: Scope = EVERYONE) -> CounterKey:
    return counter_at(scope, Period.TOTAL, "UTC", clock.now())


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    ledger = await Ledger.open(sqlite_url(None))
    made = Server(tmp_path, ledger)
    yield made
    if made.shipper._task is not None:
        await made.shipper.close()
    made.journal.close()
    await ledger.close()


async def test_a_counter_that_a_reload_brings_begins_with_what_was_spent_before(server: Server) -> None:
    """In the ledger, or on the way there."""
    server.shipper.start()
    await server.call("shipped")
    await server.shipper.flush()
    await server.call("on its way")

    server.reload(ALL_DAILY)
    await server.call("first")

    assert server.spent(counter()) == 3 * COST


async def test_a_counter_that_a_reload_brings_holds_for_the_calls_in_flight(server: Server) -> None:
    """What they can cost at most where a hard budget counts there, else what they likely cost."""
    server.shipper.start()
    opened = server.arrive("in flight")
    hold = await server.place(opened)

    server.reload(BOTH)
    await server.call("first")
    assert server.holds.balance(counter()).held == EXPECTED
    assert server.holds.balance(counter(TEAM)).held == CEILING

    server.finish(opened, hold)
    for each in (counter(), counter(TEAM)):
        assert (server.spent(each), server.holds.balance(each).held) == (2 * COST, 0)


async def test_a_call_that_waited_over_a_reload_counts_on_the_new_counters(server: Server) -> None:
    """It is judged by the policy that it came under, and no limit of the new one stops it."""
    server.shipper.start()
    late = server.arrive("late")
    server.reload("budgets: [{id: all, period: total, limit_usd: '0.0000002'}]")
    await server.call("first")

    server.finish(late, await server.place(late))

    assert server.spent(counter()) == 2 * COST


async def test_a_counter_that_was_away_for_a_reload_has_no_gap(server: Server) -> None:
    server.shipper.start()
    server.reload(BOTH)
    await server.call("before")
    server.reload(ALL_DAILY)
    await server.call("meanwhile")

    server.reload(BOTH)
    await server.call("after")

    assert server.spent(counter(TEAM)) == 3 * COST


async def test_a_counter_that_stays_over_a_reload_needs_no_ledger(server: Server) -> None:
    server.shipper.start()
    server.reload(ALL_DAILY)
    await server.call("before")

    server.reload(BOTH)

    assert server.holds.unknown([counter(), counter(TEAM)]) == [counter(TEAM)]


async def test_named_budgets_are_seeded_at_the_reload_and_what_they_have_passed_is_told(
    server: Server,
) -> None:
    """A limit that was lowered below what is spent would never be crossed again."""
    server.shipper.start()
    server.reload(ALL_DAILY)
    await server.call("before", 800)

    server.reload("budgets: [{id: all, period: total, limit_usd: '0.000001', thresholds: [50, 90]}]")
    await server.swapping.follow_up()

    async with server.ledger.connect() as connection:
        raised = await outbox.due(connection, clock.now(), limit=9)
    assert [each.alert.facts["threshold_percentage"] for each in raised] == ["50"]
    server.reload(TEAM_TOTAL)
    await server.swapping.follow_up()
    assert server.spent(counter(TEAM)) == 800


async def test_a_reload_that_drops_a_hard_budget_raises_one_alert(server: Server) -> None:
    server.reload(TEAM_TOTAL)

    swapped = server.swapping.swap(policy(ALL_DAILY), clock.now())

    (alert,) = swapped.alerts
    assert (alert.kind, alert.level, alert.scope) == ("hard_budget_dropped", "warning", TEAM)
    assert "team: $1000.00 total, now no hard limit" in alert.message


async def test_windows_of_key_budgets_follow_the_time_zone_of_a_reload(server: Server) -> None:
    spec = BudgetSpec.model_validate({"period": "daily", "limit_usd": 1})
    _, key_row = mint(Kind.LIVE, now=clock.now(), team="search", budgets=(spec,))
    server.keyring.put(key_row)

    server.reload("timezone: Asia/Tokyo")

    (key,) = server.keyring._keys.values()
    assert [budget.timezone for budget in key.budgets] == ["Asia/Tokyo"]


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_a_thousand_reloads_under_load_lose_no_call_and_no_money(server: Server, seed: int) -> None:
    """After every placing under the policy in force, its counters hold all that was charged and all that is open."""
    chance = random.Random(seed)
    server.shipper.start()
    texts = ["", ALL_DAILY, TEAM_TOTAL, BOTH]
    open_now: dict[str, OpenCall] = {}
    ended = 0

    async def pause() -> None:
        for _ in range(chance.randrange(4)):
            await asyncio.sleep(0)

    def check(opened: OpenCall) -> None:
        if opened.policy is not server.policy.now:
            return
        for limit in opened.limits:
            balance = server.holds.balance(limit.counter)
            assert balance.spent == sum(server.charged.values())
            holding = server.holds._open
            assert balance.held == sum(dict(holding[name].amounts())[limit.counter] for name in open_now), (
                f"not every open call holds on {limit.counter}"
            )

    async def caller(n: int) -> None:
        nonlocal ended
        for turn in range(40):
            opened = server.arrive(f"c{n}-{turn}")
            await pause()
            hold = await server.place(opened)
            open_now[opened.row.call_id] = opened
            check(opened)
            await pause()
            del open_now[opened.row.call_id]
            server.finish(opened, hold, chance.randrange(1, 900))
            ended += 1

    async def reloader() -> None:
        for n in range(1_000):
            server.reload(texts[n % 4] if n % 7 else chance.choice(texts))
            if n % 50 == 0:
                await server.swapping.follow_up()
            await asyncio.sleep(0)

    await asyncio.gather(reloader(), *(caller(n) for n in range(12)))
    server.reload(f"{BOTH}\ntimezone: UTC # the last")
    await server.call("last")

    assert ended == 12 * 40
    assert server.holds.open_count == 0
    for each in (counter(), counter(TEAM)):
        assert (server.spent(each), server.holds.balance(each).held) == (sum(server.charged.values()), 0)
