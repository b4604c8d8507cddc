"""Options that several commands share, and the files they name."""

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from pricing.document import DocumentError
from proxy import clock
from proxy.admin.instants import instant_of
from proxy.config import LoadedConfig, default_file, environ, load_config

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

config_option = click.option(
    "-c",
    "--config",
    "file",
    type=click.Path(dir_okay=False, path_type=Path),
    default=lambda: default_file(environ()),
    show_default="SPENDGATE_CONFIG, or config.yaml",
    help="The configuration.",
)


def format_option(*formats: str) -> Decorator:
    return click.option(
        "--format",
        "form",
        type=click.Choice(formats),
        default=formats[0],
        show_default=True,
        help="How to write it.",
    )


since_option = click.option(
    "--since", metavar="WHEN", help="From then on: 2026-01-05, 2026-01-05T14:30, 24h, 7d, today, yesterday."
)
until_option = click.option("--until", metavar="WHEN", help="Up to then.")


def load_for_ledger(file: Path) -> LoadedConfig:
    """For commands that only touch the ledger: a provider's secret may be unset where they are typed."""
    try:
        return load_config(file, environ())
    except DocumentError as error:
        if not all(problem.path.startswith(_OF_SERVERS) for problem in error.problems):
            raise
        return load_config(file, Lenient(environ()))


_OF_SERVERS = ("providers.", "alerts.")


class Lenient(Mapping[str, str]):
    """An environment in which every variable is set, if only to nothing."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env

    def __getitem__(self, name: str) -> str:
        return self._env.get(name, "")

    def __iter__(self) -> Iterator[str]:
        return iter(self._env)

    def __len__(self) -> int:
        return len(self._env)


def instant(name: str, text: str | None, timezone: str) -> datetime | None:
    """What an option says of a time; a day is one of that time zone."""
    if text is None:
        return None
    try:
        return instant_of(text, now=clock.now(), timezone=timezone)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint=name) from error
