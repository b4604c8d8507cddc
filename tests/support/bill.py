"""The scripted provider's own bill: what every call really cost, written before it is answered.

It stands apart from the product on purpose: its own prices, its own integer arithmetic, its own file. A test that
compares the ledger with it compares two parties, as a finance department would.
"""

import json
import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Tariff:
    """Nano-dollars a token."""

    fresh: int
    cached: int
    output: int


# The published prices per million tokens, e.g. gpt-4o-mini: $0.15 in, $0.075 cached, $0.60 out.
TARIFFS = {
    "gpt-4o-mini@priority": Tariff(250, 125, 1000),
    "gpt-4o-mini": Tariff(150, 75, 600),
    "gpt-4o-2024-05-13": Tariff(5000, 5000, 15_000),
    "gpt-4o": Tariff(2500, 1250, 10_000),
    "gpt-4.1-mini": Tariff(400, 100, 1600),
    "ft:gpt-4.1-mini": Tariff(800, 200, 3200),
    "ft:gpt-4o-mini": Tariff(300, 150, 1200),
    "text-embedding-3-small": Tariff(20, 20, 0),
    "gemini-2.5-flash": Tariff(300, 30, 2500),
    "gemini-embedding-001": Tariff(150, 150, 0),
}


@dataclass(frozen=True, slots=True)
class Work:
    """What the provider did for one call so far."""

    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0

    def nanos(self, model: str) -> int:
        tariff = next(tariff for name, tariff in TARIFFS.items() if model.startswith(name))
        fresh = self.input_tokens - self.cached_tokens
        return fresh * tariff.fresh + self.cached_tokens * tariff.cached + self.output_tokens * tariff.output


@dataclass(frozen=True, slots=True)
class Billed:
    """One call on the bill. `tag` is the name that the test gave it, `answer_id` the id in its answer."""

    answer_id: str
    tag: str
    path: str
    model: str
    nanos: int
    output_tokens: int
    final: bool  # nothing more will be made for it


class BillWriter:
    """Append-only; one line a system call, so that a line is whole or absent and never late."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def write(
        self,
        *,
        answer_id: str,
        tag: str,
        path: str,
        model: str,
        work: Work,
        free: bool,
        final: bool,
        cost_usd: float | None = None,
    ) -> None:
        """`cost_usd` is billed in place of what the work comes to."""
        nanos = work.nanos(model) if cost_usd is None else math.ceil(Fraction(str(cost_usd)) * 10**9)
        line = {
            "answer_id": answer_id,
            "tag": tag,
            "path": path,
            "model": model,
            "nanos": 0 if free else nanos,
            "output_tokens": work.output_tokens,
            "final": final,
        }
        os.write(self._file, json.dumps(line).encode() + b"\n")

    def close(self) -> None:
        os.close(self._file)


def read_bill(path: Path) -> list[Billed]:
    """One entry a call: the last line of a call stands, for a bill only ever grows."""
    if not path.exists():
        return []
    latest: dict[str, Billed] = {}
    for line in path.read_text().splitlines():
        entry = Billed(**json.loads(line))
        latest[entry.answer_id] = entry
    return list(latest.values())


def total(bill: Iterable[Billed]) -> int:
    return sum(entry.nanos for entry in bill)
