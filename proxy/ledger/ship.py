"""Ended calls on their way from the journal to the ledger: in batches, as often as it takes, once per call."""

import asyncio
import contextlib
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from tenacity import AsyncRetrying, Future, retry_if_exception_type, wait_exponential_jitter

from proxy import jobs, log, metrics
from proxy.journal import Journal
from proxy.ledger import Ledger
from proxy.records import Ended

BATCH_MAX = 500
GATHER_SECONDS = 0.05
RETRY_SECONDS_MAX = 5.0
MEMORY_MAX = 50_000  # ended calls waiting in memory; the rest waits in the journal, for the next start


class Shipper:
    """While the ledger fails, the journal keeps everything and the shipper tries again."""

    def __init__(self, ledger: Ledger, journal: Journal) -> None:
        self._ledger = ledger
        self._journal = journal
        self._waiting: deque[tuple[Ended, Path | None]] = deque()
        self._submitted = 0
        self._done = 0
        self._arrived = asyncio.Event()
        self._hurry = asyncio.Event()
        self._progress = asyncio.Condition()
        self._shipping = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self.last_error = ""

    def start(self) -> None:
        self._task = jobs.run(self._run(), name="shipper")

    @property
    def backlog(self) -> int:
        return self._submitted - self._done

    def submit(self, record: Ended, segment: Path | None) -> None:
        """A record that is in the journal, in this segment; None where it could not be written there."""
        self._waiting.append((record, segment))
        self._submitted += 1
        metrics.BACKLOG.set(self.backlog)
        self._arrived.set()

    async def flush(self, timeout_seconds: float = 10.0) -> bool:
        """Until everything submitted so far is in the ledger. False when that took too long."""
        goal = self._submitted
        self._hurry.set()
        try:
            async with asyncio.timeout(timeout_seconds), self._progress:
                await self._progress.wait_for(lambda: self._done >= goal)
        except TimeoutError:
            return False
        return True

    @contextlib.asynccontextmanager
    async def still(self, timeout_seconds: float = 10.0) -> AsyncIterator[Iterator[Ended]]:
        """While nothing goes to the ledger: what is in it, and what is given here, once it is asked for, is then all that
        has ended. Raises TimeoutError where the ledger does not take what is on its way."""
        async with asyncio.timeout(timeout_seconds):
            await self._shipping.acquire()
        try:
            yield self._on_their_way()
        finally:
            self._shipping.release()

    def _on_their_way(self) -> Iterator[Ended]:
        for record, _ in self._waiting:
            yield record

    async def close(self) -> None:
        """Ship what there is, then stop. What does not get there stays in the journal for the next start."""
        await self.flush()
        if self._task is not None:
            await jobs.stop(self._task)

    async def _run(self) -> None:
        while True:
            await self._arrived.wait()
            if len(self._waiting) < BATCH_MAX and not self._hurry.is_set():
                await self._gather()
            self._hurry.clear()
            async with self._shipping:
                batch = [self._waiting.popleft() for _ in range(min(BATCH_MAX, len(self._waiting)))]
                if not self._waiting:
                    self._arrived.clear()
                if batch:
                    await self._ship(batch)

    async def _gather(self) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._hurry.wait(), GATHER_SECONDS)

    async def _ship(self, batch: list[tuple[Ended, Path | None]]) -> None:
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(Exception),
            wait=wait_exponential_jitter(multiplier=0.1, max=RETRY_SECONDS_MAX),
            before_sleep=lambda state: self._note_failure(state.outcome),
        )
        async for attempt in retrying:
            with attempt:
                _, refused = await self._ledger.ship_possible([record for record, _ in batch])
        self.last_error = ""
        for record, error in refused:
            log.get().error("ledger_refused_call", request_id=record.row.call_id, detail=str(error)[:300])
        kept = {id(record) for record, _ in refused}  # and their segments with them: nothing is lost
        segments = Counter(
            segment for record, segment in batch if segment is not None and id(record) not in kept
        )
        for segment, count in segments.items():
            self._journal.shipped(segment, count)
        self._done += len(batch)
        metrics.BACKLOG.set(self.backlog)
        async with self._progress:
            self._progress.notify_all()

    def _note_failure(self, outcome: "Future | None") -> None:
        error = None if outcome is None else outcome.exception()
        self.last_error = f"{type(error).__name__}: {error}"[:300]
        log.get().error(
            "ledger_unavailable", error_code="DATABASE_ERROR", detail=self.last_error, backlog=self.backlog
        )
