"""Rates: what a bucket lets pass and when, what people may write of them, and what a refused caller is told."""

from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from pydantic import ValidationError

from pricing.money import nanos
from rules.call import Operation
from rules.counter import Balance, HoldMode, Limit, claims_of, counter_at, in_flight
from rules.measure import Measure
from rules.rate import (
    DRIPS,
    EMPTY,
    BucketKey,
    Level,
    Rate,
    Standing,
    correct,
    pour,
    rebased,
    used_at,
    wait_for,
)
from rules.ratespec import RateSpec
from rules.refusal import Refusal, refusal_of_limit, refusal_of_rate
from rules.scope import EVERYONE, Scope, ScopeKind
from rules.sentence import soon
from rules.window import Period
from tests.unit.rules.build import NOON, call, estimate

TEAM = Scope(ScopeKind.TEAM, "search")
SECOND = 1_000_000


def rate(
    capacity: int | None = 10,
    per_minute: Fraction | int = 60,
    measure: Measure = Measure.REQUESTS,
    **more: Any,
) -> Rate:
    return Rate(BucketKey(TEAM, measure), capacity, per_minute, "search:rate", **more)


def filled(amount: int, *, at: int = 0) -> Level:
    return pour(EMPTY, 60, amount, at)


def test_rate_lets_pass_up_to_exactly_its_capacity() -> None:
    assert wait_for(filled(9), rate(), 1, 0) == 0
    assert wait_for(filled(10), rate(), 1, 0) == SECOND


def test_rate_of_sixty_a_minute_leaks_one_a_second() -> None:
    assert used_at(filled(10), 60, 4 * SECOND) == 6
    assert used_at(filled(10), 60, 4 * SECOND - 1) == 7
    assert used_at(filled(10), 60, 60 * SECOND) == 0


def test_rate_lets_a_call_larger_than_its_capacity_pass_alone_and_is_then_in_debt() -> None:
    assert wait_for(EMPTY, rate(), 25, 0) == 0
    assert wait_for(filled(1), rate(), 25, 0) == SECOND
    assert wait_for(filled(25), rate(), 1, 0) == 16 * SECOND


def test_rate_without_a_capacity_counts_and_never_refuses() -> None:
    assert wait_for(filled(1_000_000), rate(None), 1_000_000, 0) == 0
    assert Standing(rate(None), 5).remaining is None


def test_rate_that_is_edited_finds_what_its_bucket_holds() -> None:
    level = filled(10)

    assert wait_for(level, rate(5, 30), 1, 0) == 12 * SECOND
    assert wait_for(level, rate(20, 30), 10, 0) == 0


def test_rate_bucket_never_goes_back_in_time() -> None:
    level = pour(filled(4, at=10 * SECOND), 60, 4, 3 * SECOND)

    assert level == Level(8 * DRIPS, 10 * SECOND, 8 * DRIPS)
    assert wait_for(level, rate(), 3, 3 * SECOND) == 8 * SECOND


def test_rate_bucket_follows_a_clock_that_was_set_back_and_forgives_nothing() -> None:
    level = filled(10, at=3600 * SECOND)

    assert rebased(level, 3550 * SECOND) is level
    assert used_at(rebased(level, 60 * SECOND), 60, 64 * SECOND) == 6


def test_rate_gives_back_what_a_call_did_not_use() -> None:
    assert correct(filled(10), 10 * DRIPS, 10, 3) == Level(3 * DRIPS, 0, 10 * DRIPS)


def test_rate_gives_back_nothing_that_has_leaked_away() -> None:
    """Ten were poured and leaked in full; ten more came after. Had the truth been known, these would stand there too."""
    first = filled(10)
    second = pour(first, 60, 10, 10 * SECOND)

    assert correct(second, first.poured, 10, 0) == second
    assert correct(second, second.poured, 10, 0).drips == 0


def test_rate_is_owed_what_a_call_used_beyond_its_estimate() -> None:
    level = correct(filled(10), 10 * DRIPS, 10, 40)

    assert wait_for(level, rate(), 1, 0) == 31 * SECOND


@pytest.mark.parametrize(("used", "remaining", "reset"), [(0, 10, 0), (4, 6, 4), (12, 0, 12)])
def test_rate_stands_with_what_remains_and_when_it_is_empty(used: int, remaining: int, reset: float) -> None:
    standing = Standing(rate(), used)

    assert (standing.remaining, standing.reset_seconds) == (remaining, reset)


# -- calls in flight ------------------------------------------------------------------------------------------------


def test_rate_of_calls_in_flight_claims_one_whatever_the_call_costs() -> None:
    limit = Limit(in_flight(TEAM), nanos(0) + 3, "search", HoldMode.STRICT)  # type: ignore[arg-type]

    (claim,) = claims_of([limit], estimate("1", "3"))

    assert claim.amount == 1


def test_rate_of_calls_in_flight_is_refused_without_a_word_of_dollars() -> None:
    limit = RateSpec(max_concurrent=40).concurrency(TEAM, "search:rate")
    assert limit is not None

    refusal = refusal_of_limit(limit, Balance(nanos(0), limit.nanos or nanos(0)), nanos(0), call())

    assert refusal.sentence == (
        'team "search" may have 40 calls in flight at once, and 40 are. '
        "Try again when one has ended, or ask an admin to raise max_concurrent."
    )
    assert (refusal.code, refusal.rule_id, refusal.scope) == ("concurrency_limited", "search:rate", TEAM)
    assert (refusal.limit, refusal.spent, refusal.held, refusal.estimate) == (None, None, None, None)
    assert refusal.counts == (("limit_concurrent", 40), ("used_concurrent", 40))


# -- as refused callers read it -------------------------------------------------------------------------------------


def refused(over: Rate, *, used: int = 10, amount: int = 1, wait: float = 1.2, **facts: Any) -> Refusal:
    return refusal_of_rate(over, used, amount, wait, call(**facts))


def test_rate_of_requests_says_how_many_and_when_to_try_again() -> None:
    refusal = refused(rate(50, 600))

    assert refusal.sentence == (
        'team "search" may send 600 requests a minute, at most 50 at once; try again in 2 s.'
    )
    assert (refusal.code, refusal.rule_id, refusal.retry_after_seconds) == (
        "rate_limited",
        "search:rate",
        1.2,
    )
    assert refusal.counts == (("limit_requests", 50), ("used_requests", 10), ("asked_requests", 1))
    assert (refusal.limit, refusal.estimate) == (None, None)


@pytest.mark.parametrize(
    ("over", "told"),
    [
        (rate(600, 600), "may send 600 requests a minute; try"),
        (rate(1, 1), "may send 1 request a minute; try"),
        (rate(1, Fraction(1, 2)), "may send 0.5 requests a minute, at most 1 at once; try"),
    ],
)
def test_rate_of_requests_is_told_as_it_was_written(over: Rate, told: str) -> None:
    assert told in refused(over).sentence


def test_rate_of_tokens_says_what_the_call_would_take() -> None:
    over = rate(400_000, 400_000, Measure.TOKENS)

    assert refused(over, used=399_500, amount=1200, wait=0.105).sentence == (
        'team "search" may use 400,000 tokens a minute; 399,500 are in use, and this call will likely take 1,200. '
        "Try again in 1 s, or lower max_tokens."
    )
    assert "take 500,000, and goes when none are. Try" in refused(over, amount=500_000).sentence
    assert refused(over, operation=Operation.EMBEDDING).sentence.endswith("or send less at once.")


def test_rate_of_money_is_refused_in_dollars_with_the_code_of_its_rule() -> None:
    hour = nanos("10")
    over = rate(hour, Fraction(hour, 60), Measure.SPEND, code="circuit_breaker_open")

    refusal = refused(over, used=nanos("9.95"), amount=nanos("0.10"), wait=301)

    assert refusal.sentence == (
        'team "search" may spend $10.00 an hour; $9.95 of it is in use, and this call will likely cost $0.10. '
        "Try again in 6 min, or ask an admin."
    )
    assert (refusal.code, refusal.limit, refusal.spent) == ("circuit_breaker_open", hour, nanos("9.95"))
    assert (refusal.estimate, refusal.counts) == (nanos("0.10"), ())


@pytest.mark.parametrize(
    ("seconds", "told"), [(0.001, "1 s"), (120, "120 s"), (121, "3 min"), (7200, "120 min"), (7201, "3 h")]
)
def test_rate_waits_are_rounded_up(seconds: float, told: str) -> None:
    assert soon(seconds) == told


# -- as people write it ---------------------------------------------------------------------------------------------


def problem(**written: object) -> str:
    with pytest.raises(ValidationError) as refusal:
        RateSpec.model_validate(written)
    return str(refusal.value)


def test_rate_of_a_team_makes_a_rate_of_each_measure_with_its_burst() -> None:
    spec = RateSpec(requests_per_minute=600, tokens_per_minute=400_000, burst=50)

    assert spec.rates(TEAM, "search:rate") == (
        Rate(BucketKey(TEAM, Measure.REQUESTS, 1, "search:rate"), 50, 600, "search:rate"),
        Rate(BucketKey(TEAM, Measure.TOKENS, 1, "search:rate"), 400_000, 400_000, "search:rate"),
    )
    assert spec.concurrency(TEAM, "search:rate") is None


def test_rate_without_a_burst_lets_a_whole_minute_come_at_once() -> None:
    (only,) = RateSpec(requests_per_minute=600).rates(EVERYONE, "all")

    assert only.capacity == 600


def test_rate_of_calls_in_flight_is_a_limit_of_its_own() -> None:
    spec = RateSpec(max_concurrent=40)

    limit = spec.concurrency(TEAM, "search:rate")

    assert spec.rates(TEAM, "search:rate") == ()
    assert limit is not None
    assert (limit.counter, limit.nanos, limit.code) == (in_flight(TEAM), 40, "concurrency_limited")
    assert limit.counter == replace(counter_at(TEAM, Period.TOTAL, "UTC", NOON), measure=Measure.CONCURRENT)


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ({}, "limits nothing: give requests_per_minute, tokens_per_minute or max_concurrent"),
        ({"burst": 5}, "burst is of requests: give requests_per_minute too, or remove it"),
        ({"burst": 5, "tokens_per_minute": 9}, "burst is of requests"),
        ({"requests_per_minute": 0}, "0 must be at least 1 and at most 10000000; leave it out for no limit"),
        ({"requests_per_minute": -1}, "at least 1"),
        ({"tokens_per_minute": 10**12}, "at most 100000000000"),
        ({"max_concurrent": 10**7}, "at most 1000000"),
        ({"max_concurrent": True}, "True is not a whole number: write one such as 600"),
        ({"max_concurrent": "5"}, "'5' is not a whole number"),
        ({"requests_per_minute": 1.5}, "1.5 is not a whole number"),
        ({"requests_per_second": 1}, "Extra inputs are not permitted"),
    ],
)
def test_rate_that_means_nothing_is_an_error_with_its_remedy(written: dict[str, object], told: str) -> None:
    assert told in problem(**written)
