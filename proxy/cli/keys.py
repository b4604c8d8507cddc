"""Keys: create, list, revoke."""

from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click
from pydantic import ValidationError

from proxy import clock, control
from proxy.admin import keys
from proxy.admin.answers import invalid
from proxy.admin.instants import duration_of, instant_of
from proxy.admin.keys import NewKey
from proxy.admin.state import Signer
from proxy.auth import Kind, Role
from proxy.cli import show
from proxy.cli.books import change, read
from proxy.cli.options import config_option, format_option, load_for_ledger
from proxy.cli.show import Column
from proxy.ledger import Ledger
from rules.counter import HoldMode
from rules.window import Period

PATH = "/api/v1/keys"
COLUMNS = (
    Column("id", "id"),
    Column("team", "team"),
    Column("kind", "kind"),
    Column("role", "role"),
    Column("name", "name"),
    Column("created_at", "created"),
    Column("expires_at", "expires"),
    Column("revoked_at", "revoked"),
    Column("budget", "budget"),
)


def _words(choices: type[StrEnum]) -> list[str]:
    return [choice.value for choice in choices]


@click.group("keys")
def command() -> None:
    """Create, list and revoke keys."""


@command.command("create")
@click.option("--team", help="Whose spending the key's calls are.")
@click.option("--name", help="To tell keys of a team apart.")
@click.option(
    "--kind",
    type=click.Choice([Kind.LIVE.value, Kind.TEST.value]),
    default=Kind.LIVE.value,
    show_default=True,
)
@click.option(
    "--test", is_flag=True, help="The same as --kind test: the sample provider answers, at no cost."
)
@click.option(
    "--role", type=click.Choice(_words(Role)), help="A control key for the admin API instead of a call key."
)
@click.option("--budget-usd", metavar="USD", help="A budget of the key's own.")
@click.option("--period", type=click.Choice(_words(Period)), help="Of that budget.  [default: total]")
@click.option(
    "--hold",
    type=click.Choice(_words(HoldMode)),
    help="expected: soft. strict: never overspent. capped: strict, by lowering max tokens.  [default: expected]",
)
@click.option("--expires", metavar="WHEN", help="After 90d, 12h; or on 2026-12-31 (UTC).")
@config_option
def create(
    file: Path, team: str | None, name: str | None, kind: str, test: bool, role: str | None, **terms: Any
) -> None:
    """Create a key. It is shown once, alone on the last line of stdout."""
    if role and test:
        raise click.UsageError("a control key makes no calls: leave out --test or --role")
    now = clock.now()
    asked = {
        "team": team,
        "name": name,
        "kind": Kind.ADMIN if role else Kind.TEST if test else kind,
        "role": role,
        "budgets": _budgets(terms["budget_usd"], terms["period"], terms["hold"]),
        "expires_at": _expiry(terms["expires"], now),
    }
    try:
        wanted = NewKey.model_validate(asked)
    except ValidationError as error:
        raise click.UsageError(invalid(error).message) from error
    made = change(
        load_for_ledger(file),
        asked=lambda live: control.ask(
            live, "POST", PATH, wanted.model_dump(mode="json", exclude_unset=True)
        ),
        direct=lambda ledger, signer: _create(ledger, signer, wanted, now),
    )
    click.echo(_described(made), err=True)
    click.echo("Keep it now: it is shown this once, and kept nowhere.", err=True)
    click.echo(made["key"])


@command.command("list")
@format_option("table", "json", "csv")
@config_option
def list_(file: Path, form: str) -> None:
    """List keys, oldest first, revoked and expired ones too. Never a secret."""
    rows = read(
        load_for_ledger(file),
        asked=lambda live: control.ask(live, "GET", PATH)["keys"],
        direct=keys.listed,
    )
    if form == "json":
        show.as_json(rows)
        return
    lines = [{**row, "budget": _budget_words(row)} for row in rows]
    if form == "csv":
        show.as_csv([column.name for column in COLUMNS], lines)
        return
    show.as_table(COLUMNS, [{**line, **_shortened(line)} for line in lines])


@command.command("revoke")
@click.argument("key_id", metavar="ID")
@config_option
def revoke(file: Path, key_id: str) -> None:
    """Revoke a key: from the next call on it is refused."""
    row = change(
        load_for_ledger(file),
        asked=lambda live: control.ask(live, "DELETE", f"{PATH}/{quote(key_id, safe='')}"),
        direct=lambda ledger, signer: _revoke(ledger, signer, key_id),
    )
    click.echo(f"key {row['id']} is revoked, since {row['revoked_at']}", err=True)


def _budgets(limit_usd: str | None, period: str | None, hold: str | None) -> list[dict[str, str]]:
    if limit_usd is None:
        if period or hold:
            raise click.UsageError("--period and --hold are of a budget: name it with --budget-usd")
        return []
    return [{"limit_usd": limit_usd, "period": period or Period.TOTAL, "hold": hold or HoldMode.EXPECTED}]


def _expiry(text: str | None, now: datetime) -> datetime | None:
    if text is None:
        return None
    try:
        return now + duration_of(text)
    except (ValueError, OverflowError):
        pass
    try:
        return instant_of(text, now=now, timezone="UTC")
    except ValueError as error:
        raise click.BadParameter(
            f'"{text[:40]}": write 90d, 12h or 2026-12-31', param_hint="--expires"
        ) from error


async def _create(ledger: Ledger, signer: Signer, wanted: NewKey, now: datetime) -> dict[str, Any]:
    plain, row = await keys.create(ledger, signer, wanted, now)
    return {"key": plain, **keys.shown(row)}


async def _revoke(ledger: Ledger, signer: Signer, key_id: str) -> dict[str, Any]:
    return keys.shown(await keys.revoke(ledger, signer, key_id, clock.now()))


def _described(row: dict[str, Any]) -> str:
    whose = f"team {row['team']}" if row["team"] else f"role {row['role']}"
    ends = f"expires {row['expires_at']}" if row["expires_at"] else "does not expire"
    budget = _budget_words(row) or "no budget of its own"
    return f"key {row['id']}: {row['kind']}, {whose}, {ends}, {budget}"


def _budget_words(row: dict[str, Any]) -> str:
    return "; ".join(keys.budget_sentence(spec) for spec in row["budgets"])


def _shortened(row: dict[str, Any]) -> dict[str, str]:
    """Instants to the minute: a table is for reading."""
    names = ("created_at", "expires_at", "revoked_at")
    return {name: (row[name] or "")[:16].replace("T", " ") for name in names}
