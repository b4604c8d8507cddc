"""How much fell into each of the last minutes. Minutes are whole minutes since 1970, so the one that runs is in part."""

from bisect import bisect_left
from datetime import datetime


def minute_of(at: datetime) -> int:
    return int(at.timestamp()) // 60


class Minutes:
    """Sums over any number of trailing minutes up to `size`, each in a few steps. Nothing older is kept for long."""

    __slots__ = ("_minutes", "_size", "_totals")

    def __init__(self, size: int) -> None:
        self._size = size
        self._minutes: list[int] = []  # that something fell into, rising
        self._totals: list[int] = []  # of all up to and with each

    def add(self, amount: int, minute: int) -> None:
        """A clock that was set back a little adds to the last minute known; one set back further than can be looked at
        starts anew."""
        if self._minutes and minute < self._minutes[-1] - self._size:
            self._minutes, self._totals = [], []
        total = (self._totals[-1] if self._totals else 0) + amount
        if self._minutes and minute <= self._minutes[-1]:
            self._totals[-1] = total
            return
        self._minutes.append(minute)
        self._totals.append(total)
        if len(self._minutes) > 2 * self._size:
            self._forget()

    def total(self, count: int, minute: int) -> int:
        """Of the last `count` minutes, `minute` among them: at most `size`."""
        before = bisect_left(self._minutes, minute - min(count, self._size) + 1)
        if before == len(self._minutes):
            return 0
        return self._totals[-1] - (self._totals[before - 1] if before else 0)

    def between(self, first: int, after: int) -> int:
        """What fell into the minutes [first, after), as far as they are kept."""
        start, end = bisect_left(self._minutes, first), bisect_left(self._minutes, after)
        below = self._totals[start - 1] if start else 0
        return (self._totals[end - 1] if end else 0) - below

    @property
    def last(self) -> int | None:
        """The newest minute that something fell into."""
        return self._minutes[-1] if self._minutes else None

    def _forget(self) -> None:
        gone = self._totals[self._size - 1]
        self._minutes = self._minutes[self._size :]
        self._totals = [total - gone for total in self._totals[self._size :]]
