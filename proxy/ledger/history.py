"""What a scope spent, hour by hour: from the roll-ups."""

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from proxy.ledger.schema import rollups
from rules.scope import Scope


async def spent_by(
    connection: AsyncConnection, scope: Scope, since_quarter: int, until_quarter: int, *, quarters: int
) -> dict[int, int]:
    """Nano-dollars by spans of so many quarter hours (4: hours since 1970), of [since, until). Spans without any are left
    out."""
    span = rollups.c.quarter // quarters
    statement = (
        select(span, func.sum(rollups.c.nanos))
        .where(
            rollups.c.scope_kind == scope.kind.value,
            rollups.c.scope_name == scope.name,
            rollups.c.quarter >= since_quarter,
            rollups.c.quarter < until_quarter,
        )
        .group_by(span)
    )
    return {int(number): int(nanos) for number, nanos in await connection.execute(statement)}
