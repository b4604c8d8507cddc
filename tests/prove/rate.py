"""Random walks over rates, budgets and calls in flight: no interval holds too much, and nothing is left behind.

./dev prove rate [--steps 100000] [--walks 10] [--seed 1]
"""

import argparse
import sys
from collections import Counter

from tests.prove._report import conclude
from tests.support.rates import RATES, walk


def main(*, steps: int, walks: int, seed: int) -> int:
    told: Counter[str] = Counter()
    problems: list[str] = []
    for each in range(seed, seed + walks):
        made = walk(steps, each)
        told += made.told
        problems += [f"seed {each}: {problem}" for problem in made.problems]
    figures = [
        ("walks", walks),
        ("steps in each", steps),
        ("rates over them", len(RATES)),
        *((f"calls {name}", count) for name, count in sorted(told.items())),
    ]
    return conclude(figures, problems)


if __name__ == "__main__":
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--steps", type=int, default=100_000)
    options.add_argument("--walks", type=int, default=10)
    options.add_argument("--seed", type=int, default=1)
    sys.exit(main(**vars(options.parse_args())))
