"""Charges at corrected prices: what each call is charged now, page by page, and the rows that correct it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import and_, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from pricing.charge import Basis, Charge
from pricing.money import Nanos
from pricing.usage import Usage
from proxy.callrow import CallRow
from proxy.ledger.schema import calls, charges, deferred
from proxy.ledger.write import WAITING, add_sums, scopes_of
from proxy.records import instant, micros
from rules.scope import Scope
from rules.window import QUARTER_SECONDS

_ROW = (
    *("call_id", "team", "key_id", "user", "category", "provider", "model", "served_model", "service_tier"),
    *("outcome", "estimate_basis", "estimate_output_tokens"),
    *("estimate_expected_nanos", "estimate_ceiling_nanos"),
)
_TOKENS = ("input_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens")
_CHARGE = ("seq", "nanos", "basis", "price_version", "flags", "reason", *_TOKENS, "usage")

Place = tuple[int, str]
"""Of a call in the order of pages: microseconds since 1970, and its id."""


@dataclass(frozen=True, slots=True)
class Span:
    since: datetime
    until: datetime | None = None
    provider: str | None = None  # as on the call


@dataclass(frozen=True, slots=True)
class Charged:
    """A call as far as its price needs it, and the charge that stands for it: its newest. `works_on`: that one
    stands only until the end of the work is known."""

    row: CallRow
    stored: Mapping[str, Any]  # the charge's columns
    charge: Charge | None
    works_on: bool

    @property
    def place(self) -> Place:
        return micros(self.row.at), self.row.call_id


@dataclass(frozen=True, slots=True)
class Correction:
    """`charge` is to stand for the call from now on. Its usage and basis are those of the one before."""

    before: Charged
    charge: Charge

    @property
    def change(self) -> int:
        return self.charge.nanos - int(self.before.stored["nanos"])


@dataclass(frozen=True, slots=True)
class Move:
    """What corrections of calls that count towards the same scopes in the same quarter hour come to. The row is one of
    theirs."""

    row: CallRow
    scopes: frozenset[Scope]
    change: Nanos
    unreported: int


async def page(
    connection: AsyncConnection, span: Span, after: Place | None, *, limit: int
) -> Sequence[Charged]:
    """The next calls in order of time, refused ones too."""
    later = charges.alias("later")
    newest = select(func.max(later.c.seq)).where(later.c.call_id == calls.c.call_id).scalar_subquery()
    own = and_(charges.c.call_id == calls.c.call_id, charges.c.seq == newest)
    work = and_(
        deferred.c.provider == calls.c.provider,
        deferred.c.object_id == calls.c.provider_id,
        deferred.c.call_id == calls.c.call_id,
    )
    facts = [calls.c[name].label(f"call_{name}") for name in (*_ROW, "at", "flags")]
    statement = (
        select(*facts, *(charges.c[name] for name in _CHARGE), deferred.c.state)
        .select_from(calls.outerjoin(charges, own).outerjoin(deferred, work))
        .where(calls.c.at >= micros(span.since))
        .order_by(calls.c.at, calls.c.call_id)
        .limit(limit)
    )
    if span.until is not None:
        statement = statement.where(calls.c.at < micros(span.until))
    if span.provider is not None:
        statement = statement.where(calls.c.provider == span.provider)
    if after is not None:
        at, call_id = after
        following = or_(calls.c.at > at, calls.c.call_id > call_id)
        statement = statement.where(calls.c.at >= at, following)
    return [_charged(found) for found in (await connection.execute(statement)).mappings()]


def _charged(found: Mapping[Any, Any]) -> Charged:
    row = CallRow(at=instant(found["call_at"]), **{name: found[f"call_{name}"] for name in _ROW})
    row.flags = orjson.loads(found["call_flags"])
    if found["seq"] is None:
        return Charged(row, {}, None, works_on=False)
    stored = {name: found[name] for name in _CHARGE}
    charge = Charge(
        Nanos(stored["nanos"]),
        Basis(stored["basis"]),
        Usage(**orjson.loads(stored["usage"])),
        stored["price_version"],
        tuple(orjson.loads(stored["flags"])),
        stored["reason"],
    )
    return Charged(row, stored, charge, works_on=found["state"] == WAITING)


async def correct(connection: AsyncConnection, corrections: Sequence[Correction]) -> list[Move]:
    """Take back what was charged and charge this, with the roll-ups, in the caller's transaction. Raises IntegrityError,
    and then nothing of it is written, where one of the calls was corrected since it was read."""
    await connection.execute(charges.insert(), [row for each in corrections for row in _rows(each)])
    moves = _moves(corrections)
    sums: dict[tuple[str, str, int], list[int]] = {}
    for move in moves:
        for scope in move.scopes:
            total = sums.setdefault((scope.kind.value, scope.name, _quarter(move.row)), [0] * 5)
            total[0] += move.change
            total[1] += move.unreported
    await add_sums(connection, sums)
    return moves


def _rows(correction: Correction) -> Iterable[dict[str, Any]]:
    stored, charge = correction.before.stored, correction.charge
    at, call_id = correction.before.place
    shared = {**stored, "call_id": call_id, "at": at}
    yield {
        **shared,
        **{name: -stored[name] for name in ("nanos", *_TOKENS)},
        "seq": stored["seq"] + 1,
        "flags": "[]",
        "reason": "what was charged at another price, taken back",
        "usage": "{}",
    }
    yield {
        **shared,
        "seq": stored["seq"] + 2,
        "nanos": charge.nanos,
        "price_version": charge.price_version,
        "flags": orjson.dumps(charge.flags).decode(),
        "reason": charge.reason,
    }


def _moves(corrections: Sequence[Correction]) -> list[Move]:
    alike: dict[tuple[int, frozenset[Scope]], list[Correction]] = {}
    for each in corrections:
        row = each.before.row
        alike.setdefault((_quarter(row), frozenset(scopes_of(row))), []).append(each)
    return [
        Move(
            same[0].before.row,
            scopes,
            Nanos(sum(each.change for each in same)),
            sum(each.change for each in same if each.charge.basis is not Basis.REPORTED),
        )
        for (_, scopes), same in alike.items()
    ]


def _quarter(row: CallRow) -> int:
    return micros(row.at) // (QUARTER_SECONDS * 1_000_000)
