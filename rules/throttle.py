"""How far apart the calls of a throttled scope go, and in which order: fair between its keys."""

from collections import OrderedDict, deque
from datetime import datetime
from decimal import Decimal
from typing import Generic, TypeVar

from rules.minutes import Minutes, minute_of

RATE_MINUTES = 10

T = TypeVar("T")


class Demand:
    """The calls of one scope as they arrive: all that were asked for, whether or not they were let through."""

    __slots__ = ("_arrivals", "_since")

    def __init__(self, since: datetime) -> None:
        self._since = since
        self._arrivals = Minutes(RATE_MINUTES)

    def note(self, at: datetime) -> None:
        self._arrivals.add(1, minute_of(at))

    def per_minute(self, at: datetime) -> float:
        """Over the last ten minutes, or over those that have been watched so far: one at least."""
        minute = minute_of(at)
        start = max((minute - RATE_MINUTES + 1) * 60, self._since.timestamp())
        return self._arrivals.total(RATE_MINUTES, minute) / max(1.0, (at.timestamp() - start) / 60)


def interval_seconds(per_minute: float, factor: Decimal, *, longest: float) -> float:
    """Between two calls of a scope that is slowed to `factor` of its own rate, and never more than `longest`."""
    pace = per_minute * float(factor)
    return longest if pace * longest <= 60 else 60 / pace


class Rounds(Generic[T]):
    """Things in line under keys: each key in turn, and within a key first come, first served."""

    __slots__ = ("_lines", "size")

    def __init__(self) -> None:
        self._lines: OrderedDict[str, deque[T]] = OrderedDict()  # none is empty; the first is next
        self.size = 0

    def add(self, key: str, one: T) -> None:
        self._lines.setdefault(key, deque()).append(one)
        self.size += 1

    def next(self) -> T:
        """Takes out whose turn it is. Raises KeyError where nobody waits."""
        key, line = self._lines.popitem(last=False)
        one = line.popleft()
        if line:
            self._lines[key] = line
        self.size -= 1
        return one

    def remove(self, key: str, one: T) -> None:
        """Raises KeyError or ValueError where it is not in line."""
        line = self._lines[key]
        line.remove(one)
        if not line:
            del self._lines[key]
        self.size -= 1

    def ahead_of(self, key: str) -> int:
        """How many would go before one that joined now."""
        own = len(self._lines.get(key, ()))
        ahead, before = own, True  # keys that come earlier in the round have one turn more
        for name, line in self._lines.items():
            if name == key:
                before = False
                continue
            ahead += min(len(line), own + 1 if before else own)
        return ahead
