"""Prices that a running server fetches by itself: at the start, then again and again. Read `PriceFeed.look` first.

Whatever goes wrong, the last good prices stay: those fetched before, by this process or by an earlier one, else those
that come with Spendgate.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import date
from pathlib import Path
from typing import Any

from pricing import catalog
from pricing.book import PriceBook
from pricing.document import DocumentError
from proxy import clock, log, metrics, plugins, snapshots
from proxy.admin.price_changes import Difference, difference, merged
from proxy.admin.price_sources import NotTaken, fetched, few, plugged, refuse_untimely
from proxy.fetch import shown
from proxy.live_prices import LivePrices
from proxy.settings import PriceSettings
from proxy.snapshots import Files

AGAIN_SECONDS = 60.0  # after a failure, doubled with each, up to the TTL
SHOWN_MAX = 5

Look = Callable[[], Awaitable[Files]]


def looking(settings: PriceSettings) -> tuple[str, Look]:
    """The source's name for people, and how it is asked."""
    if settings.url is not None:
        url = settings.url
        return shown(url), lambda: fetched(url)
    assert settings.source is not None, "no source is set: there is nothing to fetch"
    plugin = plugins.Plugin(plugins.PRICE_SOURCES, settings.source)
    return plugin.name, lambda: plugged(plugin)


class PriceFeed:
    """Overrides are not its concern: they stay before whatever it fetches."""

    def __init__(self, settings: PriceSettings, data_dir: Path, live: LivePrices) -> None:
        self._name, self._ask = looking(settings)
        self._ttl_seconds = settings.ttl_seconds
        self._data_dir, self._live = data_dir, live
        self._files: Files | None = None
        self._not_kept: Files | None = None
        self._since = clock.monotonic()
        self._failures = 0
        self._is_fetched = False
        metrics.PRICES_AGE.labels(self._name).set_function(self.age_seconds)

    def age_seconds(self) -> float:
        """Since the source last gave good prices; until it did, since the start."""
        return clock.monotonic() - self._since

    def details(self) -> Mapping[str, Any]:
        """For the page that tells how the server is: an old price is no reason to take no calls."""
        return {
            "prices": {
                "fetched": self._is_fetched,
                "age_seconds": int(self.age_seconds()),
                "failures_in_a_row": self._failures,
            }
        }

    async def run(self) -> None:
        """Never ends."""
        while True:
            if await self.look():
                await asyncio.sleep(self._ttl_seconds)
            else:
                await asyncio.sleep(min(self._ttl_seconds, AGAIN_SECONDS * 2 ** min(self._failures - 1, 20)))

    async def look(self) -> bool:
        """Once. All of what came is taken, or nothing of it."""
        try:
            new = await self._ask()
            made = await asyncio.to_thread(self._made, new, clock.now().date())
        except NotTaken as error:
            return self._failed(str(error), error.remedy)
        except DocumentError as error:
            return self._failed(str(error), "correct the document; nothing of it was taken")
        except OSError as error:
            return self._failed(f"the snapshots cannot be read: {error.strerror}", "mend the data folder")
        if made is not None:
            files, catalogue = made
            self._live.swap_catalogue(catalogue, clock.now())
            self._files = files
            log.get().info("prices_changed", source=self._name, providers=len(new))
            await asyncio.to_thread(self._keep, files)
        self._since, self._failures, self._is_fetched = clock.monotonic(), 0, True
        log.get().info("prices_fetched", source=self._name, changed=made is not None)
        return True

    def _made(self, new: Files, today: date) -> tuple[Files, PriceBook] | None:
        """All files with the new ones among them, and the book of them; None where nothing is new."""
        present = self._not_kept or snapshots.in_force(self._data_dir)
        if self._files is None:
            self._files = present  # as the book that the server started with
        refuse_untimely(present, new, today)
        self._refuse_doubtful(difference(present, new, today))
        files = {**present, **merged(present, new, today)}
        return None if files == self._files else (files, catalog.book(files.values()))

    def _refuse_doubtful(self, found: Difference) -> None:
        doubtful = [*found.wrong, *found.doubtful]
        if doubtful:
            told = [f"{each.provider}/{each.model} {each.rate}" for each in doubtful[:SHOWN_MAX]]
            raise NotTaken(
                f"{len(doubtful)} rates are doubtful, among them {few(told)}",
                f"see them with `spendgate prices diff --from {self._name}`, take them with `prices sync`",
            )

    def _keep(self, files: Files) -> None:
        """For a start without the source. The prices count without it too."""
        later = snapshots.later_than_built_in(files)
        try:
            snapshots.write(self._data_dir, later, clock.now(), by_itself=True)
            self._not_kept = None
        except OSError as error:
            self._not_kept = files
            log.get().error(
                "prices_not_kept", detail=f"{error.strerror}: the next start has to fetch them again"
            )

    def _failed(self, detail: str, remedy: str) -> bool:
        self._failures += 1
        metrics.PRICE_FAILURES.labels(self._name).inc()
        log.get().warning(
            "prices_not_fetched",
            source=self._name,
            detail=detail[:1000],
            remedy=remedy,
            failures_in_a_row=self._failures,
            age_seconds=int(self.age_seconds()),
        )
        return False
