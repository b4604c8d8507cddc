"""The working of a charge: what was consumed of each class, at which unit price, and what that comes to."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from pricing.charge import PROVIDER_COST
from pricing.money import NANOS_PER_USD, nanos, usd
from pricing.overrides import Prices
from pricing.price import Part, Price
from pricing.usage import Usage
from proxy.settings import SAMPLE, Config

ABOVE = "charged above its classes: never under what was estimated or seen"
TOLD = "cost told by the provider: not worked out from its classes"
GONE = "the price of that version is not in this installation: its classes cannot be told"


def working(row: Mapping[str, Any], prices: Prices, config: Config) -> dict[str, Any]:
    """Parts, tier and a note of a call as the ledger shows it. The parts are worked out anew at the version that was
    charged: where that is not to be had, or they come to something else, the note says so."""
    if PROVIDER_COST in row["flags"]:
        return {"parts": [], "tier": row["service_tier"], "note": TOLD}
    usage = Usage(**row["usage"])
    price = _price_of(row, prices, config)
    if price is None:
        return {"parts": [], "tier": "", "note": GONE if row["price_version"] else ""}
    charged = nanos(row["cost_usd"] or "0")
    tiers = (row["service_tier"], "", *price.variants)
    exact = (tier for tier in tiers if price.cost(usage, service_tier=tier).nanos == charged)
    tier = next(exact, row["service_tier"])
    cost = price.cost(usage, service_tier=tier)
    return {
        "parts": [shown_part(part) for part in cost.parts],
        "tier": tier,
        "note": "" if cost.nanos == charged else ABOVE,
    }


def _price_of(row: Mapping[str, Any], prices: Prices, config: Config) -> Price | None:
    """The price that has the version of the charge: of the served model, of the one asked for, or a stand-in."""
    provider, at = row["provider"], datetime.fromisoformat(row["at"])
    if provider in config.providers or provider == SAMPLE:
        provider = config.price_provider(provider)
    found = (
        *(prices.find(provider, model, at) for model in (row["served_model"], row["model"]) if model),
        prices.dearest(provider, at),
    )
    return next((price for price in found if price and price.version == row["price_version"]), None)


def shown_part(part: Part) -> dict[str, Any]:
    nanos_exact = Decimal(part.quantity * part.rate) / part.per
    return {
        "class": part.name,
        "quantity": part.quantity,
        "unit_usd": usd(part.rate),
        "per": part.per,
        "cost_usd": f"{(nanos_exact / NANOS_PER_USD).normalize():f}",
    }
