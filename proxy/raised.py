"""Alerts that belong to no call, on their way into the outbox: nobody who raises one waits for the ledger."""

import asyncio
from collections import deque
from collections.abc import Iterable

from sqlalchemy.exc import SQLAlchemyError

from proxy import log
from proxy.ledger import Ledger, write
from rules.alert import Alert

WAITING_MAX = 1_000  # while the ledger is away; the oldest goes first
AGAIN_SECONDS = 1.0


class Raised:
    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._waiting: deque[Alert] = deque(maxlen=WAITING_MAX)
        self._arrived = asyncio.Event()

    def add(self, alerts: Iterable[Alert]) -> None:
        for alert in alerts:
            self._waiting.append(alert)
            self._arrived.set()

    async def run(self) -> None:
        """Never ends."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            if not await self.flush():
                await asyncio.sleep(AGAIN_SECONDS)
                self._arrived.set()

    async def flush(self) -> bool:
        """Into the outbox, all that wait; once a key, however often it is tried. False: they wait on."""
        alerts = list(self._waiting)
        if not alerts:
            return True
        try:
            async with self._ledger.connect() as connection:
                await write.raise_alerts(connection, alerts)
        except (SQLAlchemyError, OSError) as error:
            log.get().error("outbox_unavailable", error_code="DATABASE_ERROR", detail=str(error)[:300])
            return False
        written = {id(alert) for alert in alerts}
        self._waiting = deque((a for a in self._waiting if id(a) not in written), WAITING_MAX)
        return True
