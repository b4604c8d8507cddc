"""Where open holds live: what every store of them must do."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from pricing.money import Nanos
from rules.counter import Balance, Claim, CounterKey, Hold, Limit


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
        self, call_id: str, claims: Sequence[Claim], at: datetime, *, line: Line | None = None
    ) -> Hold:
        """One atomic step over all counters, all or none; the same call id again gives the same hold.

        Raises OverBudget or Crowded. Law: spent + held + amount <= limit for each limit of each claim.
        """

    def settle(self, hold: Hold, spent: Nanos) -> tuple[Moved, ...]:
        """Replace the hold by what the call cost, also when that is more. Settling twice does it once."""

    def release(self, hold: Hold) -> None:
        """Give the hold back: the call provably cost nothing."""

    def balance(self, counter: CounterKey) -> Balance: ...

    def line(self, counter: CounterKey, wait_seconds: float) -> AbstractAsyncContextManager[Line]:
        """First come, first served, bounded. Raises Busy when it is full."""
