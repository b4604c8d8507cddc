"""Emergency budget overrides as people make, see and lift them; the same for the admin API and the command line.

An override is a row of the ledger first, with its audit entry and its alert, then in the memory of the live server.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, model_validator
from sqlalchemy.exc import SQLAlchemyError

from pricing.money import Nanos, nanos, usd
from proxy import clock, log
from proxy.admin.answers import Problem
from proxy.admin.breakers import Change
from proxy.admin.instants import duration_of
from proxy.admin.override_budgets import (
    Books,
    Raised,
    by_id,
    by_scope,
    is_mistyped,
    raise_by,
    raise_to,
    scope_named,
    unknown,
)
from proxy.admin.state import AdminState, Signer
from proxy.auth import Keyring
from proxy.ledger import Ledger, keys, overrides, write
from proxy.ledger.overrides import Override as Row
from proxy.overrides import KIND, activated, audited, ended, ends_at, override_of
from rules.budget import Budget
from rules.override import Override, multiplied
from rules.policy import Policy
from rules.scope import Scope
from rules.spec import Name, UsdAboveZero
from rules.window import Period

MINUTES, MINUTES_MAX, SECONDS_MIN = 60, 7 * 24 * 60, 1
DAILY_FACTOR, MONTHLY_FACTOR, FACTOR_MAX = Decimal("1.5"), Decimal("1.2"), 1000
STANDING_MAX = 100
LOOK_SECONDS = 1.0
BY_CLOCK = "clock"  # the actor of what ends by itself


def _brief(text: str) -> str:
    duration_of(text)
    return text


Factor = Annotated[Decimal, Field(gt=1, le=FACTOR_MAX, max_digits=12)]


class Wanted(Change):
    """Of one budget: by a factor or to a limit. Of a scope: its daily and monthly budgets, by a factor each."""

    factor: Factor | None = None
    limit_usd: UsdAboveZero | None = None
    daily_factor: Factor | None = None
    monthly_factor: Factor | None = None
    minutes: Annotated[Decimal, Field(gt=0, le=MINUTES_MAX)] | None = None
    expires_in: Annotated[str, AfterValidator(_brief)] | None = None
    authorized_by: Name | None = None

    @model_validator(mode="after")
    def _says_it_once(self) -> Self:
        if self.factor is not None and self.limit_usd is not None:
            raise ValueError("say factor or limit_usd, not both")
        if self.is_of_scope and (self.factor is not None or self.limit_usd is not None):
            raise ValueError("daily_factor and monthly_factor are of a scope: leave factor and limit_usd out")
        if self.minutes is not None and self.expires_in is not None:
            raise ValueError("say minutes or expires_in, not both")
        if not timedelta(seconds=SECONDS_MIN) <= self.lasts <= timedelta(minutes=MINUTES_MAX):
            raise ValueError(f"an override lasts {SECONDS_MIN} s at least and a week at most")
        return self

    @property
    def is_of_scope(self) -> bool:
        return self.daily_factor is not None or self.monthly_factor is not None

    @property
    def lasts(self) -> timedelta:
        if self.expires_in is not None:
            return duration_of(self.expires_in)
        minutes = MINUTES if self.minutes is None else self.minutes
        return timedelta(microseconds=int(minutes * 60_000_000))

    @property
    def factors(self) -> dict[Period, Decimal]:
        return {
            Period.DAILY: self.daily_factor or DAILY_FACTOR,
            Period.MONTHLY: self.monthly_factor or MONTHLY_FACTOR,
        }


# -- what is changed --------------------------------------------------------------------------------------------------


def choose(books: Books, asked: str, wanted: Wanted) -> list[Raised]:
    """`asked` is a budget's id, or a scope. Raises Problem."""
    found = None if wanted.is_of_scope else by_id(books, asked, wanted.where)
    if found is not None:
        return [_of_budget(books, *found, wanted)]
    scope = scope_named(asked)
    if scope is None or is_mistyped(books, asked, scope):
        raise unknown(books, asked)
    if wanted.factor is not None or wanted.limit_usd is not None or wanted.scope is not None:
        raise Problem(
            400,
            "invalid_request",
            f'"{asked[:80]}" is a scope: say daily_factor and monthly_factor, or name a budget',
        )
    chosen = raise_by(books, tuple(by_scope(books, scope)), wanted.factors)
    if not chosen:
        raise Problem(
            409,
            "nothing_to_raise",
            f"no daily or monthly budget with a limit above 0 is over {scope}: name a budget, with factor or limit_usd",
        )
    return chosen


def _of_budget(books: Books, budget: Budget, scope: Scope, wanted: Wanted) -> Raised:
    if wanted.limit_usd is not None:
        return raise_to(books, budget, scope, nanos(wanted.limit_usd))
    factor = wanted.factor or wanted.factors.get(budget.period)
    if factor is None:
        raise Problem(
            400, "invalid_request", f'budget "{budget.id}" is {budget.period.value}: say factor or limit_usd'
        )
    return raise_to(books, budget, scope, multiplied(budget.limit or Nanos(0), factor))


async def make(
    ledger: Ledger, signer: Signer, chosen: Sequence[Raised], wanted: Wanted, now: datetime
) -> list[Row]:
    """All or none. Raises Problem."""
    made = []
    async with ledger.connect() as connection:
        standing = await overrides.live(connection, now, kind=KIND)
        if len(standing) + len(chosen) > STANDING_MAX:
            raise Problem(409, "too_many_overrides", f"{STANDING_MAX} overrides stand: lift some of them")
        for each in chosen:
            facts = {
                "scope": str(each.scope),
                "period": each.budget.period.value,
                "previous_limit": str(each.previous),
                "limit": str(each.limit),
                "authorized_by": wanted.authorized_by or signer.actor,
            }
            row = Row(KIND, each.budget.id, facts, wanted.reason, signer.actor, now, now + wanted.lasts)
            row = replace(row, override_id=await overrides.add(connection, row))
            await signer.sign(
                connection, "emergency_budget_override", now, {"reason": row.reason, **audited(row)}
            )
            await write.raise_alerts(connection, [activated(row)])
            made.append(row)
    return made


async def lift(ledger: Ledger, signer: Signer, override_id: str, reason: str, now: datetime) -> Row:
    """Raises Problem where none of that id stands."""
    async with ledger.connect() as connection:
        standing = await overrides.live(connection, now, kind=KIND)
        row = next((each for each in standing if str(each.override_id) == override_id), None)
        if row is None:
            raise Problem(
                404, "unknown_override", "no override of that id stands: `spendgate override list` shows them"
            )
        await overrides.end(connection, [row], now)
        await signer.sign(
            connection, "emergency_budget_override_lifted", now, {**audited(row), "reason": reason}
        )
        await write.raise_alerts(connection, [ended(row, f"lifted by {signer.actor}: {reason}", now)])
    return row


async def expire(ledger: Ledger, signer: Signer, over: Sequence[Row]) -> None:
    async with ledger.connect() as connection:
        for row in over:
            at = ends_at(row)
            await overrides.end(connection, [row], at)
            await signer.sign(
                connection, "emergency_budget_override_expired", at, {"reason": row.reason, **audited(row)}
            )
            await write.raise_alerts(connection, [ended(row, "its time is over", at)])


# -- over starts and time ---------------------------------------------------------------------------------------------


async def start(state: AdminState, now: datetime) -> None:
    """Those that ended while no server lived are told of, too."""
    async with state.ledger.connect() as connection:
        rows = await overrides.unended(connection, kind=KIND)
    state.overrides.put(rows, now)


async def follow(state: AdminState) -> None:
    """Never ends: overrides end at their time, and the ledger hears of it as soon as it can."""
    standing = state.overrides
    while True:
        now = clock.now()
        first = standing.first_end(now)
        left = LOOK_SECONDS if first is None else (first - now).total_seconds()
        await asyncio.sleep(min(left, LOOK_SECONDS))
        now = clock.now()
        if not standing.over(now):
            continue
        standing.enforce(now)
        try:
            async with standing.changing:
                over = standing.over(now)
                await expire(state.ledger, state.signer(BY_CLOCK), over)
                standing.drop(over, now)
        except (SQLAlchemyError, OSError) as error:
            log.get().error("override_end_not_told", error_code="DATABASE_ERROR", detail=str(error)[:300])
            await asyncio.sleep(LOOK_SECONDS)
        await standing.swap.follow_up()


# -- what is seen -----------------------------------------------------------------------------------------------------


def books_of(state: AdminState, now: datetime) -> Books:
    standing = [override_of(row) for row in state.overrides.standing(now)]
    return Books(state.overrides.swap.file, state.keyring.issued_budgets(now), standing)


async def books_in(ledger: Ledger, policy: Policy, now: datetime) -> Books:
    """Without a server."""
    async with ledger.connect() as connection:
        issued = Keyring(await keys.every(connection), timezone=policy.timezone).issued_budgets(now)
    return Books(policy, issued, await standing_in(ledger, now))


async def standing_in(ledger: Ledger, now: datetime) -> list[Override]:
    async with ledger.connect() as connection:
        return [override_of(row) for row in await overrides.live(connection, now, kind=KIND)]


async def listed_from(ledger: Ledger, now: datetime) -> list[dict[str, Any]]:
    async with ledger.connect() as connection:
        return [shown(row) for row in await overrides.live(connection, now, kind=KIND)]


def shown(row: Row) -> dict[str, Any]:
    return {
        "id": row.override_id,
        "budget": row.target,
        "scope": row.facts["scope"],
        "period": row.facts["period"],
        "previous_limit_usd": usd(int(row.facts["previous_limit"])),
        "limit_usd": usd(int(row.facts["limit"])),
        "reason": row.reason,
        "author": row.author,
        "authorized_by": row.facts["authorized_by"],
        "created_at": row.created_at.isoformat(timespec="seconds"),
        "expires_at": ends_at(row).isoformat(timespec="seconds"),
    }
