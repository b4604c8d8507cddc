"""How fast scopes spend, for the rules that ask: the last minutes in memory, the usual from the ledger's roll-ups."""

import asyncio
from collections import OrderedDict
from contextlib import suppress
from datetime import datetime
from decimal import Decimal

from sqlalchemy.exc import SQLAlchemyError

from proxy import clock, log
from proxy.ledger import Ledger, history
from rules.minutes import Minutes, minute_of
from rules.scope import Scope
from rules.velocity import DAY_HOURS, WEEK_HOURS, WEEKS_MAX, times_usual, usual_of_hour, usual_of_window

MINUTES_MAX = 1_440  # of a window; a longer one is looked at as a day
SCOPES_MAX = 2_000  # that are watched; who was not asked about the longest is forgotten first
REFRESH_SECONDS = 3_600.0
AGAIN_SECONDS = 30.0  # after the ledger could not be read
HOURS_AHEAD = 48  # known in advance: that long the ledger may be away
_QUARTERS, _QUARTER_MINUTES = 4, 15


class Velocities:
    """A scope is watched from the first question about it on: nothing is known of it until its past was read. In memory,
    bounded; one event loop owns it."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._watched: OrderedDict[Scope, _Watched] = OrderedDict()
        self._new = asyncio.Event()

    def velocity(self, scope: Scope, minutes: int, now: datetime) -> Decimal | None:
        """How many times the usual the last minutes cost; None while that is not known."""
        watched = self._watched.get(scope)
        if watched is None:
            self._watch(scope, now)
            return None
        self._watched.move_to_end(scope)
        minute, minutes = minute_of(now), min(minutes, MINUTES_MAX)
        usual = usual_of_window(watched.usual.get, minute, minutes)
        return None if usual is None else times_usual(watched.spend.total(minutes, minute), usual, minutes)

    def note(self, scope: Scope, nanos: int, now: datetime) -> None:
        """A charge, or the difference that a correction makes. Of scopes that nobody asked about nothing is kept."""
        watched = self._watched.get(scope)
        if watched is not None:
            watched.spend.add(nanos, minute_of(now))

    async def run(self) -> None:
        """Never ends: the past of new scopes at once, of all every hour."""
        loop = asyncio.get_running_loop()
        refresh_at = loop.time() + REFRESH_SECONDS
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._new.wait(), max(0.0, refresh_at - loop.time()))
            self._new.clear()
            is_due = loop.time() >= refresh_at
            if not await self._read(all_of_them=is_due):
                await asyncio.sleep(AGAIN_SECONDS)
                self._new.set()
            elif is_due:
                refresh_at = loop.time() + REFRESH_SECONDS

    async def refresh(self) -> None:
        """Reads the past of every scope that is watched."""
        await self._read(all_of_them=True)

    def _watch(self, scope: Scope, now: datetime) -> None:
        self._watched[scope] = _Watched(now)
        if len(self._watched) > SCOPES_MAX:
            self._watched.popitem(last=False)
        self._new.set()

    async def _read(self, *, all_of_them: bool) -> bool:
        """False where the ledger could not be read: what was known before stays."""
        wanted = [scope for scope, watched in self._watched.items() if all_of_them or not watched.is_read]
        try:
            for scope in wanted:
                watched = self._watched.get(scope)
                if watched is not None:
                    await self._read_one(scope, watched)
        except SQLAlchemyError as error:
            log.get().error("velocity_not_read", error_code="DATABASE_ERROR", detail=str(error)[:300])
            return False
        return True

    async def _read_one(self, scope: Scope, watched: "_Watched") -> None:
        now = clock.now()
        hour = minute_of(now) // 60
        since = (hour - DAY_HOURS - WEEK_HOURS * WEEKS_MAX) * _QUARTERS
        async with self._ledger.connect() as connection:
            spend = await history.spent_by(
                connection, scope, since, (hour + 1) * _QUARTERS, quarters=_QUARTERS
            )
            recent = {}
            if not watched.is_read:
                day_ago = (hour - DAY_HOURS) * _QUARTERS
                recent = await history.spent_by(
                    connection, scope, day_ago, (hour + 1) * _QUARTERS, quarters=1
                )
        watched.take(spend, recent, hour)


class _Watched:
    """One scope: what it spent in its last minutes, and what its hours usually cost."""

    __slots__ = ("_since", "is_read", "spend", "usual")

    def __init__(self, since: datetime) -> None:
        self._since = minute_of(since)
        self.is_read = False
        self.spend = Minutes(MINUTES_MAX)
        self.usual: dict[int, int] = {}

    def take(self, spend: dict[int, int], recent: dict[int, int], hour: int) -> None:
        """`spend` by hour; `recent`, of a scope that is read for the first time, by quarter hour."""
        since = min(spend, default=hour) + 1  # the first one was an hour in part
        self.usual = {
            each: cost
            for each in range(hour - DAY_HOURS - 1, hour + HOURS_AHEAD)
            if (cost := usual_of_hour(spend, each, since=since, until=hour)) is not None
        }
        if not self.is_read:
            self._fill(recent)
            self.is_read = True

    def _fill(self, recent: dict[int, int]) -> None:
        """What was spent before the watch began, a quarter hour's evenly over its minutes: a restart does not make a scope
        look slow. What was noted meanwhile may be in the roll-ups already, and counts once."""
        noted, filled = self.spend, Minutes(MINUTES_MAX)
        for quarter, nanos in sorted(recent.items()):
            first = quarter * _QUARTER_MINUTES
            after = min(first + _QUARTER_MINUTES, self._since + 1)
            before = nanos - noted.between(first, first + _QUARTER_MINUTES)
            if after > first and before > 0:
                _spread(filled, before, first, after)
        last = noted.last
        for minute in range(self._since, self._since if last is None else last + 1):
            amount = noted.between(minute, minute + 1)
            if amount:
                filled.add(amount, minute)
        self.spend = filled


def _spread(into: Minutes, nanos: int, first: int, after: int) -> None:
    """All of it, to the last nano-dollar."""
    given = 0
    for n, minute in enumerate(range(first, after), start=1):
        share = nanos * n // (after - first) - given
        into.add(share, minute)
        given += share
