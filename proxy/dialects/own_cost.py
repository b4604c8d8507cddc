"""What a provider says itself that a call cost: OpenRouter, xAI and Perplexity tell it beside their token counts."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from pricing.money import Nanos, nanos

ABSURD_USD = 1_000  # the dearest model, its context filled, stays below; no batch tells its cost this way
_TICKS_PER_USD = Decimal(10**10)


@dataclass(frozen=True, slots=True)
class OwnCost:
    """`nanos` is None where none is told, or none that could be true: then `problem` says why."""

    nanos: Nanos | None = None
    problem: str = ""


UNTOLD = OwnCost()


def read_own_cost(block: Any) -> OwnCost:
    """Of a usage block. Never raises."""
    if not isinstance(block, Mapping):
        return UNTOLD
    if block.get("cost_in_usd_ticks") is not None:
        return _amount(block["cost_in_usd_ticks"], "cost_in_usd_ticks", per_usd=_TICKS_PER_USD)
    told = block.get("cost")
    if isinstance(told, Mapping):
        return _of_perplexity(told)
    if told is None:
        return UNTOLD
    cost = _amount(told, "cost")
    return _with_upstream(cost, block) if block.get("is_byok") is True else cost


def _of_perplexity(told: Mapping[str, Any]) -> OwnCost:
    if told.get("total_cost") is None:
        return UNTOLD
    if told.get("currency") not in (None, "USD", "usd"):
        return OwnCost(problem="cost.currency is not USD")
    return _amount(told["total_cost"], "cost.total_cost")


def _with_upstream(fee: OwnCost, block: Mapping[str, Any]) -> OwnCost:
    """With a key of one's own OpenRouter's cost is its fee alone: the model is billed by whoever runs it."""
    details = block.get("cost_details")
    upstream = details.get("upstream_inference_cost") if isinstance(details, Mapping) else None
    if upstream is None or fee.nanos is None:
        return OwnCost(problem=fee.problem)
    cost = _amount(upstream, "upstream_inference_cost")
    if cost.nanos is None:
        return cost
    return OwnCost(_sum(block["cost"], upstream))


def _sum(*told: float) -> Nanos:
    """Rounded up once."""
    return nanos(sum((Decimal(str(one)) for one in told), Decimal(0)))


def _amount(told: Any, name: str, *, per_usd: Decimal = Decimal(1)) -> OwnCost:
    """A float is taken as it is written: by its shortest decimal."""
    if isinstance(told, bool) or not isinstance(told, int | float):
        return OwnCost(problem=f"{name} is no number")
    try:
        amount = Decimal(str(told)) / per_usd
    except (InvalidOperation, ValueError):  # an integer of thousands of digits
        return OwnCost(problem=f"{name} is absurd")
    if not amount.is_finite():
        return OwnCost(problem=f"{name} is no number")
    if amount < 0:
        return OwnCost(problem=f"{name} is negative")
    if amount > ABSURD_USD:
        return OwnCost(problem=f"{name} is absurd")
    try:
        return OwnCost(nanos(amount))
    except ValueError:  # more digits than money has use for
        return OwnCost(problem=f"{name} is no amount of money")
