"""Budgets' limits raised by hand: the ledger's rows, what they do to the running policy, and what people hear of it."""

import asyncio
from collections.abc import Collection, Iterable
from datetime import datetime

from pricing.money import Nanos, usd
from proxy import log, metrics
from proxy.breakers import Breakers
from proxy.ledger.overrides import Override as Row
from proxy.policy_swap import PolicySwap
from rules.alert import Alert, Level
from rules.override import Override, covers
from rules.scope import Scope, parse_scope
from rules.sentence import dollars, subject

KIND = "budget"  # in the ledger; the target is the budget's id


class BudgetOverrides:
    """Of this server, as the ledger has them: whoever changes them writes that first, under `changing`."""

    def __init__(self, swap: PolicySwap) -> None:
        self.swap = swap
        self.changing = asyncio.Lock()
        self._rows: dict[int, Row] = {}
        metrics.OVERRIDES.set(0)

    def standing(self, now: datetime) -> list[Row]:
        """Those that are in force, oldest first."""
        return [row for row in self._rows.values() if not is_over(row, now)]

    def over(self, now: datetime) -> list[Row]:
        """Those whose time is over, and that the ledger does not know as ended."""
        return [row for row in self._rows.values() if is_over(row, now)]

    def put(self, rows: Iterable[Row], now: datetime) -> None:
        for row in rows:
            self._rows[row.override_id] = row
            log.get().warning("budget_override", actor=row.author, reason=row.reason, **audited(row))
        self.enforce(now)

    def drop(self, rows: Iterable[Row], now: datetime) -> None:
        for row in rows:
            del self._rows[row.override_id]
            log.get().info("budget_override_ended", budget_id=row.target, override_id=row.override_id)
        self.enforce(now)

    def enforce(self, now: datetime) -> None:
        """From the next call on, and for those that wait."""
        standing = self.standing(now)
        self.swap.override([override_of(row) for row in standing], now)
        metrics.OVERRIDES.set(len(standing))

    def first_end(self, now: datetime) -> datetime | None:
        return min((ends_at(row) for row in self.standing(now)), default=None)


def is_over(row: Row, now: datetime) -> bool:
    return now >= ends_at(row)


def ends_at(row: Row) -> datetime:
    assert row.expires_at is not None, f"override {row.override_id} has no end"
    return row.expires_at


def scope_of(row: Row) -> Scope:
    return parse_scope(row.facts["scope"])


def override_of(row: Row) -> Override:
    limit = Nanos(int(row.facts["limit"]))
    return Override(row.override_id, row.target, scope_of(row), limit, ends_at(row))


def reset_breakers(breakers: Breakers, scopes: Collection[Scope], reason: str, now: datetime) -> int:
    """Those that have tripped wherever one of the overrides reaches. What a hand has forced stays."""
    tripped = [
        key
        for key, breaker in list(breakers.listed(now))
        if key[1] is not None and not breaker.forced and any(covers(wide, key[1]) for wide in scopes)
    ]
    for rule_id, scope in tripped:
        breakers.reset(f"emergency budget override: {reason}", now, rule_id=rule_id, scope=scope)
    return len(tripped)


# -- what is told -----------------------------------------------------------------------------------------------------


def audited(row: Row) -> dict[str, str]:
    """The facts of its audit entry; money in dollars."""
    return {
        "override_id": str(row.override_id),
        "budget_id": row.target,
        "scope": row.facts["scope"],
        "period": row.facts["period"],
        "previous_limit": usd(int(row.facts["previous_limit"])),
        "new_limit": usd(int(row.facts["limit"])),
        "authorized_by": row.facts["authorized_by"],
        "expires_at": ends_at(row).isoformat(timespec="seconds"),
    }


def activated(row: Row) -> Alert:
    scope = scope_of(row)
    message = (
        f"Emergency budget override activated - monitoring closely: {subject(scope)} may spend "
        f"{dollars(int(row.facts['limit']))} instead of {dollars(int(row.facts['previous_limit']))} "
        f"({row.facts['period']}, budget {row.target}) until {ends_at(row):%Y-%m-%d %H:%M:%S} UTC, "
        f"authorized by {row.facts['authorized_by']}: {row.reason}"
    )
    return _alert(row, "activated", Level.CRITICAL, row.created_at, message)


def ended(row: Row, how: str, at: datetime) -> Alert:
    """`how`: expired, or lifted with by whom and why."""
    message = f"Emergency budget override of {row.target} for {subject(scope_of(row))} is over: {how}"
    return _alert(row, "ended", Level.INFO, at, message)


def _alert(row: Row, event: str, level: Level, at: datetime, message: str) -> Alert:
    facts = {"alert_level": level.value, "reason": row.reason, "author": row.author, **audited(row)}
    return Alert(
        f"budget_override:{row.override_id}:{event}",
        "budget_override",
        level,
        at,
        scope_of(row),
        message,
        facts,
    )
