"""How often the same thing was seen in the last minutes, in bounded memory: an agent in a loop, a client that gives up
on nothing. What is seen again is kept apart from what was seen once, so that no number of new things pushes it out."""

from collections import OrderedDict
from collections.abc import Hashable

from rules.minutes import Minutes

ONCE_MAX = 50_000
AGAIN_MAX = 10_000
MINUTES_MAX = 60  # of a window; a longer one is looked at as an hour


class Sightings:
    """By minutes since 1970. Who was seen the longest ago is forgotten first."""

    __slots__ = ("_again", "_again_max", "_once", "_once_max")

    def __init__(self, *, once_max: int = ONCE_MAX, again_max: int = AGAIN_MAX) -> None:
        self._once_max, self._again_max = once_max, again_max
        self._once: OrderedDict[Hashable, int] = OrderedDict()  # the minute
        self._again: OrderedDict[Hashable, Minutes] = OrderedDict()

    def note(self, one: Hashable, minute: int) -> None:
        seen = self._again.get(one)
        if seen is None:
            first = self._once.pop(one, None)
            if first is None or minute - first >= MINUTES_MAX:
                self._once[one] = minute
                if len(self._once) > self._once_max:
                    self._once.popitem(last=False)
                return
            seen = self._again[one] = Minutes(MINUTES_MAX)
            seen.add(1, first)
            if len(self._again) > self._again_max:
                self._again.popitem(last=False)
        self._again.move_to_end(one)
        seen.add(1, minute)

    def count(self, one: Hashable, minutes: int, minute: int) -> int:
        """In the last `minutes`, `minute` among them."""
        seen = self._again.get(one)
        if seen is not None:
            return seen.total(minutes, minute)
        first = self._once.get(one)
        return int(first is not None and first > minute - min(minutes, MINUTES_MAX))
