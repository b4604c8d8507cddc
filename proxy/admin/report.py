"""What was spent, by whom: sums of the ledger as people read them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pricing.money import usd
from proxy.ledger import Ledger, calls, estimates, shadow
from proxy.ledger.calls import ReportLine

TOTAL = "total"
SHADOW_SINCE = "7d"  # where nobody says
COUNTS = ("calls", "refused", "input_tokens", "output_tokens")


@dataclass(frozen=True, slots=True)
class Wanted:
    """`by` is one of proxy.ledger.calls.GROUPS. Days are days of `timezone`."""

    by: str
    since: datetime | None
    until: datetime | None
    timezone: str


async def report(ledger: Ledger, wanted: Wanted) -> dict[str, Any]:
    """One line a group and their total. `unreported` is what of the cost no provider reported itself."""
    async with ledger.connect() as connection:
        lines = await calls.report(
            connection, wanted.by, since=wanted.since, until=wanted.until, timezone=wanted.timezone
        )
    return {
        "by": wanted.by,
        "since": None if wanted.since is None else wanted.since.isoformat(),
        "until": None if wanted.until is None else wanted.until.isoformat(),
        "timezone": wanted.timezone,
        "lines": [{wanted.by: line.group, **_figures([line])} for line in lines],
        "total": _figures(lines),
    }


async def report_estimates(
    ledger: Ledger, *, since: datetime | None, until: datetime | None
) -> dict[str, Any]:
    """One line a model: reported cost over what was expected, at the median and at the 95th percentile, and the share
    that cost more than the ceiling."""
    async with ledger.connect() as connection:
        lines = await estimates.errors(connection, since=since, until=until)
    return {
        "since": None if since is None else since.isoformat(),
        "until": None if until is None else until.isoformat(),
        "lines": [
            {
                "model": line.model,
                "calls": line.calls,
                "median": f"{line.median:.3f}",
                "p95": f"{line.p95:.3f}",
                "above_ceiling_percent": _percent(line.above_ceiling, line.calls),
            }
            for line in lines
        ],
    }


async def report_shadow(ledger: Ledger, *, since: datetime | None, until: datetime | None) -> dict[str, Any]:
    """One line a rule. No total: a call that several rules would have acted on stands under each of them."""
    return {
        "since": None if since is None else since.isoformat(),
        "until": None if until is None else until.isoformat(),
        "lines": [
            {
                "rule_id": line.rule_id,
                "calls": line.calls,
                "cost_usd": usd(line.nanos),
                "first": line.first.isoformat(timespec="seconds"),
                "last": line.last.isoformat(timespec="seconds"),
                "teams": sorted(line.teams),
            }
            for line in await shadow.lines(ledger, since=since, until=until)
        ],
    }


def _figures(lines: Sequence[ReportLine]) -> dict[str, Any]:
    nanos = sum(line.nanos for line in lines)
    unreported = sum(line.unreported for line in lines)
    return {
        "cost_usd": usd(nanos),
        **{name: sum(getattr(line, name) for line in lines) for name in COUNTS},
        "unreported_usd": usd(unreported),
        "unreported_percent": _percent(unreported, nanos),
    }


def _percent(part: int, whole: int) -> str:
    """With one decimal, rounded up: what is not nothing never reads as nothing."""
    tenths = -(-part * 1000 // whole) if whole else 0
    return f"{tenths // 10}.{tenths % 10}"
