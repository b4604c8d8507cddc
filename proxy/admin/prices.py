"""What a call would be charged at, and what a provider asks for its models: the price book, written out."""

import difflib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, time, timedelta
from typing import Any

from pricing.book import NAME_CHARS_MAX, Source
from pricing.money import usd
from pricing.overrides import ALWAYS, Basis, OverriddenBook
from pricing.price import EVERY_DAY, Price, Tariff, Window
from pricing.rates import PER, Rates
from proxy.settings import SAMPLE, Config

STALE_DAYS = 90
UNITS = {1: "each", 3_600: "hour"}
MILLION_OF = "1M"
NAMES = tuple(Rates.__dataclass_fields__)
LISTED = ("input", "output", "cache_read", "cache_write")

Row = dict[str, Any]
Validity = tuple[datetime, datetime | None]


def priced_as(name: str, config: Config) -> str:
    """Whose prices are meant: a provider of config.yaml may have those of another."""
    return config.price_provider(name) if name in config.providers or name == SAMPLE else name


# -- one model ------------------------------------------------------------------------------------------------------


def find(book: OverriddenBook, model: str, at: datetime, *, provider: str | None = None) -> list[Row]:
    """The price of a model at an instant: of the provider, or of each that knows the name. A price of `*`, which fits
    every name, is only told of a provider that is named."""
    if provider is not None:
        price = book.find(provider, model, at)
        return [] if price is None else [_found(book, book.catalogue.provider(provider), model, at, price)]
    found = ((seller, book.find_named(seller, model, at)) for seller in sellers(book))
    return [_found(book, seller, model, at, price) for seller, price in found if price is not None]


def suggest(book: OverriddenBook, model: str, *, provider: str | None = None) -> list[str]:
    """The nearest known names, the best first."""
    if provider is not None:
        near = book.suggest(provider, model)
        return [] if near is None else [near]
    near_each = {name for seller in sellers(book) if (name := book.suggest(seller, model)) is not None}
    return difflib.get_close_matches(model[:NAME_CHARS_MAX].lower(), sorted(near_each), n=3)


def sellers(book: OverriddenBook) -> list[str]:
    return sorted({*book.catalogue.providers, *(each.term.provider for each in book.overrides.prices)})


def known_provider(book: OverriddenBook, name: str) -> bool:
    return book.catalogue.provider(name) in sellers(book)


def _found(book: OverriddenBook, seller: str, model: str, at: datetime, price: Price) -> Row:
    basis = book.basis(seller, model, at)
    start, end = _validity(book, seller, model, at)
    source = book.catalogue.sources.get(price.provider)
    return {
        "provider": seller,
        "priced_as": price.provider,
        "model": price.model,
        "version": price.version,
        "source": "catalogue" if basis.override is None else "prices_file",
        "origin": _origin(book, basis, source),
        "checked": None if source is None or basis.override else source.checked.isoformat(),
        "discount_percent": None if basis.discount is None else f"{basis.discount.percent:f}",
        "at": _text(at),
        "from": None if start == ALWAYS else _text(start),
        "until": None if end is None else _text(end),
        **_tariff(price.standard),
        "variants": {name: _tariff(tariff) for name, tariff in price.variants.items()},
        "hours": list(_hours(book, seller, model, at, (start, end))),
        "context_tokens": price.context_tokens,
        "output_tokens_max": price.output_tokens_max,
        "audio_seconds_min": price.audio_seconds_min or None,
    }


def _origin(book: OverriddenBook, basis: Basis, source: Source | None) -> str:
    if basis.override is not None:
        return f"{book.overrides.version} {basis.override.label}"
    return "" if source is None else source.text


def _text(at: datetime) -> str:
    return at.astimezone(UTC).isoformat()


def _tariff(tariff: Tariff) -> Row:
    return {
        "rates": rates(tariff.rates),
        "tiers": [
            {"above_input_tokens": tier.above_input_tokens, "rates": rates(tier.rates)}
            for tier in tariff.tiers
        ],
    }


def rates(of: Rates) -> list[Row]:
    """Every rate that is told. What is not is billed as the class around it."""
    told = ((name, getattr(of, name)) for name in NAMES)
    return [
        {"class": name, "usd": usd(rate), "per": unit(name)}
        for name, rate in told
        if rate is not None
        and (rate or name != "request")  # a fee for each call is nothing almost everywhere
    ]


def unit(name: str) -> str:
    return UNITS[PER[name]] if name in PER else MILLION_OF


# -- when it holds --------------------------------------------------------------------------------------------------


def _validity(book: OverriddenBook, seller: str, model: str, at: datetime) -> Validity:
    """Since when and until when the same entries of the same files make the price."""
    entry, own = book.catalogue.entry(seller, book.basis(seller, model, at).model), book.overrides
    every = (*(each.term for each in own.prices), *(each.term for each in own.discounts))
    terms = [term for term in every if term.provider == seller]
    edges = {ALWAYS, *(term.start for term in terms), *(term.end for term in terms if term.end is not None)}
    if entry is not None:
        edges |= {start for start, _ in entry.prices}
    present, start = _made_of(book, seller, model, at), at
    for edge in sorted((edge for edge in edges if edge <= at), reverse=True):
        if _made_of(book, seller, model, edge) != present:
            break
        start = edge
    later = (edge for edge in sorted(edges) if edge > at and _made_of(book, seller, model, edge) != present)
    return start, next(later, None)


def _made_of(book: OverriddenBook, seller: str, model: str, at: datetime) -> tuple[int, int, datetime | None]:
    basis = book.basis(seller, model, at)
    period = _period(book, seller, basis, at)
    return id(basis.override), id(basis.discount), None if period is None else period[0]


def _period(book: OverriddenBook, seller: str, basis: Basis, at: datetime) -> tuple[datetime, Price] | None:
    """Of the catalogue, where the price is its."""
    entry = None if basis.override is not None else book.catalogue.entry(seller, basis.model)
    if entry is None:
        return None
    return next((dated for dated in entry.prices if dated[0] <= at), entry.prices[-1])


def _hours(book: OverriddenBook, seller: str, model: str, at: datetime, valid: Validity) -> Iterator[Row]:
    """The hours with prices of their own, and the others where it is such an hour. The book is asked for each, so that
    discounts are in them."""
    period = _period(book, seller, book.basis(seller, model, at), at)
    windows = () if period is None else period[1].windows
    for window in windows:
        when = next((each for each in _days(window.start, at, valid) if window.holds(each)), None)
        if when is not None:
            yield _hour(book, seller, model, when, window, holds=window.holds(at))
    if any(window.holds(at) for window in windows):
        ends = (each for window in windows for each in _days(window.end, at, valid))
        when = next((each for each in ends if not any(window.holds(each) for window in windows)), None)
        if when is not None:
            yield _hour(book, seller, model, when, None, holds=False)


def _hour(
    book: OverriddenBook, seller: str, model: str, when: datetime, window: Window | None, *, holds: bool
) -> Row:
    price = book.find_named(seller, model, when)
    assert price is not None, f"{model} has a price at {when}, within that of another hour"
    days = EVERY_DAY if window is None else window.days
    return {
        "from": None if window is None else f"{window.start:%H:%M}",
        "until": None if window is None else f"{window.end:%H:%M}",
        "days": None if days == EVERY_DAY else sorted(days),
        "holds": holds,
        **_tariff(price.standard),
        "variants": {name: _tariff(tariff) for name, tariff in price.variants.items()},
    }


def _days(clock: time, at: datetime, valid: Validity) -> Iterator[datetime]:
    """That time of the days around an instant, the next ones first, as far as the price holds."""
    start, end = valid
    for days in (*range(8), *range(-1, -8, -1)):
        when = datetime.combine((at.astimezone(UTC) + timedelta(days=days)).date(), clock, UTC)
        if start <= when and (end is None or when < end):
            yield when


# -- all models -----------------------------------------------------------------------------------------------------


def listed(book: OverriddenBook, provider: str, at: datetime) -> list[Row]:
    """What a provider asks for each of its models: the first four classes, in dollars for a million tokens."""
    seller = book.catalogue.provider(provider)
    source = book.catalogue.sources.get(seller)
    found = ((name, book.find_named(seller, name, at)) for name in _models(book, seller, at))
    return [
        _line(seller, name, price, source, at, is_own=book.basis(seller, name, at).override is not None)
        for name, price in found
        if price is not None
    ]


def _models(book: OverriddenBook, seller: str, at: datetime) -> Sequence[str]:
    own = (each.term for each in book.overrides.prices if each.term.provider == seller)
    exact = {term.pattern.text for term in own if term.pattern.is_exact and term.holds(at)}
    return sorted(exact | {entry.model for entry in book.catalogue.providers.get(seller, ())})


def _line(seller: str, name: str, price: Price, source: Source | None, at: datetime, *, is_own: bool) -> Row:
    told = {each: getattr(price.standard.rates, each) for each in LISTED}
    checked = None if is_own or source is None else source
    return {
        "provider": seller,
        "model": name,
        **{f"{each}_usd": None if rate is None else usd(rate) for each, rate in told.items()},
        "unit": MILLION_OF,
        "by_token": price.by_token,
        "source": "prices_file" if is_own else "catalogue",
        "checked": None if checked is None else checked.checked.isoformat(),
        "stale": checked is not None and is_stale(checked, at),
        "version": price.version,
    }


def providers(book: OverriddenBook, at: datetime) -> list[Row]:
    """Every provider of the catalogue: how many models, and how old its prices are."""
    return [
        {
            "provider": name,
            "models": len(entries),
            "checked": book.catalogue.sources[name].checked.isoformat(),
            "age_days": age_days(book.catalogue.sources[name], at),
            "stale": is_stale(book.catalogue.sources[name], at),
            "source": book.catalogue.sources[name].text,
            "pricing_urls": list(book.catalogue.sources[name].urls),
        }
        for name, entries in sorted(book.catalogue.providers.items())
    ]


def age_days(source: Source, at: datetime) -> int:
    return (at.astimezone(UTC).date() - source.checked).days


def is_stale(source: Source, at: datetime) -> bool:
    return age_days(source, at) > STALE_DAYS
