"""The breakers of this process: one for each rule and scope that is not simply closed, and who hears of a change.

Kept in memory: a breaker that tripped is forgotten by a restart, what a hand has set is loaded from the ledger.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from proxy import clock, log, metrics
from rules.alert import Alert, breaker_alert
from rules.breaker import Breaker, Cause, State, Ticket
from rules.rule import Action, Rule
from rules.scope import Scope
from rules.tripping import terms_of

BREAKERS_MAX = (
    10_000  # callers choose users' names; beyond that the one that changed longest ago is forgotten
)

Key = tuple[str, Scope | None]
"""Rule and scope. None: set by hand for the rule in whichever scope has nothing of its own."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One call's leave to pass a breaker: to be ended by exactly one of `succeeded`, `failed`, `left`."""

    rule_id: str
    scope: Scope
    ticket: Ticket


@dataclass(frozen=True, slots=True)
class Forced:
    """What a hand has set on a rule's breakers: on one scope, or on all (None)."""

    rule_id: str
    scope: Scope | None
    is_open: bool
    reason: str
    author: str
    at: datetime


class Breakers:
    """Plain methods: no wait can come between looking at a breaker and changing it."""

    def __init__(
        self,
        raise_alerts: Callable[[Iterable[Alert]], None],
        *,
        closed: Callable[[str, Scope | None], object] = lambda *_: None,
    ) -> None:
        """`closed` hears of every breaker that no longer does anything: None for those of all scopes."""
        self._raise = raise_alerts
        self._hear_closed = closed
        self._breakers: dict[Key, Breaker] = {}
        self._closed = Breaker(clock.now())  # what is not in memory; its generation is the last that was

    # -- calls --------------------------------------------------------------------------------------------------------

    def view(self, rule_id: str, scope: Scope, now: datetime, causes: Collection[Cause] = ()) -> Breaker:
        """The breaker as it is now. `causes`: the limits that the rule has for the call at hand, where it has any; a
        higher limit, or the next window, closes what an earlier one had tripped."""
        if not self._breakers:
            return self._closed
        key = self._key(rule_id, scope)
        return self._become(key, self._at(key, now).under(causes, now), now)

    def trip(
        self, rule: Rule, scope: Scope, cause: Cause | None, figure: Decimal | None, now: datetime
    ) -> Breaker:
        """The rule matched a call. `figure` is in the unit of the rule's threshold."""
        key = self._key(rule.rule_id, scope)
        before = self._at(key, now)
        after = before.trip(
            now,
            terms=terms_of(rule),
            limited=rule.action is not Action.BLOCK,
            reason="the rule matched" if figure is None else f"the figure reached {figure:f}",
            cause=cause,
        )
        if after.generation != before.generation:
            metrics.BREAKER_TRIPS.labels(metrics.bounded("rule", rule.rule_id)).inc()
        return self._become(key, after, now)

    def measured(self, rule_id: str, scope: Scope, figure: Decimal, now: datetime) -> Breaker:
        """The rule's figure, as any call of the scope shows it: a recovery threshold waits for it to be low."""
        if not self._breakers:
            return self._closed
        key = self._key(rule_id, scope)
        return self._become(key, self._at(key, now).measured(figure, now), now)

    def admit(self, rule_id: str, scope: Scope, now: datetime) -> Trial | None:
        """None: the call may not pass. A trial of what is not half-open changes nothing when it ends."""
        key = self._key(rule_id, scope)
        after, ticket = self._at(key, now).admit()
        self._become(key, after, now)
        return None if ticket is None else Trial(rule_id, scope, ticket)

    def succeeded(self, trial: Trial, now: datetime) -> None:
        key = self._key(trial.rule_id, trial.scope)
        self._become(key, self._at(key, now).succeeded(trial.ticket, now), now)

    def failed(self, trial: Trial, now: datetime, reason: str = "") -> None:
        """The call tripped the rule again."""
        key = self._key(trial.rule_id, trial.scope)
        before = self._at(key, now)
        after = before.failed(trial.ticket, now, reason)
        if after is not before:
            metrics.BREAKER_TRIPS.labels(metrics.bounded("rule", trial.rule_id)).inc()
        self._become(key, after, now)

    def left(self, trial: Trial, now: datetime) -> None:
        """The call ended without a result."""
        key = self._key(trial.rule_id, trial.scope)
        self._become(key, self._at(key, now).left(trial.ticket), now)

    # -- hands --------------------------------------------------------------------------------------------------------

    def force(self, forced: Forced, *, told: bool = True) -> None:
        """Until it is reset. Of a whole rule: in place of whatever its scopes had."""
        key = (forced.rule_id, forced.scope)
        before = self._breakers.get(key, self._closed)
        if forced.scope is None:
            self._forget(lambda other: other[0] == forced.rule_id and other != key)
        hand = before.force_open if forced.is_open else before.force_close
        self._become(key, hand(forced.reason, forced.at), forced.at, told=told)

    def reset(
        self, reason: str, now: datetime, *, rule_id: str | None = None, scope: Scope | None = None
    ) -> int:
        """As if nothing had happened: one scope of a rule, a rule, or all. Gives how many were not closed."""
        keys = [
            key for key in self._breakers if rule_id in (None, key[0]) and (scope is None or scope == key[1])
        ]
        for key in keys:
            self._become(key, self._breakers[key].reset(reason, now), now)
        return len(keys)

    def renew(self, rule_ids: Collection[str], now: datetime) -> None:
        """Rules that were edited begin anew. What a hand has set stays."""
        for key, breaker in list(self._breakers.items()):
            if key[0] in rule_ids and not breaker.forced:
                self._become(key, breaker.reset("the rule was edited", now), now)

    def keep(self, rule_ids: Collection[str]) -> list[Key]:
        """After a reload: rules that are gone take their breakers with them. Gives those that were forced."""
        gone = [key for key in self._breakers if key[0] not in rule_ids]
        forced = [key for key in gone if self._breakers[key].forced]
        for rule_id, scope in forced:
            log.get().warning("forced_breaker_dropped", rule_id=rule_id, scope=_words(scope))
        self._forget(lambda key: key[0] not in rule_ids)
        return forced

    # -- looking ------------------------------------------------------------------------------------------------------

    def listed(self, now: datetime) -> Iterator[tuple[Key, Breaker]]:
        """Every breaker that is not simply closed, as it is now."""
        for key in list(self._breakers):
            self._at(key, now)
            if key in self._breakers:
                yield key, self._breakers[key]

    def look(self, now: datetime) -> None:
        """Breakers whose time is over come to their end, also where nobody asks after them."""
        for key, breaker in list(self._breakers.items()):
            if breaker.until is not None and now >= breaker.until:
                self._become(key, breaker.at(now), now)

    # -- memory -------------------------------------------------------------------------------------------------------

    def _key(self, rule_id: str, scope: Scope) -> Key:
        """A scope's own breaker, else what stands for the whole rule."""
        own: Key = (rule_id, scope)
        return (rule_id, None) if own not in self._breakers and (rule_id, None) in self._breakers else own

    def _at(self, key: Key, now: datetime) -> Breaker:
        breaker = self._breakers.get(key)
        if breaker is not None:
            self._become(key, breaker.at(now), now)
        return self._breakers.get(key, self._closed)

    def _become(self, key: Key, after: Breaker, now: datetime, *, told: bool = True) -> Breaker:
        """The one place that changes a breaker."""
        before = self._breakers.get(key, self._closed)
        if after is before:
            return after
        if after.state is State.CLOSED and not after.forced:
            self._drop(key)
            self._hear_closed(*key)
        else:
            self._put(key, after)
        if after.generation != before.generation and told:
            self._tell(key, before, after, now)
        return after

    def _put(self, key: Key, after: Breaker) -> None:
        before = self._breakers.get(key)
        if before is None:
            if len(self._breakers) >= BREAKERS_MAX:
                self._forget_oldest()
        elif before.generation != after.generation:
            del self._breakers[key]  # what changed last stands last
        self._breakers[key] = after
        if before is None or before.state is not after.state:
            _count(key, before, -1)
            _count(key, after, 1)

    def _drop(self, key: Key) -> None:
        """Its generation lives on, so that a late answer finds none of its own."""
        before = self._breakers.pop(key, None)
        if before is not None:
            _count(key, before, -1)
            last = max(self._closed.generation, before.generation + 1)
            self._closed = Breaker(self._closed.since, generation=last)

    def _forget(self, is_meant: Callable[[Key], bool]) -> None:
        for key in [key for key in self._breakers if is_meant(key)]:
            self._drop(key)

    def _forget_oldest(self) -> None:
        key = next((key for key, breaker in self._breakers.items() if not breaker.forced), None)
        if key is not None:
            self._drop(key)
            log.get().warning("breaker_forgotten", rule_id=key[0], scope=_words(key[1]), max=BREAKERS_MAX)

    def _tell(self, key: Key, before: Breaker, after: Breaker, now: datetime) -> None:
        rule_id, scope = key
        log.get().info(
            "breaker_changed",
            rule_id=rule_id,
            scope=_words(scope),
            state=after.state.value,
            previous_state=before.state.value,
            forced=after.forced,
            reason=after.reason,
        )
        alert = breaker_alert(rule_id, scope, before.state, after, now)
        if alert is not None:
            self._raise([alert])


def _words(scope: Scope | None) -> str:
    return "*" if scope is None else str(scope)


def _count(key: Key, breaker: Breaker | None, change: int) -> None:
    if breaker is not None:
        metrics.BREAKERS.labels(metrics.bounded("rule", key[0]), breaker.state.value).inc(change)
