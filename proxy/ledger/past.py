"""Calls of the past for a replay: in the order of their arrival, in chunks, with the columns that a policy looks at."""

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import and_, func, not_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from pricing.charge import Outcome
from proxy.callrow import AS_OTHER
from proxy.ledger import Ledger
from proxy.ledger.schema import calls, charges
from proxy.records import micros
from rules.call import Operation
from rules.past import PastCall

CHUNK_ROWS = 5_000

BY_POLICY = frozenset(
    {
        "budget_exceeded",
        "budget_busy",
        "circuit_breaker_open",
        "concurrency_limited",
        "model_not_allowed",
        "rate_limited",
        "rule_error",
        "throttled",
    }
)
"""Codes of refusals that another policy might not have made."""
NOT_ESTIMATED = "paths that are not metered, and test keys"
OTHERWISE_REFUSED = "refused for another reason than a rule or a budget"
_MEDIA = (Operation.IMAGE, Operation.AUDIO)
_COLUMNS = (
    *("at", "call_id", "team", "key_id", "user", "category", "operation", "provider", "model", "asked_model"),
    *("outcome", "error_type", "estimate_expected_nanos", "estimate_ceiling_nanos", "estimate_input_tokens"),
    *("estimate_output_tokens", "estimate_basis", "flags", "duration_us", "waited_us", "service_tier"),
)
_CALLS = [calls.c[name] for name in _COLUMNS]


@dataclass(slots=True)
class Told:
    """What stands beside the calls that are replayed."""

    left_out: Counter[str] = field(default_factory=Counter)  # by reason
    busy: int = 0  # refused at the time since other calls held the rest
    downgraded: int = 0
    capped: int = 0


async def count(connection: AsyncConnection, since: datetime, until: datetime) -> int:
    within = and_(calls.c.at >= micros(since), calls.c.at < micros(until))
    return int(await connection.scalar(select(func.count()).select_from(calls).where(within)) or 0)


async def replayed(
    ledger: Ledger, since: datetime, until: datetime, told: Told
) -> AsyncIterator[tuple[int, list[PastCall]]]:
    """Chunks of [since, until): how many rows were read, and the calls among them that a policy decides on. Each chunk is
    a transaction of its own, so that no server is kept from tidying its files up. `asked_model` is what a call names."""
    after, last_id, end = micros(since), "", micros(until)
    while True:
        async with ledger.connect() as connection:
            rows = await _chunk(connection, after, last_id, end)
        if not rows:
            return
        merged = _merged(rows)
        yield len(merged), [past for row in merged if (past := _past(row, told)) is not None]
        after, last_id = rows[-1][0], rows[-1][1]


async def _chunk(connection: AsyncConnection, after: int, last_id: str, end: int) -> list[Any]:
    wanted = and_(
        calls.c.at >= after, calls.c.at < end, not_(and_(calls.c.at == after, calls.c.call_id <= last_id))
    )
    page = select(*_CALLS).where(wanted).order_by(calls.c.at, calls.c.call_id).limit(CHUNK_ROWS).subquery()
    joined = (
        select(page, charges.c.nanos, charges.c.input_tokens, charges.c.output_tokens, charges.c.usage)
        .select_from(page.outerjoin(charges, charges.c.call_id == page.c.call_id))
        .order_by(page.c.at, page.c.call_id, charges.c.seq)
    )
    return list(await connection.execute(joined))


def _merged(rows: list[Any]) -> list[Any]:
    """One row a call: the sum of its charges, and the tokens of the last."""
    merged: list[Any] = []
    last_id, total = "", 0
    for row in rows:
        if row[1] != last_id:
            merged.append(row)
            last_id, total = row[1], row[-4] or 0
        else:
            total += row[-4]
            merged[-1] = (*row[:-4], total, *row[-3:])
    return merged


def _past(row: Any, told: Told) -> PastCall | None:
    at, _, team, key_id, user, category, operation, provider, model, asked_model = row[:10]
    outcome, error_type, expected, ceiling, input_tokens, output_tokens, basis, flagged = row[10:18]
    duration_us, waited_us, tier, nanos, input_charged, output_charged, usage = row[18:]
    if not basis:
        reason = OTHERWISE_REFUSED if outcome == "refused" else NOT_ESTIMATED
        told.left_out[reason] += 1
        return None
    refused = outcome == "refused"
    if refused and error_type not in BY_POLICY:
        told.left_out[OTHERWISE_REFUSED] += 1
        return None
    told.busy += error_type == "budget_busy"
    flags = () if flagged == "[]" else orjson.loads(flagged)
    if flags:
        told.downgraded += "downgraded" in flags
        told.capped += "capped" in flags
    gone = refused or outcome == Outcome.NOT_SENT
    return PastCall(
        at,
        operation,
        provider,
        asked_model or model,
        team,
        key_id,
        user,
        category,
        frozenset(kind for kind, flag in AS_OTHER.items() if flag in flags) if flags else _NOBODY,
        expected,
        max(expected, ceiling),
        input_tokens,
        output_tokens,
        None if gone and nanos is None else nanos or 0,
        (input_charged + output_charged) or None if nanos is not None else None,
        output_charged or 0,
        max(0, duration_us - waited_us),
        refused,
        "background" in flags or "batch" in flags,
        "batch" in flags or operation in _MEDIA,
        nanos or 0,
        usage or "",
        tier,
        model if asked_model else "",
    )


_NOBODY: frozenset[Any] = frozenset()
