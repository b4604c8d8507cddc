"""What a start opens and reads before anything is served: the ledger, what was lost, what was learned."""

import asyncio
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from pricing.tokens import Counter
from proxy import clock, log
from proxy.callrow import AS_OTHER
from proxy.chosen import IDLE_DAYS, QUARTERS_A_DAY, Chosen, day_of
from proxy.config import LoadedConfig
from proxy.learned import Learned
from proxy.ledger import FILE, Ledger, estimates, names, sqlite_url
from proxy.ledger.recover import recover
from proxy.ranks import load_ranks
from rules.narrow import NAMES_COUNTED_MAX

JOURNAL = "journal"


async def open_ledger(loaded: LoadedConfig) -> Ledger:
    file = None if loaded.config.ledger.in_memory else loaded.data_dir / FILE
    if file is not None:
        file.touch(mode=0o600)
    return await Ledger.open(sqlite_url(file), full=loaded.config.journal.durability == "full")


async def adopt_journals(loaded: LoadedConfig, ledger: Ledger) -> None:
    """Journals that an earlier process left: its lost calls become charges before anything is counted."""
    found = await recover(loaded.data_dir / JOURNAL, ledger)
    if found.records or found.findings:
        log.get().warning(
            "journal_recovered",
            records=found.records,
            shipped=found.shipped,
            lost=found.lost,
            findings=found.findings,
        )


async def token_counter(loaded: LoadedConfig) -> Counter:
    cache_dir = loaded.environ.get("TIKTOKEN_CACHE_DIR")
    ranks = await asyncio.to_thread(load_ranks, Path(cache_dir) if cache_dir else None)
    if ranks.warning:
        log.get().warning("tokenizer_missing", detail=ranks.warning)
    return Counter(ranks.encodings)


async def names_counted(ledger: Ledger) -> Chosen:
    """Names that have counters of their own keep them over a restart."""
    since = (day_of(clock.now()) - IDLE_DAYS) * QUARTERS_A_DAY
    try:
        async with ledger.connect() as connection:
            seen = await names.charged_since(connection, AS_OTHER, since, limit=NAMES_COUNTED_MAX)
    except SQLAlchemyError as error:
        log.get().error("names_not_read", error_code="DATABASE_ERROR", detail=str(error)[:300])
        seen = []
    return Chosen((scope, quarter // QUARTERS_A_DAY) for scope, quarter in seen)


async def lessons_learned(ledger: Ledger) -> Learned:
    """From the newest calls of the ledger: a restart forgets nothing. Without them estimates start from defaults."""
    learned = Learned()
    try:
        async with ledger.connect() as connection:
            learned.take(await estimates.lessons(connection))
    except SQLAlchemyError as error:
        log.get().error("estimates_not_learned", error_code="DATABASE_ERROR", detail=str(error)[:300])
    return learned
