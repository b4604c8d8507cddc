"""What Prometheus sees: calls, money, tokens, budgets, latency. Labels have few values, and a bound on them."""

from functools import lru_cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

LABEL_VALUES_MAX = 500  # of one kind (teams, models): beyond that a value is called "other"
OTHER = "other"

REGISTRY = CollectorRegistry()

CALLS = Counter(
    "spendgate_calls",
    "Calls ended, by what became of them.",
    ["team", "model", "provider", "outcome"],
    registry=REGISTRY,
)
COST = Counter(
    "spendgate_cost_usd", "Charged dollars, by basis.", ["team", "model", "basis"], registry=REGISTRY
)
TOKENS = Counter("spendgate_tokens", "Tokens charged.", ["team", "model", "kind"], registry=REGISTRY)
REFUSALS = Counter("spendgate_refusals", "Calls that we answered ourselves.", ["code"], registry=REGISTRY)
UPSTREAM_429 = Counter(
    "spendgate_upstream_throttled", "429 answers of the provider, passed on.", ["provider"], registry=REGISTRY
)
FLAGS = Counter("spendgate_flags", "Flags on charges and calls.", ["flag"], registry=REGISTRY)
_DURATIONS = (0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
DURATION = Histogram(
    "spendgate_call_duration_seconds",
    "Arrival to the end of the answer.",
    ["provider"],
    buckets=_DURATIONS,
    registry=REGISTRY,
)
FIRST_BYTE = Histogram(
    "spendgate_time_to_first_byte_seconds",
    "Arrival to the first byte of the provider's answer body.",
    ["provider"],
    buckets=_DURATIONS,
    registry=REGISTRY,
)
OVERHEAD = Histogram(
    "spendgate_overhead_seconds",
    "Arrival until the request goes to the provider, waits for a budget left out.",
    buckets=(0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 1),
    registry=REGISTRY,
)
WAITED = Histogram(
    "spendgate_budget_wait_seconds",
    "Time in line for a budget, for calls that waited.",
    buckets=(0.01, 0.05, 0.25, 1, 2.5, 5, 10, 30),
    registry=REGISTRY,
)
BUDGET_USED = Gauge(
    "spendgate_budget_used_percent",
    "Spent and held over the limit, of the present window.",
    ["budget"],
    registry=REGISTRY,
)
IN_FLIGHT = Gauge("spendgate_calls_in_flight", "Calls not ended yet.", registry=REGISTRY)
BACKLOG = Gauge("spendgate_journal_backlog", "Ended calls not in the ledger yet.", registry=REGISTRY)
LOOP_LAG = Gauge("spendgate_loop_lag_seconds", "How late a timer of the event loop was.", registry=REGISTRY)

_known: dict[str, set[str]] = {}


def bounded(kind: str, value: str) -> str:
    """The value itself, or "other" once the kind has had too many: a client's words must not grow us."""
    known = _known.setdefault(kind, set())
    if value in known:
        return value
    if len(known) >= LABEL_VALUES_MAX:
        return OTHER
    known.add(value)
    return value


# A cached child costs a third of a look-up by labels; the cache is as bounded as the labels are.
calls = lru_cache(maxsize=4096)(CALLS.labels)
cost = lru_cache(maxsize=4096)(COST.labels)
tokens = lru_cache(maxsize=4096)(TOKENS.labels)


def render() -> bytes:
    """All metrics in Prometheus' text form."""
    return generate_latest(REGISTRY)
