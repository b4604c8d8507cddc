"""Ended calls into the ledger: call, charge, roll-ups and alert facts in one transaction, once per call id."""

from collections.abc import Iterable, Sequence
from typing import Any

import orjson
from sqlalchemy import Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from pricing.charge import Basis, Charge
from proxy.ledger.rows import CallRow
from proxy.ledger.schema import calls, charges, outbox, rollups
from proxy.records import Ended, Settled, micros, usage_to_dict
from rules.alert import Alert
from rules.scope import Scope, ScopeKind
from rules.window import QUARTER_SECONDS

_JSON = ("tags", "rule_ids", "shadow_ids", "limits", "flags")
_COLUMNS = tuple(column.name for column in calls.columns)


async def ship(connection: AsyncConnection, records: Sequence[Ended]) -> int:
    """Gives how many calls were new; the others change nothing."""
    by_id = {record.row.call_id: record for record in records}
    known = (
        insert(connection, calls)
        .on_conflict_do_nothing(index_elements=["call_id"])
        .returning(calls.c.call_id)
    )
    rows = [_call(record.row) for record in by_id.values()]
    new = [by_id[call_id] for (call_id,) in await connection.execute(known, rows)] if rows else []
    settled = [record for record in new if isinstance(record, Settled) and record.charge is not None]
    if settled:
        await connection.execute(charges.insert(), [_charge(record.row, record.charge) for record in settled])
    await _roll_up(connection, new)
    await raise_alerts(connection, [alert for record in by_id.values() for alert in record.alerts])
    return len(new)


async def raise_alerts(connection: AsyncConnection, alerts: Sequence[Alert]) -> None:
    """Into the outbox, the first of each key."""
    if alerts:
        statement = insert(connection, outbox).on_conflict_do_nothing(index_elements=["key"])
        await connection.execute(statement, [_alert(alert) for alert in alerts])


def insert(connection: AsyncConnection, table: Table) -> "sqlite.Insert | postgresql.Insert":
    """An insert that knows `on conflict`, in the words of the database at hand."""
    return sqlite.insert(table) if connection.dialect.name == "sqlite" else postgresql.insert(table)


async def _roll_up(connection: AsyncConnection, records: Iterable[Ended]) -> None:
    sums: dict[tuple[str, str, int], list[int]] = {}
    for record in records:
        charge = record.charge if isinstance(record, Settled) else None
        if charge is None:
            continue
        quarter = int(record.row.at.timestamp()) // QUARTER_SECONDS
        unreported = 0 if charge.basis is Basis.REPORTED else charge.nanos
        figures = (charge.nanos, unreported, 1, charge.usage.input_tokens, charge.usage.output_tokens)
        for scope in scopes_of(record.row):
            total = sums.setdefault((scope.kind.value, scope.name, quarter), [0, 0, 0, 0, 0])
            for n, figure in enumerate(figures):
                total[n] += figure
    if not sums:
        return
    statement = insert(connection, rollups)
    names = ("nanos", "unreported_nanos", "calls", "input_tokens", "output_tokens")
    added = statement.on_conflict_do_update(
        index_elements=["scope_kind", "scope_name", "quarter"],
        set_={name: rollups.c[name] + statement.excluded[name] for name in names},
    )
    values = [
        {"scope_kind": kind, "scope_name": name, "quarter": quarter, **dict(zip(names, total, strict=True))}
        for (kind, name, quarter), total in sums.items()
    ]
    await connection.execute(added, values)


def scopes_of(row: CallRow) -> list[Scope]:
    """Every scope that a call's charge counts towards, as on the call itself."""
    named = (
        (ScopeKind.TEAM, row.team),
        (ScopeKind.KEY, row.key_id),
        (ScopeKind.USER, row.user),
        (ScopeKind.MODEL, row.model),
        (ScopeKind.PROVIDER, row.provider),
        (ScopeKind.CATEGORY, row.category),
    )
    return [Scope(ScopeKind.GLOBAL), *(Scope(kind, name) for kind, name in named if name)]


def _call(row: CallRow) -> dict[str, Any]:
    values = {name: getattr(row, name) for name in _COLUMNS}
    values["at"] = micros(row.at)
    values["stream"], values["success"] = int(row.stream), int(row.success)
    values["estimate_confidence"] = f"{row.estimate_confidence:.3g}"
    for name in _JSON:
        values[name] = orjson.dumps(values[name]).decode()
    return values


def _charge(row: CallRow, charge: Charge | None) -> dict[str, Any]:
    assert charge is not None, f"call {row.call_id} was released"
    usage = charge.usage
    return {
        "call_id": row.call_id,
        "seq": 0,
        "at": micros(row.at),
        "nanos": charge.nanos,
        "basis": charge.basis.value,
        "price_version": charge.price_version,
        "flags": orjson.dumps(charge.flags).decode(),
        "reason": charge.reason,
        "input_tokens": usage.input_tokens,
        "cache_read_tokens": usage.cache_read_tokens,
        "cache_write_tokens": usage.cache_write_tokens
        + usage.cache_write_1h_tokens
        + usage.cache_write_12h_tokens,
        "output_tokens": usage.output_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
        "usage": orjson.dumps(usage_to_dict(usage)).decode(),
    }


def _alert(alert: Alert) -> dict[str, Any]:
    return {
        "key": alert.key,
        "kind": alert.kind,
        "level": alert.level.value,
        "at": micros(alert.at),
        "scope_kind": alert.scope.kind.value,
        "scope_name": alert.scope.name,
        "message": alert.message,
        "facts": orjson.dumps(alert.facts).decode(),
        "state": "pending",
        "attempts": 0,
        "next_at": micros(alert.at),
        "last_error": "",
    }
