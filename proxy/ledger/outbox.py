"""Alerts to send: written with what caused them, sent at least once, the first of each key only."""

from dataclasses import dataclass
from datetime import datetime

import orjson
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from proxy.ledger.schema import outbox
from proxy.records import instant, micros
from rules.alert import Alert, Level
from rules.scope import Scope, ScopeKind


@dataclass(frozen=True, slots=True)
class Pending:
    alert_id: int
    alert: Alert
    attempts: int


async def due(connection: AsyncConnection, now: datetime, *, limit: int) -> list[Pending]:
    """Alerts whose time has come, oldest first."""
    statement = (
        select(outbox)
        .where(outbox.c.state == "pending", outbox.c.next_at <= micros(now))
        .order_by(outbox.c.alert_id)
        .limit(limit)
    )
    return [
        Pending(
            row.alert_id,
            Alert(
                row.key,
                row.kind,
                Level(row.level),
                instant(row.at),
                Scope(ScopeKind(row.scope_kind), row.scope_name),
                row.message,
                orjson.loads(row.facts),
            ),
            row.attempts,
        )
        for row in await connection.execute(statement)
    ]


async def sent(connection: AsyncConnection, alert_ids: list[int]) -> None:
    await connection.execute(update(outbox).where(outbox.c.alert_id.in_(alert_ids)).values(state="sent"))


async def failed(connection: AsyncConnection, alert_id: int, *, next_at: datetime, error: str) -> None:
    await connection.execute(
        update(outbox)
        .where(outbox.c.alert_id == alert_id)
        .values(attempts=outbox.c.attempts + 1, next_at=micros(next_at), last_error=error[:500])
    )
