"""From the objects of the genai-prices package to our catalogue files: prices per million become integers, dated
prices and request variants become whole tariffs, so that nothing has to be merged when a call is priced."""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

RATES = {
    "input_mtok": "input",
    "output_mtok": "output",
    "cache_read_mtok": "cache_read",
    "cache_write_mtok": "cache_write",
    "cache_write_1h_mtok": "cache_write_1h",
    "input_audio_mtok": "input_audio",
    "output_audio_mtok": "output_audio",
    "input_image_mtok": "input_image",
    "output_image_mtok": "output_image",
}
PER_THOUSAND = {"web_searches_kcount": "web_search"}
VARIANT_KEYS = ("service_tier", "processing", "speed")
NANOS_PER_USD = 1_000_000_000


def convert(
    provider: Any, *, source: str, checked: str, limits: Mapping[str, tuple[int, int]]
) -> dict[str, Any]:
    """One provider of genai-prices as a catalogue file. Models without a token price are left out: they are billed by
    the second, the character or the picture, which no metered path of ours uses."""
    models = [_model(model, limits) for model in provider.models]
    return {
        "provider": provider.id,
        "source": source,
        "checked": checked,
        "pricing_urls": list(provider.pricing_urls or ()),
        "models": [model for model in models if model is not None],
    }


def _model(model: Any, limits: Mapping[str, tuple[int, int]]) -> dict[str, Any] | None:
    dated = model.prices if isinstance(model.prices, list) else [None]
    prices = []
    starts = _starts(model)
    for start in starts:
        standard = _standard_at(model, dated, start)
        if "input" not in _flat(standard) and "output" not in _flat(standard):
            continue
        variants = {
            name: _tariff({**standard, **found})
            for name, found in _variants_at(model, start).items()
            if found
        }
        price: dict[str, Any] = {"from": start, "standard": _tariff(standard)}
        if variants:
            price["variants"] = variants
        prices.append(price)
    if not prices:
        return None
    entry: dict[str, Any] = {"id": model.id.lower(), "match": _clause(model.match), "prices": prices}
    context, output = limits.get(model.id.lower(), (model.context_window, None))
    if context or model.context_window:
        entry["context"] = max(context or 0, model.context_window or 0)
    if output:
        entry["max_output"] = output
    return entry


def _starts(model: Any) -> list[str | None]:
    """Every date on which something changes; None is the beginning."""
    dates: set[str] = set()
    conditional = model.prices if isinstance(model.prices, list) else []
    for holder in (*conditional, *(model.price_variants or ())):
        if holder.constraint is not None:
            dates.add(holder.constraint.start_date.isoformat())
    return [None, *sorted(dates)]


def _active(constraint: Any, start: str | None) -> bool:
    return constraint is None or (start is not None and constraint.start_date.isoformat() <= start)


def _standard_at(model: Any, dated: list[Any], start: str | None) -> dict[str, Any]:
    if dated == [None]:
        return _fields(model.prices)
    found = dated[0].prices
    for each in dated:
        if _active(each.constraint, start):
            found = each.prices
    return _fields(found)


def _variants_at(model: Any, start: str | None) -> dict[str, dict[str, Any]]:
    """By the tier's name; the first variant that sets a field wins, as in the source."""
    found: dict[str, dict[str, Any]] = {}
    for variant in model.price_variants or ():
        if not _active(variant.constraint, start) or len(variant.when) != 1:
            continue
        ((key, name),) = variant.when.items()
        if key in VARIANT_KEYS:
            into = found.setdefault(name, {})
            for field, price in _fields(variant.prices).items():
                into.setdefault(field, price)
    found.pop("default", None)
    return found


def _fields(prices: Any) -> dict[str, Any]:
    known = {**RATES, **PER_THOUSAND}
    return {
        ours: price for theirs, ours in known.items() if (price := getattr(prices, theirs, None)) is not None
    }


def _flat(prices: Mapping[str, Any]) -> set[str]:
    return set(prices)


def _tariff(prices: Mapping[str, Any]) -> dict[str, Any]:
    """Tiers stand at each field in the source; here each tier is a whole set of rates."""
    edges = sorted({tier.start for price in prices.values() for tier in getattr(price, "tiers", ())})
    tariff: dict[str, Any] = {"rates": {name: _rate(name, price, 0) for name, price in prices.items()}}
    if edges:
        tariff["tiers"] = [
            {"above": edge, "rates": {name: _rate(name, price, edge) for name, price in prices.items()}}
            for edge in edges
        ]
    return tariff


def _rate(name: str, price: Any, edge: int) -> int:
    """Nano-dollars per million, or each for what is counted by the thousand; exact, or an error."""
    value = price.base if hasattr(price, "base") else price
    for tier in getattr(price, "tiers", ()):
        if edge and tier.start <= edge:
            value = tier.price
    exact = Decimal(value) * NANOS_PER_USD
    if name in PER_THOUSAND.values():
        exact /= 1000
    if exact != exact.to_integral_value():
        raise ValueError(f"{name} of {value} is no whole number of nano-dollars")
    return int(exact)


def _clause(match: Any) -> dict[str, Any]:
    for theirs, ours in (("or_", "or"), ("and_", "and")):
        inner: Iterable[Any] | None = getattr(match, theirs, None)
        if inner is not None:
            return {ours: [_clause(each) for each in inner]}
    for kind in ("equals", "starts_with", "ends_with", "contains", "regex"):
        value = getattr(match, kind, None)
        if value is not None:
            return {kind: getattr(value, "pattern", value)}
    raise ValueError(f"unknown clause {match!r}")
