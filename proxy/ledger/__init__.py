"""The ledger: calls and charges for good, roll-ups, keys, alerts to send. SQLite with one writer connection."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, StatementError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool

from pricing.money import Nanos
from proxy.ledger import calls, write
from proxy.records import Ended
from rules.scope import Scope

BUSY_SECONDS = 30
FILE = "ledger.db"


class Ledger:
    """Queries are plain functions in the files beside this one, over the connection that `connect` gives."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    @classmethod
    async def open(cls, url: str, *, full: bool = False) -> "Ledger":
        """Open and bring the schema up to date. `url` as SQLAlchemy writes it, with an async driver."""
        from proxy.ledger import migrate  # Alembic takes a quarter of a second, and readers never need it

        engine = _engine(make_url(url), full=full)
        try:
            async with engine.begin() as connection:
                await connection.run_sync(migrate.upgrade)
        except BaseException:
            await engine.dispose()
            raise
        return cls(engine)

    @classmethod
    def readonly(cls, file: Path) -> "Ledger":
        """For the command line: SQLite's `mode=ro` can write nothing, whatever the code does."""
        url = f"sqlite+aiosqlite:///file:{file}?mode=ro&uri=true"
        return cls(create_async_engine(url, poolclass=AsyncAdaptedQueuePool, pool_size=1, max_overflow=0))

    async def close(self) -> None:
        await self._engine.dispose()

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[AsyncConnection]:
        """A connection in a transaction of its own: committed at the end, rolled back on an error."""
        async with self._engine.begin() as connection:
            yield connection

    async def ship(self, records: Sequence[Ended]) -> int:
        """Calls, charges, roll-ups and alert facts in one transaction. A call that is there already changes nothing.
        Gives the number of calls that were new."""
        async with self.connect() as connection:
            return await write.ship(connection, records)

    async def ship_possible(self, records: Sequence[Ended]) -> tuple[int, list[tuple[Ended, Exception]]]:
        """Like `ship`, but a record that the ledger can never take does not keep out the others: it is given back,
        with the reason. Raises whatever may pass: a full disk, a lost connection."""
        try:
            return await self.ship(records), []
        except Exception as error:
            if not _is_of_the_record(error):
                raise
            if len(records) == 1:
                return 0, [(records[0], error)]
        new, refused = 0, list[tuple[Ended, Exception]]()
        for record in records:
            one, bad = await self.ship_possible([record])
            new += one
            refused += bad
        return new, refused

    async def spent(self, scope: Scope, since_quarter: int, until_quarter: int | None) -> Nanos:
        """What a scope was charged in quarter hours of UTC [since, until)."""
        async with self.connect() as connection:
            return await calls.spent(connection, scope, since_quarter, until_quarter)


def _is_of_the_record(error: Exception) -> bool:
    if isinstance(error, DBAPIError):
        return isinstance(error, DataError | IntegrityError)
    return isinstance(error, StatementError | TypeError | ValueError | OverflowError)


def sqlite_url(file: Path | None) -> str:
    return "sqlite+aiosqlite://" if file is None else f"sqlite+aiosqlite:///{file}"


def _engine(url: URL, *, full: bool) -> AsyncEngine:
    if url.get_backend_name() != "sqlite":
        return create_async_engine(url, pool_size=5, pool_pre_ping=True)
    # One connection, ever: SQLite before 3.51.3 can corrupt a WAL database that two connections write.
    engine = create_async_engine(
        url,
        poolclass=AsyncAdaptedQueuePool,
        pool_size=1,
        max_overflow=0,
        pool_timeout=2 * BUSY_SECONDS,
        connect_args={"timeout": BUSY_SECONDS},
    )

    @event.listens_for(engine.sync_engine, "connect")
    def _set_up(connection: Any, _: Any) -> None:
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute(f"PRAGMA synchronous={'FULL' if full else 'NORMAL'}")
        cursor.execute("PRAGMA mmap_size=0")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.close()

    return engine
