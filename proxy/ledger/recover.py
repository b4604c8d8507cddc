"""At start: every journal without a living owner is read, its lost calls are charged, and all of it is shipped."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from proxy.journal import Reading, read_segment, segment_paths
from proxy.ledger import Ledger
from proxy.records import Ended, Opened, Settled

BATCH_MAX = 2_000


@dataclass(slots=True)
class Recovered:
    """What a journal left behind: ended calls shipped, calls found lost, and what could not be read."""

    records: int = 0
    shipped: int = 0
    lost: int = 0
    findings: list[str] = field(default_factory=list)


async def recover(folder: Path, ledger: Ledger) -> Recovered:
    """Does the same work once however often it runs: a call that is in the ledger changes nothing there."""
    paths, reading = segment_paths(folder), Reading()
    opened: dict[str, Opened] = {}
    ended: dict[str, Ended] = {}
    for path in paths:
        for record in read_segment(path, reading):
            if isinstance(record, Opened):
                opened[record.row.call_id] = record
            else:
                ended[record.row.call_id] = record
    lost = [_lost(record) for call_id, record in opened.items() if call_id not in ended]
    everything = [*ended.values(), *lost]
    shipped = 0
    for start in range(0, len(everything), BATCH_MAX):
        shipped += await ledger.ship(everything[start : start + BATCH_MAX])
    for path in paths:  # only now: until here a second death would find all of it again
        path.unlink(missing_ok=True)
    return Recovered(reading.records, shipped, len(lost), reading.findings)


def _lost(opened: Opened) -> Settled:
    """Nobody knows how it ended: the provider may have billed it, so it is charged as estimated."""
    row = replace(opened.row, outcome="lost", success=False, error_type="lost")
    return Settled(row, opened.lost)
