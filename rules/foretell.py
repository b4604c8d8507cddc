"""What placing a call would come to by balances and buckets as they are told: nothing, a wait, or a refusal."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from pricing.estimate import Estimate
from rules.call import Call
from rules.counter import Balance, Claim, CounterKey, Limit, claims_of
from rules.matter import amount_of
from rules.rate import DRIPS, BucketKey, Level, Rate, wait_for
from rules.refusal import Refusal, refusal_of_limit, refusal_of_rate


@dataclass(frozen=True, slots=True)
class Obstacle:
    """What is in the way of a call. `limit` None: a rate."""

    refusal: Refusal
    limit: Limit | None = None
    waits: bool = False  # only other calls' holds are in the way: it stands in line first


def foretell(
    limits: Sequence[Limit],
    rates: Sequence[Rate],
    estimate: Estimate,
    call: Call,
    *,
    balance: Callable[[CounterKey], Balance],
    used: Callable[[BucketKey], int],
) -> Obstacle | None:
    """In the order of place itself: what is spent, then rates, then what is held for others."""
    claims = claims_of(limits, estimate)
    return (
        _over(claims, call, balance)
        or _too_soon(rates, estimate, call, used)
        or _crowded(claims, call, balance)
    )


def _over(claims: Iterable[Claim], call: Call, balance: Callable[[CounterKey], Balance]) -> Obstacle | None:
    for claim in claims:
        now = balance(claim.counter)
        for limit in claim.limits:
            if limit.nanos is not None and (limit.nanos == 0 or now.spent + claim.amount > limit.nanos):
                return Obstacle(refusal_of_limit(limit, now, claim.amount, call), limit)
    return None


def _crowded(
    claims: Iterable[Claim], call: Call, balance: Callable[[CounterKey], Balance]
) -> Obstacle | None:
    for claim in claims:
        now = balance(claim.counter)
        for limit in reversed(claim.limits):  # as place does: the last of one counter speaks
            if limit.nanos is not None and now.spent + now.held + claim.amount > limit.nanos:
                return Obstacle(refusal_of_limit(limit, now, claim.amount, call), limit, waits=True)
    return None


def _too_soon(
    rates: Iterable[Rate], estimate: Estimate, call: Call, used: Callable[[BucketKey], int]
) -> Obstacle | None:
    """Of the rate that would let it pass last."""
    latest, found = 0, None
    for rate in rates:
        if rate.watched:
            continue
        now, amount = used(rate.bucket), amount_of(rate.bucket.measure, estimate)
        wait = wait_for(Level(now * DRIPS), rate, amount, 0)
        if wait > latest:
            latest, found = wait, Obstacle(refusal_of_rate(rate, now, amount, wait / 1_000_000, call))
    return found
