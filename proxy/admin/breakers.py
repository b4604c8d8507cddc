"""Breakers and the emergency shutdown as people see and set them; the same for the admin API and the command line.

What a hand sets is a row of the ledger first, then in the memory of the live server: a restart finds it again.
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from proxy import clock, log
from proxy.admin.answers import Problem
from proxy.admin.breaker_rules import scope_for
from proxy.admin.state import AdminState, Signer
from proxy.breakers import Forced, Key
from proxy.ledger import Ledger, overrides
from proxy.ledger.overrides import Override
from proxy.shutdown import Shutdown
from rules.breaker import State
from rules.policy import Policy
from rules.rule import Rule
from rules.scope import Scope, ScopeKind, parse_scope
from rules.spec import name_of

BREAKER, SHUTDOWN = "breaker", "shutdown"
EVERY_CALL = "calls"  # the target of a shutdown
EVERY_SCOPE = "*"
FORCED_MAX = 1_000
REASON_CHARS_MAX = 500
BY_RULES = "rules"  # the actor of what follows from an edit of the file
LOOK_SECONDS = 1.0


def _said(reason: str) -> str:
    said = reason.strip()
    if not said or len(said) > REASON_CHARS_MAX or not said.isprintable():
        raise ValueError(f"say why, in one line of at most {REASON_CHARS_MAX} characters")
    return said


def _scope(text: str | None) -> str | None:
    if text is not None:
        name_of(parse_scope(text).name or ScopeKind.GLOBAL.value)
    return text


class Reasoned(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    reason: Annotated[str, AfterValidator(_said)]


class Change(Reasoned):
    """Of one rule's breakers: in one scope, or in every one."""

    scope: Annotated[str | None, AfterValidator(_scope)] = None

    @property
    def where(self) -> Scope | None:
        return None if self.scope is None else parse_scope(self.scope)


@dataclass(frozen=True, slots=True)
class Set:
    """What hands have set, as the ledger has it."""

    forced: Sequence[Forced]
    shutdown: Shutdown | None


# -- what is changed --------------------------------------------------------------------------------------------------


async def force(
    ledger: Ledger, signer: Signer, rule: Rule, change: Change, now: datetime, *, is_open: bool
) -> Forced:
    """In place of what a hand had set there; of a whole rule also in each of its scopes. Raises Problem."""
    scope = scope_for(rule, change.where)
    facts = {"scope": scope_words(scope), "state": State.OPEN.value if is_open else State.CLOSED.value}
    async with ledger.connect() as connection:
        standing = await overrides.live(connection, now, kind=BREAKER)
        replaced = _meant(standing, rule.rule_id, scope)
        if len(standing) - len(replaced) >= FORCED_MAX:
            raise Problem(409, "too_many_forced", f"{FORCED_MAX} breakers are forced: reset some of them")
        await overrides.end(connection, replaced, now)
        await overrides.add(
            connection, Override(BREAKER, rule.rule_id, facts, change.reason, signer.actor, now)
        )
        event = "breaker_forced_open" if is_open else "breaker_forced_closed"
        await signer.sign(connection, event, now, _told(rule.rule_id, scope, change.reason))
    return Forced(rule.rule_id, scope, is_open, change.reason, signer.actor, now)


async def reset(
    ledger: Ledger, signer: Signer, change: Change, now: datetime, *, rule: Rule | None = None
) -> int:
    """Of one rule, or of all. Gives how many hands were taken off. Raises Problem."""
    scope = None if rule is None else scope_for(rule, change.where)
    rule_id = None if rule is None else rule.rule_id
    async with ledger.connect() as connection:
        ended = _meant(await overrides.live(connection, now, kind=BREAKER), rule_id, scope)
        await overrides.end(connection, ended, now)
        event = "breakers_reset" if rule is None else "breaker_reset"
        await signer.sign(connection, event, now, _told(rule_id or "*", scope, change.reason))
    return len(ended)


async def shut_down(ledger: Ledger, signer: Signer, reason: str, now: datetime) -> Shutdown:
    """Again while it lasts: with the new reason."""
    async with ledger.connect() as connection:
        await overrides.end(connection, await overrides.live(connection, now, kind=SHUTDOWN), now)
        await overrides.add(connection, Override(SHUTDOWN, EVERY_CALL, {}, reason, signer.actor, now))
        await signer.sign(connection, "emergency_shutdown", now, {"reason": reason})
    return Shutdown(reason, signer.actor, now)


async def lift(ledger: Ledger, signer: Signer, reason: str, now: datetime) -> Shutdown:
    """Who lifted it, and why. Raises Problem where nothing is shut down."""
    async with ledger.connect() as connection:
        standing = await overrides.live(connection, now, kind=SHUTDOWN)
        if not standing:
            raise Problem(409, "not_shut_down", "there is no emergency shutdown to lift")
        await overrides.end(connection, standing, now)
        await signer.sign(connection, "emergency_shutdown_lifted", now, {"reason": reason})
    return Shutdown(reason, signer.actor, now)


async def forget(ledger: Ledger, signer: Signer, gone: Iterable[Key], now: datetime) -> None:
    """Forced breakers of rules that are no longer in the file: they do not come back with a rule of that name."""
    ids = {rule_id for rule_id, _ in gone}
    if not ids:
        return
    async with ledger.connect() as connection:
        standing = await overrides.live(connection, now, kind=BREAKER)
        await overrides.end(connection, [each for each in standing if each.target in ids], now)
        for rule_id in sorted(ids):
            await signer.sign(connection, "breaker_reset", now, _told(rule_id, None, "the rule is gone"))


# -- over starts and reloads ----------------------------------------------------------------------------------------------------


async def load(ledger: Ledger, now: datetime) -> Set:
    async with ledger.connect() as connection:
        return Set(
            [_forced(each) for each in await overrides.live(connection, now, kind=BREAKER)],
            await _shutdown(connection, now),
        )


async def start(state: AdminState, now: datetime) -> None:
    """Puts what hands have set into the memory of a server that starts, and forgets it of rules that are gone."""
    found = await load(state.ledger, now)
    for forced in found.forced:
        state.breakers.force(forced, told=False)
    await _keep(state, state.policy(), now)
    if found.shutdown is not None:
        state.switch.shut_down(found.shutdown, told=False)


async def follow(state: AdminState) -> None:
    """Never ends: breakers that nobody asks after come to their end, and follow the rules when those are edited."""
    policy = state.policy()
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        now, edited = clock.now(), state.policy()
        state.breakers.look(now)
        if edited is policy:
            continue
        before = {rule.rule_id: rule for rule in policy.rules}
        changed = {rule.rule_id for rule in edited.rules if before.get(rule.rule_id) != rule}
        state.breakers.renew(changed & before.keys(), now)
        try:
            await _keep(state, edited, now)
        except SQLAlchemyError as error:
            log.get().error("breakers_not_kept", error_code="DATABASE_ERROR", detail=str(error)[:300])
        policy = edited


async def _keep(state: AdminState, policy: Policy, now: datetime) -> None:
    gone = state.breakers.keep({rule.rule_id for rule in policy.rules if rule.has_breaker})
    await forget(state.ledger, state.signer(BY_RULES), gone, now)


def _meant(standing: Sequence[Override], rule_id: str | None, scope: Scope | None) -> list[Override]:
    return [
        each
        for each in standing
        if rule_id in (None, each.target) and (scope is None or each.facts["scope"] == str(scope))
    ]


async def _shutdown(connection: AsyncConnection, now: datetime) -> Shutdown | None:
    standing = await overrides.live(connection, now, kind=SHUTDOWN)
    return Shutdown(standing[-1].reason, standing[-1].author, standing[-1].created_at) if standing else None


def _forced(override: Override) -> Forced:
    scope = override.facts["scope"]
    return Forced(
        override.target,
        None if scope == EVERY_SCOPE else parse_scope(scope),
        override.facts["state"] == State.OPEN.value,
        override.reason,
        override.author,
        override.created_at,
    )


def scope_words(scope: Scope | None) -> str:
    return EVERY_SCOPE if scope is None else str(scope)


def _told(rule_id: str, scope: Scope | None, reason: str) -> dict[str, str]:
    return {"rule_id": rule_id, "scope": scope_words(scope), "reason": reason}
