"""The breaker of one provider, on a clock of the test's own."""

import asyncio
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from proxy.errors import Unavailable
from proxy.passage import Passage
from proxy.retry_after import retry_after_seconds
from proxy.settings import Provider, UpstreamBreaker
from proxy.upstream import UpstreamFailure
from proxy.upstream_guard import Guard, Hand
from rules.alert import Alert
from rules.breaker import State

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


class Bench:
    """A guard that opens by four calls, with what it told."""

    def __init__(self, connections_max: int = 0, **changes: Any) -> None:
        breaker = UpstreamBreaker(
            failure_share=Decimal("0.5"), min_calls=4, cooldown_seconds=10, trial_calls=2
        ).model_copy(update=changes)
        provider = Provider(
            dialect="openai", base_url="http://x/v1", breaker=breaker, connections_max=connections_max
        )
        self.seconds = 1000.0
        self.alerts: list[Alert] = []
        self.guard = Guard("acme", provider, self.alerts.extend, monotonic=lambda: self.seconds)

    def enter(self) -> Passage:
        return Passage(self.guard, self.guard.enter())

    def fail(self, count: int = 1) -> None:
        for _ in range(count):
            self.enter().failed("500")

    def state(self) -> State:
        return self.guard.breaker.state

    @property
    def told(self) -> list[tuple[str, str]]:
        return [(alert.level.value, alert.facts["state"]) for alert in self.alerts]


def failure(code: str, *, sent: bool = True, proven: bool = True) -> UpstreamFailure:
    return UpstreamFailure(code, "x", sent=sent, proven=proven)


def test_a_breaker_opens_by_a_share_of_failures_and_says_why() -> None:
    bench = Bench()
    bench.enter().answered()
    bench.enter().answered()
    bench.fail()
    assert bench.state() is State.CLOSED

    bench.fail()
    with pytest.raises(Unavailable) as refused:
        bench.guard.check()

    problem = refused.value
    assert (problem.status, problem.code, problem.retry_after_seconds) == (503, "upstream_breaker_open", 10)
    assert "2 of 4 calls in 60 s failed, the last by 500" in problem.message
    assert problem.extra == {"scope": "provider:acme", "state": "open"}
    assert bench.told == [("critical", "open")]


def test_a_breaker_that_is_off_never_opens() -> None:
    bench = Bench(enabled=False)

    bench.fail(50)

    assert bench.state() is State.CLOSED


def test_a_breaker_closes_when_all_its_trials_have_gone_well_and_begins_anew() -> None:
    bench = Bench()
    bench.fail(4)
    bench.seconds += 10

    first, second = bench.enter(), bench.enter()
    with pytest.raises(Unavailable) as refused:
        bench.enter()
    assert "on trial" in refused.value.message
    assert refused.value.retry_after_seconds == 1
    first.answered()
    assert bench.state() is State.HALF_OPEN
    second.answered()

    assert bench.state() is State.CLOSED
    bench.fail(3)
    assert bench.state() is State.CLOSED, "what failed before is forgotten"
    assert bench.told == [("critical", "open"), ("info", "closed")]


def test_a_trial_that_fails_opens_the_breaker_again_without_a_second_alert() -> None:
    bench = Bench()
    bench.fail(4)
    bench.seconds += 10

    bench.fail()

    assert bench.state() is State.OPEN
    assert bench.told == [("critical", "open")]


def test_a_late_answer_of_an_older_generation_changes_no_breaker() -> None:
    bench = Bench()
    late = [bench.enter() for _ in range(6)]
    bench.fail(4)
    bench.seconds += 10
    assert bench.state() is State.HALF_OPEN

    for passage in late[:3]:
        passage.answered()
    late[3].failed("500")
    late[4].broke(failure("upstream_reset"))
    late[5].ended()

    assert (bench.state(), bench.guard.breaker.trials_ok) == (State.HALF_OPEN, 0)


def test_a_trial_that_was_left_gives_its_place_in_the_breaker_back() -> None:
    bench = Bench()
    bench.fail(4)
    bench.seconds += 10
    bench.enter().ended()
    bench.enter().broke(failure("upstream_reset", proven=False))

    assert bench.guard.breaker.trials_out == 0
    assert bench.state() is State.HALF_OPEN


def test_trials_that_say_nothing_do_not_keep_a_breaker_half_open_for_ever() -> None:
    """After a cooldown others take their places, and their own answers still count."""
    bench = Bench()
    bench.fail(4)
    bench.seconds += 10
    slow = [bench.enter(), bench.enter()]
    bench.seconds += 10
    others = [bench.enter(), bench.enter()]
    with pytest.raises(Unavailable):
        bench.enter()

    slow[0].answered()
    others[0].answered()

    assert bench.state() is State.CLOSED


def test_a_trial_that_breaks_off_after_a_good_beginning_opens_the_breaker() -> None:
    bench = Bench()
    bench.fail(4)
    bench.seconds += 10
    trial = bench.enter()
    trial.answered()

    trial.broke(failure("upstream_reset"))

    assert bench.state() is State.OPEN


def test_streams_that_all_break_off_open_the_breaker() -> None:
    bench = Bench(failure_share=Decimal(1))
    for _ in range(4):
        passage = bench.enter()
        passage.answered()
        passage.broke(failure("upstream_reset"))
        passage.ended(answered=True)

    assert bench.state() is State.OPEN


@pytest.mark.parametrize(
    ("told", "connections_max"),
    [
        (failure("upstream_reset", proven=False), 0),
        (failure("upstream_protocol", sent=False), 0),
        (failure("upstream_timeout", sent=False), 5),
    ],
)
def test_what_is_not_the_providers_fault_leaves_its_breaker_alone(
    told: UpstreamFailure, connections_max: int
) -> None:
    bench = Bench(connections_max)

    for _ in range(10):
        bench.enter().broke(told)

    assert bench.state() is State.CLOSED


@pytest.mark.parametrize(
    "told",
    [
        failure("upstream_connect", sent=False),
        failure("upstream_dns", sent=False),
        failure("upstream_tls", sent=False),
        failure("upstream_timeout", sent=False),
        failure("upstream_timeout"),
        failure("upstream_reset"),
        failure("upstream_protocol"),
    ],
)
def test_every_failure_of_the_provider_counts_for_its_breaker(told: UpstreamFailure) -> None:
    bench = Bench()

    for _ in range(4):
        bench.enter().broke(told)

    assert bench.state() is State.OPEN


async def test_a_stream_whose_first_token_is_late_counts_as_failed_for_the_breaker() -> None:
    """At the moment that it is late, once, and whole answers never."""
    bench = Bench(first_token_seconds=0.001)
    streams = [bench.enter() for _ in range(3)]
    whole = bench.enter()
    for stream in streams:
        stream.sent(streams=True)
    whole.sent(streams=False)
    streams[0].answered()
    while bench.guard.details()["failed"] < 2:
        await asyncio.sleep(0)
    streams[1].answered()
    streams[2].broke(failure("upstream_timeout"))
    whole.answered()

    assert (bench.guard.details()["failed"], bench.guard.details()["calls"]) == (2, 4)


def test_a_hand_holds_a_breaker_until_it_is_reset() -> None:
    bench = Bench()
    bench.guard.force(Hand("acme", True, "a drill", NOON))
    bench.seconds += 3600
    with pytest.raises(Unavailable, match="by hand: a drill") as refused:
        bench.guard.check()
    assert refused.value.retry_after_seconds == 30

    bench.guard.force(Hand("acme", False, "never", NOON))
    bench.fail(20)
    assert bench.state() is State.CLOSED
    bench.guard.reset("over")
    bench.fail(4)

    assert bench.state() is State.OPEN
    levels = ["critical", "warning", "info", "critical"]
    assert [level for level, _ in bench.told] == levels


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ([("Retry-After", "3")], 3.0),
        ([("retry-after-ms", "250"), ("retry-after", "9")], 0.25),
        ([("retry-after-ms", "soon"), ("retry-after", "9")], 9.0),
        ([("Retry-After", "Mon, 02 Mar 2026 12:01:00 GMT")], 60.0),
        ([("Retry-After", "Mon, 02 Mar 2026 11:00:00 GMT")], 0.0),
        ([("Retry-After", "1e9")], 86_400.0),
        ([("Retry-After", "-1")], 0.0),
        ([("Retry-After", "nan")], None),
        ([("Retry-After", "soon")], None),
        ([], None),
    ],
)
def test_how_long_a_provider_wants_callers_to_wait(
    headers: list[tuple[str, str]], seconds: float | None
) -> None:
    assert retry_after_seconds(headers, NOON) == seconds


def test_throttling_is_told_and_opens_no_breaker() -> None:
    bench = Bench()
    for _ in range(10):
        passage = bench.enter()
        passage.throttled([("Retry-After", "7")])
        passage.ended(answered=True)

    assert (bench.state(), bench.guard.throttled_seconds) == (State.CLOSED, 7.0)
    bench.seconds += 8
    assert bench.guard.throttled_seconds == 0
