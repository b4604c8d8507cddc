"""At start: every journal without a living owner is read, its lost calls are charged, and all of it is shipped."""

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

from proxy.journal import Reading, read_payloads, segment_paths, understand
from proxy.ledger import Ledger
from proxy.records import Ended, Opened, Settled, opened_id

BATCH_MAX = 5_000


@dataclass(slots=True)
class Recovered:
    """What a journal left behind: ended calls shipped, calls found lost, and what could not be read."""

    records: int = 0
    shipped: int = 0
    lost: int = 0
    findings: list[str] = field(default_factory=list)


async def recover(folder: Path, ledger: Ledger) -> Recovered:
    """Does the same work once however often it runs: a call that is in the ledger changes nothing there. One batch of
    records is in memory at a time, however long the ledger was away."""
    paths, reading = segment_paths(folder), Reading()
    found, kept_all = Recovered(findings=reading.findings), False
    with _without_collections():
        for batch in _batches(_ended(paths, reading, found)):
            shipped, refused = await ledger.ship_possible(batch)
            found.shipped += shipped
            for record, error in refused:
                kept_all = True
                found.findings.append(f"{record.row.call_id}: the ledger refused it: {error}"[:300])
    found.records = reading.records
    for path in paths:  # only now: until here a second death would find all of it again
        damaged = kept_all or any(finding.startswith(path.name) for finding in reading.findings)
        _put_away(path, damaged=damaged)
    return found


def _ended(paths: Sequence[Path], reading: Reading, found: Recovered) -> Iterator[Ended]:
    """Every call once: as it ended, or at the end of all as lost."""
    ended: set[str] = set()
    waiting: dict[str, tuple[bytes, Path]] = {}  # opened, not ended so far
    for path in paths:
        for payload in read_payloads(path, reading):
            call_id = opened_id(payload)
            if call_id is not None:
                waiting[call_id] = payload, path
                continue
            record = understand(payload, path, reading)
            if isinstance(record, Opened):
                waiting[record.row.call_id] = payload, path
            elif record is not None and record.row.call_id not in ended:
                ended.add(record.row.call_id)
                waiting.pop(record.row.call_id, None)
                yield record
    for call_id, (payload, path) in waiting.items():
        record = None if call_id in ended else understand(payload, path, reading)
        if isinstance(record, Opened):
            found.lost += 1
            yield _lost(record)


def _put_away(path: Path, *, damaged: bool) -> None:
    """What could not be read may be a charge: such a file is kept, out of the way, for somebody to look at."""
    if damaged:
        path.rename(path.with_name(f"{path.stem}-{path.stat().st_mtime_ns}.damaged"))
    else:
        path.unlink(missing_ok=True)


def _batches(records: Iterator[Ended]) -> Iterator[list[Ended]]:
    while batch := list(islice(records, BATCH_MAX)):
        yield batch


@contextmanager
def _without_collections() -> Iterator[None]:
    """Records have no cycles, and looking for some takes as long as reading them."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _lost(opened: Opened) -> Settled:
    """Nobody knows how it ended: the provider may have billed it, so it is charged as estimated."""
    row = replace(opened.row, outcome="lost", success=False, error_type="lost")
    return Settled(row, opened.lost)
