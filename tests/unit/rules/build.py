"""Calls, policies and estimates for the tests of rules: facts that do not matter have one fixed value."""

from datetime import UTC, datetime

from pricing.document import DocumentError, Problem, parse
from pricing.estimate import Estimate
from pricing.money import Nanos, nanos
from rules.call import Call, CallId, Operation
from rules.counter import Balance, CounterKey
from rules.policy import Policy, load_policy

NOON = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)  # a Monday


def policy(text: str) -> Policy:
    return load_policy(parse(f"version: 1\n{text}", file="rules.yaml", environ={}))


def problems(text: str) -> dict[str, str]:
    """What a bad file is told: path -> message and remedy."""
    try:
        policy(text)
    except DocumentError as error:
        return {problem.path: _words(problem) for problem in error.problems}
    return {}


def _words(problem: Problem) -> str:
    return f"{problem.message} {problem.remedy}".strip()


def call(
    *,
    at: datetime = NOON,
    operation: Operation = Operation.LLM,
    provider: str = "openai",
    model: str = "gpt-4o",
    team: str = "search",
    key_id: str = "k1",
    user: str = "",
    category: str = "",
) -> Call:
    return Call(CallId("c1"), at, operation, provider, model, team, key_id, user=user, category=category)


def estimate(expected: str, ceiling: str | None = None) -> Estimate:
    """In dollars."""
    return Estimate(nanos(expected), nanos(ceiling or expected), 0.9, "test", 100, 100, 100, 100)


def no_spend(_: CounterKey) -> Balance:
    return Balance(Nanos(0), Nanos(0))


def spent(usd: str, held: str = "0") -> Balance:
    return Balance(nanos(usd), nanos(held))
