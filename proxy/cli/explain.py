"""`spendgate explain`: why a call went, or did not."""

from pathlib import Path

import click

from proxy.admin.explain import explain, told
from proxy.cli import show
from proxy.cli.calls import found_call
from proxy.cli.options import config_option, format_option, load_for_ledger


@click.command("explain")
@click.argument("call_id")
@format_option("table", "json")
@config_option
def command(call_id: str, file: Path, form: str) -> None:
    """Tell why a call was refused, in the words that its caller got, or what it passed and how it was changed.

    The id stands in every answer: as `request_id` of a refusal, and in the header x-spendgate-call-id."""
    explained = explain(found_call(load_for_ledger(file), call_id))
    if form == "json":
        show.as_json([explained])
        return
    head = (
        f"{explained['call_id']}  {explained['at'][:19].replace('T', ' ')}  team {explained['team']}, "
        f"key {explained['key_id']}, model {explained['asked_model'] or 'unknown'}"
    )
    for line in (head, explained["sentence"], *told(explained)):
        click.echo(show.printable(line))
