"""`spendgate rules schema`: rules.yaml as editors understand it."""

import sys
from pathlib import Path

import click
import orjson

from proxy.cli import Failed
from rules.schema import rules_schema


@click.command("schema")
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="A file to write it to."
)
def command(output: Path | None) -> None:
    """Write the JSON Schema of rules.yaml, by which editors complete and check it.

    Without -o it goes to stdout."""
    text = orjson.dumps(rules_schema(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    if output is None:
        sys.stdout.buffer.write(text)
        return
    try:
        output.write_bytes(text)
    except OSError as error:
        raise Failed(f"{output}: cannot be written: {error.strerror}") from error
