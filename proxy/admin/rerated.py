"""What a past charge would be at the prices that are valid now, by the rules by which it was made."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from hashlib import sha256

from pricing.charge import PROVIDER_COST, Basis, Charge, Outcome, charge_for
from pricing.estimate import FREE
from pricing.money import Nanos
from pricing.overrides import OverriddenBook
from pricing.price import Price
from pricing.usage import Usage
from proxy.admin.prices import priced_as
from proxy.estimating import is_of_other_unit
from proxy.ledger.rerate import Charged
from proxy.settings import Config

REFUSED = "refused"
NOT_CHARGED = "not charged: never sent, or not metered"
NOTHING_BILLED = "nothing was billed: the provider refused, or never answered"
WITHOUT_PRICE = "charged without a price: test key, free path or unmetered model"
WORKS_ON = "the work goes on: its cost is not known yet"
TOLD = "charged otherwise than by its price: the provider told the cost itself"
BATCH = "a batch: what each of its requests used is not kept"
CEILING = "charged at its ceiling: what it used is not known"
UNKNOWN = "no price is known for the model now"

_STOOD_IN, _UNPRICED = "unknown_price", "unpriced_class"  # what a price decides
_PREFIX = "rerated from "
_BILLED = re.compile(r", input x ([0-9.]+)$")


@dataclass(frozen=True, slots=True)
class Rater:
    config: Config
    book: OverriddenBook

    def rated(self, charged: Charged) -> Charge | str:
        """The charge that is to stand for the call: its own where that need not change. Or why it is left alone."""
        before, row = charged.charge, charged.row
        if before is None:
            return REFUSED if row.outcome == "refused" else NOT_CHARGED
        if charged.works_on:
            return WORKS_ON
        if row.outcome == Outcome.PROVIDER_REFUSED.value or "unproven" in before.flags:
            return NOTHING_BILLED
        if not before.price_version:
            return WITHOUT_PRICE
        if PROVIDER_COST in before.flags:
            return TOLD
        if "batch" in row.flags:
            return BATCH
        if "background" in row.flags and _is_ceiling(charged, before):
            return CEILING
        price, stands_in = self._price(charged, before)
        if price is None:
            return UNKNOWN
        if price.version == before.price_version:
            return before
        old = self._old_price(charged, before)
        tier = _tier(charged, before, old, price)
        if tier is None:
            return TOLD
        made = _charge(charged, before, price, tier, stands_in=stands_in)
        if made.nanos == before.nanos:
            return before
        is_taken = old is None and not row.service_tier and bool(price.variants)
        taken = ", no service tier was told: taken as standard" if is_taken else ""
        why = f"; {made.reason}" if made.reason else ""
        return Charge(
            made.nanos,
            made.basis,
            made.usage,
            price.version,
            made.flags,
            f"{_PREFIX}{before.price_version} to {price.version}{taken}{why}",
        )

    def _price(self, charged: Charged, before: Charge) -> tuple[Price | None, bool]:
        """Of the served model, of the one asked for, or a stand-in where one stood in before; and whether it is one."""
        row, at, seller = charged.row, charged.row.at, self._seller(charged)
        if row.served_model and row.served_model != row.model:
            served = self.book.find_named(seller, row.served_model, at)
            if served is not None:
                return served, False
        stood_in = _STOOD_IN in before.flags
        own = self.book.find(seller, row.model, at)
        if own is not None and not (stood_in and is_of_other_unit(own, before.usage)):
            return own, False
        return (self.book.dearest(seller, at), True) if stood_in else (None, False)

    def _old_price(self, charged: Charged, before: Charge) -> Price | None:
        """The one it was charged at, where the overrides, or the catalogue behind them, still have it."""
        row, at, seller = charged.row, charged.row.at, self._seller(charged)

        def every() -> Iterator[Price | None]:
            for book in (self.book, self.book.catalogue):
                yield from (book.find(seller, name, at) for name in (row.served_model, row.model) if name)
                if _STOOD_IN in before.flags:
                    yield book.dearest(seller, at)

        return next((price for price in every() if price and price.version == before.price_version), None)

    def _seller(self, charged: Charged) -> str:
        return priced_as(charged.row.provider, self.config)


def _is_ceiling(charged: Charged, before: Charge) -> bool:
    """Under a hard budget, work whose end was never told costs all that was held."""
    expected, ceiling = charged.row.estimate_expected_nanos, charged.row.estimate_ceiling_nanos
    return before.basis is Basis.ESTIMATED and before.nanos == ceiling > expected


def _tier(charged: Charged, before: Charge, old: Price | None, new: Price) -> str | None:
    """The service tier that was charged: the one told, else the one at which the old price comes to the old charge; of
    several the standard one, or the dearest now. None: that price comes to no such charge."""
    told = charged.row.service_tier
    if old is None:
        return told
    tiers = (told,) if told else ("", *old.variants)
    exact = [tier for tier in tiers if _cost(charged, before, old, tier) == before.nanos]
    if not exact:
        return None if before.basis is Basis.REPORTED else told
    return told if told in exact else max(exact, key=lambda tier: _cost(charged, before, new, tier))


def _charge(charged: Charged, before: Charge, price: Price, tier: str, *, stands_in: bool) -> Charge:
    """The old usage and basis at another price."""
    kept = tuple(flag for flag in before.flags if flag not in (_STOOD_IN, _UNPRICED))
    reason = before.reason.partition("; ")[2] if before.reason.startswith(_PREFIX) else before.reason
    if before.basis is not Basis.REPORTED:
        flags = (_STOOD_IN, *kept) if stands_in else kept
        amount = _cost(charged, before, price, tier)
        return Charge(amount, before.basis, before.usage, price.version, flags, reason)
    made = charge_for(
        Outcome.ANSWERED,
        price=price,
        estimate=FREE,
        usage=before.usage,
        service_tier=tier,
        unpriced=stands_in,
    )
    assert made is not None, "what was answered is charged"
    if _UNPRICED in before.flags:  # the reason was that
        reason = ""
    flags = (*made.flags, *kept)
    return Charge(made.nanos, made.basis, made.usage, price.version, flags, made.reason or reason)


def _cost(charged: Charged, before: Charge, price: Price, tier: str) -> Nanos:
    """Of the classes; an estimate is never under what such a prompt is usually billed, as it was not then."""
    cost = price.cost(before.usage, service_tier=tier).nanos
    billed = _BILLED.search(charged.row.estimate_basis)
    if before.basis is not Basis.ESTIMATED or billed is None:
        return cost
    permille = int(Decimal(billed[1]) * 1000)
    likely = Usage(
        input_tokens=-(-before.usage.input_tokens * permille // 1000),
        output_tokens=charged.row.estimate_output_tokens,
    )
    return max(cost, price.cost(likely, service_tier=tier).nanos)


# -- which prices -----------------------------------------------------------------------------------------------------


def edition(config: Config, book: OverriddenBook) -> str:
    """One word for all prices and whose they are: the same in two processes that would charge the same."""
    sellers = sorted((name, config.price_provider(name)) for name in config.providers)
    told = f"{sellers}\n{book.overrides.version}\n{_versions(book)}"
    return sha256(told.encode()).hexdigest()[:16]


@lru_cache(maxsize=2)
def _versions(book: OverriddenBook) -> str:
    """In about 30 ms, once a book."""
    entries = (entry for each in book.catalogue.providers.values() for entry in each)
    versions = sorted(price.version for entry in entries for _, price in entry.prices)
    return sha256("\n".join(versions).encode()).hexdigest()
