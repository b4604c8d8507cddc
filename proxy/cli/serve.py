"""Starting the proxy."""

from dataclasses import replace
from pathlib import Path

import click

from proxy import app
from proxy.cli.options import config_option
from proxy.cli.strangers import refuse_strangers
from proxy.config import LoadedConfig, environ, load_config


@click.command("serve")
@config_option
@click.option("--provider", metavar="NAME", help="The provider that serves /v1/*, whatever the file says.")
def command(file: Path, provider: str | None) -> None:
    """Start the proxy, and serve until SIGTERM or Ctrl-C."""
    refuse_strangers()
    loaded = load_config(file, environ())
    if provider is not None:
        loaded = _in_front_of(loaded, provider)
    app.serve(loaded)


def _in_front_of(loaded: LoadedConfig, provider: str) -> LoadedConfig:
    known = loaded.config.providers
    if provider not in known:
        raise click.BadParameter(f'"{provider}": choose one of {", ".join(known)}', param_hint="--provider")
    return replace(loaded, config=loaded.config.model_copy(update={"default_provider": provider}))
