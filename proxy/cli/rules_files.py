"""Which rules a command is about: those that the configuration names, or a file that stands alone."""

from pathlib import Path

from pricing.document import Document, parse
from proxy.cli.options import load_for_ledger
from proxy.config import environ, load_rules, read_text
from rules.policy import Policy, load_policy


def policy_of(rules: Path | None, config: Path) -> tuple[str, Policy]:
    """With its file's name. Raises DocumentError with everything that is wrong."""
    if rules is None:
        loaded = load_for_ledger(config)
        return loaded.config.rules_file.name, load_rules(loaded)
    return rules.name, load_policy(read_document(rules, "name a rules file that is there"))


def read_document(path: Path, remedy: str) -> Document:
    return parse(read_text(path, remedy), file=path.name, environ=environ())
