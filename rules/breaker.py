"""The memory of a rule that matched: how long it stays tripped, on which trial it closes, and what a hand on it does.

One breaker belongs to one rule in one scope. Every method gives the breaker that comes after; `at` first, so that
time has had its say. Generations tell answers of now from those of before: each change of state begins a new one.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum

from pricing.money import Nanos
from rules.counter import CounterKey

TRIAL_PLACE_SECONDS = 1.0  # while trials are out nobody knows how long they take


class State(StrEnum):
    CLOSED = "closed"  # calls go
    OPEN = "open"  # none goes
    HALF_OPEN = "half_open"  # a few go, on trial
    LIMITED = "limited"  # calls go, slower, shorter or to a cheaper model


@dataclass(frozen=True, slots=True)
class Cause:
    """The limit that was reached. Another window, or a higher limit, and the reason to stay tripped is gone."""

    counter: CounterKey
    limit: Nanos


@dataclass(frozen=True, slots=True)
class Recovery:
    """How far, and for how long, the figure must be down; in the unit of the rule's threshold."""

    threshold: Decimal
    window: timedelta


@dataclass(frozen=True, slots=True)
class Terms:
    """What its rule says of a breaker. Without a cooldown there is no memory at all."""

    cooldown: timedelta
    trial_calls: int = 1
    recovery: Recovery | None = None


@dataclass(frozen=True, slots=True)
class Ticket:
    """Leave to pass. Ending it counts once, and only in the generation that it was given in."""

    generation: int
    number: int


@dataclass(frozen=True, slots=True)
class Breaker:
    """`until`: tripped at least so long; None where nothing but a hand or a trial ends the state. `below_since`: from
    when on the figure was low enough. Whatever was `forced` stays so until it is reset."""

    since: datetime
    state: State = State.CLOSED
    generation: int = 0
    until: datetime | None = None
    trials: frozenset[int] = frozenset()  # the tickets that are out
    trials_given: int = 0
    trials_ok: int = 0
    below_since: datetime | None = None
    forced: bool = False
    reason: str = ""
    cause: Cause | None = None
    terms: Terms = Terms(timedelta(0))

    @property
    def trials_out(self) -> int:
        return len(self.trials)

    # -- the rule -----------------------------------------------------------------------------------------------------

    def trip(
        self,
        now: datetime,
        *,
        terms: Terms,
        limited: bool = False,
        reason: str = "",
        cause: Cause | None = None,
    ) -> "Breaker":
        """The rule matched. What is open stays as it is: a match of many calls at once is one. `limited` is lengthened by
        every match."""
        if self.forced or not terms.cooldown or self.state is State.OPEN:
            return self
        until = now + terms.cooldown
        if not limited:
            return self._turn(State.OPEN, now, until=until, reason=reason, cause=cause, terms=terms)
        if self.state is State.LIMITED:
            later = until if self.until is None else max(self.until, until)
            return replace(
                self, until=later, below_since=None, reason=reason or self.reason, cause=cause, terms=terms
            )
        return self._turn(State.LIMITED, now, until=until, reason=reason, cause=cause, terms=terms)

    def under(self, causes: Collection[Cause], now: datetime) -> "Breaker":
        """With the limits that the rule has for a call at hand: closed, where none of them is the one that tripped it, or a
        lower one. A call that came before the present window began says nothing."""
        if self.forced or self.cause is None or not causes:
            return self
        mine = self.cause
        if any(
            (each.counter == mine.counter and each.limit <= mine.limit)
            or each.counter.start < mine.counter.start
            for each in causes
        ):
            return self
        return self._turn(State.CLOSED, now, reason="the limit is another")

    def measured(self, figure: Decimal, now: datetime) -> "Breaker":
        """The rule's figure as it is: without a recovery threshold it says nothing."""
        recovery = self.terms.recovery
        if recovery is None or self.forced or self.state not in (State.OPEN, State.LIMITED):
            return self
        low = figure <= recovery.threshold
        below_since = (self.below_since or now) if low else None
        return self if below_since == self.below_since else replace(self, below_since=below_since)

    # -- time ---------------------------------------------------------------------------------------------------------

    def at(self, now: datetime) -> "Breaker":
        """What it has come to by now."""
        if self.forced or self.state is State.CLOSED:
            return self
        end = None if self.cause is None else self.cause.counter.window.end
        if end is not None and now >= end:
            return self._turn(State.CLOSED, now, reason="the window has turned")
        if self.until is None or now < self.until or not self._is_recovered(now):
            return self
        if self.state is State.LIMITED:
            return self._turn(State.CLOSED, now, reason="the cooldown is over")
        return self._turn(
            State.HALF_OPEN, now, reason="the cooldown is over", cause=self.cause, terms=self.terms
        )

    def retry_after_seconds(self, now: datetime) -> float | None:
        """When to ask again, where waiting helps: not against a hand."""
        if self.forced or self.state in (State.CLOSED, State.LIMITED):
            return None
        if self.until is None:
            return TRIAL_PLACE_SECONDS
        earliest = self.until
        if self.terms.recovery is not None:
            earliest = max(earliest, (self.below_since or now) + self.terms.recovery.window)
        end = None if self.cause is None else self.cause.counter.window.end
        return max(0.0, ((earliest if end is None else min(earliest, end)) - now).total_seconds())

    # -- calls --------------------------------------------------------------------------------------------------------

    def admit(self) -> tuple["Breaker", Ticket | None]:
        """None: it may not pass. At most `trial_calls` tickets of a half-open breaker are out or have succeeded."""
        if self.state is State.OPEN:
            return self, None
        ticket = Ticket(self.generation, self.trials_given)
        if self.state is not State.HALF_OPEN:
            return self, ticket
        if self.trials_out + self.trials_ok >= self.terms.trial_calls:
            return self, None
        return replace(self, trials=self.trials | {ticket.number}, trials_given=self.trials_given + 1), ticket

    def succeeded(self, ticket: Ticket, now: datetime) -> "Breaker":
        if not self._is_out(ticket):
            return self
        after = replace(self, trials=self.trials - {ticket.number}, trials_ok=self.trials_ok + 1)
        if after.trials_ok < self.terms.trial_calls:
            return after
        return self._turn(State.CLOSED, now, reason="the trial calls went well")

    def failed(self, ticket: Ticket, now: datetime, reason: str = "") -> "Breaker":
        """One trial that trips the rule again is enough."""
        if not self._is_out(ticket):
            return self
        return self._turn(
            State.OPEN,
            now,
            until=now + self.terms.cooldown,
            reason=reason or "a trial call failed",
            cause=self.cause,
            terms=self.terms,
        )

    def left(self, ticket: Ticket) -> "Breaker":
        """A trial that ended without a result gives its place back."""
        return replace(self, trials=self.trials - {ticket.number}) if self._is_out(ticket) else self

    # -- a hand -------------------------------------------------------------------------------------------------------

    def force_open(self, reason: str, now: datetime) -> "Breaker":
        return self._turn(State.OPEN, now, reason=reason, forced=True)

    def force_close(self, reason: str, now: datetime) -> "Breaker":
        return self._turn(State.CLOSED, now, reason=reason, forced=True)

    def reset(self, reason: str, now: datetime) -> "Breaker":
        """As if the rule had never matched, and nobody had put a hand on it."""
        return self._turn(State.CLOSED, now, reason=reason)

    def _is_out(self, ticket: Ticket) -> bool:
        return (
            self.state is State.HALF_OPEN
            and ticket.generation == self.generation
            and ticket.number in self.trials
        )

    def _is_recovered(self, now: datetime) -> bool:
        recovery = self.terms.recovery
        if recovery is None:
            return True
        return self.below_since is not None and now - self.below_since >= recovery.window

    def _turn(
        self,
        state: State,
        now: datetime,
        *,
        reason: str,
        until: datetime | None = None,
        cause: Cause | None = None,
        terms: Terms | None = None,
        forced: bool = False,
    ) -> "Breaker":
        """A new generation. What is not named is forgotten."""
        return Breaker(
            now,
            state,
            self.generation + 1,
            until=until,
            reason=reason,
            cause=cause,
            terms=terms or Terms(timedelta(0)),
            forced=forced,
        )
