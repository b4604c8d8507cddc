"""Breakers and the emergency shutdown: list, open, close, reset, shut down."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click
from pydantic import ValidationError

from proxy import clock, control
from proxy.admin import breaker_views, breakers, upstreams
from proxy.admin.answers import invalid
from proxy.admin.breaker_routes import PATH, SHUTDOWN_PATH
from proxy.admin.breaker_rules import rule_of
from proxy.admin.breakers import Change
from proxy.admin.state import Signer
from proxy.admin.upstream_routes import PATH as UPSTREAMS_PATH
from proxy.admin.upstreams import PREFIX
from proxy.cli import Failed, show
from proxy.cli.books import change, read
from proxy.cli.options import config_option, format_option, load_for_ledger
from proxy.cli.show import Column
from proxy.config import LoadedConfig, load_rules
from proxy.control import Control, ControlError
from proxy.ledger import Ledger
from rules.breaker import State

COLUMNS = (
    Column("rule_id", "rule"),
    Column("scope", "scope"),
    Column("state", "state"),
    Column("forced", "forced"),
    Column("since", "since"),
    Column("until", "until"),
    Column("reason", "reason"),
)
BESIDE_A_SERVER = "it counts from this moment on"
WITHOUT_A_SERVER = "no server lives: it counts from the next start on"

reason_option = click.option(
    "--reason", required=True, metavar="TEXT", help="Why: it stands in the audit and in alerts."
)
scope_option = click.option(
    "--scope", metavar="SCOPE", help="Such as team:search; without it the rule in every scope."
)


@click.group("breakers")
def command() -> None:
    """List breakers; force them open or closed; reset them; refuse every call."""


@command.command("list")
@format_option("table", "json")
@config_option
def list_(file: Path, form: str) -> None:
    """List the breakers of every rule that has them, and the emergency shutdown."""
    loaded = load_for_ledger(file)
    live = control.find(loaded.data_dir)
    told = _asked(live) if live is not None else _kept(loaded)
    if form == "json":
        show.as_json([told])
        return
    shutdown = told["emergency_shutdown"]
    if shutdown is not None:
        click.echo(
            f"EMERGENCY SHUTDOWN since {shutdown['since']}, by {shutdown['author']}: "
            f"{show.printable(shutdown['reason'])}",
            err=True,
        )
    rows = [row for rule in told["circuit_breakers"] for row in _rows(rule)]
    show.as_table(COLUMNS, [*rows, *map(_upstream_row, told["upstreams"])])


@command.command("open")
@click.argument("rule_id", metavar="RULE")
@scope_option
@reason_option
@config_option
def open_(file: Path, rule_id: str, scope: str | None, reason: str) -> None:
    """Force a breaker open, of a rule or of provider:NAME: its calls are refused until it is reset."""
    _force(file, rule_id, scope, reason, is_open=True)


@command.command("close")
@click.argument("rule_id", metavar="RULE")
@scope_option
@reason_option
@config_option
def close(file: Path, rule_id: str, scope: str | None, reason: str) -> None:
    """Force a breaker closed, of a rule or of provider:NAME: it does not trip until it is reset."""
    _force(file, rule_id, scope, reason, is_open=False)


@command.command("reset")
@click.argument("rule_id", metavar="[RULE]", required=False)
@scope_option
@reason_option
@config_option
def reset(file: Path, rule_id: str | None, scope: str | None, reason: str) -> None:
    """Take off what was forced, and close what has tripped: of a rule, of all rules, or of provider:NAME."""
    if scope is not None and rule_id is None:
        raise click.UsageError("--scope is of one rule: name the rule")
    loaded, wanted = load_for_ledger(file), _wanted(scope, reason)
    if rule_id is not None and rule_id.startswith(PREFIX):
        _change_upstream(loaded, rule_id, wanted, "reset", "it is reset")
        return

    async def direct(ledger: Ledger, signer: Signer) -> Any:
        rule = None if rule_id is None else rule_of(load_rules(loaded), rule_id)
        await breakers.reset(ledger, signer, wanted, clock.now(), rule=rule)

    path = f"{PATH}/reset" if rule_id is None else f"{_path(rule_id)}/reset"
    body = {"reason": wanted.reason} if rule_id is None else wanted.model_dump()
    _change(
        loaded, "POST", path, body, direct, "all breakers are reset" if rule_id is None else "it is reset"
    )


@command.command("emergency-shutdown")
@click.option("--lift", is_flag=True, help="End it: calls go again.")
@reason_option
@config_option
def emergency_shutdown(file: Path, lift: bool, reason: str) -> None:
    """Refuse every call of every key, at once, until it is lifted."""
    loaded, wanted = load_for_ledger(file), _wanted(None, reason)
    work = breakers.lift if lift else breakers.shut_down

    async def direct(ledger: Ledger, signer: Signer) -> Any:
        await work(ledger, signer, wanted.reason, clock.now())

    words = "the emergency shutdown is lifted" if lift else "every call is refused"
    method = "DELETE" if lift else "POST"
    _change(loaded, method, SHUTDOWN_PATH, {"reason": wanted.reason}, direct, words)


def _force(file: Path, rule_id: str, scope: str | None, reason: str, *, is_open: bool) -> None:
    loaded, wanted = load_for_ledger(file), _wanted(scope, reason)
    action, words = "open" if is_open else "close", f"it is forced {'open' if is_open else 'closed'}"
    if rule_id.startswith(PREFIX):
        _change_upstream(loaded, rule_id, wanted, action, words)
        return

    async def direct(ledger: Ledger, signer: Signer) -> Any:
        rule = rule_of(load_rules(loaded), rule_id)
        await breakers.force(ledger, signer, rule, wanted, clock.now(), is_open=is_open)

    path = f"{_path(rule_id)}/{action}"
    _change(loaded, "POST", path, wanted.model_dump(), direct, words)


def _change_upstream(loaded: LoadedConfig, target: str, wanted: Change, action: str, words: str) -> None:
    """Of a provider's breaker, which has no scopes."""
    provider = target.removeprefix(PREFIX)
    if wanted.scope is not None:
        raise click.UsageError("--scope is of a rule: a provider has one breaker for all its calls")

    async def direct(ledger: Ledger, signer: Signer) -> Any:
        if provider not in loaded.config.providers:
            raise upstreams.unknown(provider, loaded.config.providers)
        if action == "reset":
            await upstreams.reset(ledger, signer, provider, wanted, clock.now())
        else:
            await upstreams.force(ledger, signer, provider, wanted, clock.now(), is_open=action == "open")

    path = f"{UPSTREAMS_PATH}/{quote(provider, safe='')}/{action}"
    _change(loaded, "POST", path, {"reason": wanted.reason}, direct, words)


def _change(
    loaded: LoadedConfig,
    method: str,
    path: str,
    body: object,
    direct: Callable[[Ledger, Signer], Awaitable[Any]],
    words: str,
) -> None:
    def asked(live: Control) -> str:
        control.ask(live, method, path, body)
        return BESIDE_A_SERVER

    async def written(ledger: Ledger, signer: Signer) -> str:
        await direct(ledger, signer)
        return WITHOUT_A_SERVER

    click.echo(f"{words}; {change(loaded, asked=asked, direct=written)}", err=True)


def _asked(live: Control) -> dict[str, Any]:
    """Of the server's own memory: what has tripped stands nowhere else."""
    try:
        told: dict[str, Any] = control.ask(live, "GET", PATH)
        told |= control.ask(live, "GET", UPSTREAMS_PATH)
    except ControlError as error:
        raise Failed(str(error)) from error
    return told


def _kept(loaded: LoadedConfig) -> dict[str, Any]:
    now = clock.now()

    async def direct(ledger: Ledger) -> dict[str, Any]:
        told = await breaker_views.listed_from(ledger, load_rules(loaded), now)
        return told | {"upstreams": await upstreams.listed_from(ledger, loaded.config, now)}

    return read(loaded, asked=_asked, direct=direct)


def _wanted(scope: str | None, reason: str) -> Change:
    try:
        return Change(scope=scope, reason=reason)
    except ValidationError as error:
        raise click.UsageError(invalid(error).message) from error


def _path(rule_id: str) -> str:
    return f"{PATH}/{quote(rule_id, safe='')}"


def _rows(rule: dict[str, Any]) -> list[dict[str, Any]]:
    """A rule without any breaker that matters is one line, too."""
    plain = {"rule_id": rule["rule_id"], "state": rule["state"]}
    return [{**each, "rule_id": rule["rule_id"]} for each in rule["breakers"]] or [plain]


def _upstream_row(upstream: dict[str, Any]) -> dict[str, Any]:
    plain = {"rule_id": PREFIX + upstream["provider"], "state": upstream["state"]}
    return plain if upstream["state"] == State.CLOSED.value and not upstream["forced"] else upstream | plain
