"""Writes the catalogue's data files from the installed genai-prices: `python -m tests.support.make_catalog LIMITS.json`.

LIMITS.json holds tables `{table: {provider: {model: [context, max output]}}}` of public facts.
"""

import json
import sys
from importlib.metadata import version
from pathlib import Path

from genai_prices import data

from pricing.catalog import PROVIDERS
from pricing.catalog.convert import convert

FOLDER = Path(__file__).parents[2] / "pricing" / "catalog"


def limits_of(
    tables: dict[str, dict[str, dict[str, list[int]]]], provider: str
) -> dict[str, tuple[int, int]]:
    """Where the tables disagree the larger limit stands."""
    found: dict[str, tuple[int, int]] = {}
    for table in tables.values():
        if isinstance(table, dict):
            for model, (context, output) in table.get(provider, {}).items():
                known = found.get(model, (0, 0))
                found[model] = (max(known[0], context or 0), max(known[1], output or 0))
    return found


def main() -> None:
    tables = json.loads(Path(sys.argv[1]).read_text())
    source = f"genai-prices {version('genai-prices')} (MIT licence); context and output limits from two public tables"
    for provider in data.providers:
        if provider.id in PROVIDERS:
            made = convert(
                provider, source=source, checked=sys.argv[2], limits=limits_of(tables, provider.id)
            )
            text = json.dumps(made, separators=(",", ":"), sort_keys=True).replace(
                '{"context"', '\n{"context"'
            )
            (FOLDER / f"{provider.id}.json").write_text(text.replace('{"id"', '\n{"id"') + "\n")


if __name__ == "__main__":
    main()
