"""Throttled scopes: their calls wait for a turn, one at a time, fair between the scope's keys. Nobody waits for long."""

import asyncio
import math
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from proxy import clock
from rules.scope import Scope
from rules.throttle import RATE_MINUTES, Demand, Rounds, interval_seconds

SCOPES_MAX = 10_000  # whose arrivals are counted; who was quiet the longest is forgotten first
LINES_MAX = 10_000  # of rule and scope; those in which nobody waits are forgotten first
_SLACK = 1e-6  # seconds that sums of floats may be off by


@dataclass(eq=False)
class Throttled(Exception):
    """No turn within the longest delay, or the line is full. `retry_after_seconds`: when a new call of the same key would
    find room. `interval_seconds`: the pace, from one call of the scope to the next."""

    rule_id: str
    scope: Scope
    retry_after_seconds: float
    interval_seconds: float


class Pacers:
    """One line for each rule and scope that it slows, made at the first turn that is asked for and ended by `clear`. In
    memory, bounded; one event loop owns it."""

    def __init__(self, *, max_delay_seconds: float, queue_max: int) -> None:
        self._longest = max_delay_seconds
        self._queue_max = queue_max
        self._demands: OrderedDict[Scope, Demand] = OrderedDict()
        self._lines: OrderedDict[tuple[str, Scope], _Line] = OrderedDict()

    def note(self, scope: Scope, now: datetime) -> None:
        """A call arrived. For scopes that a throttle rule may slow, and also while it does not: the pace comes from it."""
        self._demand(scope, now).note(now)

    async def turn(self, rule_id: str, scope: Scope, key_id: str, factor: Decimal) -> float:
        """Returns, after the seconds that it gives, when the call may go. Raises Throttled."""
        since = clock.monotonic()
        line = self._line(rule_id, scope)
        self._pace(line, scope, factor)
        if line.goes_at_once(since):
            return 0.0
        delay = line.delay_for(key_id, since)
        if delay > self._longest + _SLACK or line.waiting.size >= self._queue_max:
            raise self._throttled(line, rule_id, scope, key_id)
        if not await line.wait(key_id, self._longest):
            raise self._throttled(line, rule_id, scope, key_id)
        return clock.monotonic() - since

    def clear(self, rule_id: str, scope: Scope | None = None) -> None:
        """The rule no longer slows this scope, or (None) any: whoever waits for it goes now."""
        for rule, each in [key for key in self._lines if key[0] == rule_id and scope in (None, key[1])]:
            self._lines.pop((rule, each)).open()

    def waiting(self, rule_id: str, scope: Scope) -> int:
        line = self._lines.get((rule_id, scope))
        return 0 if line is None else line.waiting.size

    def _demand(self, scope: Scope, now: datetime) -> Demand:
        demand = self._demands.get(scope)
        if demand is None:
            demand = self._demands[scope] = Demand(now)
            if len(self._demands) > SCOPES_MAX:
                self._demands.popitem(last=False)
        else:
            self._demands.move_to_end(scope)
        return demand

    def _line(self, rule_id: str, scope: Scope) -> "_Line":
        """One that nobody asked for in ten minutes begins anew: what it slowed then was another time."""
        key, now = (rule_id, scope), clock.monotonic()
        line = self._lines.get(key)
        if line is None or (not line.waiting.size and now - line.asked_at > RATE_MINUTES * 60):
            line = self._lines[key] = _Line()
            self._forget_idle(line)
        self._lines.move_to_end(key)
        line.asked_at = now
        return line

    def _forget_idle(self, newest: "_Line") -> None:
        if len(self._lines) <= LINES_MAX:
            return
        idle = (key for key, line in self._lines.items() if not line.waiting.size and line is not newest)
        key = next(idle, None)
        if key is not None:
            del self._lines[key]

    def _pace(self, line: "_Line", scope: Scope, factor: Decimal) -> None:
        """Slowed callers ask less often. A scope would be slowed again and again for that, down to a standstill: the pace
        follows its demand upwards, but not below what it was when the line began."""
        now = clock.now()
        line.per_minute = max(line.per_minute, self._demand(scope, now).per_minute(now))
        line.interval = interval_seconds(line.per_minute, factor, longest=self._longest)

    def _throttled(self, line: "_Line", rule_id: str, scope: Scope, key_id: str) -> Throttled:
        beyond = line.delay_for(key_id, clock.monotonic()) - self._longest
        return Throttled(rule_id, scope, max(beyond, line.interval), line.interval)


class _Line:
    """The calls that one rule slows in one scope. A turn comes `interval` seconds after the one before it."""

    __slots__ = ("_last", "_timer", "_turn_at", "asked_at", "interval", "per_minute", "waiting")

    def __init__(self) -> None:
        self.waiting: Rounds[asyncio.Future[None]] = Rounds()
        self.per_minute = 0.0
        self.interval = 0.0
        self.asked_at = 0.0
        self._turn_at = -math.inf  # monotonic seconds of the newest turn
        self._last: asyncio.Future[None] | None = None  # who waited for it, and has it
        self._timer: asyncio.TimerHandle | None = None

    def goes_at_once(self, now: float) -> bool:
        if self.waiting.size or now < self._turn_at + self.interval:
            return False
        self._turn_at, self._last = now, None
        return True

    def delay_for(self, key_id: str, now: float) -> float:
        """Until the turn of a call that joined now, as the line stands."""
        first = max(0.0, self._turn_at + self.interval - now)
        return first + self.waiting.ahead_of(key_id) * self.interval

    async def wait(self, key_id: str, seconds: float) -> bool:
        """Was there a turn within that time?"""
        turn = asyncio.get_running_loop().create_future()
        self.waiting.add(key_id, turn)
        self._serve()
        try:
            await asyncio.wait((turn,), timeout=seconds)
            self._serve()  # it may be due at this very instant
        except asyncio.CancelledError:
            if turn.done():
                self._give_back(turn)
            raise
        finally:
            if not turn.done():
                self.waiting.remove(key_id, turn)
        return turn.done()

    def open(self) -> None:
        """Everybody goes."""
        self.interval = 0.0
        self._serve()

    def _serve(self) -> None:
        """Gives the turns that are due, and looks again when the next one is."""
        now = clock.monotonic()
        while self.waiting.size and now + _SLACK >= self._turn_at + self.interval:
            self._last = self.waiting.next()
            self._last.set_result(None)
            self._turn_at = now
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.waiting.size:
            delay = self._turn_at + self.interval - now
            self._timer = asyncio.get_running_loop().call_later(delay, self._serve)

    def _give_back(self, turn: "asyncio.Future[None]") -> None:
        """Its caller left before it could go: the next in line has the turn."""
        if turn is self._last:
            self._turn_at = -math.inf
            self._serve()
