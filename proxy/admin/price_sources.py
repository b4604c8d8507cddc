"""Newer prices from the installed genai-prices package, in the form of our catalogue."""

from collections.abc import Iterator
from datetime import date
from importlib.metadata import version
from typing import Any

from pricing.catalog import corrections
from pricing.catalog.convert import convert_model
from proxy.snapshots import File, Files

GENAI_PRICES = "genai-prices"


class NotHere(Exception):
    """The package is not installed."""


def from_genai_prices(checked: date) -> Files:
    """Without the limits of the two public tables: those that are here stay. Raises NotHere."""
    try:
        from genai_prices import data  # an extra that a server does not need
    except ImportError as error:
        raise NotHere(f"{GENAI_PRICES} is not installed") from error
    return {provider.id: _file(provider, checked) for provider in data.providers}


def _file(provider: Any, checked: date) -> File:
    return {
        "provider": provider.id,
        "source": f"{GENAI_PRICES} {version(GENAI_PRICES)} (MIT licence)",
        "checked": checked.isoformat(),
        "pricing_urls": list(provider.pricing_urls or ()),
        "models": list(_models(provider)),
    }


def _models(provider: Any) -> Iterator[dict[str, Any]]:
    for model in provider.models:
        entry = convert_model(model, free=corrections.is_free(provider.id, model.id.lower()))
        if entry is not None:
            corrections.correct(provider.id, entry)
            yield entry
    yield from corrections.added(provider.id)
