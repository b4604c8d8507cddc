"""A replay of many past calls through an edited policy: how long it takes, and how much memory.

./dev prove simulate [--calls 1000000] [--limit-seconds 60]

The calls are made by copying a thousand that were shipped to a real ledger, over a week and twenty teams.
"""

import argparse
import asyncio
import json
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from proxy import clock
from proxy.ledger import Ledger, sqlite_url
from tests.prove._report import conclude
from tests.support.process import Spendgate, config_for
from tests.support.records import settled

SEED, TEAMS = 1_000, 20
WEEK_US = 7 * 24 * 3_600 * 1_000_000
POLICIES: dict[str, dict[str, Any]] = {
    "budgets": {"budgets": [{"period": "daily", "limit_usd": 1}, {"period": "monthly", "limit_usd": 20}]},
    "budgets, rates and four rules": {
        "budgets": [{"period": "daily", "limit_usd": 1, "hold": "strict"}],
        "default_team": {"rate": {"requests_per_minute": 600, "max_concurrent": 50}},
        "rules": [
            {"rule_id": "dear", "threshold_type": "operation_cost", "threshold_value": "0.5"},
            {
                "rule_id": "day",
                "threshold_type": "absolute_daily",
                "threshold_value": 1,
                "action": "throttle",
            },
            {"rule_id": "hour", "threshold_type": "rate_based", "threshold_value": 1, "action": "alert_only"},
            {"rule_id": "rush", "threshold_type": "requests_per_minute", "threshold_value": 300},
        ],
    },
}


def main(*, calls: int, limit_seconds: float) -> int:
    figures: list[tuple[str, object]] = [("calls in the ledger", calls)]
    problems: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = Spendgate(folder, config_for("http://127.0.0.1:1")).prepare()
        (folder / "data").mkdir(mode=0o700)
        ledger = folder / "data" / "ledger.db"
        asyncio.run(_seed(ledger))
        _multiply(ledger, calls)
        for told, policy in POLICIES.items():
            edited = folder / "edited.yaml"
            edited.write_text(json.dumps({"version": 1, **policy}))
            command = [sys.executable, "-m", "proxy.cli", "rules", "simulate", "--rules", str(edited)]
            start = time.perf_counter()
            done = subprocess.run(
                [*command, "--since", "8d", "--format", "json", "-c", str(config)],
                capture_output=True,
                text=True,
                check=False,
            )
            took = time.perf_counter() - start
            figures.append((f"{told}: seconds", f"{took:.1f}"))
            if done.returncode != 0:
                problems.append(f"{told}: exit code {done.returncode}: {done.stderr[-300:]}")
            elif took > limit_seconds:
                problems.append(f"{told}: {took:.1f} s, more than {limit_seconds:g}")
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
    return conclude([*figures, ("peak memory, MB", peak)], problems)


async def _seed(path: Path) -> None:
    start = clock.now() - timedelta(days=7)
    ledger = await Ledger.open(sqlite_url(path))
    step = timedelta(days=7) / SEED
    await ledger.ship([settled(f"c{n}", at=start + n * step, team=f"team{n % TEAMS}") for n in range(SEED)])
    await ledger.close()


def _multiply(path: Path, calls: int) -> None:
    """Each copy comes a little later than its original, within the same step."""
    ledger = sqlite3.connect(path)
    copies = calls // SEED
    shift = WEEK_US // SEED // copies
    for table, key in (("calls", "call_id"), ("charges", "charge_id")):
        names = [row[1] for row in ledger.execute(f"pragma table_info({table})")]
        kept = [name for name in names if name != "charge_id"]
        made = {"call_id": "c.call_id || '-' || n.value", "at": f"c.at + n.value * {shift}"}
        columns = ", ".join(f'"{name}"' for name in kept)
        values = ", ".join(made.get(name, f'c."{name}"') for name in kept)
        ledger.execute(
            f"with recursive n(value) as (select 1 union all select value + 1 from n where value < {copies - 1}) "
            f"insert into {table} ({columns}) select {values} from {table} c, n order by c.{key}"
        )
    ledger.commit()
    ledger.close()


if __name__ == "__main__":
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--calls", type=int, default=1_000_000)
    options.add_argument("--limit-seconds", type=float, default=60.0)
    sys.exit(main(**vars(options.parse_args())))
