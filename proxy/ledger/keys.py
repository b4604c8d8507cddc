"""Issued keys at rest: their digests, never the keys themselves."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from proxy.ledger.schema import keys
from proxy.records import instant, micros


@dataclass(frozen=True, slots=True)
class KeyRow:
    key_id: str
    digest: str  # SHA-256 of the whole key, hex
    team: str
    kind: str  # live | test | admin
    role: str  # of control keys
    name: str
    budgets: str  # JSON, as `--budget-usd` and its companions gave it
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None


async def add(connection: AsyncConnection, row: KeyRow) -> None:
    values = {
        name: getattr(row, name) for name in ("key_id", "digest", "team", "kind", "role", "name", "budgets")
    }
    values |= {name: _micros(getattr(row, name)) for name in ("created_at", "expires_at", "revoked_at")}
    await connection.execute(keys.insert().values(values))


async def every(connection: AsyncConnection) -> list[KeyRow]:
    """All keys, revoked and expired ones included, oldest first."""
    rows = await connection.execute(select(keys).order_by(keys.c.created_at, keys.c.key_id))
    return [_row(row) for row in rows]


async def revoke(connection: AsyncConnection, key_id: str, at: datetime) -> KeyRow | None:
    """None: no such key. Revoking twice keeps the first instant."""
    await connection.execute(
        update(keys).where(keys.c.key_id == key_id, keys.c.revoked_at.is_(None)).values(revoked_at=micros(at))
    )
    row = (await connection.execute(select(keys).where(keys.c.key_id == key_id))).first()
    return None if row is None else _row(row)


def _row(row: "Row[Any]") -> KeyRow:
    found = row._mapping
    instants = {name: _instant(found[name]) for name in ("expires_at", "revoked_at")}
    return KeyRow(
        found["key_id"],
        found["digest"],
        found["team"],
        found["kind"],
        found["role"],
        found["name"],
        found["budgets"],
        instant(found["created_at"]),
        **instants,
    )


def _micros(at: datetime | None) -> int | None:
    return None if at is None else micros(at)


def _instant(microseconds: int | None) -> datetime | None:
    return None if microseconds is None else instant(microseconds)
