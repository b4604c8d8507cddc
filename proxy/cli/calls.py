"""The ledger, call by call."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import click

from proxy import control
from proxy.admin.explain import explain, told
from proxy.admin.working import working
from proxy.cli import Failed, show
from proxy.cli.books import read
from proxy.cli.options import (
    config_option,
    format_option,
    instant,
    load_for_ledger,
    since_option,
    until_option,
)
from proxy.cli.show import Column
from proxy.config import LoadedConfig, load_prices, load_rules
from proxy.control import Control
from proxy.ledger import Ledger, calls
from proxy.ledger.calls import PAGE_ROWS_MAX, CallFilter

TABLE_ROWS = 50  # in a table, where --limit does not say
COLUMNS = (
    Column("at", "at"),
    Column("call_id", "call"),
    Column("team", "team"),
    Column("key_id", "key"),
    Column("model", "model"),
    Column("input_tokens", "in", True),
    Column("output_tokens", "out", True),
    Column("cost_usd", "cost USD", True),
    Column("basis", "basis"),
    Column("status", "status", True),
    Column("duration_ms", "ms", True),
    Column("flags", "flags"),
)
PARTS = (
    Column("class", "class"),
    Column("quantity", "quantity", True),
    Column("unit_usd", "unit price USD", True),
    Column("per", "per", True),
    Column("cost_usd", "cost USD", True),
)
CHARGES = (
    Column("seq", "charge", True),
    Column("cost_usd", "USD", True),
    Column("basis", "basis"),
    Column("price_version", "price"),
    Column("reason", "why"),
)
FIELDS = (
    *("call_id", "provider_id", "at", "team", "key_id", "user", "category", "tags", "trace_id", "node"),
    *("operation", "method", "path", "dialect", "provider", "model", "served_model", "service_tier"),
    *("stream", "batch_size", "input_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens"),
    *(
        "reasoning_tokens",
        "cost_usd",
        "basis",
        "status",
        "upstream_status",
        "outcome",
        "success",
        "error_type",
    ),
    *("reason", "flags", "verdict", "rule_ids", "shadow_ids", "limits", "held_usd", "estimate_expected_usd"),
    *("refusal", "asked_model"),
    *("estimate_ceiling_usd", "estimate_confidence", "estimate_basis", "estimate_input_tokens"),
    *("estimate_output_tokens", "policy_version", "price_version", "request_bytes", "response_bytes"),
    *("waited_ms", "ttft_ms", "duration_ms"),
)
"""In the order of every format: what people look for first stands first."""


@click.group("calls", invoke_without_command=True)
@click.option("--key", "key_id", metavar="ID", help="Of one key.")
@click.option("--team", help="Of one team.")
@click.option("--trace", metavar="ID", help="Of one X-Trace-ID.")
@since_option
@until_option
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    help=f"Only the newest so many.  [default: {TABLE_ROWS} in a table, else all]",
)
@format_option("table", "json", "jsonl", "csv")
@config_option
@click.pass_context
def command(
    context: click.Context, /, file: Path, form: str, since: str | None, until: str | None, **asked: Any
) -> None:
    """Show calls, oldest first: who asked for what, what it cost, on which basis and why."""
    if context.invoked_subcommand is not None:
        return
    loaded = load_for_ledger(file)
    timezone = load_rules(loaded).timezone
    wanted = CallFilter(
        key_id=asked["key_id"],
        team=asked["team"],
        trace_id=asked["trace"],
        since=instant("--since", since, timezone),
        until=instant("--until", until, timezone),
        limit=asked["limit"] or (TABLE_ROWS if form == "table" else None),
    )
    rows: list[dict[str, Any]] = read(
        loaded,
        asked=lambda live: _asked(live, wanted),
        direct=lambda ledger: _listed(ledger, wanted),
    )
    rows = [{name: row[name] for name in FIELDS} for row in rows]
    if form == "json":
        show.as_json(rows)
    elif form == "jsonl":
        show.as_jsonl(rows)
    elif form == "csv":
        show.as_csv(FIELDS, rows)
    else:
        _as_table(rows, asked["limit"])


@command.command("show")
@click.argument("call_id")
@format_option("table", "json")
@config_option
def show_one(call_id: str, file: Path, form: str) -> None:
    """Show one call whole: what it consumed, at which prices, and why it was charged so."""
    loaded = load_for_ledger(file)
    row = found_call(loaded, call_id)
    worked = working(row, load_prices(loaded), loaded.config)
    if form == "json":
        show.as_json([{**row, "working": worked}])
    else:
        _explain(row, worked)


def found_call(loaded: LoadedConfig, call_id: str) -> dict[str, Any]:
    """Its row, whole."""
    row: dict[str, Any] | None = read(
        loaded,
        asked=lambda live: control.ask(live, "GET", f"/api/v1/calls/{quote(call_id, safe='')}"),
        direct=lambda ledger: _one(ledger, call_id),
    )
    if row is None:
        raise Failed(f"no call {call_id} is in the ledger", "`spendgate calls` shows the latest")
    return row


async def _one(ledger: Ledger, call_id: str) -> dict[str, Any] | None:
    async with ledger.connect() as connection:
        return await calls.by_id(connection, call_id)


def _explain(row: Mapping[str, Any], worked: Mapping[str, Any]) -> None:
    """Facts as lines, the cost as a table of classes."""
    served = f", served {row['served_model']}" if row["served_model"] not in ("", row["model"]) else ""
    why = f" ({row['reason']})" if row["reason"] else ""
    lines = [
        f"{row['call_id']}  {row['at'][:19].replace('T', ' ')}  team {row['team']}, key {row['key_id']}",
        f"{row['method']} {row['path']}  {row['provider']} {row['model']}{served}",
        f"{row['status']} {row['outcome']} in {row['duration_ms']:g} ms{why}",
        f"estimated ${row['estimate_expected_usd']}, at most ${row['estimate_ceiling_usd']} ({row['estimate_basis']}); "
        f"held ${row['held_usd']}",
    ]
    lines += [f"flags {', '.join(row['flags'])}"] if row["flags"] else []
    lines += told(explain(row))
    for line in lines:
        click.echo(show.printable(line))
    if row["cost_usd"] is None:
        click.echo("not charged")
        return
    tier = f", tier {worked['tier']}" if worked["tier"] else ""
    click.echo(f"${row['cost_usd']} {row['basis']}, at price {row['price_version'] or 'none'}{tier}\n")
    show.as_table(PARTS, worked["parts"])
    if worked["note"]:
        click.echo(worked["note"], err=True)
    if len(row["charges"]) > 1:
        click.echo("\nCorrected: the last of these charges stands, and their sum is what it cost.")
        show.as_table(CHARGES, row["charges"])


async def _listed(ledger: Ledger, wanted: CallFilter) -> list[dict[str, Any]]:
    async with ledger.connect() as connection:
        return await calls.listed(connection, wanted)


def _asked(live: Control, wanted: CallFilter) -> list[dict[str, Any]]:
    """Of a ledger in a server's memory: no more than a page at once."""
    found: list[dict[str, Any]] = control.ask(live, "GET", f"/api/v1/calls?{_query(wanted)}")["calls"]
    if len(found) == PAGE_ROWS_MAX and wanted.limit != PAGE_ROWS_MAX:
        click.echo(f"warning: only the newest {PAGE_ROWS_MAX}; --until shows earlier ones", err=True)
    return found


def _query(wanted: CallFilter) -> str:
    asked = {
        "key": wanted.key_id,
        "team": wanted.team,
        "trace": wanted.trace_id,
        "since": None if wanted.since is None else wanted.since.isoformat(),
        "until": None if wanted.until is None else wanted.until.isoformat(),
        "limit": str(min(wanted.limit or PAGE_ROWS_MAX, PAGE_ROWS_MAX)),
    }
    return urlencode({name: value for name, value in asked.items() if value is not None})


def _as_table(rows: list[dict[str, Any]], limit: int | None) -> None:
    show.as_table(COLUMNS, [{**row, "at": row["at"][:19].replace("T", " ")} for row in rows])
    if limit is None and len(rows) == TABLE_ROWS:
        click.echo(f"The newest {TABLE_ROWS}: --limit shows more, the other formats show all.", err=True)
