"""Prices: of one model, of all, beside a newer catalogue, and taken from one."""

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from pricing import catalog
from pricing.overrides import OverriddenBook
from proxy import clock, environment, snapshots
from proxy.admin import prices
from proxy.admin.price_changes import FIELDS, Difference, difference, merged
from proxy.admin.price_sources import GENAI_PRICES, NotTaken, few, refuse_untimely, taken_from
from proxy.cli import Failed, rerate, show
from proxy.cli.options import config_option, format_option, instant, load_for_ledger
from proxy.cli.show import Column
from proxy.config import LoadedConfig, environ, load_prices
from proxy.fetch import is_plain_over_network
from proxy.snapshots import Files

T = TypeVar("T")

RATES = (
    Column("tariff", "tariff"),
    Column("class", "class"),
    Column("usd", "USD", True),
    Column("per", "per"),
)
MODELS = (
    Column("model", "model"),
    Column("input_usd", "input USD/1M", True),
    Column("output_usd", "output USD/1M", True),
    Column("cache_read_usd", "cache read", True),
    Column("cache_write_usd", "cache write", True),
    Column("source", "source"),
    Column("checked", "checked"),
    Column("stale", "stale"),
)
MODEL_FIELDS = (
    *(
        "provider",
        "model",
        "input_usd",
        "output_usd",
        "cache_read_usd",
        "cache_write_usd",
        "unit",
        "by_token",
    ),
    *("source", "checked", "stale", "version"),
)
PROVIDERS = (
    Column("provider", "provider"),
    Column("models", "models", True),
    Column("checked", "checked"),
    Column("age_days", "days", True),
    Column("stale", "stale"),
)
PROVIDER_FIELDS = ("provider", "models", "checked", "age_days", "stale", "source", "pricing_urls")
CHANGES = (
    Column("what", "what"),
    Column("provider", "provider"),
    Column("model", "model"),
    Column("when", "tariff"),
    Column("rate", "class"),
    Column("old_usd", "old USD", True),
    Column("new_usd", "new USD", True),
    Column("per", "per"),
    Column("percent", "%", True),
    Column("doubts", "doubts"),
)

provider_option = click.option("--provider", metavar="NAME", help="Of config.yaml, or of the catalogue.")


@click.group("prices")
def command() -> None:
    """What models cost, and newer prices for them."""


command.add_command(rerate.command)


# -- one model ------------------------------------------------------------------------------------------------------


@command.command("find")
@click.argument("model")
@provider_option
@click.option("--at", metavar="WHEN", help="At that instant (UTC), such as 2026-07-01.  [default: now]")
@format_option("table", "json")
@config_option
@click.pass_context
def find_one(
    context: click.Context, /, model: str, file: Path, provider: str | None, at: str | None, form: str
) -> None:
    """Show the price that a call with a model would get, with all its rates and when it holds."""
    loaded = _loaded(context, file)
    book = _book(loaded)
    when = instant("--at", at, "UTC") or clock.now()
    provider = _provider(loaded, book, provider)
    found = prices.find(book, model, when, provider=provider)
    if not found:
        near = prices.suggest(book, model, provider=provider)
        raise Failed(
            f"no price is known for {show.printable(model)[:100]}{f' of {provider}' if provider else ''}",
            f"did you mean {' or '.join(near)}?" if near else "`spendgate prices show` lists what is known",
        )
    if form == "json":
        show.as_json(found)
        return
    for n, row in enumerate(found):
        click.echo("\n" if n else "", nl=False)
        _explain(row, model)


def _explain(row: dict[str, Any], model: str) -> None:
    """Facts as lines, rates as a table."""
    asked = "" if model.lower() == row["model"] else f" (asked for {model})"
    seller = "" if row["provider"] == row["priced_as"] else f", priced as {row['priced_as']}"
    limits = [
        f"{name} {row[field]}"
        for name, field in (("context", "context_tokens"), ("output at most", "output_tokens_max"))
        if row[field] is not None
    ]
    checked = f", checked {row['checked']}" if row["checked"] else ""
    discount = f", discount {row['discount_percent']}% taken off" if row["discount_percent"] else ""
    lines = [
        f"{row['provider']}  {row['model']}{asked}{seller}",
        f"version  {row['version']}",
        f"source   {row['source']}: {row['origin']}{checked}{discount}",
        f"valid    from {_minute(row['from']) or 'the start'} until {_minute(row['until']) or 'further notice'}",
        f"tokens   {', '.join(limits) or 'limits not known'}",
    ]
    if row["audio_seconds_min"]:
        lines.append(f"sound    billed as {row['audio_seconds_min']} seconds at least")
    for line in lines:
        click.echo(show.printable(line))
    show.as_table(RATES, list(_rates(row)))


def _minute(at: str | None) -> str:
    return "" if at is None else f"{at[:16].replace('T', ' ')} UTC"


def _rates(row: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield from _tariff("standard", row)
    for name, tariff in row["variants"].items():
        yield from _tariff(name, tariff)
    for hours in row["hours"]:
        days = f" on days {','.join(map(str, hours['days']))}" if hours["days"] else ""
        now = " (as above)" if hours["holds"] else ""
        span = f"{hours['from']}-{hours['until']} UTC" if hours["from"] else "at other hours"
        yield from _tariff(f"{span}{days}{now}", hours)
        for name, tariff in hours["variants"].items():
            yield from _tariff(f"{name} {span}{days}{now}", tariff)


def _tariff(name: str, tariff: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield from ({"tariff": name, **rate} for rate in tariff["rates"])
    for tier in tariff["tiers"]:
        above = f"{name} above {tier['above_input_tokens']}"
        yield from ({"tariff": above, **rate} for rate in tier["rates"])


# -- all models -----------------------------------------------------------------------------------------------------


@command.command("show")
@provider_option
@format_option("table", "json", "csv")
@config_option
@click.pass_context
def show_all(context: click.Context, /, file: Path, provider: str | None, form: str) -> None:
    """Show all models of a provider with their prices; without one, the providers.

    Prices that were last checked more than 90 days ago are stale."""
    loaded = _loaded(context, file)
    book, now = _book(loaded), clock.now()
    name = _provider(loaded, book, provider)
    columns: tuple[Column, ...] = PROVIDERS if name is None else MODELS
    fields: tuple[str, ...] = PROVIDER_FIELDS if name is None else MODEL_FIELDS
    rows = prices.providers(book, now) if name is None else prices.listed(book, name, now)
    if form == "json":
        show.as_json(rows)
    elif form == "csv":
        show.as_csv(fields, rows)
    else:
        show.as_table(columns, [{**row, "stale": "stale" if row["stale"] else ""} for row in rows])
    if any(row["stale"] for row in rows):
        click.echo(f"warning: some prices were last checked over {prices.STALE_DAYS} days ago", err=True)


# -- a newer catalogue ------------------------------------------------------------------------------------------------


@command.command("diff")
@click.argument("path", metavar="[FILE]", required=False)
@click.option("--from", "source", metavar="SOURCE", help="As of `prices sync`, in place of FILE.")
@format_option("table", "json", "csv")
@config_option
@click.pass_context
def diff(context: click.Context, /, path: str | None, source: str | None, file: Path, form: str) -> None:
    """Show what differs in another catalogue: a file in our form, a folder of such, or what SOURCE has.

    Compares the prices in force today, of the providers that it has. Exits 1 when a rate is negative, zero where it
    was not, or more than ten times another."""
    named = path or source
    if named is None or (path and source):
        raise click.UsageError("name one catalogue: FILE, or --from SOURCE")
    today = clock.now().astimezone(UTC).date()
    found = difference(_files(_loaded(context, file)), _taken_from(named, today), today)
    rows = found.rows()
    if form == "json":
        show.as_json(rows)
    elif form == "csv":
        show.as_csv(FIELDS, rows)
    else:
        _show_changes(found)
    if found.wrong or found.doubtful:
        raise Failed(
            f"{len(found.wrong) + len(found.doubtful)} rates are doubtful", "see the provider's own page"
        )


@command.command("sync")
@click.option(
    "--from",
    "source",
    metavar="SOURCE",
    required=True,
    help=f'A catalogue file or folder in our form, the https address of one, "{GENAI_PRICES}" for the installed '
    "package, or the name of a plug-in.",
)
@click.option("--yes", is_flag=True, help="Apply without asking, unless a rate is doubtful.")
@config_option
def sync(source: str, yes: bool, file: Path) -> None:
    """Take newer prices from elsewhere, after showing what differs.

    They hold from today on, and a server reads them at its next start; earlier prices keep their dates."""
    loaded, now = load_for_ledger(file), clock.now()
    today = now.astimezone(UTC).date()
    present, new = _files(loaded), _taken_from(source, today)
    _told(lambda: refuse_untimely(present, new, today))
    found = difference(present, new, today)
    _show_changes(found)
    if found.wrong:
        raise Failed("nothing was taken: no price is negative", "correct the catalogue")
    made = merged(present, new, today)
    changed = {name: made[name] for name in made if made[name] != present.get(name)}
    if not changed:
        click.echo("Nothing is new.", err=True)
        return
    if found.doubtful and yes:
        raise Failed(
            "nothing was taken: some rates are doubtful", "leave out --yes to decide with them in sight"
        )
    if not yes:
        click.confirm(f"Take the prices of {few(list(changed))}?", abort=True, err=True)
    path = _write(loaded, {**present, **changed}, now)
    click.echo(f"Written to {path}; `spendgate serve` reads it at its next start.", err=True)


def _taken_from(source: str, today: date) -> Files:
    if is_plain_over_network(source):
        click.echo("warning: by http, whoever stands in between sets the prices: use https", err=True)
    return _told(lambda: taken_from(source, today))


def _told(work: Callable[[], T]) -> T:
    try:
        return work()
    except NotTaken as error:
        raise Failed(f"nothing was taken: {error}", error.remedy) from error


def _write(loaded: LoadedConfig, files: Files, now: datetime) -> Path:
    """With what an earlier snapshot has of other providers."""
    try:
        return snapshots.write(loaded.data_dir, snapshots.later_than_built_in(files), now)
    except OSError as error:
        raise Failed(
            f"cannot write to {loaded.data_dir}: {error.strerror}", "make it writable, or set data_dir"
        ) from error


def _show_changes(found: Difference) -> None:
    rows = found.rows()
    if rows:
        show.as_table(CHANGES, [{**row, "doubts": ", ".join(row["doubts"])} for row in rows])
    counts = (
        f"{len(found.added)} models added",
        f"{len(found.gone)} gone",
        f"{len(found.changes)} rates changed",
        f"{len(found.doubtful) + len(found.wrong)} doubtful",
    )
    click.echo(f"{', '.join(counts)}; compared: {few(found.providers)}", err=True)


# -- what is here -----------------------------------------------------------------------------------------------------


def _loaded(context: click.Context, file: Path) -> LoadedConfig | None:
    """None where nobody named a configuration and none is here: then there is the catalogue alone."""
    is_default = context.get_parameter_source("file") is ParameterSource.DEFAULT
    if is_default and environment.CONFIG not in environ() and not file.exists():
        click.echo(f"warning: there is no {file} here: the built-in catalogue is shown", err=True)
        return None
    return load_for_ledger(file)


def _book(loaded: LoadedConfig | None) -> OverriddenBook:
    return OverriddenBook(catalog.load()) if loaded is None else load_prices(loaded)


def _files(loaded: LoadedConfig | None) -> Files:
    return catalog.read() if loaded is None else snapshots.in_force(loaded.data_dir)


def _provider(loaded: LoadedConfig | None, book: OverriddenBook, name: str | None) -> str | None:
    if name is None:
        return None
    meant = name if loaded is None else prices.priced_as(name, loaded.config)
    if not prices.known_provider(book, meant):
        raise Failed(
            f"no provider {show.printable(meant)[:80]} has prices", "`spendgate prices show` lists them"
        )
    return book.catalogue.provider(meant)
