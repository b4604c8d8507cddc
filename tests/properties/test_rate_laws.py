"""Rates against plain arithmetic: in any t minutes no more passes a bucket than its capacity and what leaks in t; a call
passes all its limits or none; nobody is made to wait for longer than it takes; and nothing is left of what has ended."""

from datetime import datetime, timedelta
from fractions import Fraction
from math import ceil
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from pricing.money import Nanos
from proxy.holds import Crowded, OverBudget, Paced
from proxy.records import micros
from rules.counter import Hold, Measure, in_flight
from rules.rate import EMPTY, BucketKey, Level, Pour, drips_at, pour, wait_for
from tests.support.rates import (
    CONCURRENT_MAX,
    RATES,
    Book,
    Input,
    amount_of,
    claims,
    holds_of,
    now_or_never,
    rate,
    walk,
)
from tests.support.records import ALL_TODAY, NOON, SEARCH

MONEY_MAX = 300
tokens_of, money_of = st.integers(0, 150), st.integers(0, 90)
speeds = st.integers(1, 10_000) | st.fractions(
    min_value=Fraction(1, 10_000), max_value=10_000, max_denominator=10_000
)


class RateMachine(RuleBasedStateMachine):
    placed: Bundle[Hold] = Bundle("placed")
    ended: Bundle[Hold] = Bundle("ended")

    @initialize()
    def start(self) -> None:
        self.holds = holds_of(ALL_TODAY)
        self.at: datetime = NOON
        self.books = {each.bucket: Book(each) for each in RATES}
        self.poured: dict[str, list[tuple[Book, Input]]] = {}
        self.promised: dict[str, int] = {}
        self.spent = 0
        self.calls = 0

    def shape(self) -> object:
        """All that can be seen from outside."""
        counters = [self.holds.balance(each) for each in (ALL_TODAY, in_flight(SEARCH))]
        return counters, self.used(), self.holds.open_count, self.holds.buckets.open_count

    def used(self) -> dict[BucketKey, int]:
        return {key: self.holds.used(key, self.at) for key in self.books}

    def refused_by_rate(self, pours: list[Pour], at: int) -> bool | None:
        """None: between what is true and what was once thought, either will do."""
        books = [(self.books[each.rate.bucket], each.amount) for each in pours]
        if all(book.admits(book.most_at(at), amount) for book, amount in books):
            return False
        return None if all(book.admits(book.truth_at(at), amount) for book, amount in books) else True

    @rule(
        target=placed,
        rates=st.lists(st.sampled_from(RATES), unique=True),
        tokens=tokens_of,
        money=money_of,
        late=st.sampled_from((0, 0, 0, 4_000_000)),
    )
    def place(self, rates: list[Any], tokens: int, money: int, late: int) -> Any:
        self.calls += 1
        now, before = self.at - timedelta(microseconds=late), self.shape()
        pours = [Pour(each, amount_of(each, tokens=tokens, money=money)) for each in rates]
        over = self.spent + money > MONEY_MAX
        crowded = (
            self.spent + sum(self.promised.values()) + money > MONEY_MAX
            or len(self.promised) >= CONCURRENT_MAX
        )
        paced = self.refused_by_rate(pours, micros(now))
        expected: set[type[Exception] | None] = {
            OverBudget if over else Paced if paced else Crowded if crowded else None
        }
        if paced is None and not over:
            expected.add(Paced)
        hold, refusal = self.placed_or_refused(f"c{self.calls}", money, pours, now)
        assert refusal in expected
        if hold is None:
            assert self.shape() == before
            return multiple()
        books = [(self.books[each.rate.bucket], each.amount) for each in pours]
        at = micros(now)
        self.poured[hold.call_id] = [
            (book, book.pour(amount, at)) for book, amount in books if not book.skips(amount, at)
        ]
        self.promised[hold.call_id] = money
        return hold

    def placed_or_refused(
        self, call_id: str, money: int, pours: list[Pour], now: datetime
    ) -> tuple[Hold | None, type[Exception] | None]:
        step = self.holds.place(call_id, claims(money, money_max=MONEY_MAX), NOON, pours=pours, now=now)
        try:
            return now_or_never(step), None
        except (OverBudget, Paced, Crowded) as refusal:
            return None, type(refusal)

    @rule(hold=placed, tokens=tokens_of)
    def place_again(self, hold: Hold, tokens: int) -> None:
        """The same call asks twice: it has poured what it has poured."""
        before = self.shape()
        pours = [Pour(each, tokens) for each in RATES]
        assert now_or_never(self.holds.place(hold.call_id, claims(1), NOON, pours=pours)) == hold
        assert self.shape() == before

    @rule(target=ended, hold=consumes(placed), spent=money_of, tokens=st.none() | tokens_of)
    def settle(self, hold: Hold, spent: int, tokens: int | None) -> Hold:
        moved = self.holds.settle(hold, Nanos(spent), tokens=tokens)
        assert [(each.counter, each.after - each.before) for each in moved] == [(ALL_TODAY, spent)]
        self.note_end(hold, spent, tokens)
        return hold

    @rule(target=ended, hold=consumes(placed))
    def release(self, hold: Hold) -> Hold:
        self.holds.release(hold)
        self.note_end(hold, 0, 0)
        return hold

    def note_end(self, hold: Hold, spent: int, tokens: int | None) -> None:
        del self.promised[hold.call_id]
        self.spent += spent
        for book, wrong in self.poured.pop(hold.call_id):
            measure = book.rate.bucket.measure
            if measure is Measure.SPEND or (measure is Measure.TOKENS and tokens is not None):
                book.correct(wrong, amount_of(book.rate, tokens=tokens or 0, money=spent))

    @rule(hold=ended, spent=money_of)
    def end_again(self, hold: Hold, spent: int) -> None:
        before = self.shape()
        assert self.holds.settle(hold, Nanos(spent), tokens=spent) == ()
        self.holds.release(hold)
        assert self.shape() == before

    @rule(us=st.integers(0, 1_000_000) | st.integers(0, 120_000_000))
    def pass_time(self, us: int) -> None:
        self.at += timedelta(microseconds=us)

    @invariant()
    def in_any_interval_no_more_passes_than_capacity_and_leak(self) -> None:
        assert [problem for book in self.books.values() for problem in book.broken()] == []

    @invariant()
    def a_bucket_holds_no_less_than_is_true_and_no_more_than_was_thought(self) -> None:
        at = micros(self.at)
        for key, used in self.used().items():
            assert ceil(self.books[key].truth_at(at)) <= used <= ceil(self.books[key].most_at(at)) + 1

    @invariant()
    def calls_in_flight_are_counted_and_bounded(self) -> None:
        balance = self.holds.balance(in_flight(SEARCH))
        assert (balance.spent, balance.held) == (0, len(self.promised))
        assert balance.held <= CONCURRENT_MAX

    @invariant()
    def money_is_where_it_was_put(self) -> None:
        balance = self.holds.balance(ALL_TODAY)
        assert (balance.spent, balance.held) == (self.spent, sum(self.promised.values()))

    def teardown(self) -> None:
        for call_id in list(getattr(self, "promised", ())):
            self.holds.release(Hold(call_id, NOON, ()))
        if hasattr(self, "holds"):
            self.at += timedelta(days=365)
            assert not any(self.used().values())
            assert (self.holds.open_count, self.holds.buckets.open_count) == (0, 0)


RateMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestRate = RateMachine.TestCase


@pytest.mark.parametrize("seed", [1, 2])
def test_rate_walk_of_10_000_steps_leaves_nothing_behind_and_breaks_no_law(seed: int) -> None:
    """`./dev prove rate` walks further."""
    made = walk(10_000, seed)

    assert made.problems == []
    assert all(made.told[each] > 100 for each in ("placed", "OverBudget", "Paced", "Crowded")), made.told


@given(
    speeds,
    st.integers(1, 1000),
    st.lists(st.integers(0, 1500), min_size=1, max_size=5),
    st.integers(0, 10**9),
)
def test_rate_lets_pass_at_the_instant_it_names_and_not_a_microsecond_before(
    per_minute: Fraction | int, capacity: int, poured: list[int], later: int
) -> None:
    over = rate(Measure.TOKENS, capacity, per_minute)
    level = EMPTY
    for amount in poured[1:]:
        level = pour(level, per_minute, amount, later // 2)

    wait = wait_for(level, over, poured[0], later)

    assert wait_for(level, over, poured[0], later + wait) == 0
    assert wait == 0 or wait_for(level, over, poured[0], later + wait - 1) == 1


@given(speeds, st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 10**8)), max_size=8))
def test_rate_of_a_whole_number_leaks_exactly_and_any_other_never_too_fast(
    per_minute: Fraction | int, steps: list[tuple[int, int]]
) -> None:
    """However often anyone looks: rounding is at most a drip a pour, a sixty-millionth."""
    book, level, at = Book(rate(Measure.TOKENS, 1, per_minute)), Level(), 0
    for amount, us in steps:
        at += us
        level = pour(level, per_minute, amount, at)
        book.pour(amount, at)

    off = Fraction(drips_at(level, per_minute, at + 1), 60_000_000) - book.truth_at(at + 1)

    assert 0 <= off <= Fraction(len(steps) + 1, 60_000_000)
    assert off == 0 or not isinstance(per_minute, int)
