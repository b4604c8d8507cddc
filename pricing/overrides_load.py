"""From prices.yaml to overrides: what its entries come to, and every contradiction between them."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import TypeVar

from pricing.book import PriceBook
from pricing.document import Document, DocumentError, Place, Problem, check, content_version, nearest, path_of
from pricing.overrides import ALWAYS, Discount, Override, Overrides, Term
from pricing.overrides_pattern import Pattern
from pricing.overrides_spec import APART, DiscountSpec, PricesFile, PriceSpec, RatesSpec, TariffSpec
from pricing.price import PER, Rates, Tariff, Tier

FILE_CHARS_MAX = 64  # of the file's name in a version
RATE_MAX = 10**15  # nano-dollars a million: a dollar for each token, more than any list price by far
EACH_MAX = 10**12  # nano-dollars
ASTRAY_FACTOR = 100

T = TypeVar("T")
Fault = tuple[Place, str, str]
"""Where, what, and what to do about it."""
Placed = list[tuple[Place, T]]


def load_overrides(document: Document, catalogue: PriceBook, *, providers: Collection[str]) -> Overrides:
    """`providers` are those whose prices calls ask for. Raises DocumentError with everything that is wrong."""
    written = check(PricesFile, document)
    rate = Decimal(1) if written.usd_per_unit is None else written.usd_per_unit
    seller = catalogue.provider
    asked_for = list(dict.fromkeys(map(seller, providers)))
    prices: Placed[Override] = [
        (("prices", n), _override(spec, rate, seller(spec.provider))) for n, spec in enumerate(written.prices)
    ]
    discounts: Placed[Discount] = [
        (("discounts", n), Discount(_term(spec, pattern, seller(spec.provider)), spec.percent))
        for n, spec in enumerate(written.discounts)
        for pattern in spec.models
    ]
    priced: Placed[Term] = [(place, each.term) for place, each in prices]
    reduced: Placed[Term] = [(place, each.term) for place, each in discounts]
    _refuse(
        document,
        [
            *_dear(written, rate),
            *_strangers([*priced, *reduced], asked_for, catalogue.providers),
            *_ties(priced),
            *_ties(reduced),
            *_lost_aliases(written.aliases, priced, catalogue, asked_for),
        ],
    )
    doubts = (*_astray(prices, catalogue), *_hidden(written.aliases, catalogue, asked_for))
    return Overrides(
        version=f"{document.file[:FILE_CHARS_MAX]}@{content_version(document.text)}",
        prices=tuple(sorted((each for _, each in prices), key=_order, reverse=True)),
        discounts=tuple(sorted((each for _, each in discounts), key=_order, reverse=True)),
        aliases={name.lower(): model for name, model in written.aliases.items()},
        warnings=(*document.warnings, *(f"{document.file}: {doubt}" for doubt in doubts)),
    )


def _refuse(document: Document, faults: Iterable[Fault]) -> None:
    found = {
        Problem(path_of(place), message, remedy, document.line_of(place)): None
        for place, message, remedy in faults
    }
    if found:
        raise DocumentError(document.file, tuple(sorted(found, key=lambda problem: problem.line or 0)))


def _order(each: Override | Discount) -> tuple[tuple[bool, int, int], datetime]:
    return each.term.order


def _term(spec: PriceSpec | DiscountSpec, pattern: str, seller: str) -> Term:
    return Term(seller, Pattern(pattern), spec.from_ or ALWAYS, spec.until)


def _override(spec: PriceSpec, rate: Decimal, seller: str) -> Override:
    start = "start" if spec.from_ is None else spec.from_.isoformat().removesuffix("T00:00:00+00:00")
    told = spec.told(rate)
    return Override(
        term=_term(spec, spec.model, seller),
        label=f"{seller}/{spec.model}@{start}",
        standard=_tariff(spec, rate, {}),
        variants={tier: _tariff(tariff, rate, told) for tier, tariff in spec.service_tiers.items()},
        told=frozenset(told),
        context_tokens=spec.context_tokens,
        output_tokens_max=spec.output_tokens_max,
    )


def _tariff(spec: TariffSpec, rate: Decimal, around: Mapping[str, int]) -> Tariff:
    """A price within another one, of a tier or a service tier, has its searches and pages, unless it names its own."""
    told = {**_apart(around), **spec.told(rate)}
    tiers = tuple(
        Tier(tier.above_input_tokens, Rates(**{**_apart(told), **tier.told(rate)})) for tier in spec.tiers
    )
    return Tariff(Rates(**told), tiers)


def _apart(told: Mapping[str, int]) -> dict[str, int]:
    return {name: rate for name, rate in told.items() if name in APART}


def _dear(written: PricesFile, rate: Decimal) -> Iterator[Fault]:
    """Above any price there is: a slip of the unit or of the exchange rate, and more than the ledger may hold."""
    for place, spec in _placed_rates(written):
        told = spec.told(rate)
        for unit, name, _ in spec.placed():
            if told[name] > (EACH_MAX if name in PER else RATE_MAX):
                message = (
                    f"comes to more than a {'thousand dollars' if name in PER else 'dollar'} for each one"
                )
                yield (*place, unit, name), message, "check the unit, and usd_per_unit"


def _placed_rates(written: PricesFile) -> Iterator[tuple[Place, RatesSpec]]:
    for n, price in enumerate(written.prices):
        tariffs: list[tuple[Place, TariffSpec]] = [(("prices", n), price)]
        tariffs += [
            (("prices", n, "service_tiers", tier), each) for tier, each in price.service_tiers.items()
        ]
        for place, tariff in tariffs:
            yield place, tariff
            yield from (((*place, "tiers", m), tier) for m, tier in enumerate(tariff.tiers))


def _strangers(terms: Placed[Term], asked_for: Collection[str], listed: Collection[str]) -> Iterator[Fault]:
    for place, term in terms:
        if term.provider not in asked_for and term.provider not in listed:
            near = nearest(term.provider, {*asked_for, *listed})
            remedy = (
                f'did you mean "{near}"?' if near else f"choose one of {', '.join(sorted(set(asked_for)))}"
            )
            yield (*place, "provider"), f'"{term.provider}" is nobody whose prices are asked for', remedy


def _ties(terms: Placed[Term]) -> Iterator[Fault]:
    """Each with the first that stands before it; patterns of one discount may overlap, for they say the same."""
    equals: dict[object, list[tuple[Place, Term]]] = {}
    for place, term in terms:
        before = equals.setdefault((term.provider, term.order), [])
        for other_place, other in before:
            if other_place != place and term.is_tied_with(other):
                message = f'"{term.pattern.text}" and "{other.pattern.text}" of {path_of(other_place)} cover the same models'
                yield (
                    place,
                    f"{message} from the same instant",
                    "give one a later from, or spell out more of it",
                )
                break
        before.append((place, term))


def _lost_aliases(
    aliases: Mapping[str, str], priced: Placed[Term], catalogue: PriceBook, asked_for: Sequence[str]
) -> Iterator[Fault]:
    """An alias is the name of a deployment and leads to a model with a price."""
    patterns = [term.pattern for _, term in priced if not term.pattern.is_all]
    names = [pattern.text for pattern in patterns if pattern.is_exact]
    lowered = [alias.lower() for alias in aliases]
    for n, (alias, model) in enumerate(aliases.items()):
        place, target = ("aliases", alias), model.lower()
        if lowered[n] in lowered[:n]:
            yield place, "stands twice, for names are compared without regard to case", "keep one"
        elif lowered[n] in names:
            yield place, "has a price of its own in prices", "remove it here or there"
        elif target in lowered:
            yield place, f'"{model}" is an alias itself', "name the model that it leads to"
        elif not any(pattern.match(target) for pattern in patterns) and not _is_listed(
            catalogue, asked_for, target
        ):
            listed = (catalogue.suggest(provider, target) for provider in asked_for)
            near = nearest(target, [*names, *(name for name in listed if name)])
            remedy = f'did you mean "{near}"?' if near else "add its price to prices"
            yield place, f'"{model}" has no price', remedy


def _astray(prices: Placed[Override], catalogue: PriceBook) -> Iterator[str]:
    """So far from the catalogue that a thousand was likely taken for a million."""
    for place, override in prices:
        term = override.term
        listed = (
            catalogue.find(term.provider, term.pattern.text, term.start) if term.pattern.is_exact else None
        )
        if listed is None:
            continue
        for name in ("input", "output"):
            own, known = getattr(override.standard.rates, name), getattr(listed.standard.rates, name)
            if own and known and not known <= own * ASTRAY_FACTOR <= known * ASTRAY_FACTOR**2:
                words = "times as dear as" if own > known else "times as cheap as"
                factor = max(own, known) // min(own, known)
                yield f"{path_of(place)}: {name} is {factor} {words} in the catalogue; is it per_1m or per_1k?"


def _hidden(aliases: Mapping[str, str], catalogue: PriceBook, asked_for: Sequence[str]) -> Iterator[str]:
    for alias in aliases:
        if _is_listed(catalogue, asked_for, alias):
            yield f"aliases.{alias}: hides a model of the catalogue"


def _is_listed(catalogue: PriceBook, sellers: Iterable[str], model: str) -> bool:
    return any(catalogue.find(seller, model, ALWAYS) is not None for seller in sellers)
