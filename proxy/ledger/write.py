"""Ended calls into the ledger: call, charge, roll-ups and alert facts in one transaction, once per call id."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache
from operator import attrgetter
from typing import Any

import orjson
from sqlalchemy import Dialect, Table, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from pricing.charge import Basis, Charge
from proxy.callrow import AS_OTHER, CallRow
from proxy.ledger.schema import calls, charges, deferred, outbox, rollups
from proxy.records import Ended, Settled, micros, usage_to_dict
from rules.alert import Alert
from rules.call import OTHER
from rules.scope import Scope, ScopeKind
from rules.window import QUARTER_SECONDS

WAITING = "waiting"  # of deferred work: its end is not known yet
FIRST_ASKED_SECONDS = 10

_JSON = ("tags", "rule_ids", "shadow_ids", "limits", "flags", "refusal")
_COLUMNS = tuple(column.name for column in calls.columns)
_CHARGE_COLUMNS = tuple(column.name for column in charges.columns if column.name != "charge_id")


async def ship(connection: AsyncConnection, records: Sequence[Ended]) -> int:
    """Gives how many calls were new; the others change nothing. Where another node writes one of the calls at the same
    moment, the database refuses the whole of it, and the next attempt finds that call there."""
    by_id = {record.row.call_id: record for record in records}
    there = await connection.scalars(select(calls.c.call_id).where(calls.c.call_id.in_(list(by_id))))
    known = set(there)
    new = [record for call_id, record in by_id.items() if call_id not in known]
    await _add(connection, calls, _COLUMNS, [_call(record.row) for record in new])
    charged = [
        _charge(record.row, record.charge)
        for record in new
        if isinstance(record, Settled) and record.charge is not None
    ]
    await _add(connection, charges, _CHARGE_COLUMNS, charged)
    await _defer(connection, new)
    await _roll_up(connection, new)
    await raise_alerts(connection, [alert for record in by_id.values() for alert in record.alerts])
    return len(new)


async def _add(
    connection: AsyncConnection, table: Table, columns: tuple[str, ...], rows: list[tuple[Any, ...]]
) -> None:
    """Straight to the driver, in the words that SQLAlchemy has for it: a start after a crash may add 100,000."""
    if rows:
        await connection.exec_driver_sql(_statement(connection.dialect, table, columns), rows)


@lru_cache(maxsize=8)
def _statement(dialect: Dialect, table: Table, columns: tuple[str, ...]) -> str:
    compiled = table.insert().compile(dialect=dialect, column_keys=columns)
    assert tuple(compiled.positiontup or ()) == columns, f"the columns of {table.name} are in another order"
    return str(compiled)


async def raise_alerts(connection: AsyncConnection, alerts: Sequence[Alert]) -> None:
    """Into the outbox, the first of each key."""
    if alerts:
        statement = insert(connection, outbox).on_conflict_do_nothing(index_elements=["key"])
        await connection.execute(statement, [_alert(alert) for alert in alerts])


def insert(connection: AsyncConnection, table: Table) -> "sqlite.Insert | postgresql.Insert":
    """An insert that knows `on conflict`, in the words of the database at hand."""
    return sqlite.insert(table) if connection.dialect.name == "sqlite" else postgresql.insert(table)


async def _defer(connection: AsyncConnection, records: Iterable[Ended]) -> None:
    """The first call of a provider's id for its work stands for all: it is billed once."""
    waiting = [
        {
            "provider": record.row.provider,
            "object_id": record.deferred.object_id,
            "call_id": record.row.call_id,
            "state": WAITING,
            "at": micros(record.row.at),
            "next_at": micros(record.row.at) + FIRST_ASKED_SECONDS * 1_000_000,
            "facts": _json(asdict(record.deferred)),
        }
        for record in records
        if isinstance(record, Settled) and record.deferred is not None
    ]
    if waiting:
        keys = ["provider", "object_id"]
        await connection.execute(
            insert(connection, deferred).on_conflict_do_nothing(index_elements=keys), waiting
        )


async def _roll_up(connection: AsyncConnection, records: Iterable[Ended]) -> None:
    await add_sums(connection, _sums(records))


async def add_sums(connection: AsyncConnection, sums: Mapping[tuple[str, str, int], Sequence[int]]) -> None:
    """To the roll-ups, by scope and quarter hour: nano-dollars, those of them unreported, calls, input and output
    tokens."""
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
        for (kind, name, quarter), total in sorted(
            sums.items()
        )  # one order: two nodes never wait in a circle
    ]
    await connection.execute(added, values)


def _sums(records: Iterable[Ended]) -> dict[tuple[str, str, int], list[int]]:
    """What to add, by scope and quarter hour. Calls that count towards the same scopes are added up first."""
    alike: dict[tuple[Any, ...], tuple[CallRow, list[Charge]]] = {}
    for record in records:
        charge = record.charge if isinstance(record, Settled) else None
        if charge is not None:
            row = record.row
            quarter = micros(row.at) // (QUARTER_SECONDS * 1_000_000)
            alike.setdefault((quarter, *_counted(row)), (row, []))[1].append(charge)
    sums: dict[tuple[str, str, int], list[int]] = {}
    for (quarter, *_), (row, charged) in alike.items():
        figures = (
            sum(charge.nanos for charge in charged),
            sum(charge.nanos for charge in charged if charge.basis is not Basis.REPORTED),
            len(charged),
            sum(charge.usage.input_tokens for charge in charged),
            sum(charge.usage.output_tokens for charge in charged),
        )
        for scope in scopes_of(row):
            total = sums.setdefault((scope.kind.value, scope.name, quarter), [0, 0, 0, 0, 0])
            for n, figure in enumerate(figures):
                total[n] += figure
    return sums


_SCOPES = {
    ScopeKind.TEAM: "team",
    ScopeKind.KEY: "key_id",
    ScopeKind.USER: "user",
    ScopeKind.MODEL: "model",
    ScopeKind.PROVIDER: "provider",
    ScopeKind.CATEGORY: "category",
}
_named = attrgetter(*_SCOPES.values())


def scopes_of(row: CallRow) -> list[Scope]:
    """Every scope that a call's charge counts towards, as on the call itself."""
    named = zip(_SCOPES, _counted(row), strict=True)
    return [Scope(ScopeKind.GLOBAL), *(Scope(kind, name) for kind, name in named if name)]


def _counted(row: CallRow) -> tuple[str, ...]:
    """The names that a call counts towards, in the order of the scopes."""
    names: tuple[str, ...] = _named(row)
    if not row.flags:  # mostly
        return names
    return tuple(
        OTHER if AS_OTHER.get(kind) in row.flags else name for kind, name in zip(_SCOPES, names, strict=True)
    )


_facts = attrgetter(*_COLUMNS)
_AT, _STREAM, _SUCCESS, _CONFIDENCE = map(_COLUMNS.index, ("at", "stream", "success", "estimate_confidence"))
_TEXTS = tuple(_COLUMNS.index(name) for name in _JSON)


def _call(row: CallRow) -> tuple[Any, ...]:
    """In the order of the table's columns."""
    values = list(_facts(row))
    values[_AT] = micros(row.at)
    values[_STREAM], values[_SUCCESS] = int(row.stream), int(row.success)
    values[_CONFIDENCE] = f"{row.estimate_confidence:.3g}"
    for n in _TEXTS:
        values[n] = _json(values[n])
    return tuple(values)


def _charge(row: CallRow, charge: Charge) -> tuple[Any, ...]:
    """In the order of the table's columns."""
    usage = charge.usage
    return (
        row.call_id,
        0,
        micros(row.at),
        charge.nanos,
        charge.basis.value,
        charge.price_version,
        _json(charge.flags),
        charge.reason,
        usage.input_tokens,
        usage.cache_read_tokens,
        usage.cache_write_tokens + usage.cache_write_1h_tokens + usage.cache_write_12h_tokens,
        usage.output_tokens,
        usage.reasoning_tokens,
        _json(usage_to_dict(usage)),
    )


def _json(value: Any) -> str:
    if not value:  # mostly
        return "{}" if isinstance(value, dict) else "[]"
    return orjson.dumps(value).decode()


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
