"""What a request would cost, before it is sent."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import orjson
from pydantic import ValidationError

from pricing.tokens import Counter
from proxy import clock, control
from proxy.admin.answers import Problem, invalid
from proxy.admin.estimates import BODY_BYTES_MAX, CHAT_PATH, Desk, Wanted, explain
from proxy.admin.overrides import standing_in
from proxy.cli import Failed, show
from proxy.cli.books import read
from proxy.cli.options import config_option, format_option, load_for_ledger
from proxy.cli.show import Column
from proxy.config import LoadedConfig, load_prices, load_rules
from proxy.control import ControlError
from proxy.estimators import Estimators
from proxy.learned import Learned
from proxy.ledger import FILE, Ledger, estimates
from proxy.ranks import load_ranks
from rules.overridden import overridden
from rules.override import Override

PATH = "/api/v1/estimate"
PARTS = (
    Column("class", "class"),
    Column("quantity", "expected", True),
    Column("unit_usd", "unit price USD", True),
    Column("per", "per", True),
    Column("cost_usd", "cost USD", True),
)
LIMITS = (
    Column("id", "budget or rule"),
    Column("scope", "of"),
    Column("period", "period"),
    Column("hold", "hold"),
    Column("limit_usd", "limit USD", True),
    Column("spent_usd", "spent", True),
    Column("held_usd", "held", True),
    Column("left_usd", "left", True),
    Column("asks_usd", "this call", True),
    Column("allows", "allows"),
)


@click.command("estimate")
@click.option(
    "-f",
    "--file",
    "request",
    type=click.Path(dir_okay=False, path_type=Path, allow_dash=True),
    required=True,
    help="The body of the request, as JSON; - reads stdin.",
)
@click.option("--path", default=CHAT_PATH, show_default=True, help="Where it would be sent.")
@click.option("--provider", help="The provider that would serve it.  [default: as the path says]")
@click.option("--team", help="Whose budgets are looked at.")
@click.option("--key", metavar="ID", help="The same, and those of one key, by its id.")
@format_option("table", "json")
@config_option
def command(file: Path, request: Path, form: str, **asked: str | None) -> None:
    """Show what a request would cost, with the working, and which budgets would let it go now.

    Nothing is sent, held or written. Beside a live server balances are its own; else they are the ledger's."""
    loaded = load_for_ledger(file)
    try:
        wanted = Wanted.model_validate({**asked, "request": _request(request)})
    except ValidationError as error:
        raise Failed(invalid(error).message) from error
    found = _found(loaded, wanted)
    if form == "json":
        show.as_json([found])
    else:
        _as_table(found)


def _request(file: Path) -> Any:
    try:
        with click.open_file(str(file), "rb") as opened:
            text = opened.read(BODY_BYTES_MAX + 1)
    except OSError as error:
        raise Failed(f"{file}: cannot be read: {error.strerror}") from error
    if len(text) > BODY_BYTES_MAX:
        raise Failed(f"{file}: is larger than {BODY_BYTES_MAX >> 20} MiB")
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise Failed(f"{file}: is not JSON: {error}") from error


def _found(loaded: LoadedConfig, wanted: Wanted) -> dict[str, Any]:
    """Asked of the live server, which alone knows what is held; else worked out here."""
    live = control.find(loaded.data_dir)
    try:
        if live is not None:
            asked: dict[str, Any] = control.ask(live, "POST", PATH, wanted.model_dump(exclude_none=True))
            return asked
        if loaded.config.ledger.in_memory or not (loaded.data_dir / FILE).exists():
            return asyncio.run(_alone(loaded, wanted, None))
    except ControlError as error:
        raise Failed(str(error)) from error
    except Problem as problem:
        raise Failed(problem.message) from problem
    return read(
        loaded,
        asked=lambda live: control.ask(live, "POST", PATH, wanted.model_dump(exclude_none=True)),
        direct=lambda ledger: _alone(loaded, wanted, ledger),
    )


async def _alone(loaded: LoadedConfig, wanted: Wanted, ledger: Ledger | None) -> dict[str, Any]:
    policy, book = load_rules(loaded), load_prices(loaded)
    cache_dir = loaded.environ.get("TIKTOKEN_CACHE_DIR")
    ranks = load_ranks(Path(cache_dir) if cache_dir else None)
    if ranks.warning:
        click.echo(f"warning: {ranks.warning}", err=True)
    counter = Estimators(Counter(ranks.encodings), loaded.config.estimators)
    learned = Learned()
    standing: list[Override] = []
    if ledger is not None:
        async with ledger.connect() as connection:
            learned.take(await estimates.lessons(connection))
        standing = await standing_in(ledger, clock.now())
    policy = overridden(policy, standing, clock.now())
    desk = Desk(loaded.config, book, counter, learned, lambda: policy, ledger, overrides=lambda: standing)
    return await explain(desk, wanted, clock.now())


def _as_table(found: Mapping[str, Any]) -> None:
    """Facts as lines, prices and budgets as tables; the verdict last."""
    told, made = found["input"], found["output"]
    parts = ", ".join(f"{part['part']} {part['tokens']}" for part in told["parts"])
    answers = f", {made['choices']} answers" if made["choices"] > 1 else ""
    learned = "learned from earlier calls" if made["learned"] else "a default"
    lines = [
        f"{found['provider']} {found['model']}, {found['operation']}",
        f"input   {told['expected']} tokens, at most {told['max']} (counted {told['counted']}: {parts})",
        f"output  {made['expected']} tokens, at most {made['max']}{answers} ({learned})",
        f"cost    ${found['expected_usd']}, at most ${found['ceiling_usd']}; "
        f"confidence {found['confidence']:g} ({found['basis']})",
    ]
    price = found["price"]
    if price is not None:
        rates = ", ".join(f"{rate['class']} ${rate['unit_usd']} per {rate['per']}" for rate in price["rates"])
        tier = f", tier {price['tier']}" if price["tier"] else ""
        lines.append(f"price   {price['version']}{tier}: {rates}")
    for line in lines:
        click.echo(show.printable(line))
    if price is not None:
        click.echo("")
        show.as_table(PARTS, price["parts"])
    if found["limits"]:
        click.echo("")
        show.as_table(LIMITS, found["limits"])
    click.echo(f"\nallowed now: {found['allowed']}")
    if found["refusal"]:
        click.echo(show.printable(found["refusal"]))
    for note in found["notes"]:
        click.echo(f"note: {note}", err=True)
