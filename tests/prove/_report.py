"""How every proof ends: a small table of figures, what was violated, and the exit code."""

import sys
from collections.abc import Sequence

SHOWN_MAX = 20


def conclude(figures: Sequence[tuple[str, object]], problems: Sequence[str]) -> int:
    """Print, and give the exit code: 1 when a promise was broken."""
    width = max(len(name) for name, _ in figures)
    for name, value in figures:
        say(f"{name:<{width}}  {value}")
    for problem in problems[:SHOWN_MAX]:
        say(f"VIOLATED  {problem}")
    if len(problems) > SHOWN_MAX:
        say(f"... and {len(problems) - SHOWN_MAX} more")
    say("proved" if not problems else f"{len(problems)} violations")
    return 1 if problems else 0


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
