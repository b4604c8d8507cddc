"""What the journal says of a call: opened, settled or refused; and how each is written and read back."""

import re
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime, timedelta
from operator import attrgetter, itemgetter
from typing import Any

from pricing.charge import Basis, Charge
from pricing.money import Nanos
from pricing.usage import Usage
from proxy.callrow import CallRow
from rules.alert import Alert, Level
from rules.counter import CounterKey, Hold, Measure
from rules.scope import Scope, ScopeKind
from rules.window import Period

VERSION = 1


@dataclass(frozen=True, slots=True)
class Opened:
    """A hold is placed and the call may go. `lost` is what it costs if nobody ever says how it ended."""

    row: CallRow
    hold: Hold
    lost: Charge


@dataclass(frozen=True, slots=True)
class Deferred:
    """Work that a provider goes on with after its answer, and what it takes to charge it at its end."""

    object_id: str  # the provider's own id of it
    path: str  # where it is asked for: this, then its id
    asked_tier: str = ""
    unpriced: bool = False  # charged at the price of another model, its own being unknown
    endpoint: str = ""  # of a batch: what its requests are for
    query: str = ""  # that asking for it needs
    several: bool = False  # of a batch: its requests are for several models


@dataclass(frozen=True, slots=True)
class Settled:
    """A call has ended. Without a charge its hold was released. Deferred: the charge stands until the work is done."""

    row: CallRow
    charge: Charge | None
    alerts: tuple[Alert, ...] = ()
    deferred: Deferred | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """A call that never went."""

    row: CallRow
    alerts: tuple[Alert, ...] = ()


Record = Opened | Settled | Refused
Ended = Settled | Refused


def to_dict(record: Record) -> dict[str, Any]:
    """Plain values for JSON: instants as microseconds since 1970, money as integers."""
    row = _row_to_dict(record.row)
    match record:
        case Opened():
            return {
                "v": VERSION,
                "t": "opened",
                "row": row,
                "hold": _hold(record.hold),
                "lost": _charge(record.lost),
            }
        case Settled():
            charge = None if record.charge is None else _charge(record.charge)
            data = {
                "v": VERSION,
                "t": "settled",
                "row": row,
                "charge": charge,
                "alerts": _alerts(record.alerts),
            }
            return data if record.deferred is None else {**data, "deferred": asdict(record.deferred)}
        case Refused():
            return {"v": VERSION, "t": "refused", "row": row, "alerts": _alerts(record.alerts)}


def from_dict(data: dict[str, Any]) -> Record:
    """Raises KeyError, TypeError or ValueError for what `to_dict` never wrote."""
    row = _row_from_dict(data["row"])
    match data["t"]:
        case "opened":
            return Opened(row, _hold_from(data["hold"]), _charge_from(data["lost"]))
        case "settled":
            charge = None if data["charge"] is None else _charge_from(data["charge"])
            work = data.get("deferred")
            deferred = None if work is None else Deferred(**work)
            return Settled(row, charge, tuple(map(_alert_from, data["alerts"])), deferred)
        case "refused":
            return Refused(row, tuple(map(_alert_from, data["alerts"])))
        case other:
            raise ValueError(f"a record of kind {other!r}")


_OPENED = re.compile(rb'\{"v":\d+,"t":"opened","row":\{"call_id":"([A-Za-z0-9_-]+)"')


def opened_id(payload: bytes) -> str | None:
    """The call that a written record opens, without reading the rest of it: most open records are answered by one
    that ends the call, and need never be read. None: read it to know."""
    found = _OPENED.match(payload)
    return None if found is None else found.group(1).decode()


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def micros(at: datetime) -> int:
    """Whole microseconds since 1970, exact."""
    delta = at - _EPOCH
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds


def instant(microseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds)


_ROW_FIELDS = tuple(field.name for field in fields(CallRow))
_row_values = itemgetter(*_ROW_FIELDS)
_USAGE_FIELDS = tuple(field.name for field in fields(Usage))
_usage_values = attrgetter(*_USAGE_FIELDS)


def _row_to_dict(row: CallRow) -> dict[str, Any]:
    data = {name: getattr(row, name) for name in _ROW_FIELDS}
    data["at"] = micros(row.at)
    return data


def _row_from_dict(data: dict[str, Any]) -> CallRow:
    try:
        row = CallRow(*_row_values(data))  # by place: three times as fast as by name
    except KeyError:  # written by a version with fewer fields: what both know of is kept
        row = CallRow(**{name: data[name] for name in _ROW_FIELDS if name in data})
    row.at = instant(data["at"])
    return row


def usage_to_dict(usage: Usage) -> dict[str, int]:
    """Only what was used: most classes are zero."""
    return {name: value for name, value in zip(_USAGE_FIELDS, _usage_values(usage), strict=True) if value}


def _charge(charge: Charge) -> dict[str, Any]:
    return {
        "nanos": charge.nanos,
        "basis": charge.basis.value,
        "usage": usage_to_dict(charge.usage),
        "price_version": charge.price_version,
        "flags": list(charge.flags),
        "reason": charge.reason,
    }


def _charge_from(data: dict[str, Any]) -> Charge:
    return Charge(
        Nanos(data["nanos"]),
        Basis(data["basis"]),
        Usage(**data["usage"]),
        data["price_version"],
        tuple(data["flags"]),
        data["reason"],
    )


def _hold(hold: Hold) -> dict[str, Any]:
    return {
        "call_id": hold.call_id,
        "at": micros(hold.at),
        "amounts": [
            [
                key.scope.kind.value,
                key.scope.name,
                key.period.value,
                key.timezone,
                key.start,
                key.measure.value,
                amount,
            ]
            for key, amount in hold.amounts
        ],
    }


def _hold_from(data: dict[str, Any]) -> Hold:
    amounts = tuple(
        (
            CounterKey(Scope(ScopeKind(kind), name), Period(period), zone, start, Measure(measure)),
            Nanos(amount),
        )
        for kind, name, period, zone, start, measure, amount in data["amounts"]
    )
    return Hold(data["call_id"], instant(data["at"]), amounts)


def _alerts(alerts: tuple[Alert, ...]) -> list[dict[str, Any]]:
    return [
        {
            "key": alert.key,
            "kind": alert.kind,
            "level": alert.level.value,
            "at": micros(alert.at),
            "scope": [alert.scope.kind.value, alert.scope.name],
            "message": alert.message,
            "facts": alert.facts,
        }
        for alert in alerts
    ]


def _alert_from(data: dict[str, Any]) -> Alert:
    kind, name = data["scope"]
    return Alert(
        data["key"],
        data["kind"],
        Level(data["level"]),
        instant(data["at"]),
        Scope(ScopeKind(kind), name),
        data["message"],
        data["facts"],
    )
