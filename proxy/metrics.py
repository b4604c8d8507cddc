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
UPSTREAM_RETRY_AFTER = Gauge(
    "spendgate_upstream_retry_after_seconds",
    "How long the provider still wants callers to wait, by its last 429.",
    ["provider"],
    registry=REGISTRY,
)
UPSTREAM_FAILURES = Counter(
    "spendgate_upstream_failures",
    "Calls that failed at the provider or on the way to it: its 5xx status, or what went wrong.",
    ["provider", "code"],
    registry=REGISTRY,
)
UPSTREAM_BREAKER = Gauge(
    "spendgate_upstream_breaker_state",
    "Of the provider's breaker: 0 closed, 1 half open, 2 open.",
    ["provider"],
    registry=REGISTRY,
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

PRICES_AGE = Gauge(
    "spendgate_prices_age_seconds",
    "Since the source last gave good prices; until it did, since the start.",
    ["source"],
    registry=REGISTRY,
)
PRICE_FAILURES = Counter(
    "spendgate_prices_fetch_failures",
    "Times that a source gave no prices, or none that were taken.",
    ["source"],
    registry=REGISTRY,
)
ESTIMATOR_FAILURES = Counter(
    "spendgate_estimator_failures",
    "Counts of a plug-in that failed or could not be believed: ours stood in.",
    ["estimator"],
    registry=REGISTRY,
)

CATEGORISER_FAILURES = Counter(
    "spendgate_categoriser_failures",
    "Calls for which the plug-in that names categories failed, or was not asked.",
    ["categoriser"],
    registry=REGISTRY,
)

_RELOADS = {
    name: Counter(
        f"spendgate_{subject}_reloads",
        f"Readings of {file}, by what came of them.",
        ["result"],
        registry=REGISTRY,
    )
    for name, subject, file in (("rules", "policy", "rules.yaml"), ("prices", "prices_file", "prices_file"))
}
_BAD_EDIT = {
    "rules": Gauge(
        "spendgate_policy_bad_edit",
        "1 while rules.yaml says something else than what is in force.",
        registry=REGISTRY,
    ),
    "prices": Gauge(
        "spendgate_prices_file_bad_edit",
        "1 while prices_file says something else than what is in force.",
        registry=REGISTRY,
    ),
}
POLICY_INFO = Gauge("spendgate_policy_info", "The policy in force.", ["version"], registry=REGISTRY)

BREAKERS = Gauge(
    "spendgate_breaker_state",
    "Breakers that are not closed, or forced, by rule and state: one for each scope.",
    ["rule", "state"],
    registry=REGISTRY,
)
BREAKER_TRIPS = Counter(
    "spendgate_breaker_trips",
    "Times that a rule's breaker opened or began to limit.",
    ["rule"],
    registry=REGISTRY,
)
RULE_VERDICTS = Counter(
    "spendgate_rule_verdicts",
    "Calls that a rule refused, slowed, had asked of a cheaper model or cut short: once a call, rule and verdict.",
    ["rule", "verdict"],
    registry=REGISTRY,
)
THROTTLE_WAIT = Histogram(
    "spendgate_throttle_wait_seconds",
    "Time that slowed calls waited for their turn; 0 where it was theirs at once.",
    buckets=(0.01, 0.05, 0.25, 1, 2.5, 5, 10, 30),
    registry=REGISTRY,
)
RATE_LIMITED = Counter(
    "spendgate_rate_limited",
    "Calls refused by a rate of requests or tokens, by the rate's owner.",
    ["owner"],
    registry=REGISTRY,
)
SHADOW_CALLS = Counter(
    "spendgate_shadow_calls",
    "Calls that went and that a rule in shadow mode would have acted on.",
    ["rule", "action"],
    registry=REGISTRY,
)
SHADOW_COST = Counter(
    "spendgate_shadow_cost_usd",
    "Dollars charged at the end of those calls.",
    ["rule", "action"],
    registry=REGISTRY,
)
OVERRIDES = Gauge("spendgate_overrides_active", "Budgets' limits raised by hand, now.", registry=REGISTRY)
SHUTDOWN = Gauge("spendgate_emergency_shutdown", "1 while every call is refused by hand.", registry=REGISTRY)

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


def note_reload(name: str, result: str | None, *, bad: bool) -> None:
    """Of a file that people edit: what came of a reading, and whether its newest edit is refused."""
    if result is not None:
        _RELOADS[name].labels(result).inc()
    _BAD_EDIT[name].set(int(bad))


def note_policy(version: str) -> None:
    """The one in force. Figures of budgets begin anew: those of a dropped one must not stand for ever."""
    POLICY_INFO.clear()
    POLICY_INFO.labels(version).set(1)
    BUDGET_USED.clear()
    _known.pop("budget", None)


# A cached child costs a third of a look-up by labels; the cache is as bounded as the labels are.
calls = lru_cache(maxsize=4096)(CALLS.labels)
cost = lru_cache(maxsize=4096)(COST.labels)
tokens = lru_cache(maxsize=4096)(TOKENS.labels)


def render() -> bytes:
    """All metrics in Prometheus' text form."""
    return generate_latest(REGISTRY)
