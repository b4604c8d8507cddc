"""kill -9 at random moments under load: no call on the bill is missing from the ledger, none is twice.

./dev prove crash [--kills 20] [--minutes 15] [--seed 1]
"""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from tests.prove._report import conclude
from tests.support.killing import Load, examine, kill_under_load
from tests.support.process import ScriptedProvider, Spendgate, config_for, wait_for

END_SECONDS = 60.0


def main(*, kills: int, minutes: float, seed: int) -> int:
    with (
        tempfile.TemporaryDirectory() as folder,
        ScriptedProvider(Path(folder) / "bill") as provider,
        Spendgate(Path(folder) / "spendgate", config_for(provider.url)) as spendgate,
    ):
        load = Load(spendgate, spendgate.key("prove"), "call", seed)
        asyncio.run(asyncio.wait_for(kill_under_load(spendgate, load, kills=kills), 60 * minutes))
        wait_for(
            "all work to end", lambda: all(entry.final for entry in provider.bill()) or None, END_SECONDS
        )
        found = examine(spendgate.calls(), provider.bill())
    figures = [
        ("kills", kills),
        ("calls sent", load.sent),
        ("on the bill", found.on_bill),
        ("in the ledger", found.in_ledger),
        *((f"charged as {basis or 'nothing'}", count) for basis, count in sorted(found.bases.items())),
        ("estimated below the bill", found.under_bill),
    ]
    return conclude(figures, found.problems)


if __name__ == "__main__":
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--kills", type=int, default=20)
    options.add_argument("--minutes", type=float, default=15.0)
    options.add_argument("--seed", type=int, default=1)
    sys.exit(main(**vars(options.parse_args())))
