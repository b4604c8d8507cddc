"""`spendgate rules check`: every problem of a rules file, or what it comes to."""

from pathlib import Path

import click

from proxy.cli.check import summary_of_rules
from proxy.cli.options import config_option
from proxy.cli.rules_files import policy_of


@click.command("check")
@click.argument("rules", metavar="[FILE]", required=False, type=click.Path(dir_okay=False, path_type=Path))
@config_option
def command(rules: Path | None, file: Path) -> None:
    """Read a rules file and show every problem with its line and remedy, or what it comes to.

    FILE is read alone. Without it: the rules of the configuration, whose providers its routes must name.
    Warnings go to stderr. Exits 2 when there is a problem.
    """
    name, policy = policy_of(rules, file)
    for warning in policy.warnings:
        click.echo(f"warning: {warning}", err=True)
    click.echo(summary_of_rules(name, policy))
