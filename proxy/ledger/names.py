"""Which names were charged lately: from the roll-ups."""

from collections.abc import Collection

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from proxy.ledger.schema import rollups
from rules.scope import Scope, ScopeKind


async def charged_since(
    connection: AsyncConnection, kinds: Collection[ScopeKind], since_quarter: int, *, limit: int
) -> list[tuple[Scope, int]]:
    """Scopes with the last quarter hour of each, the earliest first; where there are more than `limit` of a kind, the
    latest."""
    found: list[tuple[Scope, int]] = []
    last = func.max(rollups.c.quarter).label("last")
    for kind in kinds:
        statement = (
            select(rollups.c.scope_name, last)
            .where(rollups.c.scope_kind == kind.value, rollups.c.quarter >= since_quarter)
            .group_by(rollups.c.scope_name)
            .order_by(last.desc(), rollups.c.scope_name)
            .limit(limit)
        )
        rows = (await connection.execute(statement)).all()
        found += [(Scope(kind, str(name)), int(quarter)) for name, quarter in reversed(rows)]
    return found
