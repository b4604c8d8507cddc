"""One breaker for each provider: while hardly a call to it succeeds, calls are answered here, before they hold any money.

Every call that fails at the provider may be charged as estimated, and holds its money until it has failed: an outage uses
up budgets for nothing. A provider's 429 and 529 say that it is there: throttling, never a failure.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from proxy import clock, log, metrics
from proxy.errors import Unavailable
from proxy.settings import Provider
from rules.alert import Alert, Level
from rules.breaker import Breaker, State, Terms, Ticket
from rules.failures import Failures
from rules.scope import Scope, ScopeKind

FORCED_RETRY_SECONDS = 30

_FIGURES = {State.CLOSED: 0, State.HALF_OPEN: 1, State.OPEN: 2}


@dataclass(frozen=True, slots=True)
class Hand:
    """What an admin has set on a provider's breaker."""

    provider: str
    is_open: bool
    reason: str
    at: datetime


class Guard:
    """Of one provider. Plain methods: no wait can come between looking and changing. Its instants are those of a clock
    that is never set: a corrected clock neither closes nor prolongs anything."""

    def __init__(
        self,
        name: str,
        provider: Provider,
        raise_alerts: Callable[[Iterable[Alert]], None],
        *,
        monotonic: Callable[[], float] = clock.monotonic,
    ) -> None:
        self.name = name
        self.settings = provider.breaker
        self.has_line = provider.connections_max > 0
        self._raise = raise_alerts
        self.seconds = monotonic
        self._began, self._began_at = clock.now(), monotonic()
        self._terms = Terms(
            timedelta(seconds=self.settings.cooldown_seconds), trial_calls=self.settings.trial_calls
        )
        self._breaker = Breaker(self._began)
        self._failures = Failures(self.settings.window_seconds)
        self._trials: dict[int, datetime] = {}  # since when each is out
        self._throttled_until = 0.0
        metrics.UPSTREAM_BREAKER.labels(name).set_function(lambda: _FIGURES[self.breaker.state])
        metrics.UPSTREAM_RETRY_AFTER.labels(name).set_function(lambda: self.throttled_seconds)

    # -- calls --------------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Raises Unavailable where no call may go. Takes no place."""
        if self.breaker.state is not State.CLOSED and self._lapsed().admit()[1] is None:
            raise self._problem()

    def enter(self) -> Ticket:
        """Raises Unavailable. Whoever entered tells how it went, or that it was left."""
        after, ticket = self._lapsed().admit()
        if ticket is None:
            raise self._problem()
        if after.state is State.HALF_OPEN:
            self._become(after)
            self._trials[ticket.number] = self.now()
        return ticket

    def succeeded(self, ticket: Ticket) -> None:
        breaker = self.breaker
        if ticket.generation != breaker.generation:
            return
        if breaker.state is State.HALF_OPEN:
            self._become(self._out(ticket).succeeded(ticket, self.now()))
        else:
            self._failures.succeeded(self.seconds())

    def failed(self, ticket: Ticket, code: str, *, succeeded_at: float | None) -> None:
        breaker, settings = self.breaker, self.settings
        if ticket.generation != breaker.generation or not settings.enabled:
            return
        if breaker.state is State.HALF_OPEN:
            self._become(self._out(ticket).failed(ticket, self.now(), f"a trial call failed ({code})"))
            return
        at = self.seconds()
        self._failures.failed(at, succeeded_at=succeeded_at)
        share = self._failures.share(at)
        if share.reaches(settings.failure_share, calls_min=settings.min_calls):
            counted = f"{share.failed} of {share.calls} calls in {settings.window_seconds:g} s failed"
            self._become(breaker.trip(self.now(), terms=self._terms, reason=f"{counted}, the last by {code}"))

    def left(self, ticket: Ticket) -> None:
        self._become(self.breaker.left(ticket))

    def throttled(self, seconds: float) -> None:
        """The provider asked callers to wait so long. Its answer goes to them as it is."""
        self._throttled_until = max(self._throttled_until, self.seconds() + seconds)

    # -- hands --------------------------------------------------------------------------------------------------------

    def force(self, hand: Hand, *, told: bool = True) -> None:
        turn = self.breaker.force_open if hand.is_open else self.breaker.force_close
        self._become(turn(hand.reason, hand.at), told=told)

    def reset(self, reason: str) -> None:
        self._become(self.breaker.reset(reason, self.now()))

    # -- looking ------------------------------------------------------------------------------------------------------

    @property
    def breaker(self) -> Breaker:
        """As it is by now."""
        if self._breaker.state is not State.CLOSED:
            self._become(self._breaker.at(self.now()))
        return self._breaker

    @property
    def throttled_seconds(self) -> float:
        """How long the provider still wants callers to wait."""
        return max(0.0, self._throttled_until - self.seconds())

    def now(self) -> datetime:
        return self._began + timedelta(seconds=self.seconds() - self._began_at)

    def details(self) -> dict[str, Any]:
        breaker, share = self.breaker, self._failures.share(self.seconds())
        return {
            "provider": self.name,
            "enabled": self.settings.enabled,
            "state": breaker.state.value,
            "forced": breaker.forced,
            "reason": breaker.reason,
            "since": breaker.since.isoformat(timespec="seconds"),
            "until": None if breaker.until is None else breaker.until.isoformat(timespec="seconds"),
            "calls": share.calls,
            "failed": share.failed,
            "trials_out": breaker.trials_out,
            "trials_ok": breaker.trials_ok,
            "throttled_seconds": round(self.throttled_seconds, 1),
        }

    # -- memory -------------------------------------------------------------------------------------------------------

    def _lapsed(self) -> Breaker:
        """A trial that has said nothing for a whole cooldown gives its place to another: some models think for minutes, and
        a dead connection is noticed late. Its result counts all the same."""
        breaker = self.breaker
        if not self._trials:
            return breaker
        now = self.now()
        for number, since in list(self._trials.items()):
            if now - since >= self._terms.cooldown:
                del self._trials[number]
                breaker = breaker.left(Ticket(breaker.generation, number))
        self._become(breaker)
        return breaker

    def _out(self, ticket: Ticket) -> Breaker:
        return replace(self._breaker, trials=self._breaker.trials | {ticket.number})

    def _become(self, after: Breaker, *, told: bool = True) -> None:
        """The one place that changes the breaker."""
        before, self._breaker = self._breaker, after
        if after.generation == before.generation:
            return
        self._trials.clear()
        self._failures = Failures(self.settings.window_seconds)
        if told:
            self._tell(before, after)

    def _tell(self, before: Breaker, after: Breaker) -> None:
        log.get().warning(
            "upstream_breaker_changed",
            provider=self.name,
            state=after.state.value,
            previous_state=before.state.value,
            forced=after.forced,
            reason=after.reason,
        )
        alert = _alert(self.name, before, after)
        if alert is not None:
            self._raise([alert])

    def _problem(self) -> Unavailable:
        breaker = self._breaker
        wait = max(1, math.ceil(breaker.retry_after_seconds(self.now()) or 0.0))
        why, then = f"it is down: {breaker.reason}", f"Try again in {wait} s, or use another provider"
        if breaker.forced:
            wait, why = FORCED_RETRY_SECONDS, f"by hand: {breaker.reason}"
            then = "Ask an admin when calls go again"
        elif breaker.state is State.HALF_OPEN:
            why = "it was down and a few calls are on trial"
        return Unavailable(
            503,
            "upstream_breaker_open",
            f'Calls to provider "{self.name}" are held back, {why}. {then}.',
            kind="api_error",
            retry_after_seconds=wait,
            extra={"scope": str(_scope(self.name)), "state": breaker.state.value},
        )


def _scope(provider: str) -> Scope:
    return Scope(ScopeKind.PROVIDER, provider)


def _alert(provider: str, before: Breaker, after: Breaker) -> Alert | None:
    """None: trials, and what opens anew after one. An outage is told at its beginning and at its end."""
    if after.state is State.HALF_OPEN or (after.state is before.state and after.forced == before.forced):
        return None
    if before.state is State.HALF_OPEN and after.state is State.OPEN and not after.forced:
        return None
    state = after.state.value
    level = Level.CRITICAL if after.state is State.OPEN else Level.WARNING if after.forced else Level.INFO
    verb = f"forced {state}" if after.forced else state
    return Alert(
        key=f"upstream_breaker:{provider}:{after.generation}:{int(after.since.timestamp() * 1e6)}",
        kind="upstream_breaker",
        level=level,
        at=after.since,
        scope=_scope(provider),
        message=f'Breaker of provider "{provider}" is {verb}: {after.reason}',
        facts={
            "alert_level": level.value,
            "provider": provider,
            "state": state,
            "previous_state": before.state.value,
            "forced": str(after.forced).lower(),
            "reason": after.reason,
        },
    )
