"""Providers' breakers as people see and set them; the same for the admin API and the command line.

What a hand sets is a row of the ledger first, then in the memory of the live server: a restart finds it again.
"""

from collections.abc import Collection
from datetime import datetime
from typing import Any

from proxy import log
from proxy.admin.answers import Problem
from proxy.admin.breakers import Reasoned
from proxy.admin.state import AdminState, Signer
from proxy.ledger import Ledger, overrides
from proxy.ledger.overrides import Override
from proxy.settings import Config
from proxy.upstream_guard import Guard, Hand
from rules.breaker import State

UPSTREAM = "upstream"
PREFIX = "provider:"  # before a provider's name, where the command line takes rules too


def guard_of(state: AdminState, name: str) -> Guard:
    """Raises Problem."""
    guard = state.guards.find(name)
    if guard is None:
        raise unknown(name, [each.name for each in state.guards.listed()])
    return guard


def unknown(name: str, known: Collection[str]) -> Problem:
    return Problem(404, "unknown_provider", f'"{name[:80]}" is no provider: choose one of {", ".join(known)}')


def listed(state: AdminState) -> list[dict[str, Any]]:
    return [guard.details() for guard in state.guards.listed()]


async def listed_from(ledger: Ledger, config: Config, now: datetime) -> list[dict[str, Any]]:
    """Without a server there is no memory but the ledger's."""
    guards = {name: Guard(name, provider, lambda _: None) for name, provider in config.providers.items()}
    for hand in await load(ledger, now):
        if hand.provider in guards:
            guards[hand.provider].force(hand, told=False)
    return [guard.details() for guard in guards.values()]


async def force(
    ledger: Ledger, signer: Signer, provider: str, change: Reasoned, now: datetime, *, is_open: bool
) -> Hand:
    """In place of what a hand had set there."""
    facts = {"state": State.OPEN.value if is_open else State.CLOSED.value}
    async with ledger.connect() as connection:
        standing = await overrides.live(connection, now, kind=UPSTREAM, target=provider)
        await overrides.end(connection, standing, now)
        added = Override(UPSTREAM, provider, facts, change.reason, signer.actor, now)
        await overrides.add(connection, added)
        event = "upstream_breaker_forced_open" if is_open else "upstream_breaker_forced_closed"
        await signer.sign(connection, event, now, {"provider": provider, "reason": change.reason})
    return _hand(added)


async def reset(ledger: Ledger, signer: Signer, provider: str, change: Reasoned, now: datetime) -> None:
    async with ledger.connect() as connection:
        standing = await overrides.live(connection, now, kind=UPSTREAM, target=provider)
        await overrides.end(connection, standing, now)
        facts = {"provider": provider, "reason": change.reason}
        await signer.sign(connection, "upstream_breaker_reset", now, facts)


async def load(ledger: Ledger, now: datetime) -> list[Hand]:
    async with ledger.connect() as connection:
        return [_hand(each) for each in await overrides.live(connection, now, kind=UPSTREAM)]


async def start(state: AdminState, now: datetime) -> None:
    """Puts what hands have set into the memory of a server that starts. That of a provider which is gone waits for it."""
    for hand in await load(state.ledger, now):
        guard = state.guards.find(hand.provider)
        if guard is None:
            log.get().warning("forced_breaker_unused", provider=hand.provider, reason=hand.reason)
        else:
            guard.force(hand, told=False)


def _hand(override: Override) -> Hand:
    is_open = override.facts["state"] == State.OPEN.value
    return Hand(override.target, is_open, override.reason, override.created_at)
