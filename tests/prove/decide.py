"""What a decision costs under a big policy: 1,000 rules, 200 budgets, and a call that 10 of the rules look at.

./dev prove decide [--rules 1000] [--budgets 200] [--matching 10] [--limit-us 50]

Timed here, in one process and without a rival on the machine in mind: no test of the suite asserts a time.
"""

import argparse
import sys
import time
from statistics import median

from pricing.document import parse
from pricing.estimate import Estimate
from pricing.money import nanos
from rules.call import Call, CallId, Operation
from rules.decide import decide
from rules.figures import Balances
from rules.policy import Policy, load_policy
from tests.prove._report import conclude
from tests.support.records import NOON

ROUNDS, CALLS = 20, 2_000
TEAMS = 100
KINDS = ("operation_cost", "absolute_daily", "percentage_daily", "requests_per_minute", "absolute_monthly")


def main(*, rules: int, budgets: int, matching: int, limit_us: float) -> int:
    loading = time.perf_counter()
    policy = big_policy(rules, budgets, matching)
    loaded = time.perf_counter() - loading
    estimate = Estimate(nanos("0.01"), nanos("0.02"), 0.9, "proof", 100, 100, 100, 100)
    first = timed(policy, [call(0, user="first")], estimate)
    again = [timed(policy, [call(0)] * CALLS, estimate) for _ in range(ROUNDS)]
    others = timed(policy, [call(0, model=f"model-{n}") for n in range(CALLS)], estimate)
    matters = len(policy.plan(call(0)).matters)
    problems = []
    if matters < matching:
        problems.append(f"{matters} rules look at the call, not {matching}")
    if median(again) > limit_us:
        problems.append(f"a decision takes {median(again):.1f} us, more than {limit_us:g}")
    figures = [
        ("rules", rules),
        ("budgets", len(policy.budgets)),
        ("rules that look at the call", matters),
        ("loading the policy, ms", f"{loaded * 1e3:.0f}"),
        ("the first decision of its kind, us", f"{first:.1f}"),
        ("a decision, us (median of rounds)", f"{median(again):.2f}"),
        ("a decision with a model not seen before, us", f"{others:.1f}"),
    ]
    return conclude(figures, problems)


def big_policy(rules: int, budgets: int, matching: int) -> Policy:
    """All but `matching` of the rules are those of other teams."""
    lines = ["version: 1", "teams:"]
    for n in range(budgets // 2):
        lines.append(
            f"  team{n}: {{budgets: [{{period: daily, limit_usd: 1000}}, {{period: monthly, limit_usd: 9000}}]}}"
        )
    lines.append("rules:")
    for n in range(rules):
        team = "team0" if n < matching else f"team{1 + n % (TEAMS - 1)}"
        kind = KINDS[n % len(KINDS)]
        value = 50 if kind.startswith("percentage") else 500
        action = "alert_only" if n % 2 else "throttle"
        lines.append(
            f"  - {{rule_id: r{n}, threshold_type: {kind}, threshold_value: {value}, action: {action}, "
            f"applies_to_teams: [{team}]}}"
        )
    return load_policy(parse("\n".join(lines), file="rules.yaml", environ={}))


def call(n: int, *, model: str = "gpt-4o", user: str = "") -> Call:
    return Call(CallId(f"c{n}"), NOON, Operation.LLM, "openai", model, "team0", "k1", user=user)


def timed(policy: Policy, calls: list[Call], estimate: Estimate) -> float:
    """Microseconds a call."""
    figures = Balances()
    start = time.perf_counter()
    for each in calls:
        decide(policy, each, estimate, figures=figures, now=NOON)
    return (time.perf_counter() - start) / len(calls) * 1e6


if __name__ == "__main__":
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--rules", type=int, default=1000)
    options.add_argument("--budgets", type=int, default=200)
    options.add_argument("--matching", type=int, default=10)
    options.add_argument("--limit-us", type=float, default=50.0)
    sys.exit(main(**vars(options.parse_args())))
