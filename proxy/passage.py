"""Calls on their way to providers: what each tells of how it went, and which of it counts against its provider."""

import asyncio
from collections.abc import Callable, Iterable, Mapping

from proxy import clock, metrics
from proxy.retry_after import retry_after_seconds
from proxy.settings import Provider
from proxy.upstream import Headers, UpstreamFailure
from proxy.upstream_guard import Guard
from rules.alert import Alert
from rules.breaker import Ticket

SLOW = "first_token_slow"  # beside the codes of UpstreamFailure and the provider's own status


class Passage:
    """One call on its way to a provider. Its result counts once; that it broke off after a good beginning, too."""

    __slots__ = ("_failed", "_guard", "_slow", "_succeeded_at", "_ticket")

    def __init__(self, guard: Guard, ticket: Ticket | None) -> None:
        """Without a ticket it opens and closes nothing: it is only counted in the metrics."""
        self._guard = guard
        self._ticket = ticket
        self._failed = False
        self._succeeded_at: float | None = None
        self._slow: asyncio.TimerHandle | None = None

    def sent(self, *, streams: bool) -> None:
        """Of a stream the first token must come in time; a whole answer takes as long as it is long."""
        seconds = self._guard.settings.first_token_seconds
        if streams and seconds is not None and self._ticket is not None:
            self._slow = asyncio.get_running_loop().call_later(seconds, self.failed, SLOW)

    def throttled(self, headers: Headers) -> None:
        seconds = retry_after_seconds(headers, clock.now())
        if seconds is not None:
            self._guard.throttled(seconds)

    def answered(self) -> None:
        """The provider has begun to answer, be it with a refusal."""
        self._stop_waiting()
        if self._failed or self._succeeded_at is not None:
            return
        self._succeeded_at = self._guard.seconds()
        if self._ticket is not None:
            self._guard.succeeded(self._ticket)

    def failed(self, code: str) -> None:
        """Once a call: what follows is the same failure."""
        self._stop_waiting()
        if self._failed:
            return
        self._failed = True
        metrics.UPSTREAM_FAILURES.labels(self._guard.name, code).inc()
        if self._ticket is not None:
            self._guard.failed(self._ticket, code, succeeded_at=self._succeeded_at)

    def broke(self, failure: UpstreamFailure) -> None:
        """Failures that say nothing about the provider are counted, and leave the breaker as it is."""
        if not self._is_blamed(failure):
            self.ended()
            self._ticket = None
        self.failed(failure.code)

    def ended(self, *, answered: bool = False) -> None:
        """Whatever was told before stands. Without anything told: answered after all, or left without a result."""
        self._stop_waiting()
        if answered:
            self.answered()
        elif self._ticket is not None and not self._failed and self._succeeded_at is None:
            self._guard.left(self._ticket)

    def _is_blamed(self, failure: UpstreamFailure) -> bool:
        """Not the provider's: a pooled connection that had died before, a request that cannot be written, and the wait for
        one of our own `connections_max`."""
        if failure.sent:
            return failure.proven
        in_line = self._guard.has_line and failure.code == "upstream_timeout"
        return failure.code != "upstream_protocol" and not in_line

    def _stop_waiting(self) -> None:
        if self._slow is not None:
            self._slow.cancel()
            self._slow = None


class Guards:
    """Of every provider. Only metered calls are counted and held back: what lists, polls or cancels goes its way."""

    def __init__(
        self, providers: Mapping[str, Provider], raise_alerts: Callable[[Iterable[Alert]], None]
    ) -> None:
        self._guards = {name: Guard(name, provider, raise_alerts) for name, provider in providers.items()}

    def check(self, provider: str, *, metered: bool) -> None:
        """Raises Unavailable."""
        if metered:
            self._guards[provider].check()

    def enter(self, provider: str, *, metered: bool) -> Passage:
        """Raises Unavailable."""
        guard = self._guards[provider]
        return Passage(guard, guard.enter() if metered else None)

    def find(self, provider: str) -> Guard | None:
        return self._guards.get(provider)

    def listed(self) -> list[Guard]:
        return list(self._guards.values())
