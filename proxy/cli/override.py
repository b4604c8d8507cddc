"""Emergency budget overrides: raise a limit for a while, list what is raised, lift it."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import click
from pydantic import ValidationError

from proxy import clock, control
from proxy.admin import overrides
from proxy.admin.answers import invalid
from proxy.admin.breakers import Reasoned
from proxy.admin.override_routes import BUDGETS_PATH, PATH
from proxy.admin.overrides import Wanted, choose, shown
from proxy.admin.state import Signer
from proxy.cli import show
from proxy.cli.books import change, read
from proxy.cli.options import config_option, format_option, load_for_ledger
from proxy.cli.show import Column
from proxy.config import LoadedConfig, load_rules
from proxy.control import Control
from proxy.ledger import Ledger

COLUMNS = (
    Column("id", "id", is_number=True),
    Column("budget", "budget"),
    Column("scope", "scope"),
    Column("previous_limit_usd", "limit before", is_number=True),
    Column("limit_usd", "limit", is_number=True),
    Column("expires_at", "until"),
    Column("authorized_by", "authorized by"),
    Column("reason", "reason"),
)
BESIDE_A_SERVER = "it counts from this moment on"
WITHOUT_A_SERVER = "no server lives: it counts from the next start on"

M = TypeVar("M", bound=Reasoned)


@click.group("override", invoke_without_command=True, subcommand_metavar="[list | lift ID]")
@click.option("--budget", metavar="ID", help="The budget, by the id that refusals and alerts name.")
@click.option(
    "--scope",
    metavar="SCOPE",
    help="Such as team:search: its daily and monthly budgets. With --budget: of one that is over many, this one's share.",
)
@click.option("--factor", metavar="X", help="Times the budget's limit: 1.5.")
@click.option("--limit-usd", metavar="USD", help="The new limit, in dollars.")
@click.option("--daily-factor", metavar="X", help="Of a scope's daily budgets; 1.5 where it is left out.")
@click.option("--monthly-factor", metavar="X", help="Of a scope's monthly budgets; 1.2 where it is left out.")
@click.option(
    "--for", "expires_in", metavar="TIME", help="30m, 2h, 1d: a week at most; 60m where it is left out."
)
@click.option("--authorized-by", metavar="WHO", help="Whoever allows it; you, where it is left out.")
@click.option("--reason", metavar="TEXT", help="Why: it stands in the audit and in alerts. Required.")
@config_option
@click.pass_context
def command(
    ctx: click.Context, /, file: Path, budget: str | None, scope: str | None, **said: str | None
) -> None:
    """Raise a budget's limit at once and for a limited time."""
    given = {name: value for name, value in said.items() if value is not None}
    if ctx.invoked_subcommand is not None:
        if given or budget or scope:
            raise click.UsageError(f"{ctx.invoked_subcommand} takes its own options, behind it")
        return
    asked = budget or scope
    if asked is None:
        raise click.UsageError("say --budget or --scope: refusals and alerts name both")
    if budget is not None and scope is not None:
        given["scope"] = scope
    _make(load_for_ledger(file), asked, _checked(Wanted, given))


@command.command("list")
@format_option("table", "json")
@config_option
def list_(file: Path, form: str) -> None:
    """List the overrides that stand."""
    loaded = load_for_ledger(file)
    rows: list[dict[str, Any]] = read(
        loaded,
        asked=lambda live: control.ask(live, "GET", PATH)["overrides"],
        direct=lambda ledger: overrides.listed_from(ledger, clock.now()),
    )
    if form == "json":
        show.as_json(rows)
    else:
        show.as_table(COLUMNS, rows)


@command.command("lift")
@click.argument("override_id", metavar="ID")
@click.option("--reason", required=True, metavar="TEXT", help="Why: it stands in the audit and in alerts.")
@config_option
def lift(file: Path, override_id: str, reason: str) -> None:
    """End an override before its time: the limit is again what it was."""
    loaded, wanted = load_for_ledger(file), _checked(Reasoned, {"reason": reason})

    async def direct(ledger: Ledger, signer: Signer) -> dict[str, Any]:
        return shown(await overrides.lift(ledger, signer, override_id, wanted.reason, clock.now()))

    path = f"{PATH}/{quote(override_id, safe='')}"
    lifted, words = _change(loaded, "DELETE", path, wanted.model_dump(), direct)
    click.echo(f"override {lifted['id']} of {lifted['budget']} is lifted; {words}", err=True)


def _make(loaded: LoadedConfig, asked: str, wanted: Wanted) -> None:
    async def direct(ledger: Ledger, signer: Signer) -> dict[str, Any]:
        now = clock.now()
        books = await overrides.books_in(ledger, load_rules(loaded), now)
        made = await overrides.make(ledger, signer, choose(books, asked, wanted), wanted, now)
        return {"overrides": [shown(row) for row in made]}

    path = f"{BUDGETS_PATH}/{quote(asked, safe='')}/override"
    body = wanted.model_dump(mode="json", exclude_none=True)
    made, words = _change(loaded, "POST", path, body, direct)
    for each in made["overrides"]:
        click.echo(
            f"override {each['id']}: {each['budget']} for {each['scope']} is ${each['limit_usd']} instead of "
            f"${each['previous_limit_usd']} until {each['expires_at']}; {words}",
            err=True,
        )


def _change(
    loaded: LoadedConfig,
    method: str,
    path: str,
    body: object,
    direct: Callable[[Ledger, Signer], Awaitable[dict[str, Any]]],
) -> tuple[dict[str, Any], str]:
    """What came of it, and from when on it counts."""

    def asked(live: Control) -> tuple[dict[str, Any], str]:
        return control.ask(live, method, path, body), BESIDE_A_SERVER

    async def written(ledger: Ledger, signer: Signer) -> tuple[dict[str, Any], str]:
        return await direct(ledger, signer), WITHOUT_A_SERVER

    return change(loaded, asked=asked, direct=written)


def _checked(form: type[M], given: dict[str, str]) -> M:
    try:
        return form.model_validate(given)
    except ValidationError as error:
        raise click.UsageError(invalid(error).message) from error
