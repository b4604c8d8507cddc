"""What a call is for: its tags and its category, by whoever says something first - header, body, plug-in, keywords."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from multidict import CIMultiDictProxy

from proxy import clock, log, metrics
from proxy.chosen import Chosen
from proxy.errors import BadCall
from proxy.opencall import OpenCall
from proxy.plugins import CATEGORISERS, Plugin, PluginFailed
from proxy.tags import parse_tags
from rules.category import Categories, shown_name, tail_of
from rules.spec import name_of

CATEGORY_HEADER = "X-Spendgate-Category"
TAGS_HEADER = "X-Spendgate-Tags"
TEXT_BYTES = 4_096  # of the end of a prompt, for a plug-in
CATEGORISE_SECONDS = 0.25
QUEUED_MAX = 16  # calls that wait for the plug-in; the next goes without its word
TOLD_EVERY_SECONDS = 60.0

Categorise = Callable[[str, str, str], object]
"""What a plug-in is: (model, operation, how the prompt ends) -> a name or None, or whatever it gives in their place."""


class Categoriser:
    """Keeps no text of a prompt, and says none of it."""

    def __init__(self, pool: ThreadPoolExecutor, chosen: Chosen, plugin: str | None = None) -> None:
        self._pool = pool
        self._chosen = chosen
        self._plugin = None if plugin is None else Plugin(CATEGORISERS, plugin)
        self._queued = 0
        self._told = -TOLD_EVERY_SECONDS

    def load(self) -> None:
        """At the start, so that no call waits for it. Blocks; a plug-in that cannot be loaded is told."""
        if self._plugin is not None:
            try:
                self._plugin.load()
            except PluginFailed as error:
                self._tell(self._plugin, _why(error))

    def read_headers(self, headers: CIMultiDictProxy[str], call: OpenCall) -> None:
        """Before the body is read. Raises BadCall."""
        try:
            call.row.tags = parse_tags(",".join(headers.getall(TAGS_HEADER, ())))
        except ValueError as error:
            raise BadCall(400, "invalid_tags", str(error), param=TAGS_HEADER) from error
        call.row.category = _taken(call.policy.categories, headers.get(CATEGORY_HEADER, ""), CATEGORY_HEADER)

    async def name(self, call: OpenCall) -> None:
        """Once the body is read. Raises BadCall; waits for a plug-in at most."""
        reading, row, categories = call.reading, call.row, call.policy.categories
        assert reading is not None, "nothing was read"
        category = row.category or _taken(categories, reading.category, "metadata.category")
        if not category and self._plugin is not None and reading.batch is None:
            category = await self._ask(self._plugin, call)
        row.category = category or categories.match(reading.prompt.texts) or ""
        call.call = replace(call.call, category=row.category, tags=row.tags)

    def count(self, call: OpenCall) -> None:
        """Before its limits are looked for: names beyond those that are counted apart count as one."""
        self._chosen.count(call)

    async def _ask(self, plugin: Plugin, call: OpenCall) -> str:
        if self._queued >= QUEUED_MAX:
            self._tell(plugin, f"{QUEUED_MAX} calls wait for it")
            return ""
        assert call.reading is not None, "nothing was read"
        model, operation = call.row.model, call.call.operation.value
        text = tail_of(call.reading.prompt.texts, TEXT_BYTES)
        self._queued += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(
                self._pool,
                lambda: plugin.call(
                    lambda function: _named(function(model, operation, text), call.policy.categories),
                    seconds=CATEGORISE_SECONDS,
                ),
            )
        except PluginFailed as error:
            self._tell(plugin, _why(error))
            return ""
        finally:
            self._queued -= 1

    def _tell(self, plugin: Plugin, why: str) -> None:
        metrics.CATEGORISER_FAILURES.labels(plugin.name).inc()
        now = clock.monotonic()
        if now - self._told >= TOLD_EVERY_SECONDS:
            self._told = now
            log.get().error("categoriser_failed", categoriser=plugin.name, detail=why)


def _taken(categories: Categories, given: str, param: str) -> str:
    """A caller's category as it stands on the row."""
    name = shown_name(given)
    if name and not categories.takes(name):
        raise BadCall(400, "unknown_category", categories.refusal(name), param=param)
    return name


def _named(given: object, categories: Categories) -> str:
    """A plug-in's category. What it gave in place of one may be the prompt, and is not repeated."""
    if given is None:
        return ""
    try:
        name = name_of(given)
    except ValueError:
        raise PluginFailed("it gave no name of a category") from None
    if not categories.takes(name):
        raise PluginFailed("it gave a category that the rules do not list")
    return name


def _why(error: PluginFailed) -> str:
    """Without the words of an exception of its own: they may be the prompt's."""
    return str(error) if error.__cause__ is None else f"it raised {type(error.__cause__).__name__}"
