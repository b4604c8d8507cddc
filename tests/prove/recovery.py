"""A start after a death under load: a journal of 100,000 records, none of them in the ledger, is there within 3 seconds.

A call that goes leaves two records, one as it opens and one as it ends: 100,000 are some 51,000 calls. Twice the
records, twice the time.

./dev prove recovery [--records 100000] [--lost 1000] [--seconds 3]
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from sqlalchemy import func, select

from proxy.journal import Journal, segment_paths
from proxy.ledger import FILE, Ledger, sqlite_url
from proxy.ledger.recover import Recovered, recover
from proxy.ledger.schema import calls, charges, rollups
from proxy.records import Record, Settled
from tests.prove._report import conclude
from tests.support.records import NOON, opened, refused, settled

TEAMS = 20
REFUSED_EVERY = 20
LOST_NANOS = 1_500
GAP = timedelta(milliseconds=30)  # between calls: 100,000 of them are 50 minutes


@dataclass(frozen=True, slots=True)
class Took:
    seconds: float
    cpu_seconds: float


def main(*, records: int, lost: int, seconds: float) -> int:
    with tempfile.TemporaryDirectory() as folder:
        journal = Path(folder) / "journal"
        ended, charged = _write(journal, records, lost)
        size = sum(path.stat().st_size for path in segment_paths(journal))
        found, took, books = asyncio.run(_recover(journal, Path(folder) / FILE))
        left = len(segment_paths(journal))
    figures: list[tuple[str, object]] = [
        ("calls that ended", ended),
        ("calls that never ended", lost),
        ("records read", found.records),
        ("journal, MB", f"{size / 1e6:.0f}"),
        ("recovered in seconds", f"{took.seconds:.2f}"),
        ("of them at work, the rest is other processes and the disk", f"{took.cpu_seconds:.2f}"),
    ]
    problems = [
        f"{name}: {seen}, not {expected}"
        for name, seen, expected in (
            ("calls in the ledger", books[0], ended + lost),
            ("nano-dollars in charges", books[1], charged),
            ("nano-dollars in roll-ups", books[2], charged),
            ("lost calls", found.lost, lost),
            ("journal files left", left, 0),
        )
        if seen != expected
    ]
    if took.seconds >= seconds:
        problems.append(f"recovery took {took.seconds:.2f} s, not under {seconds:g}")
    return conclude(figures, problems)


def _write(folder: Path, records: int, lost: int) -> tuple[int, int]:
    """A journal as a killed server leaves it. Gives its ended calls, and the nano-dollars that all its calls cost."""
    journal, written, ended, charged = Journal(folder, full=False), 0, 0, 0
    for n in range(lost):
        journal.append(opened(f"01890a5d-ac95-774b-bcce-{n:012x}", at=NOON + n * GAP, lost=LOST_NANOS))
        charged, written = charged + LOST_NANOS, written + 1
    while written < records:
        for record in _call(ended):
            journal.append(record)
            written += 1
            if isinstance(record, Settled) and record.charge is not None:
                charged += record.charge.nanos
        ended += 1
    return ended, charged  # not closed: the process died


def _call(n: int) -> Iterator[Record]:
    call_id, at, team = f"01890a5d-ac96-774b-bcce-{n:012x}", NOON + n * GAP, f"team-{n % TEAMS}"
    if n % REFUSED_EVERY == 0:
        yield refused(call_id, at=at)
    else:
        yield opened(call_id, at=at, team=team)
        yield settled(call_id, 7_000 + n, at=at, team=team)


async def _recover(journal: Path, file: Path) -> tuple[Recovered, Took, tuple[int, int, int]]:
    ledger = await Ledger.open(sqlite_url(file))
    try:
        started, worked = time.perf_counter(), time.process_time()
        found = await recover(journal, ledger)
        took = Took(time.perf_counter() - started, time.process_time() - worked)
        async with ledger.connect() as connection:
            count = await connection.scalar(select(func.count()).select_from(calls))
            money = await connection.scalar(select(func.sum(charges.c.nanos)))
            rolled = await connection.scalar(
                select(func.sum(rollups.c.nanos)).where(rollups.c.scope_kind == "global")
            )
    finally:
        await ledger.close()
    return found, took, (int(count or 0), int(money or 0), int(rolled or 0))


if __name__ == "__main__":
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--records", type=int, default=100_000)
    options.add_argument("--lost", type=int, default=1_000)
    options.add_argument("--seconds", type=float, default=3.0)
    sys.exit(main(**vars(options.parse_args())))
