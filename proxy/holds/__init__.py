"""Where open holds live: what every store of them must do."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from pricing.estimate import FREE, Estimate
from pricing.money import Nanos
from rules.call import Call
from rules.counter import Balance, Claim, CounterKey, Hold, Limit
from rules.rate import BucketKey, Pour, Rate, Standing


@dataclass(eq=False)
class OverBudget(Exception):
    """Spent plus this call is over a limit: waiting for other calls cannot help."""

    limit: Limit
    balance: Balance
    amount: Nanos


@dataclass(eq=False)
class Crowded(Exception):
    """Only other open holds, or calls that came first, are in the way."""

    limit: Limit
    balance: Balance
    amount: Nanos


@dataclass(eq=False)
class Paced(Exception):
    """More than a rate lets pass at once: it would go after `retry_after_seconds`, if nobody else comes. `beside` is how
    the other rates over the call stand."""

    rate: Rate
    used: int
    amount: int
    retry_after_seconds: float
    beside: tuple[Standing, ...] = ()

    @property
    def standings(self) -> tuple[Standing, ...]:
        """Of every rate over the call, the one in the way first."""
        return Standing(self.rate, self.used), *self.beside


class Busy(Exception):
    """The line was full, or the wait was over."""


@dataclass(frozen=True, slots=True)
class Moved:
    """What a settled hold did to one counter's spending."""

    counter: CounterKey
    before: Nanos
    after: Nanos


class Line(Protocol):
    """A place in the line for one counter."""

    async def turn(self) -> None:
        """Returns when this waiter is first and something moved, or a short while passed. Raises Busy at the end."""


class Holds(Protocol):
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
        """One atomic step over all counters and buckets, all or none; the same call id again gives the same hold. By `call`
        and `estimate` it holds on counters of its scopes, too, that come to be while it is open. `at` is the instant that
        the money belongs to; `now` that of the placing, where the call has waited meanwhile.

        Raises OverBudget, else Paced, else Crowded. Laws: spent + held + amount <= limit for each limit of each claim; in t
        minutes no more passes a bucket than its capacity and what leaks in t, save one call larger than the capacity.
        """

    def settle(self, hold: Hold, spent: Nanos, *, tokens: int | None = None) -> tuple[Moved, ...]:
        """Replace the hold by what the call cost, also when that is more, and what it poured by the true money and tokens
        (None: not known, the estimate stands). Settling twice does it once. What moved is money only."""

    def release(self, hold: Hold) -> None:
        """Give the hold back, money and tokens poured included: the call provably cost nothing."""

    def balance(self, counter: CounterKey) -> Balance: ...

    def used(self, bucket: BucketKey, now: datetime) -> int:
        """What stands on a bucket, rounded up."""

    def line(self, counter: CounterKey, wait_seconds: float) -> AbstractAsyncContextManager[Line]:
        """First come, first served, bounded. Raises Busy when it is full."""
