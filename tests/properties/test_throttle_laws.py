"""Laws of throttling: no faster than the pace, fair between keys, nobody lost, nobody beyond the longest delay."""

import asyncio
from dataclasses import dataclass
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy import clock
from proxy.pacing import Pacers, Throttled
from rules.throttle import Rounds
from tests.support.records import SEARCH
from tests.support.virtual_time import run_virtually

LONGEST = 10.0
KEYS = st.sampled_from("abcd")
QUEUE_MAX = 20


@dataclass
class Asked:
    """One call: when it comes, whose it is, and after how long its client leaves (None: never)."""

    at: float
    key: str
    leaves_after: float | None


asked = st.builds(
    Asked,
    st.floats(0, 120).map(lambda seconds: round(seconds, 2)),
    KEYS,
    st.none() | st.none() | st.floats(0, 12).map(lambda seconds: round(seconds, 2)),
)


@dataclass
class Seen:
    went: list[float]
    refused: list[Throttled]
    left: int
    in_line: int
    rates: list[float]
    waits: list[float]


async def played(calls: list[Asked], factor: Decimal) -> Seen:
    pacers = Pacers(max_delay_seconds=LONGEST, queue_max=QUEUE_MAX)
    seen = Seen([], [], 0, 0, [], [])
    arrivals: list[float] = []

    async def one(call: Asked) -> None:
        await asyncio.sleep(call.at)
        since = clock.monotonic()
        arrivals.append(since)
        pacers.note(SEARCH, clock.now())
        seen.rates.append(len(arrivals) / max(1.0, (since - arrivals[0]) / 60))
        try:
            async with asyncio.timeout(call.leaves_after):
                waited = await pacers.turn("slow", SEARCH, call.key, factor)
        except Throttled as throttled:
            seen.refused.append(throttled)
        except TimeoutError:
            seen.left += 1
        else:
            assert abs(waited - (clock.monotonic() - since)) < 1e-6
            seen.went.append(clock.monotonic())
        seen.waits.append(clock.monotonic() - since)

    await asyncio.gather(*map(one, calls))
    seen.in_line = pacers.waiting("slow", SEARCH)
    return seen


factors = st.sampled_from([Decimal("0.1"), Decimal("0.5"), Decimal(1)])


@settings(deadline=None, max_examples=150)
@given(st.lists(asked, min_size=1, max_size=120), factors)
def test_no_window_lets_more_throttled_calls_through_than_the_pace(
    calls: list[Asked], factor: Decimal
) -> None:
    seen = run_virtually(played(calls, factor))

    # The rate is whole arrivals over the time watched, so its peak is at an arrival. A call every LONGEST always goes.
    per_second = max(max(seen.rates) * float(factor) / 60, 1 / LONGEST)
    for n, first in enumerate(seen.went):
        for count, last in enumerate(seen.went[n:], start=1):
            assert count <= 1 + (last - first + 1e-3) * per_second


@settings(deadline=None, max_examples=150)
@given(st.lists(asked, min_size=1, max_size=120), factors)
def test_every_throttled_call_goes_is_refused_or_left_and_none_waits_beyond_the_longest_delay(
    calls: list[Asked], factor: Decimal
) -> None:
    seen = run_virtually(played(calls, factor))

    assert len(seen.went) + len(seen.refused) + seen.left == len(calls)
    assert seen.in_line == 0
    assert max(seen.waits) <= LONGEST + 1e-3
    assert all(0 < each.interval_seconds <= LONGEST for each in seen.refused)
    assert all(each.retry_after_seconds >= each.interval_seconds for each in seen.refused)


@given(st.lists(KEYS, max_size=60), KEYS)
def test_what_is_told_to_be_ahead_of_a_throttled_call_is(keys: list[str], newcomer: str) -> None:
    line: Rounds[int] = Rounds()
    for n, key in enumerate(keys):
        line.add(key, n)
    ahead = line.ahead_of(newcomer)

    line.add(newcomer, -1)
    order = [line.next() for _ in range(line.size)]

    assert order.index(-1) == ahead


@given(st.lists(st.tuples(KEYS, st.booleans()), max_size=80))
def test_throttled_keys_that_wait_never_differ_by_more_than_one_turn(steps: list[tuple[str, bool]]) -> None:
    """From the moment that both are in line until one is not."""
    line: Rounds[str] = Rounds()
    waiting = dict.fromkeys("abcd", 0)
    since_both: dict[tuple[str, str], list[str]] = {}
    for key, serve in steps:
        if not serve or not line.size:
            line.add(key, key)
            waiting[key] += 1
            continue
        served = line.next()
        for one in "abcd":
            for other in "abcd":
                if one < other and waiting[one] and waiting[other]:
                    turns = since_both.setdefault((one, other), [])
                    turns.append(served)
                    assert abs(turns.count(one) - turns.count(other)) <= 1
                else:
                    since_both.pop((one, other), None)
        waiting[served] -= 1
    assert line.size == sum(waiting.values())
