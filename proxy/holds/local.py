"""Holds of one process: counters in memory, seeded from the ledger, waiters in line per counter."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime

from pricing.money import Nanos
from proxy import clock
from proxy.holds import Busy, Crowded, Line, Moved, OverBudget
from rules.counter import Balance, Claim, CounterKey, Hold, Limit
from rules.scope import Scope

RETRY_SECONDS = 0.25
COUNTERS_MAX = 50_000  # beyond that, counters of windows long past are dropped

SpentBefore = Callable[[CounterKey], Awaitable[Nanos]]


class _Counter:
    __slots__ = ("held", "spent", "waiters")

    def __init__(self, spent: Nanos) -> None:
        self.spent: int = spent
        self.held: int = 0
        self.waiters: deque[_Waiter] = deque()


class LocalHolds:
    """One event loop owns it: each method is a step that nothing can come between."""

    def __init__(self, *, queue_max: int) -> None:
        self._counters: dict[CounterKey, _Counter] = {}
        self._open: dict[str, Hold] = {}
        self._queue_max = queue_max
        self.past = asyncio.Lock()
        """Held while a counter is seeded from the ledger, or while a charge that the ledger has is corrected there and
        here: a counter must not begin with one half of a correction."""

    def unknown(self, counters: Iterable[CounterKey]) -> list[CounterKey]:
        """Counters that must be seeded before a call may be placed on them."""
        return [counter for counter in counters if counter not in self._counters]

    def seed(self, counter: CounterKey, spent: Nanos) -> None:
        """What was spent on a counter before it was first used here. A known counter keeps its own figure."""
        if counter not in self._counters:
            self._forget_past(counter)
            self._counters[counter] = _Counter(spent)

    async def place(
        self, call_id: str, claims: Sequence[Claim], at: datetime, *, line: Line | None = None
    ) -> Hold:
        known = self._open.get(call_id)
        if known is not None:
            return known
        for claim in claims:
            self._admit(claim, self._of(claim.counter), in_line=line is not None)
        hold = Hold(call_id, at, tuple((claim.counter, claim.amount) for claim in claims))
        for counter, amount in hold.amounts:
            self._of(counter).held += amount
        self._open[call_id] = hold
        return hold

    def _admit(self, claim: Claim, counter: _Counter, *, in_line: bool) -> None:
        """Over budget is final and told first; crowded is worth a wait. Nothing is changed here."""
        crowded: Limit | None = None
        for limit in claim.limits:
            if limit.nanos is None:
                continue
            if limit.nanos == 0 or counter.spent + claim.amount > limit.nanos:
                raise OverBudget(limit, self._balance(counter), claim.amount)
            if counter.spent + counter.held + claim.amount > limit.nanos or (counter.waiters and not in_line):
                crowded = limit
        if crowded is not None:
            raise Crowded(crowded, self._balance(counter), claim.amount)

    def settle(self, hold: Hold, spent: Nanos) -> tuple[Moved, ...]:
        if self._open.pop(hold.call_id, None) is None:
            return ()
        moved = []
        for key, amount in hold.amounts:
            counter = self._of(key)
            before = counter.spent
            counter.held -= amount
            counter.spent += spent
            moved.append(Moved(key, Nanos(before), Nanos(counter.spent)))
            _wake(counter)
        return tuple(moved)

    def release(self, hold: Hold) -> None:
        if self._open.pop(hold.call_id, None) is None:
            return
        for key, amount in hold.amounts:
            counter = self._of(key)
            counter.held -= amount
            _wake(counter)

    def correct(self, scopes: Collection[Scope], at: datetime, change: Nanos) -> tuple[Moved, ...]:
        """A charge of a call of that instant was corrected: every counter that holds it moves. One that is not known
        here is seeded later, with the correction in it."""
        moved = []
        for key, counter in self._counters.items():
            window = key.window if key.scope in scopes else None
            if window is None or at < window.start or (window.end is not None and at >= window.end):
                continue
            before = counter.spent
            counter.spent += change
            moved.append(Moved(key, Nanos(before), Nanos(counter.spent)))
            _wake(counter)
        return tuple(moved)

    def balance(self, counter: CounterKey) -> Balance:
        known = self._counters.get(counter)
        return Balance(Nanos(0), Nanos(0)) if known is None else self._balance(known)

    @property
    def open_count(self) -> int:
        return len(self._open)

    @asynccontextmanager
    async def line(self, counter: CounterKey, wait_seconds: float) -> AsyncIterator[Line]:
        waiters = self._of(counter).waiters
        if len(waiters) >= self._queue_max:
            raise Busy
        waiter = _Waiter(waiters, clock.monotonic() + wait_seconds)
        waiters.append(waiter)
        try:
            yield waiter
        finally:
            waiters.remove(waiter)
            _wake(self._of(counter))

    def _of(self, key: CounterKey) -> _Counter:
        counter = self._counters.get(key)
        assert counter is not None, f"counter {key} was used before it was seeded"
        return counter

    @staticmethod
    def _balance(counter: _Counter) -> Balance:
        return Balance(Nanos(counter.spent), Nanos(counter.held))

    def _forget_past(self, newcomer: CounterKey) -> None:
        """Windows that ended before the newcomer's began, with nothing held, can be seeded again at need."""
        if len(self._counters) < COUNTERS_MAX:
            return
        for key, counter in list(self._counters.items()):
            end = key.window.end
            if (
                end is not None
                and end.timestamp() <= newcomer.start
                and not counter.held
                and not counter.waiters
            ):
                del self._counters[key]


def _wake(counter: _Counter) -> None:
    if counter.waiters:
        counter.waiters[0].moved.set()


class _Waiter:
    """One call in line. Only the first tries; it is woken when money moves, and looks by itself now and then."""

    __slots__ = ("_until", "_waiters", "moved")

    def __init__(self, waiters: "deque[_Waiter]", until: float) -> None:
        self._waiters = waiters
        self._until = until
        self.moved = asyncio.Event()

    async def turn(self) -> None:
        while True:
            left = self._until - clock.monotonic()
            if left <= 0:
                raise Busy
            with suppress(TimeoutError):
                await asyncio.wait_for(self.moved.wait(), min(left, RETRY_SECONDS))
            self.moved.clear()
            if self._waiters[0] is self and clock.monotonic() < self._until:
                return
