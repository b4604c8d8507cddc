"""Reported charges equal the provider's bill to the nano-dollar, over many mixed calls.

./dev prove money [--calls 10000] [--minutes 20] [--seed 1]
"""

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

from tests.prove._report import conclude
from tests.support.mixed import Sent, compare, send_mixed
from tests.support.process import ScriptedProvider, Spendgate, config_for, wait_for

ROUND_CALLS = 1000
END_SECONDS = 120.0


def main(*, calls: int, minutes: float, seed: int) -> int:
    deadline = time.monotonic() + 60 * minutes
    with (
        tempfile.TemporaryDirectory() as folder,
        ScriptedProvider(Path(folder) / "bill") as provider,
        Spendgate(Path(folder) / "spendgate", config_for(provider.url)) as spendgate,
    ):
        key = spendgate.key("prove")
        started = time.monotonic()
        sent: list[Sent] = []
        while len(sent) < calls and time.monotonic() < deadline:
            count = min(ROUND_CALLS, calls - len(sent))
            prefix = f"r{len(sent)}"
            sent += asyncio.run(
                send_mixed(spendgate.url, key, prefix=prefix, count=count, seed=seed + len(sent))
            )
        seconds = time.monotonic() - started
        _wait_for_ends(spendgate, provider)
        books = compare(sent, spendgate.calls(), provider.bill())
    figures = [
        ("calls", books.calls),
        ("seconds", f"{seconds:.1f}"),
        *((f"charged as {basis or 'nothing'}", count) for basis, count in sorted(books.bases.items())),
        ("reported, nano-dollars", books.reported_nanos),
        ("the bill for these", books.reported_bill_nanos),
        ("observed or estimated", books.other_nanos),
        ("the bill for these", books.other_bill_nanos),
    ]
    problems = list(books.problems)
    if books.reported_nanos != books.reported_bill_nanos:
        problems.append("the sum of reported charges differs from the bill")
    if len(sent) < calls:
        problems.append(f"only {len(sent)} of {calls} calls within {minutes:g} minutes")
    return conclude(figures, problems)


def _wait_for_ends(spendgate: Spendgate, provider: ScriptedProvider) -> None:
    """Clients that left do not wait for the books; we do."""
    wait_for("all work to end", lambda: all(entry.final for entry in provider.bill()) or None, END_SECONDS)
    billed = {entry.tag for entry in provider.bill()}
    wait_for(
        "all calls to end", lambda: billed <= {row.tag for row in spendgate.calls()} or None, END_SECONDS
    )


if __name__ == "__main__":
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--calls", type=int, default=10_000)
    options.add_argument("--minutes", type=float, default=20.0)
    options.add_argument("--seed", type=int, default=1)
    sys.exit(main(**vars(options.parse_args())))
