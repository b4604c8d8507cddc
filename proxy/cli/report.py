"""What was spent, by whom."""

from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import click

from proxy import control
from proxy.admin.report import Wanted, report
from proxy.cli import show
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
from proxy.config import load_rules
from proxy.ledger.calls import GROUPS

FIGURES = (
    Column("cost_usd", "cost USD", True),
    Column("calls", "calls", True),
    Column("refused", "refused", True),
    Column("input_tokens", "tokens in", True),
    Column("output_tokens", "tokens out", True),
    Column("unreported_usd", "not reported USD", True),
    Column("unreported_percent", "%", True),
)


@click.command("report")
@click.option(
    "--by", type=click.Choice(GROUPS), default=GROUPS[0], show_default=True, help="One line for each."
)
@since_option
@until_option
@format_option("table", "json", "csv")
@config_option
def command(file: Path, by: str, since: str | None, until: str | None, form: str) -> None:
    """What was spent, by team, key, model or day (of the time zone in rules.yaml).

    "Not reported" is the part of the cost that no provider reported itself: it was observed or estimated."""
    loaded = load_for_ledger(file)
    timezone = load_rules(loaded).timezone
    wanted = Wanted(by, instant("--since", since, timezone), instant("--until", until, timezone), timezone)
    found: dict[str, Any] = read(
        loaded,
        asked=lambda live: control.ask(live, "GET", f"/api/v1/report?{_query(wanted)}"),
        direct=lambda ledger: report(ledger, wanted),
    )
    columns = (Column(by, by), *FIGURES)
    if form == "json":
        show.as_json(found["lines"])
    elif form == "csv":
        show.as_csv([column.name for column in columns], found["lines"])
    else:
        show.as_table(columns, found["lines"], {by: "total", **found["total"]})


def _query(wanted: Wanted) -> str:
    times = {"since": wanted.since, "until": wanted.until}
    return urlencode(
        {"by": wanted.by, **{name: at.isoformat() for name, at in times.items() if at is not None}}
    )
