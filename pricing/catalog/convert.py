"""From the objects of the genai-prices package to our catalogue files: prices per million become integers; dated
prices, hours of the day and request variants become whole tariffs, so that nothing is merged when a call is priced."""

from collections.abc import Iterable, Mapping
from datetime import UTC, time
from decimal import ROUND_CEILING, Decimal
from typing import Any

RATES = {
    "input_mtok": "input",
    "output_mtok": "output",
    "cache_read_mtok": "cache_read",
    "cache_write_mtok": "cache_write",
    "cache_write_1h_mtok": "cache_write_1h",
    "input_audio_mtok": "input_audio",
    "output_audio_mtok": "output_audio",
    "cache_audio_read_mtok": "cache_read_audio",
    "input_image_mtok": "input_image",
    "output_image_mtok": "output_image",
    "cache_image_read_mtok": "cache_read_image",
    "input_video_mtok": "input_video",
    "output_video_mtok": "output_video",
    "output_reasoning_mtok": "reasoning",
    "output_citation_mtok": "citation",
    "input_mchars": "characters",
    "audio_hours": "audio_hour",
    "web_searches_kcount": "web_search",
    "storage_searches_kcount": "file_search",
    "requests_kcount": "request",
    "input_text_messages_kcount": "message",
    "input_document_kpages": "page",
    "input_annotated_document_kpages": "annotated_page",
}
SAME_AS_ANOTHER = {"input_audio_hours": "audio_hours"}  # wherever both stand they are equal
PER_THOUSAND = ("web_search", "file_search", "request", "message", "page", "annotated_page")
TIER_KEYS = ("service_tier", "processing", "speed")
NANOS_PER_USD = 1_000_000_000
NOISE = Decimal("0.001")  # of a nano-dollar: how far a price that was a float once may lie from a whole one


def convert_model(model: Any, *, free: bool) -> dict[str, Any] | None:
    """One model of genai-prices as an entry of our files, without its limits. None where it tells no price at all and
    is not known to be free."""
    periods = [_period(model, start) for start in _starts(model)]
    if not free and not all(period["standard"]["rates"] for period in periods):
        return None
    names, rest = split_clause(_clause(model.match))
    entry: dict[str, Any] = {"id": model.id.lower(), "prices": periods}
    if names:
        entry["names"] = [name for name in names if name != entry["id"]]
    if rest is not None:
        entry["match"] = rest
    return entry


def split_clause(clause: dict[str, Any]) -> tuple[list[str], dict[str, Any] | None]:
    """Plain names, which are looked up, and the clause that is left to be asked."""
    parts = clause.get("or", [clause])
    names = [part["equals"] for part in parts if "equals" in part]
    rest = [part for part in parts if "equals" not in part]
    if not rest:
        return names, None
    return names, rest[0] if len(rest) == 1 else {"or": rest}


def _conditional(model: Any) -> list[tuple[Any, Any]]:
    """(constraint, prices) in order; of those that hold, the last is meant."""
    if isinstance(model.prices, list):
        return [(each.constraint, each.prices) for each in model.prices]
    return [(None, model.prices)]


def _starts(model: Any) -> list[str | None]:
    """Every date on which something changes; None is the beginning."""
    constraints = [constraint for constraint, _ in _conditional(model)]
    constraints += [variant.constraint for variant in model.price_variants or ()]
    dates = {each.start_date.isoformat() for each in constraints if hasattr(each, "start_date")}
    return [None, *sorted(dates)]


def _period(model: Any, start: str | None) -> dict[str, Any]:
    """What holds from a date to the next: the price, and the hours at which another one holds."""
    held, windows = None, []
    for constraint, prices in _conditional(model):
        if hasattr(constraint, "start_time"):
            windows.append((constraint, prices))
        elif constraint is None or (start is not None and constraint.start_date.isoformat() <= start):
            held, windows = prices, []  # what stood before it is never reached again
    assert held is not None, f"{model.id} has no price from the beginning"
    period: dict[str, Any] = {"from": start, **_tariffs(model, _fields(held), start)}
    if windows:
        period["windows"] = [
            {
                "from": _clock(constraint.start_time),
                "until": _clock(constraint.end_time),
                **_tariffs(model, _fields(prices), start),
            }
            for constraint, prices in windows
        ]
    return period


def _clock(at: time) -> str:
    assert at.tzinfo in (UTC, None), f"{at} is not in UTC"
    assert at.second == at.microsecond == 0, f"{at} is within a minute"
    return at.strftime("%H:%M")


def _tariffs(model: Any, standard: dict[str, Any], start: str | None) -> dict[str, Any]:
    tariffs: dict[str, Any] = {"standard": _tariff(standard)}
    variants = {name: _tariff({**standard, **found}) for name, found in _variants_at(model, start).items()}
    if variants:
        tariffs["variants"] = variants
    return tariffs


def _variants_at(model: Any, start: str | None) -> dict[str, dict[str, Any]]:
    """By the tier's name; the first variant that sets a field wins, as in the source. What is chosen by something else
    than a tier has its key before its name."""
    found: dict[str, dict[str, Any]] = {}
    for variant in model.price_variants or ():
        constraint = variant.constraint
        if constraint is not None and (start is None or start < constraint.start_date.isoformat()):
            continue
        ((key, value),) = variant.when.items()
        into = found.setdefault(value if key in TIER_KEYS else f"{key}={value}", {})
        for field, price in _fields(variant.prices).items():
            into.setdefault(field, price)
    if not any(found.pop("default", {}).values()):
        return found
    raise ValueError(f"{model.id} has a default tier that is not its standard price")


def _fields(prices: Any) -> dict[str, Any]:
    """By our names. Raises ValueError for a unit that has no rate here, so that none is lost in silence."""
    fields = {name: price for name, price in vars(prices).items() if price is not None}
    for name, other in SAME_AS_ANOTHER.items():
        if name in fields and fields.pop(name) != fields.get(other):
            raise ValueError(f"{name} is not the same as {other}")
    unknown = fields.keys() - RATES.keys()
    if unknown:
        raise ValueError(f"no rate for {', '.join(sorted(unknown))}")
    return {RATES[name]: price for name, price in fields.items()}


def _tariff(prices: Mapping[str, Any]) -> dict[str, Any]:
    """Tiers stand at each field in the source; here each tier is a whole set of rates."""
    edges = sorted({tier.start for price in prices.values() for tier in getattr(price, "tiers", ())})
    tariff: dict[str, Any] = {"rates": _rates(prices, 0)}
    if edges:
        tariff["tiers"] = [{"above": edge, "rates": _rates(prices, edge)} for edge in edges]
    return tariff


def _rates(prices: Mapping[str, Any], edge: int) -> dict[str, int]:
    return {name: _rate(name, price, edge) for name, price in prices.items()}


def _rate(name: str, price: Any, edge: int) -> int:
    """Nano-dollars for as many as `pricing.price.PER` says. Whole: the noise of a float is taken off, and what is a
    fraction all the same is rounded up."""
    value = price.base if hasattr(price, "base") else price
    for tier in getattr(price, "tiers", ()):
        if edge and tier.start <= edge:
            value = tier.price
    exact = Decimal(value) * NANOS_PER_USD / (1000 if name in PER_THOUSAND else 1)
    nearest = exact.to_integral_value()
    return int(nearest if abs(exact - nearest) <= NOISE else exact.to_integral_value(ROUND_CEILING))


def _clause(match: Any) -> dict[str, Any]:
    for theirs, ours in (("or_", "or"), ("and_", "and")):
        inner: Iterable[Any] | None = getattr(match, theirs, None)
        if inner is not None:
            return {ours: [_clause(each) for each in inner]}
    for kind in ("equals", "starts_with", "ends_with", "contains"):
        value = getattr(match, kind, None)
        if value is not None:
            return {kind: value.lower()}  # names are compared in lower case
    return {"regex": match.regex}
