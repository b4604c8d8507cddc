"""Prices of one's own over those of the catalogue: negotiated, self-hosted, of models that nobody else knows.

Read `OverriddenBook.find` first. An exact name goes before a glob, a glob before the catalogue, the catalogue before
`*`; among equals the latest start that is not after the call.
"""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Protocol, TypeVar

from pricing.book import NAME_CHARS_MAX, REMEMBERED_MAX, PriceBook
from pricing.names import forms
from pricing.overrides_pattern import Pattern
from pricing.overrides_spec import APART, less
from pricing.price import Price, Rates, Tariff

VERSION_CHARS_MAX = 256  # as the ledger's column

ALWAYS = datetime(1970, 1, 1, tzinfo=UTC)
_UNTOLD = Rates()


class Prices(Protocol):
    """What the path of a call asks of prices: the catalogue's book has it, and so has one with overrides."""

    def find(self, provider: str, model: str, at: datetime) -> Price | None: ...

    def dearest(self, provider: str, at: datetime) -> Price: ...

    def suggest(self, provider: str, model: str) -> str | None: ...


class NamedPrices(Prices, Protocol):
    """What the end of a call asks beside that: prices of what a provider says that it served."""

    def find_named(self, provider: str, model: str, at: datetime) -> Price | None: ...


# -- what a file comes to ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Term:
    """For which models of a provider something holds, and when: from its start on, until before its end."""

    provider: str
    pattern: Pattern
    start: datetime
    end: datetime | None

    def holds(self, at: datetime) -> bool:
        return self.start <= at and (self.end is None or at < self.end)

    @property
    def order(self) -> tuple[tuple[bool, int, int], datetime]:
        """The higher goes first."""
        return self.pattern.rank, self.start

    def is_tied_with(self, other: "Term") -> bool:
        """Would some call at some instant find both, with nothing to choose between them?"""
        return (
            (self.provider, self.order) == (other.provider, other.order)
            and self.pattern.can_meet(other.pattern)  # the same start: their times meet in it
        )


@dataclass(frozen=True, slots=True, eq=False)
class Override:
    """One entry of `prices`."""

    term: Term
    label: str
    standard: Tariff
    variants: Mapping[str, Tariff]
    told: frozenset[str]
    """The kinds that the standard price names."""
    context_tokens: int | None = None
    output_tokens_max: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Discount:
    """One pattern of an entry of `discounts`."""

    term: Term
    percent: Decimal


@dataclass(frozen=True, slots=True)
class Overrides:
    """A whole file, in the order of preference."""

    version: str = ""
    prices: tuple[Override, ...] = ()
    discounts: tuple[Discount, ...] = ()
    aliases: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Basis:
    """What makes the price of a name at an instant."""

    model: str  # what the catalogue is asked for: the name itself, or what it is an alias of
    override: Override | None
    discount: Discount | None


NONE = Overrides()
"""No prices file: every price is the catalogue's."""


# -- how a name finds its price ---------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Name:
    """All that may hold for one name, whenever the call is. Found once for each name, then remembered."""

    model: str  # what the catalogue is asked for
    is_alias: bool
    named: tuple[Override, ...]
    default: tuple[Override, ...]
    discounts: tuple[Discount, ...]
    made: dict[tuple[int, int, str], tuple[Price | None, Price]] = field(default_factory=dict)
    """What was made, beside the catalogue's price that it was made of."""


class OverriddenBook:
    """The catalogue's book with overrides before it. Immutable but for its memory of names."""

    def __init__(self, catalogue: PriceBook, overrides: Overrides = NONE) -> None:
        self.overrides = overrides
        self._catalogue = catalogue
        self._has_any = bool(overrides.prices or overrides.discounts or overrides.aliases)
        self._remembered: dict[tuple[str, str], _Name] = {}

    def find(self, provider: str, model: str, at: datetime) -> Price | None:
        """The price of a model at an instant; that of `*` where nobody knows the name. None where there is none."""
        found = self.find_named(provider, model, at)
        if found is not None or not self._has_any or len(model) > NAME_CHARS_MAX:
            return found
        name = self._name(provider, model)
        default = _in_force(name.default, at)
        return None if default is None else self._made(name, default, None, at)

    def find_named(self, provider: str, model: str, at: datetime) -> Price | None:
        """Without `*`: what a provider says that it served is charged as such only where it is known."""
        if len(model) > NAME_CHARS_MAX:
            return None
        if not self._has_any:
            return self._catalogue.find(provider, model, at)
        name = self._name(provider, model)
        listed = self._catalogue.find(provider, name.model, at)
        override = _in_force(name.named, at)
        if override is None and listed is None:
            return None
        return self._made(name, override, listed, at)

    @property
    def catalogue(self) -> PriceBook:
        return self._catalogue

    def basis(self, provider: str, model: str, at: datetime) -> Basis:
        """What of the file stands behind the answer of `find`."""
        if len(model) > NAME_CHARS_MAX:
            return Basis(model, None, None)
        name = self._name(provider, model)
        override = _in_force(name.named, at)
        if override is None and self._catalogue.entry(provider, name.model) is None:
            override = _in_force(name.default, at)
        return Basis(name.model, override, _in_force(name.discounts, at))

    def dearest(self, provider: str, at: datetime) -> Price:
        """What an unknown model is charged at: the dearest by output of the catalogue and of the overrides in force,
        before discounts."""
        seller, listed = self._catalogue.provider(provider), self._catalogue.dearest(provider, at)
        own = (each for each in self.overrides.prices if each.term.provider == seller and each.term.holds(at))
        top = max(own, key=lambda each: each.standard.rates.output, default=None)
        if top is None or top.standard.rates.output <= listed.standard.rates.output:
            return listed
        model = top.term.pattern.text
        made = _overridden(top, self._catalogue.find(provider, model, at), model)
        return replace(made, version=self._version(top.label, Decimal(0)))

    def suggest(self, provider: str, model: str) -> str | None:
        """The nearest known name: of the catalogue, of an override or an alias."""
        seller, listed = self._catalogue.provider(provider), self._catalogue.suggest(provider, model)
        known = [each.term for each in self.overrides.prices if each.term.provider == seller]
        names = [term.pattern.text for term in known if term.pattern.is_exact]
        names += [*self.overrides.aliases, *([listed] if listed else [])]
        return next(iter(difflib.get_close_matches(model[:NAME_CHARS_MAX].lower(), names, n=1)), None)

    def _name(self, provider: str, model: str) -> _Name:
        asked = (provider, model)
        found = self._remembered.get(asked)
        if found is None:
            if len(self._remembered) >= REMEMBERED_MAX:
                del self._remembered[next(iter(self._remembered))]
            found = self._remembered[asked] = self._look_up(provider, model)
        return found

    def _look_up(self, provider: str, model: str) -> _Name:
        seller, aliases = self._catalogue.provider(provider), self.overrides.aliases
        target = next((aliases[form] for form in forms(seller, model.lower()) if form in aliases), None)
        names = self._same(seller, target or model)
        matching = [each for each in self.overrides.prices if _covers(each.term, seller, names)]
        return _Name(
            model=target or model,
            is_alias=target is not None,
            named=tuple(each for each in matching if not each.term.pattern.is_all),
            default=tuple(each for each in matching if each.term.pattern.is_all),
            discounts=tuple(each for each in self.overrides.discounts if _covers(each.term, seller, names)),
        )

    def _same(self, seller: str, model: str) -> tuple[str, ...]:
        """The names of the same model: a provider asked for `gpt-4o` says that it served `gpt-4o-2024-08-06`. A snapshot
        with a price of its own in the catalogue is another model."""
        candidates = forms(seller, model.lower())
        listed = self._listed_as(seller, model)
        if listed is None:
            return tuple(candidates)
        same = [form for form in candidates if self._listed_as(seller, form) in (None, listed)]
        return tuple(dict.fromkeys((*same, listed)))

    def _listed_as(self, seller: str, model: str) -> str | None:
        found = self._catalogue.find(seller, model, ALWAYS)
        return None if found is None else found.model

    def _made(self, name: _Name, override: Override | None, listed: Price | None, at: datetime) -> Price:
        """At least one of both is there. A price is made once: what it is made of changes seldom."""
        discount = _in_force(name.discounts, at)
        if discount is not None and not discount.percent:
            discount = None
        if override is None and discount is None and not name.is_alias:
            assert listed is not None, f"no price for {name.model}"
            return listed
        key = (id(override), id(discount), "" if listed is None else listed.version)
        known = name.made.get(key)
        if known is None or known[0] is not listed:  # hours of the day may differ under one version
            known = name.made[key] = (listed, self._make(name, override, listed, discount))
        return known[1]

    def _make(
        self, name: _Name, override: Override | None, listed: Price | None, discount: Discount | None
    ) -> Price:
        if override is None:
            assert listed is not None, f"no price for {name.model}"
            price, label = listed, listed.version
        else:
            price, label = _overridden(override, listed, name.model), override.label
        percent = Decimal(0) if discount is None else discount.percent
        version = self._version(label, percent, alias=name.is_alias)
        return replace(_discounted(price, percent) if percent else price, version=version)

    def _version(self, label: str, percent: Decimal, *, alias: bool = False) -> str:
        """`prices.yaml@5f2c.../alias/-15%/openai/gpt-4o@2026-01-01`: the file, its content, and what of it applied."""
        parts = [
            self.overrides.version,
            *(["alias"] if alias else []),
            *([f"-{percent:f}%"] if percent else []),
        ]
        return "/".join((*parts, label))[:VERSION_CHARS_MAX]


Timed = TypeVar("Timed", Override, Discount)


def _in_force(candidates: Iterable[Timed], at: datetime) -> Timed | None:
    """The first in the order of preference."""
    return next((each for each in candidates if each.term.holds(at)), None)


def _covers(term: Term, seller: str, names: tuple[str, ...]) -> bool:
    return term.provider == seller and any(term.pattern.match(name) for name in names)


def _overridden(override: Override, listed: Price | None, model: str) -> Price:
    """The override's rates with the catalogue's limits. A service tier that the override does not name costs what
    the dearer of the two says: priority is never sold at a negotiated standard price by mistake. Searches, pages and
    what else is no token cost what the catalogue says, where the override says nothing."""
    term, context, output = override.term, override.context_tokens, override.output_tokens_max
    if listed is None:
        known_as = term.pattern.text if term.pattern.is_exact else model.lower()
        return Price(term.provider, known_as, "", override.standard, override.variants, context, output)
    theirs = {name: getattr(listed.standard.rates, name) for name in APART if name not in override.told}
    standard = _with(override.standard, theirs)
    inherited = {
        tier: max(standard, tariff, key=lambda each: each.rates.output + each.rates.input)
        for tier, tariff in listed.variants.items()
    }
    own = {tier: _with(tariff, theirs) for tier, tariff in override.variants.items()}
    return replace(
        listed,
        provider=term.provider,
        standard=standard,
        variants={**inherited, **own},
        context_tokens=context or listed.context_tokens,
        output_tokens_max=output or listed.output_tokens_max,
        windows=(),
    )


def _with(tariff: Tariff, rates: Mapping[str, int | None]) -> Tariff:
    """The tariff with rates for what it says nothing of."""

    def completed(own: Rates) -> Rates:
        untold: dict[str, Any] = {
            name: rate for name, rate in rates.items() if getattr(own, name) == getattr(_UNTOLD, name)
        }
        return replace(own, **untold)

    tiers = tuple(replace(tier, rates=completed(tier.rates)) for tier in tariff.tiers)
    return replace(tariff, rates=completed(tariff.rates), tiers=tiers)


def _discounted(price: Price, percent: Decimal) -> Price:
    return replace(
        price,
        standard=_less_tariff(price.standard, percent),
        variants={tier: _less_tariff(tariff, percent) for tier, tariff in price.variants.items()},
    )


def _less_tariff(tariff: Tariff, percent: Decimal) -> Tariff:
    tiers = tuple(replace(tier, rates=_less_rates(tier.rates, percent)) for tier in tariff.tiers)
    return replace(tariff, rates=_less_rates(tariff.rates, percent), tiers=tiers)


def _less_rates(rates: Rates, percent: Decimal) -> Rates:
    """A rate that is not told stays so: it is that of the kind around it, and has its discount there."""
    told = {each.name: getattr(rates, each.name) for each in fields(rates)}
    return replace(rates, **{name: less(rate, percent) for name, rate in told.items() if rate is not None})
