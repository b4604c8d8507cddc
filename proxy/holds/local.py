"""Holds of one process: counters in memory, seeded from the ledger, waiters in line per counter."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import chain

from pricing.estimate import FREE, Estimate
from pricing.money import Nanos
from proxy import clock
from proxy.holds import Busy, Crowded, Line, Moved, OverBudget
from proxy.holds.buckets import Buckets
from rules.call import Call
from rules.counter import Balance, Claim, CounterKey, Hold, Limit, Measure, amount_on
from rules.rate import BucketKey, Pour
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


@dataclass(slots=True)
class _Open:
    """A hold, and what it holds on counters that have come to be since it was placed."""

    hold: Hold
    call: Call | None
    estimate: Estimate
    later: tuple[tuple[CounterKey, Nanos], ...] = ()

    def amounts(self) -> Iterator[tuple[CounterKey, Nanos]]:
        return chain(self.hold.amounts, self.later)

    def counts_on(self, counter: CounterKey) -> bool:
        """Does its spending count towards a counter that it holds nothing on?"""
        call, window = self.call, counter.window
        if call is None or call.at < window.start or (window.end is not None and call.at >= window.end):
            return False
        return counter.scope in call.scopes() and all(key != counter for key, _ in self.amounts())


class LocalHolds:
    """One event loop owns it: each method is a step that nothing can come between."""

    def __init__(self, *, queue_max: int) -> None:
        self._counters: dict[CounterKey, _Counter] = {}
        self._doubted: set[CounterKey] = set()
        self._open: dict[str, _Open] = {}
        self.buckets = Buckets()
        self._queue_max = queue_max
        self.past = asyncio.Lock()
        """Held while a counter is seeded from the ledger, or while a charge that the ledger has is corrected there and
        here: a counter must not begin with one half of a correction."""

    def unknown(self, counters: Iterable[CounterKey]) -> list[CounterKey]:
        """Counters that must be seeded before a call may be placed on them. Calls in flight are known without a ledger."""
        return [
            each
            for each in counters
            if each.measure is Measure.SPEND and (each not in self._counters or each in self._doubted)
        ]

    @property
    def known(self) -> list[CounterKey]:
        """Those whose balance is right."""
        return [counter for counter in self._counters if counter not in self._doubted]

    def doubt(self, may_have_gaps: Callable[[CounterKey], bool]) -> None:
        """Calls of its scope may have passed such a counter by: it is seeded anew before its next use."""
        self._doubted.update(counter for counter in self._counters if may_have_gaps(counter))

    def seed(self, counter: CounterKey, spent: Nanos, *, hard: bool = False) -> None:
        """What was spent on a counter up to this very moment, open calls left out: those of its scope and window that
        do not hold on it yet do from now on. A known counter that is not in doubt keeps its own figures."""
        known = self._counters.get(counter)
        if known is None:
            self._forget_past(counter)
            known = self._counters[counter] = _Counter(spent)
        elif counter in self._doubted:
            self._doubted.discard(counter)
            known.spent = spent
        else:
            return
        for each in self._open.values():
            if each.counts_on(counter):
                amount = amount_on(counter, each.estimate, hard=hard)
                each.later = (*each.later, (counter, amount))
                known.held += amount
        _wake(known)

    async def place(
        self,
        call_id: str,
        claims: Sequence[Claim],
        at: datetime,
        *,
        line: Line | None = None,
        call: Call | None = None,
        estimate: Estimate = FREE,
        pours: Sequence[Pour] = (),
        now: datetime | None = None,
    ) -> Hold:
        known = self._open.get(call_id)
        if known is not None:
            return known.hold
        found = [self._crowded(each, self._of(each.counter), in_line=line is not None) for each in claims]
        if pours:
            self.buckets.check(pours, now or at)
        crowded = next((each for each in found if each is not None), None)
        if crowded is not None:
            raise crowded
        hold = Hold(call_id, at, tuple((claim.counter, claim.amount) for claim in claims), tuple(pours))
        for counter, amount in hold.amounts:
            self._of(counter).held += amount
        if pours:
            self.buckets.pour(call_id, pours, now or at)
        self._open[call_id] = _Open(hold, call, estimate)
        return hold

    def _crowded(self, claim: Claim, counter: _Counter, *, in_line: bool) -> Crowded | None:
        """Over budget is final and raised at once; crowded is worth a wait. Nothing is changed here."""
        crowded: Limit | None = None
        for limit in claim.limits:
            if limit.nanos is None:
                continue
            if limit.nanos == 0 or counter.spent + claim.amount > limit.nanos:
                raise OverBudget(limit, self._balance(counter), claim.amount)
            if counter.spent + counter.held + claim.amount > limit.nanos or (counter.waiters and not in_line):
                crowded = limit
        return None if crowded is None else Crowded(crowded, self._balance(counter), claim.amount)

    def settle(self, hold: Hold, spent: Nanos, *, tokens: int | None = None) -> tuple[Moved, ...]:
        known = self._open.pop(hold.call_id, None)
        if known is None:
            return ()
        moved = []
        for key, amount in known.amounts():
            counter = self._of(key)
            counter.held -= amount
            if key.measure is Measure.SPEND:
                counter.spent += spent
                moved.append(Moved(key, Nanos(counter.spent - spent), Nanos(counter.spent)))
            _wake(counter)
        self.buckets.settle(hold.call_id, spent=spent, tokens=tokens)
        return tuple(moved)

    def release(self, hold: Hold) -> None:
        known = self._open.pop(hold.call_id, None)
        if known is None:
            return
        for key, amount in known.amounts():
            counter = self._of(key)
            counter.held -= amount
            _wake(counter)
        self.buckets.release(hold.call_id)

    def correct(self, scopes: Collection[Scope], at: datetime, change: Nanos) -> tuple[Moved, ...]:
        """A charge of a call of that instant was corrected: every counter that holds it moves. One that is not known
        here is seeded later, with the correction in it."""
        moved = []
        for key, counter in self._counters.items():
            window = key.window if key.scope in scopes and key.measure is Measure.SPEND else None
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

    def used(self, bucket: BucketKey, now: datetime) -> int:
        return self.buckets.used(bucket, now)

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
        if (counter is None or key in self._doubted) and key.measure is Measure.CONCURRENT:
            self.seed(key, Nanos(0))
            counter = self._counters[key]
        assert counter is not None, f"counter {key} was used before it was seeded"
        return counter

    @staticmethod
    def _balance(counter: _Counter) -> Balance:
        return Balance(Nanos(counter.spent), Nanos(counter.held))

    def _forget_past(self, newcomer: CounterKey) -> None:
        """Windows that ended before the newcomer's began, with nothing held, can be seeded again at need; a count of calls in
        flight where there are none, too."""
        if len(self._counters) < COUNTERS_MAX:
            return
        for key, counter in list(self._counters.items()):
            end = key.window.end
            over = end is not None and end.timestamp() <= newcomer.start
            if (over or key.measure is Measure.CONCURRENT) and not counter.held and not counter.waiters:
                del self._counters[key]
                self._doubted.discard(key)


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
