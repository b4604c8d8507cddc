"""A loop whose time passes only by being waited for: hours go by in milliseconds, and always in the same order."""

import asyncio
import selectors
from collections.abc import Coroutine
from contextlib import ExitStack
from datetime import datetime, timedelta
from typing import Any, TypeVar
from unittest.mock import patch

from proxy import clock
from tests.support.records import NOON

T = TypeVar("T")


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.passed = 0.0
        super().__init__(_Jumping(self))

    def time(self) -> float:
        return self.passed


class _Jumping(selectors.DefaultSelector):
    """Instead of waiting for that long, it is that much later. With nothing left to wait for, a test has hung."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            assert timeout is not None, "everybody waits, and nothing will wake them"
            self._loop.passed += max(0.0, timeout)
        return ready


def run_virtually(test: Coroutine[Any, Any, T]) -> T:
    """With `proxy.clock` on the loop's time: it is noon at its start."""
    loop = VirtualLoop()

    def now() -> datetime:
        return NOON + timedelta(seconds=loop.passed)

    with ExitStack() as stack:
        stack.callback(loop.close)
        stack.enter_context(patch.object(clock, "monotonic", loop.time))
        stack.enter_context(patch.object(clock, "now", now))
        return loop.run_until_complete(asyncio.wait_for(test, 1_000_000))
