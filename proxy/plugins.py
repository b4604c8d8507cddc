"""Code of others, installed beside us: found by its name in a group of entry points, called with a bound on its time."""

import threading
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any, TypeVar, cast

PRICE_SOURCES = "spendgate.price_sources"
ESTIMATORS = "spendgate.estimators"
CATEGORISERS = "spendgate.categorisers"
LOAD_SECONDS = 10.0
CALLS_MAX = 4  # of one plug-in at once; those that never come back count

T = TypeVar("T")


class PluginFailed(Exception):
    """It is not there, cannot be loaded, raised, or took too long."""


def names(group: str) -> list[str]:
    return sorted({each.name for each in entry_points(group=group)})


class Plugin:
    """One callable of somebody else's. Loaded when it is first called; what it raises, and what it takes, stays here."""

    def __init__(self, group: str, name: str) -> None:
        self.name = name
        self._group = group
        self._function: Callable[..., Any] | None = None
        self._free = threading.BoundedSemaphore(CALLS_MAX)

    def load(self) -> None:
        """Blocks for LOAD_SECONDS at most. Raises PluginFailed."""
        if self._function is None:
            self._function = self._bounded(self._loaded, LOAD_SECONDS)

    def call(self, work: Callable[[Callable[..., Any]], T], *, seconds: float) -> T:
        """`work` gets the callable, in a thread of its own. Blocks for so many seconds at most. Raises PluginFailed."""
        self.load()
        function = self._function
        assert function is not None, "loaded just now"
        return self._bounded(lambda: work(function), seconds)

    def _loaded(self) -> Callable[..., Any]:
        found = next((each for each in entry_points(group=self._group) if each.name == self.name), None)
        if found is None:
            raise PluginFailed(f"no plug-in {self.name} is installed in {self._group}")
        function: Any = found.load()
        if not callable(function):
            raise PluginFailed(f"plug-in {self.name} is no callable: {found.value}")
        return cast(Callable[..., Any], function)

    def _bounded(self, work: Callable[[], T], seconds: float) -> T:
        """A thread cannot be ended from outside: one that hangs is left behind, and so many are the most."""
        if not self._free.acquire(blocking=False):
            raise PluginFailed(f"plug-in {self.name} is busy with {CALLS_MAX} calls")
        results: list[T] = []
        faults: list[BaseException] = []
        done = threading.Event()

        def run() -> None:
            try:
                results.append(work())
            except BaseException as error:  # noqa: BLE001 - of any kind; told by the caller below
                faults.append(error)
            finally:
                self._free.release()
                done.set()

        threading.Thread(target=run, name=f"plugin-{self.name}", daemon=True).start()
        if not done.wait(seconds):
            raise PluginFailed(f"plug-in {self.name} took longer than {seconds:g} s")
        if faults:
            fault = faults[0]
            if isinstance(fault, PluginFailed):
                raise fault
            raise PluginFailed(
                f"plug-in {self.name} failed: {type(fault).__name__}: {str(fault)[:200]}"
            ) from fault
        return results[0]
