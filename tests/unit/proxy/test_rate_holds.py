"""Rates with holds: poured with the money or not at all, corrected at the end, counted per call in flight, bounded."""

from datetime import timedelta

import pytest

from pricing.estimate import Estimate
from pricing.money import Nanos
from proxy.errors import busy, paced, refused
from proxy.holds import Crowded, OverBudget, Paced
from proxy.holds.buckets import Buckets
from proxy.holds.local import LocalHolds
from proxy.holds.seed import spent_on
from proxy.ratelimit import OPENAI, OURS, duration, rate_headers
from proxy.records import from_dict, to_dict
from rules.call import Call, CallId, Operation
from rules.counter import Balance, Claim, Hold, Limit, Measure, in_flight
from rules.rate import Pour, Rate, Standing
from rules.refusal import refusal_of_limit, refusal_of_rate
from tests.support.rates import holds_of, rate
from tests.support.records import ALL_TODAY, NOON, SEARCH, opened

BUSY = in_flight(SEARCH)
REQUESTS = rate(Measure.REQUESTS, 2, 60)
TOKENS = rate(Measure.TOKENS, 100, 60)
SPEND = rate(Measure.SPEND, 100, 60)
SECOND = timedelta(seconds=1)
CALL = Call(CallId("c1"), NOON, Operation.LLM, "openai", "gpt-4o", "search", "k1")


def money(amount: int, limit: int | None = None) -> Claim:
    limits = (Limit(ALL_TODAY, None if limit is None else Nanos(limit), "everyone"),)
    return Claim(ALL_TODAY, Nanos(amount), limits)


def one_of(most: int) -> Claim:
    return Claim(BUSY, Nanos(1), (Limit(BUSY, Nanos(most), "search", code="concurrency_limited"),))


async def place(some: LocalHolds, call_id: str, *claims: Claim, pours: tuple[Pour, ...] = ()) -> Hold:
    return await some.place(call_id, claims, NOON, pours=pours)


def used(some: LocalHolds, *rates: Rate) -> list[int]:
    return [some.used(each.bucket, NOON) for each in rates]


async def test_rate_that_is_full_refuses_and_nothing_is_held_or_poured() -> None:
    some = holds_of(ALL_TODAY)
    for name in ("c1", "c2"):
        await place(some, name, pours=(Pour(REQUESTS, 1),))

    with pytest.raises(Paced) as refusal:
        await place(some, "c3", money(5), one_of(9), pours=(Pour(TOKENS, 7), Pour(REQUESTS, 1)))

    by = refusal.value
    assert (by.rate, by.used, by.amount, by.retry_after_seconds) == (REQUESTS, 2, 1, 1.0)
    assert by.standings == (Standing(REQUESTS, 2), Standing(TOKENS, 0))
    assert used(some, TOKENS) == [0]
    assert [some.balance(each).held for each in (ALL_TODAY, BUSY)] == [0, 0]
    assert some.open_count == 2


async def test_rate_that_lets_pass_last_is_the_one_that_is_told() -> None:
    some, slow = holds_of(), rate(Measure.REQUESTS, 1, 1, owner="slow")
    pours = (Pour(REQUESTS, 1), Pour(slow, 1))
    await place(some, "c1", pours=pours)

    with pytest.raises(Paced) as refusal:
        await place(some, "c2", pours=pours)

    assert (refusal.value.rate, refusal.value.retry_after_seconds) == (slow, 60.0)


async def test_rate_is_asked_after_budgets_that_are_spent_and_before_those_that_are_only_held() -> None:
    some = holds_of(ALL_TODAY)
    full = (Pour(rate(Measure.REQUESTS, 1, 60), 1),)
    await place(some, "c1", money(60, 100), pours=full)

    with pytest.raises(OverBudget):
        await place(some, "c2", money(101, 100), pours=full)
    with pytest.raises(Paced):
        await place(some, "c2", money(60, 100), pours=full)
    with pytest.raises(Crowded):
        await place(some, "c2", money(60, 100))


async def test_rate_pours_once_for_a_call_that_is_placed_twice() -> None:
    some = holds_of()
    first = await place(some, "c1", pours=(Pour(REQUESTS, 1),))

    assert await place(some, "c1", pours=(Pour(REQUESTS, 1),)) == first
    assert first.pours == (Pour(REQUESTS, 1),)
    assert used(some, REQUESTS) == [1]


async def test_rate_of_tokens_and_money_learns_the_truth_at_the_settling() -> None:
    some = holds_of()
    pours = (Pour(REQUESTS, 1), Pour(TOKENS, 50), Pour(SPEND, 50))
    hold = await place(some, "c1", pours=pours)

    some.settle(hold, Nanos(80), tokens=20)

    assert used(some, REQUESTS, TOKENS, SPEND) == [1, 20, 80]


async def test_rate_of_tokens_keeps_the_estimate_where_nobody_tells_the_truth() -> None:
    some = holds_of()
    hold = await place(some, "c1", pours=(Pour(TOKENS, 50),))

    some.settle(hold, Nanos(80))

    assert used(some, TOKENS) == [50]


async def test_rate_of_tokens_and_money_comes_back_with_a_release_and_the_request_does_not() -> None:
    some = holds_of()
    hold = await place(some, "c1", pours=(Pour(REQUESTS, 1), Pour(TOKENS, 50), Pour(SPEND, 50)))

    some.release(hold)

    assert used(some, REQUESTS, TOKENS, SPEND) == [1, 0, 0]


async def test_rate_goes_by_the_instant_of_placing_where_a_call_has_waited() -> None:
    some = holds_of()
    for name in ("c1", "c2"):
        await place(some, name, pours=(Pour(REQUESTS, 1),))

    hold = await some.place("c3", (), NOON, pours=(Pour(REQUESTS, 1),), now=NOON + SECOND)

    assert hold.at == NOON
    assert some.used(REQUESTS.bucket, NOON + SECOND) == 2


async def test_rate_over_one_bucket_twice_is_poured_once_at_the_slower_speed() -> None:
    some = holds_of()
    slower = rate(Measure.REQUESTS, 50, 6)
    await place(some, "c1", pours=(Pour(REQUESTS, 1), Pour(slower, 1)))

    assert some.used(REQUESTS.bucket, NOON + 9 * SECOND) == 1
    assert some.used(REQUESTS.bucket, NOON + 10 * SECOND) == 0


async def test_rate_of_another_owner_has_a_bucket_of_its_own() -> None:
    some, watched = holds_of(), rate(Measure.REQUESTS, None, 1, owner="watched")
    await place(some, "c1", pours=(Pour(REQUESTS, 1), Pour(watched, 1)))

    later = NOON + 30 * SECOND
    assert [some.used(each.bucket, later) for each in (REQUESTS, watched)] == [0, 1]


async def test_rate_that_is_only_watched_refuses_nothing_and_counts_as_if_it_had() -> None:
    """Else a rule in shadow would go on to tell of calls that came long ago."""
    some, watched = holds_of(), rate(Measure.REQUESTS, 2, 60, watched=True)
    for n in range(100):
        await place(some, f"c{n}", pours=(Pour(watched, 1),))

    assert used(some, watched) == [2]
    assert Standing(watched, 2).remaining is None


async def test_rate_is_not_held_up_by_a_clock_that_was_set_back() -> None:
    some = holds_of()
    for name in ("c1", "c2"):
        await place(some, name, pours=(Pour(REQUESTS, 1),))
    earlier = NOON - 3600 * SECOND

    with pytest.raises(Paced) as refusal:
        await some.place("c3", (), earlier, pours=(Pour(REQUESTS, 1),))

    assert refusal.value.retry_after_seconds == 1.0
    await some.place("c3", (), earlier + SECOND, pours=(Pour(REQUESTS, 1),))


def test_rate_buckets_are_bounded_and_empty_ones_go_first() -> None:
    some = Buckets(buckets_max=10)
    keys = [rate(Measure.REQUESTS, 5, 60, owner=f"k{n}") for n in range(11)]
    for n, each in enumerate(keys[:10]):
        some.pour(f"c{n}", [Pour(each, 1 if n % 2 else 5)], NOON)

    later = NOON + 2 * SECOND
    some.pour("c10", [Pour(keys[10], 1)], later)

    assert len(some) == 6
    assert [some.used(each.bucket, later) for each in keys] == [3, 0] * 5 + [1]


def test_rate_buckets_all_in_use_lose_those_that_were_poured_into_longest_ago() -> None:
    some = Buckets(buckets_max=10)
    keys = [rate(Measure.REQUESTS, 5, 1, owner=f"k{n}") for n in range(11)]
    for n, each in enumerate((*keys[:10], keys[0], keys[10])):
        some.pour(f"c{n}", [Pour(each, 1)], NOON)

    assert len(some) == 10
    assert [some.used(each.bucket, NOON) for each in keys] == [2, 0, *([1] * 9)]
    for n in range(12):
        some.release(f"c{n}")
    assert some.open_count == 0


def test_rate_pours_do_not_outlive_the_process() -> None:
    """A call found in a journal after a crash is settled as before: the buckets of the next process are empty."""
    told = opened()
    held = Hold(told.hold.call_id, told.hold.at, told.hold.amounts, (Pour(REQUESTS, 1),))

    again = from_dict(to_dict(type(told)(told.row, held, told.lost)))

    assert again == told


# -- calls in flight ------------------------------------------------------------------------------------------------


async def test_rate_of_calls_in_flight_makes_the_next_one_wait_and_is_never_spent() -> None:
    some = holds_of(ALL_TODAY)
    first = await place(some, "c1", money(5), one_of(1))

    with pytest.raises(Crowded) as refusal:
        await place(some, "c2", money(5), one_of(1))
    moved = some.settle(first, Nanos(7))

    assert refusal.value.limit.counter == BUSY
    assert some.balance(BUSY) == Balance(Nanos(0), Nanos(0))
    assert [(each.counter, each.after) for each in moved] == [(ALL_TODAY, 7)]
    await place(some, "c2", one_of(1))


async def test_rate_of_calls_in_flight_needs_no_ledger_to_begin_with() -> None:
    some = holds_of()

    assert some.unknown([BUSY, ALL_TODAY]) == [ALL_TODAY]
    assert await spent_on(None, BUSY) == 0  # type: ignore[arg-type]


async def test_rate_of_calls_in_flight_that_comes_with_a_new_policy_counts_those_that_fly() -> None:
    some = holds_of(ALL_TODAY)
    dear = Estimate(Nanos(900), Nanos(1000), 1.0, "test", 1, 1, 1, 1)
    hold = await some.place("c1", [money(5)], NOON, call=CALL, estimate=dear)

    with pytest.raises(Crowded):
        await place(some, "c2", one_of(1))

    assert some.balance(BUSY).held == 1
    some.release(hold)
    assert some.balance(BUSY).held == 0


async def test_rate_of_calls_in_flight_is_untouched_by_a_corrected_charge() -> None:
    some = holds_of(ALL_TODAY)
    await place(some, "c1", one_of(1))

    moved = some.correct([SEARCH, ALL_TODAY.scope], NOON, Nanos(100))

    assert [each.counter for each in moved] == [ALL_TODAY]
    assert some.balance(BUSY) == Balance(Nanos(0), Nanos(1))


# -- as refused callers see it --------------------------------------------------------------------------------------


def test_rate_refusal_is_a_429_with_retry_after_and_the_headers_that_sdks_know() -> None:
    by = Paced(TOKENS, 90, 20, 10.2, (Standing(REQUESTS, 1),))
    refusal = refusal_of_rate(by.rate, by.used, by.amount, by.retry_after_seconds, CALL)

    error = paced(refusal, by.standings)

    assert (error.status, error.code, error.kind) == (429, "rate_limited", "rate_limit_error")
    assert error.retry_after_seconds == 11
    assert error.should_retry
    assert dict(error.headers) == {
        "x-ratelimit-limit-requests": "2",
        "x-ratelimit-remaining-requests": "1",
        "x-ratelimit-reset-requests": "1s",
        "x-ratelimit-limit-tokens": "100",
        "x-ratelimit-remaining-tokens": "10",
        "x-ratelimit-reset-tokens": "1m30s",
    }
    assert error.extra["limit_tokens"] == "100"
    assert error.extra["asked_tokens"] == "20"
    assert error.extra["limit_usd"] is None


def test_rate_over_money_is_refused_like_money() -> None:
    over = rate(Measure.SPEND, 100, 60)

    error = paced(refusal_of_rate(over, 100, 1, 1.0, CALL), (Standing(over, 100),), status=402)

    assert (error.status, error.kind, error.headers) == (402, "insufficient_quota", ())
    assert not error.should_retry


def test_rate_of_calls_in_flight_is_a_429_of_its_own_after_the_wait() -> None:
    limit = one_of(1).limits[0]
    refusal = refusal_of_limit(limit, Balance(Nanos(0), Nanos(1)), Nanos(1), CALL)

    waited, at_once = busy(refusal, waited_seconds=2.0), refused(refusal, status=429)

    assert (waited.status, waited.code, at_once.code) == (429, "concurrency_limited", "concurrency_limited")
    assert waited.message == f"{refusal.sentence} Waited 2.0 s for one."
    assert "$" not in waited.message
    assert waited.extra["limit_concurrent"] == "1"
    assert (at_once.kind, at_once.retry_after_seconds, waited.retry_after_seconds) == (
        "rate_limit_error",
        1,
        1,
    )


def test_rate_headers_tell_the_rate_that_has_least_left_and_none_that_only_counts() -> None:
    roomy, watched = rate(Measure.REQUESTS, 900, 900, owner="roomy"), rate(Measure.REQUESTS, None, 1)

    told = rate_headers(OURS, [Standing(roomy, 0), Standing(REQUESTS, 0), Standing(watched, 9)])

    assert told == [
        ("x-spendgate-ratelimit-limit-requests", "2"),
        ("x-spendgate-ratelimit-remaining-requests", "2"),
        ("x-spendgate-ratelimit-reset-requests", "0s"),
    ]
    assert rate_headers(OPENAI, [Standing(watched, 9), Standing(SPEND, 9)]) == []


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0, "0s"),
        (0.02, "20ms"),
        (0.0201, "21ms"),
        (1, "1s"),
        (8.64, "8.64s"),
        (360, "6m0s"),
        (3630, "1h0m30s"),
    ],
)
def test_rate_resets_are_told_as_durations(seconds: float, told: str) -> None:
    assert duration(seconds) == told
