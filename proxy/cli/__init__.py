"""The command `spendgate`: one file a noun, each with a click command named `command`."""

import importlib

import click

from pricing.document import DocumentError
from proxy.errors import StartupError

COMMANDS = {
    "init": "Write a starting config.yaml and rules.yaml.",
    "check": "Read all files and show every problem, or what they come to.",
    "serve": "Start the proxy.",
    "rules": "Check, test, simulate and describe rules.yaml.",
    "keys": "Create, list and revoke keys.",
    "report": "What was spent, by team, key, model, category or day.",
    "calls": "The ledger, call by call.",
    "explain": "Why a call was refused, or what it passed.",
    "override": "Raise a budget's limit for a while.",
    "breakers": "Breakers of rules, and the emergency shutdown.",
    "prices": "What models cost, and newer prices for them.",
    "estimate": "What a request would cost, and whether it would go now.",
}


class Nouns(click.Group):
    """Each command is imported when it is asked for: `keys list` does not wait for what only `serve` needs."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"proxy.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except (StartupError, DocumentError) as error:
            raise Unusable(str(error)) from error


class Failed(click.ClickException):
    """A problem met on the way: words for stderr, with the remedy where there is one."""

    exit_code = 1

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(f"{message}\n  {remedy}" if remedy else message)


class Unusable(Failed):
    """The command, its files or its start are wrong: nothing was done."""

    exit_code = 2


@click.group(
    cls=Nouns,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="A first start: `spendgate init`, `spendgate keys create --team NAME`, `spendgate serve`.",
)
@click.version_option(package_name="spendgate", message="%(prog)s %(version)s")
def spendgate() -> None:
    """A proxy in front of LLM providers that makes spend a hard fact."""


def main() -> None:
    spendgate(prog_name="spendgate")
