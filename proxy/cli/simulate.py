"""`spendgate rules simulate`: an edited rules file on the calls of the past, in calls and dollars."""

import gc
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import NoReturn

import click

from proxy import clock
from proxy.cli import Failed, show
from proxy.cli.books import read
from proxy.cli.options import config_option, format_option, instant, load_for_ledger, until_option
from proxy.cli.show import Column
from proxy.cli.simulated import differing, row, rows, summary, summed, told
from proxy.config import LoadedConfig, load_prices, load_rules
from proxy.ledger import Ledger, past
from proxy.past_costs import PastCosts
from proxy.simulating import Replayed, Span, replay, whole_quarters
from proxy.unreplayed import unreplayed
from rules.policy import Policy
from rules.simulate import Setting

SINCE = "7d"
FIGURES = (
    Column("blocked", "blocked", True),
    Column("blocked_usd", "USD", True),
    Column("delayed", "delayed", True),
    Column("delay_seconds", "seconds", True),
    Column("downgraded", "downgraded", True),
    Column("capped", "capped", True),
    Column("saved_usd", "saved USD", True),
    Column("alerts", "alerts", True),
    Column("trips", "trips", True),
    Column("shadow", "shadow", True),
    Column("first_hit", "first hit"),
    Column("worst_hour", "worst hour"),
    Column("teams", "teams"),
)
COLUMNS = (Column("owner", "rule or budget"), *FIGURES)
DIFFERENCES = (Column("owner", "rule or budget"), Column("rules", "rules"), *FIGURES)


@click.command("simulate")
@click.option(
    "--rules",
    "rules",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="The edited rules file.",
)
@click.option(
    "--since",
    metavar="WHEN",
    default=SINCE,
    show_default=True,
    help="From the start of that quarter hour on: 2026-01-05, 24h, 7d, today.",
)
@until_option
@click.option("--diff", is_flag=True, help="Only what changes against the rules file of the configuration.")
@format_option("table", "json")
@config_option
def command(rules: Path, since: str, until: str | None, diff: bool, form: str, file: Path) -> None:
    """Show what an edited rules file would have made of past calls: what it refuses, slows, makes cheaper, and tells.

    Nothing is changed. Calls that were refused at the time count as estimated, and what cannot be replayed is told on
    stderr."""
    loaded = load_for_ledger(file)
    edited = load_rules(_with_rules(loaded, rules))
    policies = [edited, load_rules(loaded)] if diff else [edited]
    span = Span(
        whole_quarters(_given("--since", since, edited)),
        clock.now() if until is None else _given("--until", until, edited),
    )
    if span.since >= span.until:
        raise click.BadParameter("lies after --until", param_hint="--since")
    done = read(
        loaded,
        asked=lambda _: _refuse_memory(loaded),
        direct=lambda ledger: _replay(ledger, loaded, span, policies),
    )
    notes = list(unreplayed(policies[0], done.told, done.simulations[0].tallies))
    if form == "json":
        show.as_json([{**told(done, span), "not_replayed": notes}])
        return
    if diff:
        show.as_table(DIFFERENCES, list(differing(*done.simulations)))
    else:
        tallies = done.simulations[0].tallies
        total = row("total", summed(tallies.of.values()))
        show.as_table(COLUMNS, list(rows(done.simulations[0])), {**total, "first_hit": "", "teams": ""})
    for line in summary(done, span):
        click.echo(line)
    for note in notes:
        click.echo(f"not replayed: {note}", err=True)


def _with_rules(loaded: LoadedConfig, rules: Path) -> LoadedConfig:
    """The same configuration over another rules file."""
    config = loaded.config.model_copy(update={"rules_file": rules.absolute()})
    return replace(loaded, config=config, rules_file_is_named=True)


def _given(name: str, text: str, policy: Policy) -> datetime:
    at = instant(name, text, policy.timezone)
    assert at is not None, "an option that was given"
    return at


def _refuse_memory(loaded: LoadedConfig) -> NoReturn:
    raise Failed(
        f"the ledger of {loaded.path} is in a server's memory, where it cannot be replayed",
        "keep it in a file: ledger: {url: sqlite}",
    )


async def _replay(ledger: Ledger, loaded: LoadedConfig, span: Span, policies: Sequence[Policy]) -> Replayed:
    config = loaded.config
    async with ledger.connect() as connection:
        count = await past.count(connection, span.since, span.until)
    with click.progressbar(
        length=count, label="replaying", file=sys.stderr, hidden=not sys.stderr.isatty()
    ) as bar:
        gc.freeze()  # prices and policies stay: looking through them again and again takes a fifth of the time
        return await replay(
            ledger,
            span,
            policies,
            costs=PastCosts(config, load_prices(loaded)),
            setting=Setting(
                config.max_delay_seconds, config.hold_wait_seconds, edits=config.transparent != "exact"
            ),
            read=bar.update,
        )
