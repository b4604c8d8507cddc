"""`spendgate check`: every problem of config.yaml, then of rules.yaml, prices.yaml and the machine; or what is in effect."""

import sys
from collections.abc import Iterator
from pathlib import Path

import click
import yaml

from pricing.document import DocumentError
from pricing.overrides import Overrides
from proxy.cli.options import config_option
from proxy.config import LoadedConfig, environ, load_config, load_prices, load_rules, redacted
from proxy.startup import startup_checks
from rules.policy import Policy


@click.command(name="check")
@config_option
def command(file: Path) -> None:
    """Read all files and show every problem, or what they come to.

    The effective configuration goes to stdout as YAML, its secrets redacted; warnings and problems go to stderr.
    Exits 1 when there is a problem.
    """
    try:
        loaded = load_config(file, environ())
    except DocumentError as error:
        click.echo(str(error), err=True)
        sys.exit(1)
    click.echo(yaml.safe_dump(redacted(loaded.config), sort_keys=False, allow_unicode=True), nl=False)
    problems = list(_problems_beside(loaded))
    for problem in problems:
        click.echo(problem, err=True)
    sys.exit(1 if problems else 0)


def _problems_beside(loaded: LoadedConfig) -> Iterator[str]:
    """Of the rules, the prices and the machine; warnings are told on the way."""
    _warn(loaded.warnings)
    try:
        policy = load_rules(loaded)
    except DocumentError as error:
        yield str(error)
    else:
        _warn(policy.warnings)
        click.echo(summary_of_rules(loaded.config.rules_file.name, policy), err=True)
    if loaded.config.prices_file is not None:
        try:
            overrides = load_prices(loaded).overrides
        except DocumentError as error:
            yield str(error)
        else:
            _warn(overrides.warnings)
            click.echo(_summary_of_prices(loaded.config.prices_file, overrides), err=True)
    yield from map(str, startup_checks(loaded.config))


def _warn(warnings: tuple[str, ...]) -> None:
    for warning in warnings:
        click.echo(f"warning: {warning}", err=True)


def summary_of_rules(name: str, policy: Policy) -> str:
    budgets = len(policy.budgets) + len(policy.default_team.budgets)
    counts = (
        _count(budgets, "budget"),
        _count(len(policy.rules), "rule"),
        _count(len(policy.routes), "route"),
    )
    return f"{name}: {', '.join(counts)}; times in {policy.timezone}; version {policy.version}"


def _summary_of_prices(file: Path, overrides: Overrides) -> str:
    counts = (
        _count(len(overrides.prices), "price"),
        _count(len(overrides.discounts), "discounted pattern"),
        _count(len(overrides.aliases), "alias", plural="aliases"),
    )
    return f"{file.name}: {', '.join(counts)}; version {overrides.version}"


def _count(number: int, noun: str, plural: str = "") -> str:
    return f"{number} {noun if number == 1 else plural or noun + 's'}"
