"""A breaker against a clock, callers and hands in any order: who passes, what counts, and what ends what."""

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from pricing.money import Nanos
from rules.breaker import Breaker, Cause, Recovery, State, Terms, Ticket
from rules.counter import counter_at
from rules.scope import EVERYONE
from rules.window import Period
from tests.unit.rules.build import NOON

MINUTE = timedelta(minutes=1)
TRIPPED = (State.OPEN, State.LIMITED)
recoveries = st.none() | st.builds(
    Recovery, st.integers(0, 10).map(Decimal), st.integers(0, 8).map(lambda n: n * MINUTE)
)
terms_of = st.builds(Terms, st.integers(0, 10).map(lambda n: n * MINUTE), st.integers(1, 4), recoveries)


class BreakerMachine(RuleBasedStateMachine):
    """`low` is every figure seen since the breaker tripped, with its instant; `passed` the trials of a generation."""

    tickets: Bundle[Ticket] = Bundle("tickets")

    @initialize(terms=terms_of, limited=st.booleans())
    def start(self, terms: Terms, limited: bool) -> None:
        self.now = NOON
        self.terms, self.limited = terms, limited
        self.breaker = Breaker(NOON)
        self.limit = Nanos(50)
        self.matched = NOON  # the last match that tripped or lengthened
        self.seen: list[tuple[Decimal, datetime]] = []
        self.out: set[Ticket] = set()
        self.ok = 0

    def cause(self) -> Cause:
        return Cause(counter_at(EVERYONE, Period.HOURLY, "UTC", self.now), self.limit)

    def become(self, after: Breaker) -> None:
        """Every change of state is a new generation, and no generation comes back."""
        before, self.breaker = self.breaker, after
        if after.generation == before.generation:
            assert (after.state, after.forced) == (before.state, before.forced)
            return
        assert after.generation > before.generation
        self.out, self.ok = set(), 0

    @rule(minutes=st.integers(0, 30), seconds=st.sampled_from((0, 1, 59)))
    def pass_time(self, minutes: int, seconds: int) -> None:
        self.now += minutes * MINUTE + timedelta(seconds=seconds)
        before = self.breaker
        after = before.at(self.now)
        assert after.at(self.now) is after, "looking twice is looking once"
        if before.forced or before.state in (State.CLOSED,):
            assert after is before
        elif before.cause is not None and before.cause.counter != self.cause().counter:
            assert after.state is State.CLOSED, "the window has turned"
        elif before.state is State.HALF_OPEN:
            assert after is before
        elif self.now < self.matched + self.terms.cooldown or not self.is_recovered():
            assert after is before, "the cooldown keeps it tripped"
        else:
            assert after.state is (State.CLOSED if before.state is State.LIMITED else State.HALF_OPEN)
        self.become(after)

    def is_recovered(self) -> bool:
        if self.terms.recovery is None:
            return True
        low = None
        for figure, at in self.seen:
            low = None if figure > self.terms.recovery.threshold else low or at
        return low is not None and self.now - low >= self.terms.recovery.window

    @rule(bound=st.booleans())
    def match(self, bound: bool) -> None:
        before = self.breaker
        cause = self.cause() if bound else None
        after = before.trip(self.now, terms=self.terms, limited=self.limited, cause=cause)
        if before.forced or not self.terms.cooldown or before.state is State.OPEN:
            assert after is before
        else:
            assert after.state is (State.LIMITED if self.limited else State.OPEN)
            assert after.until == self.now + self.terms.cooldown
            self.matched, self.seen = self.now, []
        self.become(after)

    @rule(figure=st.integers(0, 20).map(Decimal))
    def measure(self, figure: Decimal) -> None:
        self.seen.append((figure, self.now))
        self.become(self.breaker.measured(figure, self.now))

    @rule(raised=st.integers(-10, 10))
    def change_the_limit(self, raised: int) -> None:
        self.limit = Nanos(max(1, self.limit + raised))
        before = self.breaker
        after = before.under([self.cause()], self.now)
        if before.forced or before.cause is None:
            assert after is before
        elif self.limit > before.cause.limit:
            assert after.state is State.CLOSED
        elif before.cause.counter == self.cause().counter:
            assert after is before
        self.become(after)

    @rule(target=tickets)
    def ask(self) -> Any:
        before = self.breaker
        after, ticket = before.admit()
        self.become(after)
        if before.state is State.OPEN:
            assert ticket is None, "an open breaker admits nobody"
        elif before.state is State.HALF_OPEN:
            assert (ticket is not None) == (len(self.out) + self.ok < self.terms.trial_calls)
        else:
            assert ticket is not None
            assert after is before
        if ticket is None:
            return multiple()
        if after.state is State.HALF_OPEN:
            assert ticket not in self.out, "no two calls have the same ticket"
            self.out.add(ticket)
        return ticket

    @rule(ticket=tickets)
    def succeed(self, ticket: Ticket) -> None:
        before = self.breaker
        after = before.succeeded(ticket, self.now)
        if ticket not in self.out:
            assert after is before
            return
        self.out.discard(ticket)
        self.ok += 1
        closes = self.ok >= self.terms.trial_calls
        assert after.state is (State.CLOSED if closes else State.HALF_OPEN)
        self.become(after)

    @rule(ticket=tickets)
    def fail(self, ticket: Ticket) -> None:
        before = self.breaker
        after = before.failed(ticket, self.now)
        if ticket not in self.out:
            assert after is before
            return
        assert (after.state, after.until) == (State.OPEN, self.now + self.terms.cooldown)
        self.matched, self.seen = self.now, []
        self.become(after)

    @rule(ticket=consumes(tickets))
    def leave(self, ticket: Ticket) -> None:
        before = self.breaker
        after = before.left(ticket)
        if ticket not in self.out:
            assert after is before
        self.out.discard(ticket)
        self.become(after)

    @rule(hand=st.sampled_from(("open", "close", "reset")))
    def force(self, hand: str) -> None:
        before = self.breaker
        after = {
            "open": lambda: before.force_open("by hand", self.now),
            "close": lambda: before.force_close("by hand", self.now),
            "reset": lambda: before.reset("by hand", self.now),
        }[hand]()
        assert after.state is (State.OPEN if hand == "open" else State.CLOSED)
        assert after.forced == (hand != "reset")
        self.become(after)

    @invariant()
    def at_most_the_trial_calls_pass_a_generation(self) -> None:
        breaker = self.breaker
        assert breaker.trials_out == len(self.out)
        assert breaker.trials_ok == self.ok
        assert breaker.trials_out + breaker.trials_ok <= self.terms.trial_calls
        assert breaker.state is State.HALF_OPEN or not breaker.trials

    @invariant()
    def only_what_is_tripped_waits(self) -> None:
        assert (self.breaker.until is not None) == (self.breaker.state in TRIPPED and not self.breaker.forced)

    @invariant()
    def a_forced_state_outlives_all_but_a_hand(self) -> None:
        breaker = self.breaker
        if not breaker.forced:
            return
        later, higher = self.now + timedelta(days=400), replace(self.cause(), limit=Nanos(10**12))
        assert breaker.at(later) is breaker
        assert breaker.under([higher], later) is breaker
        assert breaker.trip(later, terms=Terms(MINUTE)) is breaker


BreakerMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestBreakerLaws = BreakerMachine.TestCase
