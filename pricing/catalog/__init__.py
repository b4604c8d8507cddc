"""The prices that come with Spendgate: data files with their source, and how they become a price book.

Prices come from genai-prices (MIT). Context and output limits are facts of two public tables; where these disagree,
the larger output limit stands, because a ceiling must not be too low.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from hashlib import sha256
from importlib.resources import files
from typing import Any

import orjson

from pricing.book import Entry, PriceBook
from pricing.catalog.match import matcher
from pricing.price import Price, Rates, Tariff, Tier

PROVIDERS = ("openai", "anthropic")
ALWAYS = datetime(1970, 1, 1, tzinfo=UTC)


def load() -> PriceBook:
    """Every provider's file. Raises KeyError or TypeError where a file is not what the converter writes."""
    entries: list[Entry] = []
    for name in PROVIDERS:
        data = orjson.loads(files("pricing.catalog").joinpath(f"{name}.json").read_bytes())
        entries += [_entry(name, model) for model in data["models"]]
    return PriceBook(entries)


def _entry(provider: str, model: Mapping[str, Any]) -> Entry:
    matches: Callable[[str], bool] = matcher(model["match"])
    prices = sorted(
        ((_instant(each["from"]), _price(provider, model, each)) for each in model["prices"]), key=_start
    )
    return Entry(provider, model["id"], matches, tuple(reversed(prices)))


def _start(dated: tuple[datetime, Price]) -> datetime:
    return dated[0]


def _instant(date: str | None) -> datetime:
    return ALWAYS if date is None else datetime.fromisoformat(date).replace(tzinfo=UTC)


def _price(provider: str, model: Mapping[str, Any], dated: Mapping[str, Any]) -> Price:
    digest = sha256(orjson.dumps(dated, option=orjson.OPT_SORT_KEYS)).hexdigest()[:8]
    return Price(
        provider=provider,
        model=model["id"],
        version=f"{provider}/{model['id']}@{dated['from'] or 'start'}#{digest}",
        standard=_tariff(dated["standard"]),
        variants={name: _tariff(tariff) for name, tariff in dated.get("variants", {}).items()},
        context_tokens=model.get("context"),
        output_tokens_max=model.get("max_output"),
    )


def _tariff(data: Mapping[str, Any]) -> Tariff:
    tiers = tuple(Tier(each["above"], Rates(**each["rates"])) for each in data.get("tiers", ()))
    return Tariff(Rates(**data["rates"]), tiers)
