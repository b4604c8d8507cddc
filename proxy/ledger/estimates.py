"""What ended calls say of estimates: how far off they were, and what to learn from them."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Float, and_, case, cast, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from proxy.learned import Lesson
from proxy.ledger.schema import calls, charges
from proxy.records import micros

LESSONS_MAX = 10_000  # read in about 100 ms


@dataclass(frozen=True, slots=True)
class Errors:
    """How the reported cost of a model's calls compares with what was expected: 1 is as expected."""

    model: str
    calls: int
    median: float
    p95: float
    above_ceiling: int


async def lessons(connection: AsyncConnection, *, limit: int = LESSONS_MAX) -> list[Lesson]:
    """Of the newest calls those that were answered and paid for, oldest first. By the index alone: a start waits."""
    newest = (
        select(
            calls.c.call_id,
            calls.c.at,
            calls.c.team,
            calls.c.model,
            calls.c.operation,
            calls.c.estimate_basis,
            calls.c.estimate_input_tokens,
            calls.c.success,
        )
        .order_by(calls.c.at.desc())
        .limit(limit)
        .subquery()
    )
    made = newest.c
    statement = (
        select(
            made.team,
            made.model,
            made.operation,
            made.estimate_basis,
            made.estimate_input_tokens,
            charges.c.input_tokens,
            charges.c.output_tokens,
        )
        .select_from(newest.join(charges, and_(charges.c.call_id == made.call_id, charges.c.seq == 0)))
        # Calls of test keys have no price.
        .where(made.success == 1, charges.c.basis == "reported", charges.c.price_version != "")
        .order_by(made.at)
    )
    return list(map(Lesson._make, (await connection.execute(statement)).all()))


async def errors(
    connection: AsyncConnection, *, since: datetime | None, until: datetime | None
) -> list[Errors]:
    """One line a model, the most called first. Sorted and counted by the database: no number of calls is too many."""
    where = [*_reported(), calls.c.estimate_expected_nanos > 0]
    where += [] if since is None else [calls.c.at >= micros(since)]
    where += [] if until is None else [calls.c.at < micros(until)]
    ratio = cast(charges.c.nanos, Float) / calls.c.estimate_expected_nanos
    ranked = (
        select(
            calls.c.model,
            ratio.label("ratio"),
            case((charges.c.nanos > calls.c.estimate_ceiling_nanos, 1), else_=0).label("above"),
            func.row_number().over(partition_by=calls.c.model, order_by=ratio).label("rank"),
            func.count().over(partition_by=calls.c.model).label("total"),
        )
        .select_from(calls.join(charges, _own_charge()))
        .where(*where)
        .subquery()
    )
    figures = ranked.c
    statement = select(
        figures.model,
        func.max(figures.total),
        func.max(case((figures.rank == (figures.total + 1) // 2, figures.ratio))),
        func.max(case((figures.rank == (figures.total * 95 + 99) // 100, figures.ratio))),
        func.sum(figures.above),
    ).group_by(figures.model)
    found = [
        Errors(str(model), int(total), float(median), float(p95), int(above))
        for model, total, median, p95, above in await connection.execute(statement)
    ]
    return sorted(found, key=lambda line: (-line.calls, line.model))


def _own_charge() -> "ColumnElement[bool]":
    return and_(charges.c.call_id == calls.c.call_id, charges.c.seq == 0)


def _reported() -> "list[ColumnElement[bool]]":
    return [charges.c.basis == "reported", calls.c.success == 1]
