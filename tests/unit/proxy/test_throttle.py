"""Throttled calls in line: their pace, their order, and every way out of it."""

import asyncio
from collections.abc import Awaitable, Callable
from decimal import Decimal
from functools import wraps

import pytest

from proxy import clock, errors, pacing
from proxy.pacing import Pacers, Throttled
from rules.scope import Scope, ScopeKind
from tests.support.records import SEARCH
from tests.support.virtual_time import run_virtually

HALF = Decimal("0.5")
OTHER = Scope(ScopeKind.TEAM, "other")


def virtually(test: Callable[[], Awaitable[None]]) -> Callable[[], None]:
    @wraps(test)
    def run() -> None:
        async def whole() -> None:
            await test()

        run_virtually(whole())

    return run


def pacers(*, per_minute: int = 60, queue_max: int = 100, max_delay_seconds: float = 10) -> Pacers:
    """For a scope that has just asked for so many calls: at half of 60 a minute, a turn every two seconds."""
    made = Pacers(max_delay_seconds=max_delay_seconds, queue_max=queue_max)
    for _ in range(per_minute):
        made.note(SEARCH, clock.now())
    return made


class Crowd:
    """Callers, and the order in which they went."""

    def __init__(self, some: Pacers) -> None:
        self.pacers = some
        self.went: list[tuple[str, float]] = []
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def join(self, *names: str, rule: str = "slow", scope: Scope = SEARCH) -> None:
        """The first letter of a name is its key."""
        for name in names:
            self.tasks[name] = asyncio.ensure_future(self._one(name, rule, scope))  # noqa: TID251 - waited for below
            await asyncio.sleep(0)

    async def _one(self, name: str, rule: str, scope: Scope) -> None:
        await self.pacers.turn(rule, scope, name[0], HALF)
        self.went.append((name, round(clock.monotonic(), 3)))

    async def ends(self) -> list[tuple[str, float]]:
        await asyncio.gather(*self.tasks.values(), return_exceptions=True)
        return self.went


@virtually
async def test_a_throttled_scope_has_a_turn_every_interval() -> None:
    crowd = Crowd(pacers())
    await crowd.join("a1", "a2", "a3")

    assert await crowd.ends() == [("a1", 0), ("a2", 2), ("a3", 4)]


@virtually
async def test_a_throttled_call_after_a_pause_goes_at_once_and_saves_no_turns() -> None:
    crowd = Crowd(pacers())
    await crowd.join("a1")
    await asyncio.sleep(60)
    await crowd.join("a2", "a3")

    assert await crowd.ends() == [("a1", 0), ("a2", 60), ("a3", 62)]


@virtually
async def test_a_busy_key_does_not_keep_others_from_their_throttled_turns() -> None:
    crowd = Crowd(pacers())
    await crowd.join("a1", "a2", "a3", "a4", "b1")

    assert [name for name, _ in await crowd.ends()] == ["a1", "a2", "b1", "a3", "a4"]


@virtually
async def test_a_throttled_call_whose_turn_is_too_far_is_told_at_once_when_to_come_back() -> None:
    some = pacers()
    crowd = Crowd(some)
    await crowd.join(*(f"a{n}" for n in range(6)))

    with pytest.raises(Throttled) as caught:
        await some.turn("slow", SEARCH, "a", HALF)

    assert clock.monotonic() == 0
    assert (caught.value.retry_after_seconds, caught.value.interval_seconds) == (2, 2)
    await asyncio.sleep(2)
    assert await some.turn("slow", SEARCH, "a", HALF) == pytest.approx(10)


@virtually
async def test_a_throttled_call_that_others_went_before_is_refused_after_the_longest_delay() -> None:
    """Every turn of another key that joins puts off the last of a busy one."""
    crowd = Crowd(pacers())
    await crowd.join(*(f"a{n}" for n in range(6)), "b1")
    await crowd.ends()

    assert isinstance(crowd.tasks["a5"].exception(), Throttled)
    assert ("b1", 4) in crowd.went
    assert clock.monotonic() == 10


@virtually
async def test_a_throttled_line_is_bounded() -> None:
    some = pacers(queue_max=1)
    crowd = Crowd(some)
    await crowd.join("a1", "a2")

    with pytest.raises(Throttled):
        await some.turn("slow", SEARCH, "b", HALF)
    assert len(await crowd.ends()) == 2


@virtually
async def test_a_cancelled_throttled_call_frees_its_place() -> None:
    crowd = Crowd(pacers())
    await crowd.join("a1", "a2", "a3")
    crowd.tasks["a2"].cancel()

    assert await crowd.ends() == [("a1", 0), ("a3", 2)]
    assert crowd.pacers.waiting("slow", SEARCH) == 0


@virtually
async def test_a_throttled_call_that_is_cancelled_with_its_turn_in_hand_gives_it_to_the_next() -> None:
    crowd = Crowd(pacers())
    await crowd.join("a1", "a2", "a3")
    asyncio.get_running_loop().call_at(
        2, lambda: asyncio.get_running_loop().call_soon(crowd.tasks["a2"].cancel)
    )

    went = await crowd.ends()

    assert [name for name, _ in went] == ["a1", "a3"]
    assert went[1][1] == 2


@virtually
async def test_who_waits_goes_at_once_when_a_throttle_ends() -> None:
    crowd = Crowd(pacers())
    await crowd.join("a1", "a2", "a3", "b1")
    await asyncio.sleep(1)
    crowd.pacers.clear("slow")

    assert [at for _, at in await crowd.ends()] == [0, 1, 1, 1]


@virtually
async def test_the_end_of_one_throttle_leaves_other_scopes_and_rules_in_line() -> None:
    crowd = Crowd(pacers())
    await crowd.join("a1", "a2")
    await crowd.join("b1", "b2", rule="other")
    await crowd.join("c1", "c2", scope=OTHER)
    crowd.pacers.clear("slow", SEARCH)
    await asyncio.sleep(0.1)

    assert [name for name, _ in crowd.went] == ["a1", "b1", "c1", "a2"]
    crowd.pacers.clear("slow")
    crowd.pacers.clear("unknown")
    await asyncio.sleep(0.1)
    assert [name for name, _ in crowd.went][4:] == ["c2"]
    await crowd.ends()


@virtually
async def test_slowed_callers_are_not_throttled_ever_more_because_they_ask_less() -> None:
    some = pacers(per_minute=0)
    for _ in range(600):
        some.note(SEARCH, clock.now())
        await asyncio.sleep(1)
    times = []
    for _ in range(600):
        some.note(SEARCH, clock.now())
        await some.turn("slow", SEARCH, "a", HALF)
        times.append(clock.monotonic())

    assert times[-1] - times[0] > 2 * 600 - 10
    assert times[-1] - times[-2] == pytest.approx(2, rel=0.01)


@virtually
async def test_the_throttled_pace_follows_a_growing_demand() -> None:
    some = pacers(per_minute=0)
    await some.turn("slow", SEARCH, "a", HALF)
    for _ in range(600):
        some.note(SEARCH, clock.now())

    assert await some.turn("slow", SEARCH, "a", HALF) == pytest.approx(0.2)


@virtually
async def test_a_throttled_line_that_was_left_alone_for_ten_minutes_begins_anew() -> None:
    some = pacers(per_minute=600)
    await some.turn("slow", SEARCH, "a", HALF)
    await asyncio.sleep(1_300)
    await some.turn("slow", SEARCH, "a", HALF)

    assert await some.turn("slow", SEARCH, "a", HALF) == pytest.approx(10)


@virtually
async def test_the_memory_of_throttled_lines_is_bounded() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pacing, "LINES_MAX", 2)
        patch.setattr(pacing, "SCOPES_MAX", 2)
        crowd = Crowd(pacers())
        await crowd.join("a1", "a2")
        for name in ("x", "y", "z"):
            await crowd.pacers.turn("slow", Scope(ScopeKind.USER, name), "a", HALF)

        assert (len(crowd.pacers._lines), len(crowd.pacers._demands)) == (2, 2)
        assert crowd.pacers.waiting("slow", SEARCH) == 1
        await crowd.ends()


def test_a_throttled_call_is_told_by_what_at_which_pace_and_what_to_do() -> None:
    told = errors.throttled("half_speed", SEARCH, interval_seconds=2.4, retry_after_seconds=2.1)

    assert (told.status, told.code, told.retry_after_seconds, told.should_retry) == (
        429,
        "throttled",
        3,
        True,
    )
    assert told.message == (
        'team "search" is slowed by rule "half_speed" to one call every 2.4 s, and more are in line than may wait. '
        "Try again in 3 s, send fewer calls at once, or ask an admin to reset the rule."
    )
    assert told.extra == {"rule_id": "half_speed", "scope": "team:search", "interval_seconds": "2.4"}
