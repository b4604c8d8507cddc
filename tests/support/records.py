"""Calls as the journal and the ledger keep them: facts that do not matter have one fixed value."""

from datetime import UTC, datetime, timedelta

from pricing.charge import Basis, Charge
from pricing.money import Nanos
from pricing.usage import Usage
from proxy.callrow import CallRow
from proxy.records import Opened, Refused, Settled
from rules.alert import Alert, Level
from rules.counter import CounterKey, Hold, counter_at
from rules.scope import EVERYONE, Scope, ScopeKind
from rules.window import Period

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
NOON = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)  # a Monday
SEARCH = Scope(ScopeKind.TEAM, "search")
SEARCH_TODAY = counter_at(SEARCH, Period.DAILY, "UTC", NOON)
ALL_TODAY = counter_at(EVERYONE, Period.DAILY, "UTC", NOON)


def row(
    call_id: str = "c1",
    *,
    at: datetime = NOON,
    team: str = "search",
    key_id: str = "k1",
    outcome: str = "",
    trace_id: str = TRACE,
) -> CallRow:
    """With as many facts as a real call has, so that sizes and times are those of real calls."""
    return CallRow(
        call_id=call_id,
        at=at,
        node="node-1",
        team=team,
        key_id=key_id,
        tags={"app": "crawler"},
        trace_id=trace_id,
        operation="llm_call",
        method="POST",
        path="/v1/chat/completions",
        dialect="openai",
        provider="openai",
        model="gpt-4o-mini",
        stream=True,
        policy_version="5f2c81a09e77",
        price_version="openai/gpt-4o-mini@2024-07-18",
        estimate_expected_nanos=1_500,
        estimate_ceiling_nanos=6_000,
        estimate_confidence=0.9,
        estimate_basis="tiktoken o200k_base; learned output",
        estimate_input_tokens=10,
        estimate_output_tokens=10,
        held_nanos=6_000,
        limits=[
            {"counter": str(counter), "owner": owner, "limit": 50_000_000_000, "spent": 0, "held": 6_000}
            for counter, owner in ((SEARCH_TODAY, "search-daily"), (ALL_TODAY, "everyone"))
        ],
        status=200,
        upstream_status=200,
        outcome=outcome,
        success=outcome == "answered",
        request_bytes=420,
        response_bytes=2_100,
        ttft_us=210_000,
        duration_us=900_000,
    )


def charge(nanos: int = 7_500, *, basis: Basis = Basis.REPORTED, flags: tuple[str, ...] = ()) -> Charge:
    return Charge(
        Nanos(nanos),
        basis,
        Usage(input_tokens=10, cache_read_tokens=4, output_tokens=10, reasoning_tokens=3),
        "openai/gpt-4o-mini@2024-07-18",
        flags,
    )


def hold(
    call_id: str = "c1",
    nanos: int = 6_000,
    *,
    at: datetime = NOON,
    counters: tuple[CounterKey, ...] = (SEARCH_TODAY, ALL_TODAY),
) -> Hold:
    return Hold(call_id, at, tuple((counter, Nanos(nanos)) for counter in counters))


def opened(call_id: str = "c1", *, at: datetime = NOON, team: str = "search", lost: int = 1_500) -> Opened:
    return Opened(
        row(call_id, at=at, team=team),
        hold(call_id, at=at),
        charge(lost, basis=Basis.ESTIMATED, flags=("lost",)),
    )


def settled(
    call_id: str = "c1",
    nanos: int | None = 7_500,
    *,
    at: datetime = NOON,
    team: str = "search",
    basis: Basis = Basis.REPORTED,
    alerts: tuple[Alert, ...] = (),
    trace_id: str = TRACE,
) -> Settled:
    """`nanos` None: the hold was released and nothing is charged."""
    money = None if nanos is None else charge(nanos, basis=basis)
    return Settled(row(call_id, at=at, team=team, outcome="answered", trace_id=trace_id), money, alerts)


def refused(call_id: str = "c1", *, at: datetime = NOON, alerts: tuple[Alert, ...] = ()) -> Refused:
    return Refused(row(call_id, at=at, outcome="refused"), alerts)


def alert(key: str = "budget:search:75") -> Alert:
    return Alert(
        key, "budget_threshold", Level.WARNING, NOON, SEARCH, "75% of budget used", {"current_cost": "0.0123"}
    )


def minutes(count: float) -> timedelta:
    return timedelta(minutes=count)
