"""Issuing, listing and revoking keys; the same for the admin API and for the command line."""

from datetime import datetime, timedelta
from typing import Annotated, Any, Self

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, model_validator

from proxy.admin.answers import Problem
from proxy.admin.state import Signer
from proxy.auth import Kind, Role, mint, specs_of
from proxy.ledger import Ledger, keys
from proxy.ledger.keys import KeyRow
from rules.budget import BudgetSpec
from rules.counter import HoldMode
from rules.spec import ExactName, Name

LIFETIME_MAX = timedelta(days=3660)
BUDGETS_MAX = 10


def _distinct(budgets: tuple[BudgetSpec, ...]) -> tuple[BudgetSpec, ...]:
    if len(budgets) > BUDGETS_MAX:
        raise ValueError(f"a key has at most {BUDGETS_MAX} budgets")
    periods = [spec.period for spec in budgets]
    if len(set(periods)) < len(periods):
        raise ValueError("a key has one budget a period: keep the smaller")
    return budgets


class NewKey(BaseModel):
    """What somebody asks for. A call key has a team, a control key has a role."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    team: ExactName | None = None
    kind: Kind = Kind.LIVE
    role: Role | None = None
    name: Name | None = None
    budgets: Annotated[tuple[BudgetSpec, ...], AfterValidator(_distinct)] = ()
    expires_at: AwareDatetime | None = None

    @model_validator(mode="after")
    def _one_door(self) -> Self:
        if self.kind is not Kind.ADMIN:
            if self.team is None:
                raise ValueError("a call key needs a team")
            if self.role is not None:
                raise ValueError("a call key has no role: leave it out, or ask for a control key")
            return self
        if self.role is None:
            raise ValueError(f"a control key needs a role: one of {', '.join(Role)}")
        if self.team is not None:
            raise ValueError("control keys of one team are not available in this version: leave the team out")
        if self.budgets:
            raise ValueError("a control key spends nothing: leave its budget out")
        return self


async def create(ledger: Ledger, signer: Signer, wanted: NewKey, now: datetime) -> tuple[str, KeyRow]:
    """The key in plain, which is kept nowhere, and its row, which is in the ledger. Raises Problem."""
    _check_expiry(wanted.expires_at, now)
    plain, row = mint(
        wanted.kind,
        now=now,
        team=wanted.team or "",
        name=wanted.name or "",
        role=wanted.role or "",
        budgets=wanted.budgets,
        expires_at=wanted.expires_at,
    )
    async with ledger.connect() as connection:
        await keys.add(connection, row)
        await signer.sign(connection, "key_created", now, _facts(row))
    return plain, row


async def revoke(ledger: Ledger, signer: Signer, key_id: str, now: datetime) -> KeyRow:
    """Revoking twice keeps the first instant. Raises Problem for a key that is not there."""
    async with ledger.connect() as connection:
        row = await keys.revoke(connection, key_id, now)
        if row is None:
            raise Problem(
                404, "unknown_key", f'no key has the id "{key_id[:64]}": `spendgate keys list` shows them'
            )
        if row.revoked_at == now:
            await signer.sign(connection, "key_revoked", now, _facts(row))
    return row


async def listed(ledger: Ledger) -> list[dict[str, Any]]:
    """Oldest first, revoked and expired ones too."""
    async with ledger.connect() as connection:
        return [shown(row) for row in await keys.every(connection)]


def shown(row: KeyRow) -> dict[str, Any]:
    """A key as people read it: nothing in it opens anything."""
    return {
        "id": row.key_id,
        "team": row.team,
        "kind": row.kind,
        "role": row.role,
        "name": row.name,
        "created_at": row.created_at.isoformat(),
        "expires_at": _text(row.expires_at),
        "revoked_at": _text(row.revoked_at),
        "budgets": [spec.model_dump(mode="json", exclude_unset=True) for spec in specs_of(row)],
    }


def budget_sentence(spec: dict[str, Any]) -> str:
    """A budget of a shown key in a few words: $5 daily, strict."""
    limit = "no limit" if spec["limit_usd"] is None else f"${spec['limit_usd']}"
    return f"{limit} {spec['period']}, {spec.get('hold', HoldMode.EXPECTED.value)}"


def _check_expiry(expires_at: datetime | None, now: datetime) -> None:
    if expires_at is None:
        return
    if expires_at <= now:
        raise Problem(400, "invalid_request", "expires_at: has passed already")
    if expires_at > now + LIFETIME_MAX:
        raise Problem(400, "invalid_request", f"expires_at: at most {LIFETIME_MAX.days} days from now")


def _facts(row: KeyRow) -> dict[str, str]:
    return {
        "key_id": row.key_id,
        "team": row.team,
        "kind": row.kind,
        "role": row.role,
        "budgets": row.budgets,
    }


def _text(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()
