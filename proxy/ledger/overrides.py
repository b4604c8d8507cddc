"""What people set while the server runs, on top of the files: kept over restarts, with who did it, why, and until when."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import Row, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from proxy.ledger.schema import overrides
from proxy.records import instant, micros

ENDED_AT_ONCE_MAX = 500  # rows named in one statement


@dataclass(frozen=True, slots=True)
class Override:
    """`kind` says what is set (breaker, shutdown), `target` on what, `facts` to what; the facts' form is the kind's own.
    In force from its creation until it expires or is ended."""

    kind: str
    target: str
    facts: Mapping[str, str]
    reason: str
    author: str
    created_at: datetime
    expires_at: datetime | None = None
    ended_at: datetime | None = None
    override_id: int = field(default=0, compare=False)  # given by the ledger


async def add(connection: AsyncConnection, override: Override) -> int:
    """Beside what is there. What it takes the place of is ended by its author, in the same transaction. Gives its id."""
    added = await connection.execute(
        overrides.insert().values(
            kind=override.kind,
            target=override.target,
            facts=orjson.dumps(dict(override.facts), option=orjson.OPT_SORT_KEYS).decode(),
            reason=override.reason,
            author=override.author,
            created_at=micros(override.created_at),
            expires_at=_micros(override.expires_at),
            ended_at=_micros(override.ended_at),
        )
    )
    (override_id,) = added.inserted_primary_key or (0,)
    return int(override_id)


async def live(
    connection: AsyncConnection, now: datetime, *, kind: str, target: str | None = None
) -> list[Override]:
    """Those of a kind, perhaps of one target, that are in force; oldest first."""
    found = select(overrides).where(
        overrides.c.kind == kind,
        overrides.c.ended_at.is_(None),
        or_(overrides.c.expires_at.is_(None), overrides.c.expires_at > micros(now)),
    )
    if target is not None:
        found = found.where(overrides.c.target == target)
    return [_override(row) for row in await connection.execute(found.order_by(overrides.c.override_id))]


async def unended(connection: AsyncConnection, *, kind: str) -> list[Override]:
    """Those of a kind that nobody has ended, also where their time is over; oldest first."""
    found = select(overrides).where(overrides.c.kind == kind, overrides.c.ended_at.is_(None))
    return [_override(row) for row in await connection.execute(found.order_by(overrides.c.override_id))]


async def end(connection: AsyncConnection, ended: Sequence[Override], at: datetime) -> None:
    """From now on they are out of force. Ending twice keeps the first instant."""
    for first in range(0, len(ended), ENDED_AT_ONCE_MAX):
        ids = [override.override_id for override in ended[first : first + ENDED_AT_ONCE_MAX]]
        await connection.execute(
            update(overrides)
            .where(overrides.c.override_id.in_(ids), overrides.c.ended_at.is_(None))
            .values(ended_at=micros(at))
        )


def _override(row: "Row[Any]") -> Override:
    found = row._mapping
    return Override(
        found["kind"],
        found["target"],
        orjson.loads(found["facts"]),
        found["reason"],
        found["author"],
        instant(found["created_at"]),
        _instant(found["expires_at"]),
        _instant(found["ended_at"]),
        found["override_id"],
    )


def _micros(at: datetime | None) -> int | None:
    return None if at is None else micros(at)


def _instant(microseconds: int | None) -> datetime | None:
    return None if microseconds is None else instant(microseconds)
