"""`spendgate init`: a config.yaml and a rules.yaml to start from, written without ever losing what was there."""

import os
from dataclasses import dataclass
from pathlib import Path

import click

from proxy import clock
from proxy.cli import Failed
from rules import presets

CONFIG_MODE = 0o600  # people write keys into it, whatever we advise
RULES_MODE = 0o644

_CONFIG = """\
# {title}
# Every key, with its default and its reason: config.example.yaml. Problems: `spendgate check`.
version: 1

listen: 127.0.0.1:4000 # calls; 0.0.0.0:4000 to be reached from other machines
admin:
  listen: 127.0.0.1:4001 # admin API and metrics

providers: # each answers below /<name>/; a key that is empty means "not configured"
  openai:
    dialect: openai
    base_url: https://api.openai.com/v1
    api_key: "${{OPENAI_API_KEY:-}}"
  anthropic: # ANTHROPIC_BASE_URL=http://127.0.0.1:4000/anthropic
    dialect: anthropic
    base_url: https://api.anthropic.com
    api_key: "${{ANTHROPIC_API_KEY:-}}"
default_provider: openai # answers below /v1/

rules_file: rules.yaml
data_dir: ./data # made with mode 0700: journal, ledger, lock
{own}"""

_LOGGING = "\nlogging:\n  level: {level}\n"
_NO_ALERTS = "\nalerts:\n  enabled: false # budgets still refuse; nobody is told\n"
_IN_MEMORY = "\nledger:\n  url: sqlite-memory # forgotten when the server ends\n"

_OWN = {
    "quickstart": ("What runs, and where. Who may spend how much stands in rules.yaml.", ""),
    "production": ("Production.", _LOGGING.format(level="INFO")),
    "development": (
        "Development: everything is logged, nobody is alerted.",
        _LOGGING.format(level="DEBUG") + _NO_ALERTS,
    ),
    "testing": (
        "Testing: nothing is kept, nobody is alerted.",
        _IN_MEMORY + _LOGGING.format(level="WARNING") + _NO_ALERTS,
    ),
}


@dataclass(frozen=True, slots=True)
class Draft:
    """A file to write."""

    path: Path
    text: str
    mode: int


def config_text(preset: str) -> str:
    title, own = _OWN[preset]
    return _CONFIG.format(title=title, own=own)


def drafts(preset: str, folder: Path) -> tuple[Draft, ...]:
    return (
        Draft(folder / "config.yaml", config_text(preset), CONFIG_MODE),
        Draft(folder / "rules.yaml", presets.preset(preset), RULES_MODE),
    )


@click.command(name="init")
@click.option(
    "--preset",
    type=click.Choice([name for name in presets.PRESETS if name != "quickstart"]),
    help="Budgets and logs to match: production $100 a day and $2000 a month, development $10 and $200, "
    "testing $1 and $20 with a ledger in memory. Without it $50 and $1000.",
)
@click.option("--dry-run", is_flag=True, help="Print what would be written, and write nothing.")
@click.option(
    "--force", is_flag=True, help="Replace files that are there; each is kept under a name with the time."
)
@click.option(
    "--dir",
    "folder",
    type=click.Path(file_okay=False, exists=True, path_type=Path),
    default=Path(),
    help="Where to write. Here by default.",
)
def command(preset: str | None, dry_run: bool, force: bool, folder: Path) -> None:
    """Write a starting config.yaml and rules.yaml."""
    files = drafts(preset or "quickstart", folder)
    if dry_run:
        for draft in files:
            click.echo(f"# --- {draft.path}\n{draft.text}", nl=False)
        return
    there = [draft.path for draft in files if os.path.lexists(draft.path)]
    if there and not force:
        raise Failed(
            f"{' and '.join(map(str, there))} would be overwritten, so nothing was written",
            "add --force to replace with a backup, or --dir to write elsewhere",
        )
    try:
        _write_all(files, there)
    except OSError as error:
        raise Failed(
            f"cannot write {error.filename}: {error.strerror}", "make the folder writable, or use --dir"
        ) from error
    click.echo(
        "next: export OPENAI_API_KEY, `spendgate keys create --team NAME`, `spendgate serve`", err=True
    )


def _write_all(files: tuple[Draft, ...], there: list[Path]) -> None:
    for path in there:
        backup = path.with_name(f"{path.name}.{clock.now():%Y%m%dT%H%M%S.%fZ}.bak")
        path.rename(backup)
        click.echo(f"kept {path} as {backup}", err=True)
    for draft in files:
        # Exclusive: a file that appeared meanwhile, or a link, is never written through.
        descriptor = os.open(draft.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, draft.mode)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(draft.text)
        click.echo(f"wrote {draft.path}", err=True)
