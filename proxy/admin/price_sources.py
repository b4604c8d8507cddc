"""Where newer prices come from: a file, an address, an installed plug-in or the genai-prices package. And which of them
nobody should take."""

import asyncio
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import orjson

from pricing.catalog import corrections
from pricing.catalog.convert import convert_model
from pricing.document import DocumentError, Problem
from proxy import plugins, snapshots
from proxy.fetch import NotFetched, fetch, fetch_url, shown
from proxy.plugins import PluginFailed
from proxy.snapshots import File, Files

GENAI_PRICES = "genai-prices"
FETCH_SECONDS = 30.0
PLUGIN_SECONDS = 60.0


class NotTaken(Exception):
    """There are no prices there, or none that may be taken. Nothing was changed."""

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.remedy = remedy


# -- from where -------------------------------------------------------------------------------------------------------


def taken_from(source: str, today: date) -> Files:
    """For a command: `source` as people write it, an address, a file or folder that is there, genai-prices, or the name
    of a plug-in. Raises NotTaken, or DocumentError where what came is no catalogue."""
    if "://" in source:
        return asyncio.run(fetched(source))
    if source == GENAI_PRICES:
        return from_genai_prices(today)
    if not Path(source).exists() and source in plugins.names(plugins.PRICE_SOURCES):
        return _plugged(plugins.Plugin(plugins.PRICE_SOURCES, source))
    return snapshots.read_files(Path(source))


async def fetched(url: str) -> Files:
    """Raises NotTaken or DocumentError."""
    try:
        url = fetch_url(url)
    except ValueError as error:
        raise NotTaken(f"the address {error}") from error
    try:
        content = await fetch(url, bytes_max=snapshots.BYTES_MAX, seconds=FETCH_SECONDS)
    except NotFetched as error:
        raise NotTaken(str(error), error.remedy) from error
    return await asyncio.to_thread(snapshots.parse, content, shown(url))


async def plugged(plugin: plugins.Plugin) -> Files:
    """Raises NotTaken or DocumentError."""
    return await asyncio.to_thread(_plugged, plugin)


def _plugged(plugin: plugins.Plugin) -> Files:
    """It gives one provider's file or a list of such, as JSON text or as what JSON text comes to."""
    try:
        given = plugin.call(_given, seconds=PLUGIN_SECONDS)
    except PluginFailed as error:
        raise NotTaken(str(error), "mend the plug-in, or name another source") from error
    if len(given) > snapshots.BYTES_MAX:
        problem = Problem("", f"is larger than {snapshots.BYTES_MAX >> 20} MiB")
        raise DocumentError(plugin.name, (problem,))
    return snapshots.parse(given, plugin.name)


def _given(function: Callable[[], Any]) -> bytes:
    given = function()
    if isinstance(given, str):
        return given.encode()
    return given if isinstance(given, bytes) else orjson.dumps(given)


def from_genai_prices(checked: date) -> Files:
    """Without the limits of the two public tables: those that are here stay. Raises NotTaken."""
    try:
        from genai_prices import data  # an extra that a server does not need
    except ImportError as error:
        raise NotTaken(
            f"{GENAI_PRICES} is not installed", f"`pip install {GENAI_PRICES}`, or name a file"
        ) from error
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


# -- whether at all ---------------------------------------------------------------------------------------------------


def refuse_untimely(present: Files, new: Files, today: date) -> None:
    """Raises NotTaken for prices that were checked before those here, or on a day to come."""
    older = [name for name in new if name in present and new[name]["checked"] < present[name]["checked"]]
    if older:
        raise NotTaken(f"the prices of {few(older)} are older than those here", "take a newer catalogue")
    latest = (today + timedelta(days=1)).isoformat()  # it is tomorrow already somewhere
    ahead = [name for name, file in new.items() if file["checked"] > latest]
    if ahead:  # or no release and no other catalogue would ever be newer
        raise NotTaken(
            f"the prices of {few(ahead)} were checked in the future", "correct `checked` in the file"
        )


def few(names: list[str] | tuple[str, ...]) -> str:
    first, *rest = sorted(names)
    listed = [first, *rest[:4]]
    return ", ".join(listed) + (f" and {len(rest) - 4} more" if len(rest) > 4 else "")
