"""Answers read on after their client left, so that the provider's own figure settles them. Bounded three ways."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any

from pricing.money import Nanos
from proxy import jobs


class Drains:
    """At most `count_max` answers at once, each for at most `seconds`, holding at most `nanos_max` together."""

    def __init__(self, *, count_max: int, seconds: float, nanos_max: Nanos) -> None:
        self._count_max = count_max
        self._seconds = seconds
        self._nanos_left = nanos_max
        self._running: set[asyncio.Task[None]] = set()

    def start(self, rest: Coroutine[Any, Any, None], *, held: Nanos, give_up: Callable[[], None]) -> bool:
        """Run `rest` to its end, or to the deadline and then `give_up`. False, and nothing run, where a bound is
        reached: the caller then aborts at once."""
        if len(self._running) >= self._count_max or held > self._nanos_left:
            rest.close()
            return False
        self._nanos_left = Nanos(self._nanos_left - held)
        task = jobs.run(self._bounded(rest), name="drain")
        self._running.add(task)

        def ended(_: asyncio.Task[None]) -> None:
            # Here and not in the task: one that is cancelled before its first step runs none of its own code.
            self._running.discard(task)
            self._nanos_left = Nanos(self._nanos_left + held)
            rest.close()
            give_up()  # does nothing where `rest` came to its end

        task.add_done_callback(ended)
        return True

    async def _bounded(self, rest: Coroutine[Any, Any, None]) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(rest, self._seconds)

    async def close(self) -> None:
        """End what still drains, at once: each call is settled at what was seen of it."""
        for task in list(self._running):
            await jobs.stop(task)
