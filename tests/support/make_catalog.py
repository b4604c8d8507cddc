"""Writes the catalogue's data files from the installed genai-prices:
`python -m tests.support.make_catalog LIMITS.json 2026-11-20`, the date being that of the check.

LIMITS.json holds tables `{table: {provider: {model: [context, max output]}}}` of public facts.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from genai_prices import data

from pricing.catalog import FOLDER, corrections
from pricing.catalog.convert import convert_model

SOURCE = "genai-prices {version} (MIT licence); context and output limits from two public tables"
# Theirs where the tables call a provider otherwise.
TABLE_NAMES = {
    "aws": ("amazon-bedrock",),
    "cloudflare": ("cloudflare-workers-ai",),
    "cohere": ("cohere", "cohere_chat"),
    "fireworks": ("fireworks-ai", "fireworks_ai"),
    "google": ("google", "gemini", "google-vertex"),
    "meta": ("llama",),
    "novita": ("novita-ai",),
    "openai": ("openai", "text-completion-openai"),
    "together": ("togetherai", "together_ai"),
    "x-ai": ("xai",),
}
Limits = dict[str, tuple[int, int]]


def limits_of(tables: Mapping[str, Any], provider: str) -> Limits:
    """By model; where the tables disagree the larger limit stands."""
    found: Limits = {}
    names = TABLE_NAMES.get(provider, (provider.partition("_")[0],))  # huggingface_together: huggingface
    for table in tables.values():
        for name in names if isinstance(table, dict) else ():
            for model, limits in table.get(name, {}).items():
                _enlarge(found, model.lower(), (limits[0] or 0, limits[1] or 0))
    return found


def by_model(provider: Any, limits: Limits) -> Limits:
    """By the ids of the catalogue: what stands under the very id, else under names that mean the model."""
    found = {id_: limits[id_] for id_ in (model.id.lower() for model in provider.models) if id_ in limits}
    own = set(found)
    for name, each in limits.items():
        model = provider.find_model(name)
        if model is not None and model.id.lower() not in own:
            _enlarge(found, model.id.lower(), each)
    return found


def _enlarge(found: Limits, name: str, limits: tuple[int, int]) -> None:
    known = found.get(name, (0, 0))
    found[name] = (max(known[0], limits[0]), max(known[1], limits[1]))


def _models(provider: Any, limits: Limits) -> Iterator[dict[str, Any]]:
    for model in provider.models:
        entry = convert_model(model, free=corrections.is_free(provider.id, model.id.lower()))
        if entry is None:
            continue
        corrections.correct(provider.id, entry)
        yield _limited(entry, model.context_window or 0, *limits.get(entry["id"], (0, 0)))
    for entry in corrections.added(provider.id):
        base = entry["id"].removeprefix("ft:")
        yield _limited(entry, 0, *limits.get(base, (0, 0)))


def _limited(entry: dict[str, Any], window: int, context: int, output: int) -> dict[str, Any]:
    context = max(window, context)
    if context:
        entry["context"] = max(context, output)  # where tables disagree so far, neither may be too small
    if output:
        entry["max_output"] = output
    return entry


def _file(provider: Any, tables: Mapping[str, Any], checked: str) -> dict[str, Any]:
    found: dict[str, Any] = {
        "provider": provider.id,
        "source": SOURCE.format(version=version("genai-prices")),
        "checked": checked,
        "pricing_urls": list(provider.pricing_urls or ()),
        "models": list(_models(provider, by_model(provider, limits_of(tables, provider.id)))),
    }
    if provider.id in corrections.ALIASES:
        found["aliases"] = list(corrections.ALIASES[provider.id])
    if provider.fallback_model_providers:
        found["sells_models_of"] = list(provider.fallback_model_providers)
    return found


def _text(made: dict[str, Any]) -> str:
    """One line for each model, so that a change of price is a line in a diff."""
    models = made.pop("models")
    head = json.dumps(made, sort_keys=True, indent=1).removesuffix("\n}")
    lines = ",\n".join(json.dumps(model, separators=(",", ":"), sort_keys=True) for model in models)
    return f'{head},\n "models": [\n{lines}\n]}}\n'


def main() -> None:
    tables = json.loads(Path(sys.argv[1]).read_text())
    for old in FOLDER.glob("*.json"):
        old.unlink()
    for provider in data.providers:
        (FOLDER / f"{provider.id}.json").write_text(_text(_file(provider, tables, sys.argv[2])))


if __name__ == "__main__":
    main()
