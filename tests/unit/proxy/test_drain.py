"""Answers read on after their client left."""

import asyncio

from pricing.money import Nanos
from proxy.drain import Drains


def drains(count_max: int = 10, seconds: float = 5.0, nanos_max: int = 1000) -> Drains:
    return Drains(count_max=count_max, seconds=seconds, nanos_max=Nanos(nanos_max))


async def test_a_drain_runs_to_its_end() -> None:
    ended = asyncio.Event()

    async def rest() -> None:
        ended.set()

    assert drains().start(rest(), held=Nanos(1), give_up=lambda: None)
    await asyncio.wait_for(ended.wait(), 1)


async def test_a_drain_past_its_deadline_is_given_up() -> None:
    given_up = asyncio.Event()

    assert drains(seconds=0.01).start(asyncio.sleep(60), held=Nanos(1), give_up=given_up.set)
    await asyncio.wait_for(given_up.wait(), 1)


async def test_too_many_drains_are_refused() -> None:
    some = drains(count_max=1)
    assert some.start(asyncio.sleep(60), held=Nanos(1), give_up=lambda: None)

    assert not some.start(asyncio.sleep(60), held=Nanos(1), give_up=lambda: None)
    await some.close()


async def test_dollars_bound_drains_and_come_back() -> None:
    some = drains(nanos_max=10)
    assert not some.start(asyncio.sleep(0), held=Nanos(11), give_up=lambda: None)
    done = asyncio.Event()
    assert some.start(asyncio.sleep(0), held=Nanos(10), give_up=done.set)
    await asyncio.wait_for(done.wait(), 1)
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    assert some.start(asyncio.sleep(0), held=Nanos(10), give_up=lambda: None)
    await some.close()


async def test_close_gives_up_what_still_drains() -> None:
    some, given_up = drains(), asyncio.Event()
    some.start(asyncio.sleep(60), held=Nanos(1), give_up=given_up.set)
    await asyncio.sleep(0)

    await some.close()

    assert given_up.is_set()
