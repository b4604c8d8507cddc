"""What was called and what it cost: rows, sums and reports."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import orjson
from sqlalchemy import ColumnElement, Select, and_, case, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from pricing.money import Nanos, usd
from proxy.ledger.schema import calls, charges, rollups
from proxy.records import instant, micros
from rules.scope import Scope
from rules.window import QUARTER_SECONDS

PAGE_ROWS_MAX = 10_000


@dataclass(frozen=True, slots=True)
class CallFilter:
    key_id: str | None = None
    team: str | None = None
    trace_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class ReportLine:
    """One group of a report. `unreported` is what of the cost the provider did not report itself."""

    group: str
    nanos: Nanos
    unreported: Nanos
    calls: int
    refused: int
    input_tokens: int
    output_tokens: int


GROUPS = ("team", "key", "model", "category", "day")


async def spent(
    connection: AsyncConnection, scope: Scope, since_quarter: int, until_quarter: int | None
) -> Nanos:
    where = [
        rollups.c.scope_kind == scope.kind.value,
        rollups.c.scope_name == scope.name,
        rollups.c.quarter >= since_quarter,
    ]
    if until_quarter is not None:
        where.append(rollups.c.quarter < until_quarter)
    total = await connection.scalar(select(func.coalesce(func.sum(rollups.c.nanos), 0)).where(*where))
    return Nanos(int(total or 0))


async def listed(connection: AsyncConnection, wanted: CallFilter) -> list[dict[str, Any]]:
    """Calls with their charges, oldest first; with a limit the newest of them."""
    statement = _joined().where(*_where(wanted))
    if wanted.limit is not None:
        newest = statement.order_by(calls.c.at.desc(), calls.c.call_id.desc()).limit(wanted.limit)
        rows = (await connection.execute(newest)).mappings().all()[::-1]
    else:
        rows = (await connection.execute(statement.order_by(calls.c.at, calls.c.call_id))).mappings().all()
    return [_shown(dict(row)) for row in rows]


async def by_id(connection: AsyncConnection, call_id: str) -> dict[str, Any] | None:
    """With every charge of it: the first, and what corrected it."""
    row = (await connection.execute(_joined().where(calls.c.call_id == call_id))).mappings().first()
    if row is None:
        return None
    facts = (charges.c.seq, charges.c.nanos, charges.c.basis, charges.c.price_version, charges.c.reason)
    every = select(*facts).where(charges.c.call_id == call_id).order_by(charges.c.seq)
    made = [
        {"seq": seq, "cost_usd": usd(nanos), "basis": basis, "price_version": version, "reason": reason}
        for seq, nanos, basis, version, reason in await connection.execute(every)
    ]
    return {**_shown(dict(row)), "charges": made}


async def report(
    connection: AsyncConnection, by: str, *, since: datetime | None, until: datetime | None, timezone: str
) -> list[ReportLine]:
    """Cost and calls per team, key, model, category or day of a time zone; the dearest first, days in order."""
    if by == "day":
        return await _by_day(connection, since=since, until=until, timezone=timezone)
    column = {
        "team": calls.c.team,
        "key": calls.c.key_id,
        "model": calls.c.model,
        "category": calls.c.category,
    }[by]
    statement = _sums(column).where(*_where(CallFilter(since=since, until=until))).group_by(column)
    lines = [_line(row) for row in await connection.execute(statement)]
    return sorted(lines, key=lambda line: (-line.nanos, line.group))


async def _by_day(
    connection: AsyncConnection, *, since: datetime | None, until: datetime | None, timezone: str
) -> list[ReportLine]:
    """Summed per quarter hour by the database, and into local days here: no database knows every zone's history."""
    quarter = (calls.c.at / (QUARTER_SECONDS * 1_000_000)).label("quarter")
    if connection.dialect.name == "sqlite":
        quarter = calls.c.at.op("/")(QUARTER_SECONDS * 1_000_000).label("quarter")
    statement = _sums(quarter).where(*_where(CallFilter(since=since, until=until))).group_by(quarter)
    zone = ZoneInfo(timezone)
    days: dict[str, list[int]] = {}
    for row in await connection.execute(statement):
        at = datetime.fromtimestamp(int(row[0]) * QUARTER_SECONDS, tz=UTC)
        day = at.astimezone(zone).date().isoformat()
        total = days.setdefault(day, [0] * 6)
        for n, figure in enumerate(row[1:]):
            total[n] += int(figure or 0)
    return [_line((day, *total)) for day, total in sorted(days.items())]


def _sums(group: "ColumnElement[Any]") -> "Select[Any]":
    unreported = case((charges.c.basis != "reported", charges.c.nanos), else_=0)
    return select(
        group,
        func.coalesce(func.sum(charges.c.nanos), 0),
        func.coalesce(func.sum(unreported), 0),
        func.count(calls.c.call_id.distinct()),
        func.coalesce(func.sum(case((calls.c.outcome == "refused", 1), else_=0)), 0),
        func.coalesce(func.sum(charges.c.input_tokens), 0),
        func.coalesce(func.sum(charges.c.output_tokens), 0),
    ).select_from(calls.outerjoin(charges))


def _line(row: Any) -> ReportLine:
    group, nanos, unreported, count, refused, input_tokens, output_tokens = row
    return ReportLine(
        str(group),
        Nanos(int(nanos)),
        Nanos(int(unreported)),
        int(count),
        int(refused),
        int(input_tokens),
        int(output_tokens),
    )


def _joined() -> "Select[Any]":
    charged = [
        charges.c.nanos.label("cost_nanos"),
        charges.c.basis,
        charges.c.input_tokens,
        charges.c.cache_read_tokens,
        charges.c.cache_write_tokens,
        charges.c.output_tokens,
        charges.c.reasoning_tokens,
        charges.c.usage,
        charges.c.flags.label("charge_flags"),
        charges.c.reason.label("charge_reason"),
        charges.c.price_version.label("charged_price_version"),
    ]
    # A correction takes back what stood before it, and then stands for the call.
    later = charges.alias("later")
    newest = select(func.max(later.c.seq)).where(later.c.call_id == calls.c.call_id).scalar_subquery()
    own = and_(charges.c.call_id == calls.c.call_id, charges.c.seq == newest)
    return select(calls, *charged).select_from(calls.outerjoin(charges, own))


def _where(wanted: CallFilter) -> "list[ColumnElement[bool]]":
    where: list[ColumnElement[bool]] = []
    if wanted.key_id is not None:
        where.append(calls.c.key_id == wanted.key_id)
    if wanted.team is not None:
        where.append(calls.c.team == wanted.team)
    if wanted.trace_id is not None:
        where.append(calls.c.trace_id == wanted.trace_id)
    if wanted.since is not None:
        where.append(calls.c.at >= micros(wanted.since))
    if wanted.until is not None:
        where.append(calls.c.at < micros(wanted.until))
    return where


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    """As people and programs read it: instants as ISO 8601, money as dollars, lists as lists."""
    row = {str(name): value for name, value in row.items()}  # SQLAlchemy's own kind of string is no JSON key
    nanos = row.pop("cost_nanos")
    flags = [*orjson.loads(row.pop("flags")), *orjson.loads(row.pop("charge_flags") or "[]")]
    row["usage"] = orjson.loads(row["usage"]) if row["usage"] else {}
    for name in ("tags", "rule_ids", "shadow_ids", "limits", "refusal"):
        row[name] = orjson.loads(row[name])
    row["at"] = instant(row["at"]).isoformat()
    row["stream"], row["success"] = bool(row["stream"]), bool(row["success"])
    row["cost_usd"] = None if nanos is None else usd(nanos)
    row["flags"] = list(dict.fromkeys(flags))
    row["reason"] = row.pop("charge_reason") or row["reason"]
    row["price_version"] = row.pop("charged_price_version") or row["price_version"]
    row["estimate_expected_usd"] = usd(row.pop("estimate_expected_nanos"))
    row["estimate_ceiling_usd"] = usd(row.pop("estimate_ceiling_nanos"))
    row["held_usd"] = usd(row.pop("held_nanos"))
    for name in ("waited", "ttft", "duration"):
        row[f"{name}_ms"] = row.pop(f"{name}_us") / 1000
    return row
