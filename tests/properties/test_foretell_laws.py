"""What is foretold of placing a call is what placing it then does, whatever is spent, held and in use."""

from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from pricing.estimate import Estimate
from pricing.money import Nanos
from proxy.holds import Crowded, OverBudget, Paced
from proxy.holds.local import LocalHolds
from rules.counter import Claim, CounterKey, HoldMode, Limit, claims_of, counter_at, in_flight
from rules.foretell import Obstacle, foretell
from rules.matter import amount_of
from rules.measure import Measure
from rules.rate import BucketKey, Pour, Rate
from rules.scope import EVERYONE, Scope, ScopeKind
from rules.window import Period
from tests.properties.test_holds_machine import run
from tests.unit.rules.build import call

NOON = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
SEARCH = Scope(ScopeKind.TEAM, "search")
COUNTERS = (
    counter_at(EVERYONE, Period.MONTHLY, "UTC", NOON),
    counter_at(SEARCH, Period.DAILY, "UTC", NOON),
    in_flight(SEARCH),
)
few = st.integers(0, 12)
limits = st.lists(
    st.builds(
        lambda counter, nanos, n, hold: Limit(counter, nanos, f"b{n}", hold),
        st.sampled_from(COUNTERS),
        st.none() | few,
        st.integers(0, 9),
        st.sampled_from(HoldMode),
    ),
    min_size=1,
    max_size=5,
)
rates = st.lists(
    st.builds(
        lambda measure, capacity, per_minute, n, watched: Rate(
            BucketKey(SEARCH, measure, 1, f"r{n}"), capacity, per_minute, f"r{n}", watched=watched
        ),
        st.sampled_from([Measure.REQUESTS, Measure.TOKENS, Measure.SPEND]),
        st.none() | st.integers(1, 9),
        st.integers(1, 9),
        st.integers(0, 9),
        st.booleans(),
    ),
    max_size=3,
    unique_by=lambda rate: rate.owner,
)


@settings(max_examples=600)
@given(
    limits=limits,
    rates=rates,
    spent=st.dictionaries(st.sampled_from(COUNTERS[:2]), few),
    held=st.dictionaries(st.sampled_from(COUNTERS), few),
    poured=st.lists(few, min_size=3, max_size=3),
    expected=few,
    more=few,
)
def test_it_agrees_with_placing(
    limits: list[Limit],
    rates: list[Rate],
    spent: dict[CounterKey, int],
    held: dict[CounterKey, int],
    poured: list[int],
    expected: int,
    more: int,
) -> None:
    holds = LocalHolds(queue_max=9)
    for counter in COUNTERS[:2]:
        holds.seed(counter, Nanos(spent.get(counter, 0)))
    before = [Pour(rate, amount) for rate, amount in zip(rates, poured, strict=False)]
    run(holds.place("others", [Claim(key, Nanos(amount), ()) for key, amount in held.items()], NOON))
    if before:
        holds.buckets.pour("others", before, NOON)
    made = Estimate(Nanos(expected), Nanos(expected + more), 0.9, "test", 2, 2, 3, 3)

    told = foretell(
        limits, rates, made, call(), balance=holds.balance, used=lambda key: holds.used(key, NOON)
    )

    pours = [Pour(rate, amount_of(rate.bucket.measure, made)) for rate in rates]
    assert told_in_short(told) == placed(holds, claims_of(limits, made), pours)


def told_in_short(told: Obstacle | None) -> tuple[str, str | None]:
    if told is None:
        return "placed", None
    kind = "crowded" if told.waits else "too soon" if told.limit is None else "over"
    return kind, told.refusal.rule_id


def placed(holds: LocalHolds, claims: tuple[Claim, ...], pours: list[Pour]) -> tuple[str, str | None]:
    try:
        run(holds.place("mine", claims, NOON, pours=pours, now=NOON))
    except OverBudget as over:
        return "over", over.limit.owner
    except Crowded as crowded:
        return "crowded", crowded.limit.owner
    except Paced as late:
        return "too soon", late.rate.owner
    return "placed", None
