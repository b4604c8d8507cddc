"""Past calls at the prices that are valid now."""

import sys
from pathlib import Path
from typing import Any

import click

from proxy import clock, control
from proxy.admin.rerate import Rerating, Sums, Wanted
from proxy.admin.rerated import Rater, edition
from proxy.admin.state import Signer
from proxy.cli import books, show
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
from proxy.ledger import Ledger

PATH = "/api/v1/pricing/rerate"
COLUMNS = (
    Column("provider", "provider"),
    Column("model", "model"),
    Column("old_version", "charged at"),
    Column("new_version", "price now"),
    Column("calls", "calls", True),
    Column("old_usd", "old USD", True),
    Column("new_usd", "new USD", True),
    Column("difference_usd", "difference USD", True),
)


@click.command("rerate")
@since_option
@until_option
@click.option("--model", metavar="GLOB", help='Of models whose name matches, such as "gpt-4o*".')
@click.option("--provider", metavar="NAME", help="Of one provider of config.yaml.")
@click.option("--dry-run", is_flag=True, help="Only show what would be corrected.")
@click.option("--yes", is_flag=True, help="Correct without asking.")
@format_option("table", "json")
@config_option
def command(
    file: Path,
    form: str,
    since: str | None,
    until: str | None,
    model: str | None,
    provider: str | None,
    dry_run: bool,
    yes: bool,
) -> None:
    """Charge past calls anew at the prices that are valid now, after a wrong price was corrected.

    Each call keeps its usage and gets the price of its own instant. What was charged stays in the ledger, with a
    correction beside it; budgets see the difference."""
    if dry_run and yes:
        raise click.UsageError("--dry-run and --yes: choose one")
    loaded = load_for_ledger(file)
    wanted = _wanted(loaded, since, until, model, provider)
    if yes:
        _show(_run(loaded, wanted, dry_run=False), form, done=True)
        return
    found = _run(loaded, wanted, dry_run=True)
    _show(found, form, done=False)
    calls = found.total["calls"]
    if dry_run or not calls:
        return
    if form == "json" or not _is_terminal():
        click.echo("This was a dry run, nothing is changed: --yes corrects it.", err=True)
        return
    click.confirm(f"Correct {_calls(calls)} by ${found.total['difference_usd']}?", abort=True, err=True)
    done = _run(loaded, wanted, dry_run=False).total
    click.echo(f"Corrected {_calls(done['calls'])} by ${done['difference_usd']}.", err=True)


def _wanted(
    loaded: LoadedConfig, since: str | None, until: str | None, model: str | None, provider: str | None
) -> Wanted:
    if since is None:
        raise click.UsageError("--since: name the first day that is to be charged anew")
    if provider is not None and provider not in loaded.config.providers:
        known = ", ".join(loaded.config.providers)
        click.echo(
            f"warning: {show.printable(provider)} is no provider of config.yaml now ({known})", err=True
        )
    timezone = load_rules(loaded).timezone
    start, end = instant("--since", since, timezone), instant("--until", until, timezone)
    assert start is not None, "it was given"
    if end is not None and end <= start:
        raise click.UsageError("--until: is not after --since")
    return Wanted(since=start, until=end, model=model or None, provider=provider or None)


def _is_terminal() -> bool:
    return sys.stdin.isatty()


# -- batch by batch ---------------------------------------------------------------------------------------------------


def _run(loaded: LoadedConfig, wanted: Wanted, *, dry_run: bool) -> Sums:
    """Beside a live server a dry run reads the ledger itself: it takes nothing of the server's time."""
    book = load_prices(loaded)
    rater = Rater(loaded.config, book)
    first = wanted.model_copy(update={"dry_run": dry_run, "edition": edition(loaded.config, book)})
    if dry_run:
        return books.read(
            loaded,
            asked=lambda live: _asked(live, first),
            direct=lambda ledger: _direct(Rerating(ledger, rater), first),
        )
    return books.change(
        loaded,
        asked=lambda live: _asked(live, first),
        direct=lambda ledger, signer: _signed(ledger, signer, rater, first),
    )


def _asked(live: Control, wanted: Wanted) -> Sums:
    sums, body = Sums(), wanted.model_dump(mode="json")
    while True:
        told: dict[str, Any] = control.ask(live, "POST", PATH, body)
        sums.take(told)
        if told["next"] is None:
            return sums
        body["after"] = told["next"]


async def _signed(ledger: Ledger, signer: Signer, rater: Rater, wanted: Wanted) -> Sums:
    return await _direct(Rerating(ledger, rater, signer), wanted)


async def _direct(rerating: Rerating, wanted: Wanted) -> Sums:
    sums, now = Sums(), clock.now()
    while True:
        told = await rerating.batch(wanted, now)
        sums.take(told)
        if told["next"] is None:
            return sums
        wanted = Wanted.model_validate({**wanted.model_dump(), "after": told["next"]})


# -- for people -------------------------------------------------------------------------------------------------------


def _show(sums: Sums, form: str, *, done: bool) -> None:
    told = sums.shown()
    if form == "json":
        show.as_json([{"corrected": done, **told}])
        return
    if told["lines"]:
        show.as_table(COLUMNS, told["lines"], {"provider": "total", **told["total"]})
    else:
        click.echo("No call costs anything else at the prices that are valid now.")
    if told["unchanged"]:
        click.echo(f"unchanged: {told['unchanged']}", err=True)
    for each in told["left_alone"]:
        click.echo(f"left alone: {each['calls']} ({each['reason']})", err=True)
    if done and told["lines"]:
        click.echo(f"Corrected {_calls(told['total']['calls'])}.", err=True)


def _calls(count: int) -> str:
    return "1 call" if count == 1 else f"{count} calls"
