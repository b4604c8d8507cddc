"""How fast a scope spent at each moment of a replay, by what the ledger tells of the time before it."""

from collections.abc import Mapping
from decimal import Decimal

from rules.minutes import Minutes
from rules.velocity import DAY_HOURS, WEEK_HOURS, WEEKS_MAX, times_usual, usual_of_hour, usual_of_window

MINUTES_MAX = 1_440
QUARTERS_BEFORE = 4 * (DAY_HOURS + WEEK_HOURS * WEEKS_MAX)
"""So many quarter hours of history tell what is usual."""
_QUARTER_MINUTES = 15


class PastSpeed:
    """Of one scope. `quarters` are nano-dollars by quarter hour since 1970, of the time before the replay."""

    __slots__ = ("_hour", "_hours", "_since", "_spend", "_usual")

    def __init__(self, quarters: Mapping[int, int], *, start_minute: int) -> None:
        self._hours: dict[int, int] = {}
        self._spend = Minutes(MINUTES_MAX)
        for quarter, nanos in sorted(quarters.items()):
            self._hours[quarter // 4] = self._hours.get(quarter // 4, 0) + nanos
            if quarter * _QUARTER_MINUTES >= start_minute - MINUTES_MAX:
                self._spread(nanos, quarter * _QUARTER_MINUTES)
        self._since = min(self._hours, default=start_minute // 60) + 1  # the first one was an hour in part
        self._hour = -1
        self._usual: dict[int, int | None] = {}

    def note(self, nanos: int, minute: int) -> None:
        hour = minute // 60
        self._hours[hour] = self._hours.get(hour, 0) + nanos
        self._spend.add(nanos, minute)

    def times_usual(self, minutes: int, minute: int) -> Decimal | None:
        """Of the last `minutes`. None: too little is known."""
        if minute // 60 != self._hour:
            self._hour, self._usual = minute // 60, {}
        minutes = min(minutes, MINUTES_MAX)
        usual = usual_of_window(self._usual_of, minute, minutes)
        return None if usual is None else times_usual(self._spend.total(minutes, minute), usual, minutes)

    def _usual_of(self, hour: int) -> int | None:
        if hour not in self._usual:
            self._usual[hour] = usual_of_hour(self._hours, hour, since=self._since, until=self._hour)
        return self._usual[hour]

    def _spread(self, nanos: int, first: int) -> None:
        """Evenly over its minutes, to the last nano-dollar."""
        given = 0
        for n in range(1, _QUARTER_MINUTES + 1):
            share = nanos * n // _QUARTER_MINUTES - given
            self._spend.add(share, first + n - 1)
            given += share
