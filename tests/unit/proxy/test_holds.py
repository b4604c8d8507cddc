"""Money promised to calls, in the memory of one process: who is admitted, who waits, what a settle moves."""

import asyncio
from collections.abc import Callable

import pytest

from pricing.money import Nanos
from proxy.holds import Busy, Crowded, Moved, OverBudget
from proxy.holds.local import LocalHolds
from rules.counter import Balance, Claim, CounterKey, Hold, Limit
from tests.support.records import ALL_TODAY, NOON, SEARCH_TODAY

TEAM, ALL = SEARCH_TODAY, ALL_TODAY


def holds(*, spent: int = 0, queue_max: int = 10) -> LocalHolds:
    made = LocalHolds(queue_max=queue_max)
    made.seed(TEAM, Nanos(spent))
    made.seed(ALL, Nanos(spent))
    return made


def claim(amount: int, *limits: int | None, counter: CounterKey = TEAM) -> Claim:
    over = tuple(
        Limit(counter, None if limit is None else Nanos(limit), f"limit-{n}")
        for n, limit in enumerate(limits)
    )
    return Claim(counter, Nanos(amount), over)


async def place(on: LocalHolds, call_id: str, *claims: Claim) -> Hold:
    return await on.place(call_id, claims, NOON)


def balance(spent: int, held: int) -> Balance:
    return Balance(Nanos(spent), Nanos(held))


async def test_a_hold_is_admitted_up_to_exactly_the_limit() -> None:
    some = holds(spent=40)

    await place(some, "c1", claim(60, 100))

    assert some.balance(TEAM) == balance(40, 60)


async def test_one_nano_too_much_beside_open_holds_is_crowded() -> None:
    some = holds(spent=40)
    await place(some, "c1", claim(60, 100))

    with pytest.raises(Crowded) as refusal:
        await place(some, "c2", claim(1, 100))

    assert refusal.value.balance == balance(40, 60)
    assert some.open_count == 1


async def test_one_nano_over_what_is_left_is_over_budget_however_little_is_held() -> None:
    some = holds(spent=40)

    with pytest.raises(OverBudget) as refusal:
        await place(some, "c1", claim(61, 100))

    assert (refusal.value.amount, refusal.value.limit.owner) == (61, "limit-0")
    assert some.balance(TEAM) == balance(40, 0)


async def test_over_budget_is_told_before_crowded() -> None:
    """No wait helps the one, so the caller must not be sent to wait for the other."""
    some = holds()
    await place(some, "c1", claim(90, 1000))

    with pytest.raises(OverBudget):
        await place(some, "c2", claim(20, 100, 10))


async def test_a_limit_of_zero_lets_nothing_pass_not_even_what_is_free() -> None:
    with pytest.raises(OverBudget):
        await place(holds(), "c1", claim(0, 0))


async def test_a_counter_without_a_limit_counts_and_never_refuses() -> None:
    some = holds()

    await place(some, "c1", claim(10**18, None))

    assert some.balance(TEAM) == balance(0, 10**18)


@pytest.mark.parametrize("refused_by", [0, 1])
async def test_a_call_refused_by_one_counter_holds_nothing_on_any(refused_by: int) -> None:
    some, caps = holds(), [100, 100]
    caps[refused_by] = 5

    with pytest.raises(OverBudget):
        await place(some, "c1", claim(10, caps[0]), claim(10, caps[1], counter=ALL))

    assert (some.balance(TEAM), some.balance(ALL), some.open_count) == (balance(0, 0), balance(0, 0), 0)


async def test_placing_a_call_twice_holds_it_once() -> None:
    some = holds()

    assert await place(some, "c1", claim(10, 100)) == await place(some, "c1", claim(99, 100))
    assert some.balance(TEAM) == balance(0, 10)


async def test_a_settle_replaces_the_hold_by_the_truth_and_tells_what_moved() -> None:
    some = holds(spent=5)
    hold = await place(some, "c1", claim(10, 100), claim(20, 100, counter=ALL))

    moved = some.settle(hold, Nanos(7))

    assert moved == (Moved(TEAM, Nanos(5), Nanos(12)), Moved(ALL, Nanos(5), Nanos(12)))
    assert (some.balance(TEAM), some.balance(ALL)) == (balance(12, 0), balance(12, 0))


async def test_a_bill_above_the_hold_is_taken_in_full_and_refuses_the_next_call() -> None:
    some = holds()
    some.settle(await place(some, "c1", claim(10, 100)), Nanos(150))

    assert some.balance(TEAM) == balance(150, 0)
    with pytest.raises(OverBudget):
        await place(some, "c2", claim(1, 100))


@pytest.mark.parametrize("first", ["settle", "release"])
async def test_a_hold_ends_once(first: str) -> None:
    some = holds()
    hold = await place(some, "c1", claim(10, 100))
    ends: dict[str, Callable[[], object]] = {
        "settle": lambda: some.settle(hold, Nanos(7)),
        "release": lambda: some.release(hold),
    }
    ends[first]()
    after = some.balance(TEAM)

    assert some.settle(hold, Nanos(7)) == ()
    some.release(hold)
    assert some.balance(TEAM) == after == balance(7 if first == "settle" else 0, 0)


async def test_a_known_counter_keeps_its_figure_when_it_is_seeded_again() -> None:
    some = holds(spent=5)
    some.seed(TEAM, Nanos(1_000))

    assert some.balance(TEAM) == balance(5, 0)
    assert some.unknown([TEAM, ALL]) == []
    assert LocalHolds(queue_max=1).unknown([TEAM]) == [TEAM]


async def test_many_calls_at_once_fill_the_room_and_no_more() -> None:
    some = holds()
    results = await asyncio.gather(
        *(place(some, f"c{n}", claim(10, 100)) for n in range(500)), return_exceptions=True
    )

    assert sum(isinstance(result, Hold) for result in results) == 10
    assert sum(isinstance(result, Crowded) for result in results) == 490


# -- in line ----------------------------------------------------------------------------------------------------


async def queue_up(some: LocalHolds, names: list[str], admitted: list[str]) -> list["asyncio.Task[Hold]"]:
    """Calls in line for 10 each under 10, in this order."""

    async def wait(name: str, in_line: asyncio.Event) -> Hold:
        async with some.line(TEAM, 60) as line:
            in_line.set()
            while True:
                await line.turn()
                try:
                    hold = await some.place(name, [claim(10, 10)], NOON, line=line)
                except Crowded:
                    continue
                admitted.append(name)
                return hold

    tasks = []
    for name in names:
        in_line = asyncio.Event()
        tasks.append(asyncio.ensure_future(wait(name, in_line)))  # noqa: TID251 - the test waits for each
        await in_line.wait()
    return tasks


async def test_waiters_are_served_in_the_order_in_which_they_came() -> None:
    some, admitted = holds(), list[str]()
    hold = await place(some, "first", claim(10, 10))
    tasks = await queue_up(some, ["a", "b", "c"], admitted)

    for task in tasks:
        some.release(hold)
        hold = await asyncio.wait_for(task, 5)

    assert admitted == ["a", "b", "c"]


async def test_a_newcomer_does_not_pass_those_in_line() -> None:
    some, admitted = holds(), list[str]()
    hold = await place(some, "first", claim(10, 10))
    (task,) = await queue_up(some, ["waiting"], admitted)
    some.release(hold)

    with pytest.raises(Crowded):
        await place(some, "newcomer", claim(10, 10))
    await asyncio.wait_for(task, 5)
    assert admitted == ["waiting"]


async def test_one_who_gives_up_makes_way_for_the_next() -> None:
    some, admitted = holds(), list[str]()
    hold = await place(some, "first", claim(10, 10))
    left, stays = await queue_up(some, ["left", "stays"], admitted)
    left.cancel()
    await asyncio.wait([left])

    some.release(hold)
    await asyncio.wait_for(stays, 5)

    assert admitted == ["stays"]


async def test_a_full_line_is_busy_at_once() -> None:
    some = holds(queue_max=1)
    async with some.line(TEAM, 60):
        with pytest.raises(Busy):
            async with some.line(TEAM, 60):
                pass

    async with some.line(TEAM, 60):
        pass


async def test_a_wait_that_is_over_is_busy() -> None:
    some = holds()
    async with some.line(TEAM, 0) as line:
        with pytest.raises(Busy):
            await line.turn()
