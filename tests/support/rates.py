"""Rates in plain arithmetic, and a long random walk over holds with rates that is judged by it."""

import random
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Any, TypeVar

from pricing.money import Nanos
from proxy.holds import Crowded, OverBudget, Paced
from proxy.holds.local import LocalHolds
from proxy.records import micros
from rules.counter import Claim, CounterKey, Hold, Limit, Measure, in_flight
from rules.rate import BucketKey, Pour, Rate
from rules.scope import EVERYONE, Scope, ScopeKind
from tests.support.records import ALL_TODAY, NOON, SEARCH

MINUTE_US = 60_000_000
CONCURRENT_MAX, MONEY_MAX = 4, 2_000
T = TypeVar("T")


def now_or_never(step: Coroutine[Any, Any, T]) -> T:
    """Every step of holds is done when it first gives way, so that nothing can come between."""
    try:
        step.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    raise AssertionError("placing a hold waited for something")


def rate(
    measure: Measure,
    capacity: int | None,
    per_minute: Fraction | int,
    *,
    scope: Scope = SEARCH,
    owner: str = "",
    watched: bool = False,
) -> Rate:
    bucket = BucketKey(scope, measure, 1, owner)
    return Rate(bucket, capacity, per_minute, owner or f"{scope}:rate", watched=watched)


KEY = Scope(ScopeKind.KEY, "k1")
RATES = (
    rate(Measure.REQUESTS, 5, 10),
    rate(Measure.REQUESTS, 2, Fraction(22, 3), scope=KEY),
    rate(Measure.TOKENS, 100, 150),
    rate(Measure.TOKENS, 300, Fraction(601, 7), scope=EVERYONE),
    rate(Measure.SPEND, 60, Fraction(100, 3)),
    rate(Measure.TOKENS, None, 100, owner="counted"),
    rate(Measure.REQUESTS, 3, 2, owner="watched", watched=True),
)


@dataclass(slots=True)
class Input:
    """What came into a bucket, as far as it is known by now. `asked` None: nobody asked, a truth came out larger."""

    at: int
    amount: int
    asked: int | None = None


@dataclass
class Book:
    """One bucket, the slow and obvious way: everything that ever came in, at its true amount."""

    rate: Rate
    inputs: list[Input] = field(default_factory=list)
    most: Fraction = Fraction(0)  # had nothing ever been given back

    @property
    def last(self) -> int:
        return self.inputs[-1].at if self.inputs else 0

    def pour(self, amount: int, at: int) -> Input:
        self.most, at = self.most_at(at) + amount, max(at, self.last)
        self.inputs.append(Input(at, amount, amount))
        return self.inputs[-1]

    def correct(self, wrong: Input, truth: int) -> None:
        more = truth - wrong.amount
        if more > 0:
            self.most += more
            self.inputs.append(Input(self.last, more))
        else:
            wrong.amount = truth

    def most_at(self, at: int) -> Fraction:
        return max(Fraction(0), self.most - self._leak(self.last, at))

    def truth_at(self, at: int) -> Fraction:
        level, since = Fraction(0), 0
        for each in self.inputs:
            level = max(Fraction(0), level - self._leak(since, each.at)) + each.amount
            since = each.at
        return max(Fraction(0), level - self._leak(since, at))

    def admits(self, level: Fraction, amount: int) -> bool:
        return self.rate.watched or self.fits(level, amount)

    def fits(self, level: Fraction, amount: int) -> bool:
        capacity = self.rate.capacity
        return capacity is None or level + amount <= capacity or level == 0

    def skips(self, amount: int, at: int) -> bool:
        """Would it have refused what it only watches? It looks at requests, whose level nothing corrects."""
        return self.rate.watched and not self.fits(self.most_at(at), amount)

    def broken(self) -> list[str]:
        """Every admission after which some interval held more than the capacity and what leaked in it."""
        capacity = self.rate.capacity
        level, since, found = Fraction(0), 0, []
        for each in self.inputs:
            level = max(Fraction(0), level - self._leak(since, each.at))
            alone = each.asked is not None and capacity is not None and each.asked > capacity
            if alone and level > 0:
                found.append(f"{self.rate.bucket}: {each.asked} passed beside {float(level)}")
            level, since = level + each.amount, each.at
            if each.asked is not None and not alone and capacity is not None and level > capacity:
                found.append(f"{self.rate.bucket}: {float(level)} of {capacity} at {each.at}")
        return found

    def _leak(self, since: int, at: int) -> Fraction:
        return Fraction(max(0, at - since)) * self.rate.per_minute / MINUTE_US


def amount_of(each: Rate, *, tokens: int, money: int) -> int:
    return {Measure.REQUESTS: 1, Measure.TOKENS: tokens, Measure.SPEND: money}[each.bucket.measure]


def claims(money: int, *, money_max: int = MONEY_MAX) -> list[Claim]:
    busy = in_flight(SEARCH)
    return [
        Claim(ALL_TODAY, Nanos(money), (Limit(ALL_TODAY, Nanos(money_max), "everyone"),)),
        Claim(busy, Nanos(1), (Limit(busy, Nanos(CONCURRENT_MAX), "search", code="concurrency_limited"),)),
    ]


@dataclass
class Walk:
    """Calls that come, end and are corrected at random, over all rates, a budget and a limit on calls in flight."""

    chance: random.Random
    holds: LocalHolds
    at: datetime = NOON
    problems: list[str] = field(default_factory=list)
    told: Counter[str] = field(default_factory=Counter)
    books: dict[BucketKey, Book] = field(default_factory=lambda: {each.bucket: Book(each) for each in RATES})
    running: dict[str, tuple[Hold, int, list[tuple[Book, Input]]]] = field(default_factory=dict)
    spent: int = 0

    def step(self, number: int) -> None:
        self.at += timedelta(microseconds=self.chance.choice((0, 1, 999_983, 9_000_000, 40_000_000)))
        if self.running and self.chance.random() < 0.4:
            self.end(self.chance.choice(sorted(self.running)))
        else:
            self.place(f"c{number}")
        balance = self.holds.balance(in_flight(SEARCH))
        self.check(balance.held == len(self.running) <= CONCURRENT_MAX, f"{balance.held} in flight")

    def place(self, call_id: str) -> None:
        tokens, money = self.chance.choice((0, 1, 40, 99, 150)), self.chance.choice((0, 1, 20, 40, 70, 250))
        pours = [
            Pour(each, amount_of(each, tokens=tokens, money=money))
            for each in RATES
            if self.chance.random() < 0.4
        ]
        at = micros(self.at)
        free = all(
            self.books[p.rate.bucket].admits(self.books[p.rate.bucket].most_at(at), p.amount) for p in pours
        )
        money_max = self.spent + MONEY_MAX // 10
        try:
            hold = now_or_never(
                self.holds.place(call_id, claims(money, money_max=money_max), self.at, pours=pours)
            )
        except (OverBudget, Paced, Crowded) as refusal:
            self.told[type(refusal).__name__] += 1
            self.check(not (free and isinstance(refusal, Paced)), f"{call_id} was paced before free rates")
            return
        self.told["placed"] += 1
        books = [(self.books[each.rate.bucket], each.amount) for each in pours]
        poured = [(book, book.pour(amount, at)) for book, amount in books if not book.skips(amount, at)]
        self.running[call_id] = hold, money, poured
        held = sum(each for _, each, _ in self.running.values())
        self.check(self.spent + held <= money_max, f"{call_id} passed the budget")

    def end(self, call_id: str) -> None:
        hold, money, poured = self.running.pop(call_id)
        known = self.chance.random() < 0.8
        spent, tokens = self.chance.randrange(money + 10), self.chance.choice((0, 10, 90, 400))
        if self.chance.random() < 0.2:
            spent, tokens, known = 0, 0, True
            self.holds.release(hold)
        else:
            self.holds.settle(hold, Nanos(spent), tokens=tokens if known else None)
        self.spent += spent
        for book, wrong in poured:
            measure = book.rate.bucket.measure
            if measure is Measure.SPEND or (measure is Measure.TOKENS and known):
                book.correct(wrong, amount_of(book.rate, tokens=tokens, money=spent))

    def finish(self) -> None:
        """Everything ends, and nothing is left of it but what was spent."""
        for call_id in list(self.running):
            self.end(call_id)
        for book in self.books.values():
            self.problems += book.broken()
        balance = self.holds.balance(ALL_TODAY)
        self.check((balance.spent, balance.held) == (self.spent, 0), f"{balance} after {self.spent}")
        self.check(self.holds.balance(in_flight(SEARCH)).held == 0, "calls are still in flight")
        self.check(self.holds.open_count == 0, f"{self.holds.open_count} holds are still open")
        pouring = self.holds.buckets.open_count
        self.check(pouring == 0, f"{pouring} calls that ended can still be corrected")
        much_later = self.at + timedelta(days=365)
        left = [str(key) for key in self.books if self.holds.used(key, much_later)]
        self.check(not left, f"after a year there is something in {left}")

    def check(self, holds: bool, problem: str) -> None:
        if not holds:
            self.problems.append(problem)


def walk(steps: int, seed: int) -> Walk:
    made = Walk(random.Random(seed), holds_of(ALL_TODAY))
    for number in range(steps):
        made.step(number)
    made.finish()
    return made


def holds_of(*counters: CounterKey) -> LocalHolds:
    made = LocalHolds(queue_max=10)
    for counter in counters:
        made.seed(counter, Nanos(0))
    return made
