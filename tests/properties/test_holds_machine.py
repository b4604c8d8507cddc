"""Holds against a model in plain arithmetic: whatever the order of placing, settling and releasing, no limit is passed
at the moment of placing, a call holds on all its counters or on none, and no nano-dollar appears or vanishes."""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from pricing.money import Nanos
from proxy.holds import Crowded, OverBudget
from proxy.holds.local import LocalHolds
from rules.counter import Claim, CounterKey, Hold, Limit, counter_at
from rules.scope import EVERYONE, Scope, ScopeKind
from rules.window import Period
from tests.support.records import NOON

COUNTERS = (
    counter_at(EVERYONE, Period.MONTHLY, "UTC", NOON),
    counter_at(Scope(ScopeKind.TEAM, "search"), Period.DAILY, "Europe/Berlin", NOON),
    counter_at(Scope(ScopeKind.KEY, "k1"), Period.TOTAL, "UTC", NOON),
)
T = TypeVar("T")
amounts = st.integers(0, 60)
asked = st.dictionaries(st.sampled_from(COUNTERS), amounts, min_size=1)


def run(step: Coroutine[Any, Any, T]) -> T:
    """Every step of holds is done when it first gives way, so that nothing can come between."""
    try:
        step.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    raise AssertionError("placing a hold waited for something")


@dataclass
class Ledger:
    """One counter, the slow and obvious way: lists of what was promised and what was charged."""

    limits: list[int | None]
    charged: list[int]
    promised: dict[str, int] = field(default_factory=dict)

    @property
    def spent(self) -> int:
        return sum(self.charged)

    @property
    def held(self) -> int:
        return sum(self.promised.values())

    def verdict(self, amount: int) -> type[Exception] | None:
        caps = [limit for limit in self.limits if limit is not None]
        if any(cap == 0 or self.spent + amount > cap for cap in caps):
            return OverBudget
        return Crowded if any(self.spent + self.held + amount > cap for cap in caps) else None


class HoldsMachine(RuleBasedStateMachine):
    open_holds: Bundle[Hold] = Bundle("open_holds")
    ended: Bundle[Hold] = Bundle("ended")

    @initialize(
        caps=st.lists(
            st.lists(st.none() | st.integers(0, 150), max_size=2),
            min_size=len(COUNTERS),
            max_size=len(COUNTERS),
        ),
        before=st.lists(st.integers(0, 40), min_size=len(COUNTERS), max_size=len(COUNTERS)),
    )
    def start(self, caps: list[list[int | None]], before: list[int]) -> None:
        self.holds = LocalHolds(queue_max=10)
        self.model = {
            key: Ledger(limits, [spent]) for key, limits, spent in zip(COUNTERS, caps, before, strict=True)
        }
        for key, spent in zip(COUNTERS, before, strict=True):
            self.holds.seed(key, Nanos(spent))
        self.calls = 0

    def claims(self, wanted: dict[CounterKey, int]) -> list[Claim]:
        return [
            Claim(
                key,
                Nanos(amount),
                tuple(
                    Limit(key, None if cap is None else Nanos(cap), f"limit-{n}")
                    for n, cap in enumerate(self.model[key].limits)
                ),
            )
            for key, amount in wanted.items()
        ]

    @rule(target=open_holds, wanted=asked)
    def place(self, wanted: dict[CounterKey, int]) -> Any:
        self.calls += 1
        call_id = f"c{self.calls}"
        verdicts = [self.model[key].verdict(amount) for key, amount in wanted.items()]
        expected = next((each for each in (OverBudget, Crowded) if each in verdicts), None)
        if expected is not None:
            with pytest.raises(expected):
                run(self.holds.place(call_id, self.claims(wanted), NOON))
            return multiple()
        hold = run(self.holds.place(call_id, self.claims(wanted), NOON))
        for key, amount in wanted.items():
            book = self.model[key]
            book.promised[call_id] = amount
            assert all(cap is None or book.spent + book.held <= cap for cap in book.limits)
        return hold

    @rule(hold=open_holds, wanted=asked)
    def place_again(self, hold: Hold, wanted: dict[CounterKey, int]) -> None:
        """The same call asks twice: it has what it has."""
        assert run(self.holds.place(hold.call_id, self.claims(wanted), NOON)) == hold

    @rule(target=ended, hold=consumes(open_holds), cost=st.integers(0, 200))
    def settle(self, hold: Hold, cost: int) -> Hold:
        moved = self.holds.settle(hold, Nanos(cost))
        expected = []
        for key, _ in hold.amounts:
            book = self.model[key]
            del book.promised[hold.call_id]
            expected.append((key, book.spent, book.spent + cost))
            book.charged.append(cost)
        assert [(each.counter, each.before, each.after) for each in moved] == expected
        return hold

    @rule(target=ended, hold=consumes(open_holds))
    def release(self, hold: Hold) -> Hold:
        self.holds.release(hold)
        for key, _ in hold.amounts:
            del self.model[key].promised[hold.call_id]
        return hold

    @rule(hold=ended, cost=st.integers(0, 200))
    def end_again(self, hold: Hold, cost: int) -> None:
        assert self.holds.settle(hold, Nanos(cost)) == ()
        self.holds.release(hold)

    @rule(key=st.sampled_from(COUNTERS), spent=amounts)
    def seed_again(self, key: CounterKey, spent: int) -> None:
        self.holds.seed(key, Nanos(spent))

    @invariant()
    def every_counter_holds_what_the_model_says(self) -> None:
        for key, book in self.model.items():
            balance = self.holds.balance(key)
            assert (balance.spent, balance.held) == (book.spent, book.held)

    @invariant()
    def as_many_are_open_as_the_model_says(self) -> None:
        open_calls = {call_id for book in self.model.values() for call_id in book.promised}
        assert self.holds.open_count == len(open_calls)


HoldsMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestHolds = HoldsMachine.TestCase


class LineMachine(RuleBasedStateMachine):
    """One tight counter and a line before it: who came first is admitted first, and nobody passes."""

    LIMIT = 30

    loop: asyncio.AbstractEventLoop | None = None

    @initialize()
    def start(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.holds = LocalHolds(queue_max=100)
        self.holds.seed(COUNTERS[0], Nanos(0))
        self.admitted: list[int] = []
        self.waiting: list[int] = []
        self.tasks: dict[int, asyncio.Task[None]] = {}
        self.running: dict[int, Hold] = {}
        self.calls = 0

    def teardown(self) -> None:
        if self.loop is None:
            return
        for task in self.tasks.values():
            task.cancel()
        self.settle_down()
        self.loop.close()

    def settle_down(self) -> None:
        """Let every task run until none has anything to do."""

        async def turns() -> None:
            for _ in range(10 * (len(self.waiting) + 1)):
                await asyncio.sleep(0)

        assert self.loop is not None
        self.loop.run_until_complete(turns())

    def claim(self, amount: int) -> Claim:
        limit = Limit(COUNTERS[0], Nanos(self.LIMIT), "tight")
        return Claim(COUNTERS[0], Nanos(amount), (limit,))

    async def call(self, name: int, amount: int) -> None:
        claims = [self.claim(amount)]
        try:
            self.running[name] = await self.holds.place(str(name), claims, NOON)
            return
        except Crowded:
            self.waiting.append(name)
        async with self.holds.line(COUNTERS[0], 3600) as line:
            while True:
                await line.turn()
                try:
                    hold = await self.holds.place(str(name), claims, NOON, line=line)
                except Crowded:
                    continue
                self.admitted.append(name)
                assert self.waiting.pop(0) == name, "somebody passed the line"
                self.running[name] = hold
                return

    @rule(amount=st.integers(1, 30))
    def arrive(self, amount: int) -> None:
        self.calls += 1
        had_to_wait = bool(self.waiting)
        assert self.loop is not None
        self.tasks[self.calls] = self.loop.create_task(self.call(self.calls, amount))
        self.settle_down()
        assert not (had_to_wait and self.calls in self.running and self.calls not in self.admitted)

    @rule(data=st.data())
    def leave_the_line(self, data: st.DataObject) -> None:
        if self.waiting:
            name = data.draw(st.sampled_from(self.waiting))
            self.waiting.remove(name)
            self.tasks[name].cancel()
            self.settle_down()

    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        if self.running:
            name = data.draw(st.sampled_from(sorted(self.running)))
            self.holds.release(self.running.pop(name))
            self.settle_down()

    @invariant()
    def what_is_held_is_within_the_limit(self) -> None:
        held = sum(amount for hold in self.running.values() for _, amount in hold.amounts)
        assert self.holds.balance(COUNTERS[0]).held == held <= self.LIMIT

    @invariant()
    def nobody_waits_beside_an_empty_counter(self) -> None:
        assert not (self.waiting and not self.running)


LineMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestLine = LineMachine.TestCase
