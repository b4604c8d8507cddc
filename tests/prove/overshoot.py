"""A strict budget for exactly 10 calls, 500 at once: exactly 10 reach the provider, every time.

./dev prove overshoot [--repetitions 1000] [--callers 500] [--minutes 60] [--nested]

With --nested a global, a team's and a key's strict budget all have room for just those 10; the global limit is raised by an
edit of the rules before each repetition, so this also proves that a reload strands no money.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.prove._report import conclude
from tests.support.gathering import ceiling, dollars, nested_rules, rush
from tests.support.process import ScriptedProvider, Spendgate, config_for

ROOM = 10
MAX_TOKENS = 10


def main(*, repetitions: int, callers: int, minutes: float, nested: bool) -> int:
    deadline = time.monotonic() + 60 * minutes
    limit = dollars(ROOM * ceiling(MAX_TOKENS))
    problems: list[str] = []
    statuses: Counter[int] = Counter()
    reached: Counter[int] = Counter()
    with (
        tempfile.TemporaryDirectory() as folder,
        ScriptedProvider(Path(folder) / "bill") as provider,
        Spendgate(Path(folder) / "spendgate", config_for(provider.url, hold_queue_max=callers)) as spendgate,
    ):
        done = 0
        while done < repetitions and time.monotonic() < deadline:
            tag = f"rep{done}"
            if nested:
                spendgate.edit_rules(nested_rules(tag, ROOM * ceiling(MAX_TOKENS), repetition=done))
            key = spendgate.key(tag, "--budget-usd", limit, "--period", "total", "--hold", "strict")
            rushed = asyncio.run(
                rush(spendgate.url, key, tag=f"{tag}-", callers=callers, max_tokens=MAX_TOKENS)
            )
            arrived = len(provider.bill(f"{tag}-"))
            statuses += rushed.statuses
            reached[arrived] += 1
            if arrived != ROOM:
                problems.append(f"repetition {done}: {arrived} calls reached the provider, not {ROOM}")
            done += 1
    if done < repetitions:
        problems.append(f"only {done} of {repetitions} repetitions within {minutes:g} minutes")
    figures = [
        ("repetitions", done),
        ("callers at once", callers),
        *((f"repetitions with {count} at the provider", n) for count, n in sorted(reached.items())),
        *((f"answers with {status}", n) for status, n in sorted(statuses.items())),
    ]
    return conclude(figures, problems)


if __name__ == "__main__":
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--repetitions", type=int, default=1000)
    options.add_argument("--callers", type=int, default=500)
    options.add_argument("--minutes", type=float, default=60.0)
    options.add_argument("--nested", action="store_true")
    sys.exit(main(**vars(options.parse_args())))
