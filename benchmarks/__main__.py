"""`./dev bench [--quick] [--record]`: one interleaved run over all subjects; ratios inside it are what counts."""

import argparse
import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import uvloop

from benchmarks import load, subjects
from benchmarks.subjects import Subject

RESULTS = Path(__file__).parent / "RESULTS.md"
PROXY_CORE, LOAD_CORE = 0, 1


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    body: bytes
    clients: int
    per_second: float = 0.0  # paced where above zero
    streams: bool = False


def body(text_bytes: int, *, stream: bool = False) -> bytes:
    call = {
        "model": "gpt-4o-mini",
        "max_tokens": 200,
        "messages": [
            {
                "role": "user",
                "content": ("The quick brown fox jumps over the lazy dog. " * (text_bytes // 45 + 1))[
                    :text_bytes
                ],
            }
        ],
    }
    if stream:
        call["stream"] = True
    return json.dumps(call, separators=(",", ":")).encode()


CASES = (
    Case("unary 1 kB, 1 client", body(800), 1),
    Case("unary 1 kB, 32 clients", body(800), 32),
    Case("unary 100 kB, 32 clients", body(100_000), 32),
    Case("unary 1 kB, paced 50/s", body(800), 0, 50.0),
    Case("SSE 20 chunks at 20/s, 100 streams", body(800, stream=True), 100, streams=True),
)

COLUMNS = (
    ("calls/s", "per_second", 0),
    ("CPU us a call", "cpu_us_per_call", 0),
    ("p50 ms", "p50_ms", 2),
    ("p99 ms", "p99_ms", 2),
    ("MB after", "resident_mb", 0),
)
STREAM_COLUMNS = (("CPU us a chunk", "cpu_us_per_chunk", 0), ("first byte p50 ms", "first_p50_ms", 2))


@dataclass(slots=True)
class Figures:
    calls: int
    errors: int
    per_second: float
    cpu_us_per_call: float
    cpu_us_per_chunk: float
    p50_ms: float
    p99_ms: float
    first_p50_ms: float
    resident_mb: float


async def measure(subject: Subject, case: Case, seconds: float) -> Figures:
    request = load.request_bytes(subject.port, subject.key, body=case.body)
    before = subject.cpu_seconds()
    if case.per_second:
        seen = await load.paced(subject.port, request, per_second=case.per_second, seconds=seconds)
    else:
        seen = await load.closed_loop(subject.port, request, clients=case.clients, seconds=seconds)
    cpu = subject.cpu_seconds() - before
    calls = max(1, len(seen.latencies))
    return Figures(
        calls=len(seen.latencies),
        errors=seen.errors,
        per_second=len(seen.latencies) / seen.seconds,
        cpu_us_per_call=cpu / calls * 1e6,
        cpu_us_per_chunk=cpu / max(1, seen.chunks) * 1e6,
        p50_ms=seen.percentile(0.5) * 1e3,
        p99_ms=seen.percentile(0.99) * 1e3,
        first_p50_ms=seen.percentile(0.5, seen.first) * 1e3,
        resident_mb=subject.resident_mb(),
    )


def run(*, seconds: float, rounds: int) -> str:
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[LOAD_CORE % os.cpu_count()]})  # type: ignore[operator]
    with contextlib.ExitStack() as stack:
        upstream = stack.enter_context(subjects.provider(LOAD_CORE, chunks=20, per_second=20.0))
        candidates = [
            upstream,
            stack.enter_context(subjects.nginx(PROXY_CORE, upstream.port)),
            stack.enter_context(subjects.bare_aiohttp(PROXY_CORE, upstream.port)),
            stack.enter_context(subjects.spendgate(PROXY_CORE, upstream.port)),
        ]
        measured = [subject for subject in candidates if subject is not None]
        idle = {subject.name: subject.resident_mb() for subject in measured}
        for subject in measured:
            uvloop.run(measure(subject, CASES[1], 1.0))  # warm-up
        figures: dict[tuple[str, str], list[Figures]] = {}
        for case in CASES:
            for _ in range(rounds):
                for subject in measured:
                    figures.setdefault((case.name, subject.name), []).append(
                        uvloop.run(measure(subject, case, seconds))
                    )
                    print(f"  {case.name}: {subject.name}", file=sys.stderr, flush=True)
        return report(measured, figures, idle)


def report(
    measured: list[Subject], figures: dict[tuple[str, str], list[Figures]], idle: dict[str, float]
) -> str:
    lines = []
    for case in CASES:
        columns = COLUMNS + (STREAM_COLUMNS if case.streams else ())
        names = " | ".join(name for name, _, _ in columns)
        lines += [
            f"\n**{case.name}**\n",
            f"| | calls | errors | {names} |",
            "|---" * (3 + len(columns)) + "|",
        ]
        for subject in measured:
            rounds = figures[case.name, subject.name]
            cells = [subject.name, str(sum(f.calls for f in rounds)), str(sum(f.errors for f in rounds))]
            cells += [
                f"{statistics.median(getattr(figure, field) for figure in rounds):.{digits}f}"
                for _, field, digits in columns
            ]
            lines.append(f"| {' | '.join(cells)} |")
    lines.append(
        "\nstart to listening, seconds / memory idle, MB: "
        + "; ".join(
            f"{subject.name} {subject.start_seconds:.2f} / {idle[subject.name]:.0f}"
            for subject in measured
            if subject.process
        )
    )
    return "\n".join(lines)


def heading() -> str:
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return (
        f"\n## {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, commit {commit.stdout.strip()}\n\n"
        f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}, "
        f"aiohttp {aiohttp.__version__}, uvloop {uvloop.__version__}; measured program on one core, load and provider on the other.\n"
    )


def main() -> None:
    arguments = argparse.ArgumentParser(prog="./dev bench")
    arguments.add_argument("--quick", action="store_true", help="two minutes instead of eight")
    arguments.add_argument("--record", action="store_true", help="append to benchmarks/RESULTS.md")
    asked = arguments.parse_args()
    text = heading() + run(seconds=3.0 if asked.quick else 8.0, rounds=1 if asked.quick else 3)
    print(text)
    if asked.record:
        with RESULTS.open("a") as results:
            results.write(text + "\n")


if __name__ == "__main__":
    main()
