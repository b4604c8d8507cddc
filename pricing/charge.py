"""What a call is charged, for every way it can end."""

from dataclasses import dataclass, replace
from enum import StrEnum

from pricing.estimate import Estimate, usage_of
from pricing.money import Nanos, usd
from pricing.price import Price
from pricing.usage import Usage


class Basis(StrEnum):
    """Where a charge's figures come from, from the firmest to the weakest."""

    REPORTED = "reported"  # the provider's usage block
    OBSERVED = "observed"  # what passed through us, counted
    ESTIMATED = "estimated"  # the estimate made before the call


class Outcome(StrEnum):
    """How a call ended, as the money rules see it."""

    NOT_SENT = "not_sent"  # never connected, or nothing sent
    PROVIDER_REFUSED = "provider_refused"  # 4xx with an answer
    ANSWERED = "answered"  # 2xx, complete
    BROKEN = "broken"  # 2xx begun, then cut, reset or timed out by the provider
    FAILED = "failed"  # 5xx, timeout or reset after the request was sent, before an answer
    UNPROVEN = "unproven"  # a reused connection died with no byte back
    CLIENT_LEFT = "client_left"  # the client went away and the upstream was cancelled
    LOST = "lost"  # this process died in between
    UNREADABLE = "unreadable"  # 2xx in a coding that cannot be read


PROVIDER_COST = "provider_cost"
"""The flag of a charge that is the provider's own figure."""


@dataclass(frozen=True, slots=True)
class Charge:
    """One entry of the ledger. `nanos` follows from `usage` at the price named by `price_version`, unless the
    provider's own figure is used. `flags` are few, fixed words; `reason` is one plain sentence, empty when
    the provider reported and nothing is unusual."""

    nanos: Nanos
    basis: Basis
    usage: Usage
    price_version: str
    flags: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Seen:
    """Output that passed through us, in tokens, and what 250 ms of it were at its own rate."""

    output_tokens: int = 0
    quarter_second_tokens: int = 0


def charge_for(
    outcome: Outcome,
    *,
    price: Price,
    estimate: Estimate,
    usage: Usage | None,
    suspect: bool = False,
    final: bool = True,
    seen: Seen = Seen(),
    service_tier: str = "",
    asked_tier: str = "",
    unpriced: bool = False,
    own_cost: Nanos | None = None,
    own_cost_problem: str = "",
) -> Charge | None:
    """The money rules, row by row. None: the hold is released and nothing is charged. `service_tier` is the one that
    the provider told of. `final`: no output came after the usage. `own_cost` is what the provider says that it cost,
    where that counts; the problem is why what it says cannot be true."""
    service_tier = service_tier or _untold_tier(price, asked_tier)
    flags = ("unknown_price",) if unpriced else ()
    if outcome is Outcome.NOT_SENT:
        return None
    if outcome is Outcome.UNPROVEN:
        return Charge(
            Nanos(0),
            Basis.ESTIMATED,
            Usage(),
            price.version,
            (*flags, "unproven"),
            "a reused connection died unanswered",
        )
    if outcome is Outcome.PROVIDER_REFUSED:
        return Charge(Nanos(0), Basis.REPORTED, Usage(), price.version, flags)
    if usage is not None and final and not suspect and outcome is not Outcome.LOST:
        charge = _reported(price, usage, flags, service_tier)
        return _at_own_cost(charge, flags, own_cost, own_cost_problem)
    if outcome in _ESTIMATED:
        return _estimated(outcome, price, estimate, flags, seen, service_tier)
    told_early = usage is not None and not final and not suspect and usage.input_tokens > 0
    counted = _counted(outcome, estimate, seen, usage if told_early else None)
    return _observed(outcome, price, counted, usage, suspect, flags, service_tier)


def _untold_tier(price: Price, asked: str) -> str:
    """The dearer of the standard tier and the one asked for: a call may be served in either."""
    dear, plain = price.tariff(asked).rates, price.standard.rates
    return asked if dear.input + dear.output > plain.input + plain.output else ""


def _reported(price: Price, usage: Usage, flags: tuple[str, ...], service_tier: str) -> Charge:
    cost = price.cost(usage, service_tier=service_tier)
    if not cost.unpriced:
        return Charge(cost.nanos, Basis.REPORTED, usage, price.version, flags)
    reason = f"no price is known for {', '.join(cost.unpriced)}: searches are charged as the dearest known"
    return Charge(cost.nanos, Basis.REPORTED, usage, price.version, (*flags, "unpriced_class"), reason)


def _at_own_cost(charge: Charge, flags: tuple[str, ...], told: Nanos | None, problem: str) -> Charge:
    """The provider's figure in place of ours, which the reason keeps. Noughts for what has a price are not believed."""
    if told == 0 and charge.nanos:
        problem = "it is 0, and tokens were billed"
    if problem:
        why = f"the cost that the provider told cannot be true ({problem}): charged by its price"
        reason = f"{why}; {charge.reason}" if charge.reason else why
        return replace(charge, flags=(*charge.flags, "usage_suspect"), reason=reason)
    if told is None:
        return charge
    reason = ""
    if told != charge.nanos:
        reason = f"the provider told its cost, ${usd(told)}: by its price it would be ${usd(charge.nanos)}"
    return replace(charge, nanos=told, flags=(*flags, PROVIDER_COST), reason=reason)


_ESTIMATED = {
    Outcome.FAILED: ((), "the provider failed after the request was sent"),
    Outcome.LOST: (("lost",), "the process died during the call"),
    Outcome.UNREADABLE: (("unreadable",), "the answer came in a coding that cannot be read"),
}


def _estimated(
    outcome: Outcome,
    price: Price,
    estimate: Estimate,
    flags: tuple[str, ...],
    seen: Seen,
    service_tier: str,
) -> Charge:
    """Nobody says what it cost and the provider may have done the work: input and the likely output, never under
    what was seen."""
    output = max(estimate.output_tokens, seen.output_tokens)
    usage = usage_of(estimate.beside, input_tokens=estimate.input_tokens, output_tokens=output)
    nanos = max(price.cost(usage, service_tier=service_tier).nanos, estimate.expected)
    flag, reason = _ESTIMATED[outcome]
    return Charge(nanos, Basis.ESTIMATED, usage, price.version, (*flags, *flag), reason)


_REASONS = {
    Outcome.ANSWERED: "the provider reported no usage",
    Outcome.BROKEN: "the provider's answer broke off before its usage",
    Outcome.CLIENT_LEFT: "the client left and the call was cancelled",
}


def _counted(outcome: Outcome, estimate: Estimate, seen: Seen, told_early: Usage | None) -> Usage:
    """Input as the provider told it before the output, else as it was counted; output as it passed through us."""
    output = seen.output_tokens
    if outcome is Outcome.CLIENT_LEFT:
        output += seen.quarter_second_tokens
    if told_early is not None:
        return replace(told_early, output_tokens=max(told_early.output_tokens, output))
    return usage_of(estimate.beside, input_tokens=estimate.input_tokens, output_tokens=output)


def _observed(
    outcome: Outcome,
    price: Price,
    counted: Usage,
    usage: Usage | None,
    suspect: bool,
    flags: tuple[str, ...],
    service_tier: str,
) -> Charge:
    """What was counted. Of a usage that fails its check the plausible part counts where
    it is more: an error of the provider's must not make a call cheap."""
    best, nanos = counted, price.cost(counted, service_tier=service_tier).nanos
    if usage is not None:
        told = price.cost(usage, service_tier=service_tier).nanos
        if told > nanos:
            best, nanos = usage, told
    if suspect:
        reason = (
            "the provider's usage failed its check; charged at the larger of what it says and what was seen"
        )
        return Charge(nanos, Basis.OBSERVED, best, price.version, (*flags, "usage_suspect"), reason)
    return Charge(nanos, Basis.OBSERVED, best, price.version, flags, _REASONS[outcome])
