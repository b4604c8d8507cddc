"""What rules in shadow mode would have acted on: sums of the calls whose rows name them."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import ColumnElement, and_, func, or_, select

from proxy.ledger import Ledger
from proxy.ledger.schema import calls, charges
from proxy.records import instant, micros

CHUNK_ROWS = 5_000


@dataclass(slots=True)
class ShadowLine:
    """One rule: the calls that went though it would have acted on them, and what they were charged."""

    rule_id: str
    first: datetime
    last: datetime
    calls: int = 0
    nanos: int = 0
    teams: set[str] = field(default_factory=set)


async def lines(ledger: Ledger, *, since: datetime | None, until: datetime | None) -> list[ShadowLine]:
    """The dearest first. Lists in a column are for no database to group by: the rows come in chunks, and are summed here."""
    found: dict[str, ShadowLine] = {}
    async for row in _rows(ledger, since, until):
        at = instant(row.at)
        for rule_id in orjson.loads(row.shadow_ids):
            line = found.setdefault(rule_id, ShadowLine(rule_id, at, at))
            line.last = at
            line.calls += 1
            line.nanos += int(row.nanos or 0)
            line.teams.add(row.team)
    return sorted(found.values(), key=lambda line: (-line.nanos, -line.calls, line.rule_id))


async def _rows(ledger: Ledger, since: datetime | None, until: datetime | None) -> AsyncIterator[Any]:
    """Each chunk is a transaction of its own, so that no server is kept from tidying its files up."""
    span: list[ColumnElement[bool]] = [calls.c.shadow_ids != "[]", calls.c.outcome != "refused"]
    span += [] if since is None else [calls.c.at >= micros(since)]
    span += [] if until is None else [calls.c.at < micros(until)]
    after: ColumnElement[bool] | None = None
    while True:
        page = select(calls.c.call_id, calls.c.at, calls.c.team, calls.c.shadow_ids)
        page = page.where(*span) if after is None else page.where(*span, after)
        one = page.order_by(calls.c.at, calls.c.call_id).limit(CHUNK_ROWS).subquery()
        facts = (one.c.at, one.c.call_id, one.c.team, one.c.shadow_ids)
        statement = (
            select(*facts, func.sum(charges.c.nanos).label("nanos"))
            .select_from(one.outerjoin(charges, charges.c.call_id == one.c.call_id))
            .group_by(*facts)
            .order_by(one.c.at, one.c.call_id)
        )
        async with ledger.connect() as connection:
            rows = (await connection.execute(statement)).all()
        for row in rows:
            yield row
        if len(rows) < CHUNK_ROWS:
            return
        last = rows[-1]
        later = and_(calls.c.at == last.at, calls.c.call_id > last.call_id)
        after = or_(calls.c.at > last.at, later)
