"""Spendgate killed again and again under load, and what its ledger then says of every call on the bill."""

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from tests.support.bill import Billed
from tests.support.calls import chat_body, post
from tests.support.client import Broken
from tests.support.process import LedgerCall, Spendgate
from tests.support.script import Script

BETWEEN_KILLS_SECONDS = (0.1, 0.8)
RETRY_SECONDS = 0.02
SCRIPTS = (
    Script(delay_ms=5),
    Script(delay_ms=60),
    Script(delay_ms=30, ignores_disconnect=True),
    Script(chunk_delay_ms=8),
    Script(chunk_delay_ms=8, ignores_disconnect=True),
)


@dataclass(slots=True)
class Load:
    """Callers that never stop asking, whatever becomes of the server. `sent` counts the calls made."""

    spendgate: Spendgate
    key: str
    prefix: str
    seed: int
    sent: int = 0
    stopped: bool = False
    statuses: Counter[int] = field(default_factory=Counter)

    async def run(self, callers: int) -> None:
        await asyncio.gather(*(self._caller(random.Random(f"{self.seed}-{n}")) for n in range(callers)))

    async def _caller(self, chance: random.Random) -> None:
        while not self.stopped:
            self.sent += 1
            try:
                self.statuses[await self._call(f"{self.prefix}-{self.sent}", chance)] += 1
            except (OSError, Broken, asyncio.IncompleteReadError):
                await asyncio.sleep(RETRY_SECONDS)  # it was killed: ask again until it is back

    async def _call(self, tag: str, chance: random.Random) -> int:
        script = chance.choice(SCRIPTS)
        stream = bool(script.chunk_delay_ms)
        body = chat_body(chance.randint(10, 30), max_tokens=chance.randint(2, 12), stream=stream)
        reply = await post(self.spendgate.url, self.key, replace(script, tag=tag), body)
        return reply.status


async def kill_under_load(spendgate: Spendgate, load: Load, *, kills: int, callers: int = 8) -> None:
    """Kill and restart at random moments; ends with the server up and the load gone."""
    chance = random.Random(load.seed)
    async with asyncio.TaskGroup() as group:
        group.create_task(load.run(callers))
        try:
            for _ in range(kills):
                await asyncio.sleep(chance.uniform(*BETWEEN_KILLS_SECONDS))
                spendgate.kill()
                await asyncio.to_thread(spendgate.start)
            await asyncio.sleep(chance.uniform(*BETWEEN_KILLS_SECONDS))
        finally:
            load.stopped = True


@dataclass(slots=True)
class Aftermath:
    """`problems` is empty when nothing was lost and nothing doubled."""

    on_bill: int = 0
    in_ledger: int = 0
    bases: Counter[str] = field(default_factory=Counter)
    under_bill: int = 0  # charged by estimate below what the provider made: told, never hidden
    problems: list[str] = field(default_factory=list)


def examine(ledger: Sequence[LedgerCall], bill: Sequence[Billed]) -> Aftermath:
    """Every call on the bill once in the ledger, and charged; what was reported equals the bill."""
    found = Aftermath(on_bill=len(bill), in_ledger=len(ledger))
    times = Counter(row.tag for row in ledger)
    rows = {row.tag: row for row in ledger}
    found.problems += [
        f"{tag} stands {count} times in the ledger" for tag, count in times.items() if count > 1
    ]
    for entry in bill:
        row = rows.get(entry.tag)
        if row is None:
            found.problems.append(f"{entry.tag} is on the bill, not in the ledger")
            continue
        found.bases[row.basis] += 1
        if row.nanos <= 0:
            found.problems.append(f"{entry.tag} was billed {entry.nanos} and charged nothing")
        elif row.basis == "reported" and row.nanos != entry.nanos:
            found.problems.append(f"{entry.tag}: reported {row.nanos}, billed {entry.nanos}")
        elif row.nanos < entry.nanos:
            found.under_bill += 1
    return found
