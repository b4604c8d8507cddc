"""What was spent, by whom."""

from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import click

from proxy import control
from proxy.admin.report import SHADOW_SINCE, Wanted, report, report_estimates, report_shadow
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
from proxy.config import LoadedConfig, load_rules
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
OF_ESTIMATES = (
    Column("model", "model"),
    Column("calls", "calls", True),
    Column("median", "actual/expected, median", True),
    Column("p95", "95th percentile", True),
    Column("above_ceiling_percent", "above the ceiling %", True),
)
OF_SHADOW = (
    Column("rule_id", "rule"),
    Column("calls", "calls", True),
    Column("cost_usd", "cost USD", True),
    Column("first", "first"),
    Column("last", "last"),
    Column("teams", "teams"),
)


@click.command("report")
@click.option("--by", type=click.Choice(GROUPS), help="One line for each.  [default: team]")
@click.option(
    "--estimates",
    "of_estimates",
    is_flag=True,
    help="How far estimates were off, by model, instead of spending.",
)
@click.option(
    "--shadow",
    "of_shadow",
    is_flag=True,
    help=f"What rules in shadow mode would have acted on, by rule, instead; since {SHADOW_SINCE} unless told.",
)
@since_option
@until_option
@format_option("table", "json", "csv")
@config_option
def command(
    file: Path,
    by: str | None,
    of_estimates: bool,
    of_shadow: bool,
    since: str | None,
    until: str | None,
    form: str,
) -> None:
    """What was spent, by team, key, model, category or day (of the time zone in rules.yaml).

    "Not reported" is the part of the cost that no provider reported itself: it was observed or estimated."""
    if of_estimates and by not in (None, "model"):
        raise click.UsageError("--estimates are told by model: leave out --by")
    if of_shadow and (of_estimates or by is not None):
        raise click.UsageError("--shadow is told by rule: leave out --by and --estimates")
    since = SHADOW_SINCE if of_shadow and since is None else since
    loaded = load_for_ledger(file)
    timezone = load_rules(loaded).timezone
    by = by or GROUPS[0]
    wanted = Wanted(by, instant("--since", since, timezone), instant("--until", until, timezone), timezone)
    if of_estimates:
        _of_estimates(loaded, wanted, form)
        return
    if of_shadow:
        _of_shadow(loaded, wanted, form)
        return
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


def _of_estimates(loaded: LoadedConfig, wanted: Wanted, form: str) -> None:
    found: dict[str, Any] = read(
        loaded,
        asked=lambda live: control.ask(live, "GET", f"/api/v1/report/estimates?{_times(wanted)}"),
        direct=lambda ledger: report_estimates(ledger, since=wanted.since, until=wanted.until),
    )
    if form == "json":
        show.as_json(found["lines"])
    elif form == "csv":
        show.as_csv([column.name for column in OF_ESTIMATES], found["lines"])
    else:
        show.as_table(OF_ESTIMATES, found["lines"])


def _of_shadow(loaded: LoadedConfig, wanted: Wanted, form: str) -> None:
    found: dict[str, Any] = read(
        loaded,
        asked=lambda live: control.ask(live, "GET", f"/api/v1/report/shadow?{_times(wanted)}"),
        direct=lambda ledger: report_shadow(ledger, since=wanted.since, until=wanted.until),
    )
    if form == "json":
        show.as_json(found["lines"])
        return
    flat = [{**line, "teams": ", ".join(line["teams"])} for line in found["lines"]]
    if form == "csv":
        show.as_csv([column.name for column in OF_SHADOW], flat)
    else:
        show.as_table(OF_SHADOW, flat)


def _query(wanted: Wanted) -> str:
    return f"{urlencode({'by': wanted.by})}&{_times(wanted)}"


def _times(wanted: Wanted) -> str:
    times = {"since": wanted.since, "until": wanted.until}
    return urlencode({name: at.isoformat() for name, at in times.items() if at is not None})
