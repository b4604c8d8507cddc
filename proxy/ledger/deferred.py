"""Work that a provider goes on with after its answer: charged as estimated until its end is known, then corrected once."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from pricing.charge import Basis, Charge
from proxy.callrow import CallRow
from proxy.ledger.schema import calls, charges, deferred
from proxy.ledger.write import WAITING, add_sums, scopes_of
from proxy.records import Deferred, instant, micros, usage_to_dict
from rules.window import QUARTER_SECONDS

_ROW = (
    "call_id",
    "node",
    "team",
    "key_id",
    "user",
    "category",
    "provider",
    "model",
    "price_version",
    "batch_size",
)
_ESTIMATES = (
    "estimate_expected_nanos",
    "estimate_ceiling_nanos",
    "estimate_input_tokens",
    "estimate_output_tokens",
)
_TOKENS = ("input_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens")


@dataclass(frozen=True, slots=True)
class Waiting:
    """One work whose end is not known, its call as far as the charge needs it, and what was charged for now."""

    row: CallRow
    work: Deferred
    charged_nanos: int
    charged_basis: str

    @property
    def provider(self) -> str:
        return self.row.provider


async def due(
    connection: AsyncConnection, now: datetime, *, limit: int, but: Sequence[str] = ()
) -> list[Waiting]:
    """Whose provider is to be asked, the longest overdue first; `but` these calls, which somebody is at."""
    where = deferred.c.state == WAITING, deferred.c.next_at <= micros(now), deferred.c.call_id.not_in(but)
    return await _read(connection, *where, limit=limit)


async def named(connection: AsyncConnection, provider: str, object_ids: Sequence[str]) -> list[Waiting]:
    """Those of these ids that wait."""
    where = (
        deferred.c.state == WAITING,
        deferred.c.provider == provider,
        deferred.c.object_id.in_(object_ids),
    )
    return await _read(connection, *where, limit=len(object_ids))


async def postpone(connection: AsyncConnection, waiting: Waiting, next_at: datetime) -> None:
    statement = update(deferred).where(*_is(waiting)).values(next_at=micros(next_at))
    await connection.execute(statement)


async def correct(connection: AsyncConnection, waiting: Waiting, charge: Charge, *, state: str) -> int | None:
    """Take back what was charged for now and charge this, in the caller's transaction. Gives the change in nano-dollars;
    None, and nothing written, where that was done before, by whomever."""
    closed = await connection.execute(update(deferred).where(*_is(waiting)).values(state=state))
    if closed.rowcount != 1:
        return None
    first = select(charges).where(charges.c.call_id == waiting.row.call_id, charges.c.seq == 0)
    before = (await connection.execute(first)).mappings().one()
    back = {name: -before[name] for name in ("nanos", *_TOKENS)}
    shared = {"call_id": before["call_id"], "at": before["at"]}
    taken = {
        **shared,
        **back,
        "seq": 1,
        "basis": before["basis"],
        "price_version": before["price_version"],
        "flags": "[]",
        "reason": "what was charged before the work was done, taken back",
        "usage": "{}",
    }
    usage = charge.usage
    told = {
        **shared,
        "seq": 2,
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
    await connection.execute(charges.insert(), [taken, told])
    change = charge.nanos - before["nanos"]
    unreported = (0 if charge.basis is Basis.REPORTED else charge.nanos) - (
        0 if before["basis"] == Basis.REPORTED.value else before["nanos"]
    )
    figures = (
        change,
        unreported,
        0,
        usage.input_tokens - before["input_tokens"],
        usage.output_tokens - before["output_tokens"],
    )
    quarter = before["at"] // (QUARTER_SECONDS * 1_000_000)
    # In the shipper's order: two nodes never wait in a circle.
    names = sorted((scope.kind.value, scope.name, quarter) for scope in scopes_of(waiting.row))
    await add_sums(connection, dict.fromkeys(names, figures))
    return int(change)


def _is(waiting: Waiting) -> tuple[Any, ...]:
    return (
        deferred.c.provider == waiting.provider,
        deferred.c.object_id == waiting.work.object_id,
        deferred.c.state == WAITING,
    )


async def _read(connection: AsyncConnection, *where: Any, limit: int) -> list[Waiting]:
    facts = [calls.c[name] for name in (*_ROW, "at", "flags", *_ESTIMATES)]
    statement = (
        select(
            *facts, deferred.c.facts, charges.c.nanos.label("charged"), charges.c.basis.label("charged_basis")
        )
        .select_from(
            deferred.join(calls, calls.c.call_id == deferred.c.call_id).join(
                charges, (charges.c.call_id == calls.c.call_id) & (charges.c.seq == 0)
            )
        )
        .where(*where)
        .order_by(deferred.c.next_at)
        .limit(limit)
    )
    return [_waiting(row) for row in (await connection.execute(statement)).mappings()]


def _waiting(found: Any) -> Waiting:
    row = CallRow(at=instant(found["at"]), **{name: found[name] for name in (*_ROW, *_ESTIMATES)})
    row.flags = orjson.loads(found["flags"])
    work = Deferred(**orjson.loads(found["facts"]))
    return Waiting(row, work, int(found["charged"]), str(found["charged_basis"]))
