"""Starting the proxy."""

from dataclasses import replace
from pathlib import Path

import click

from proxy import app
from proxy.cli import Unusable
from proxy.cli.options import config_option, load
from proxy.cli.strangers import refuse_strangers
from proxy.config import LoadedConfig
from proxy.startup import startup_checks


@click.command("serve")
@config_option
@click.option("--provider", metavar="NAME", help="The provider that serves /v1/*, whatever the file says.")
def command(file: Path, provider: str | None) -> None:
    """Start the proxy, and serve until SIGTERM or Ctrl-C."""
    refuse_strangers()
    loaded = load(file)
    if provider is not None:
        loaded = _in_front_of(loaded, provider)
    problems = startup_checks(loaded.config)
    if problems:
        raise Unusable("\n".join(str(problem) for problem in problems))
    app.serve(loaded)


def _in_front_of(loaded: LoadedConfig, provider: str) -> LoadedConfig:
    known = loaded.config.providers
    if provider not in known:
        raise click.BadParameter(f'"{provider}": choose one of {", ".join(known)}', param_hint="--provider")
    return replace(loaded, config=loaded.config.model_copy(update={"default_provider": provider}))
