"""The commands on rules.yaml, each in a file of its own."""

import click

from proxy.cli import rules_check, rules_schema, rules_test, simulate


@click.group()
def command() -> None:
    """Check, test, simulate and describe rules.yaml."""


command.add_command(rules_check.command)
command.add_command(rules_test.command)
command.add_command(rules_schema.command)
command.add_command(simulate.command)
