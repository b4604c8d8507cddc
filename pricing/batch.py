"""Requests that are done later, many at once: at which of a model's tariffs, and what they cost together."""

from dataclasses import dataclass, field, fields, replace
from fractions import Fraction
from math import ceil
from operator import add, attrgetter

from pricing.money import Nanos
from pricing.price import US, Price
from pricing.usage import Usage

TIER = "batch"

_counts = attrgetter(*(each.name for each in fields(Usage)))


def batch_tier(tier: str) -> str:
    """In batches, of what is asked for or served in that tier."""
    return f"{US}-{TIER}" if tier.startswith(US) else TIER


def has_batch_price(price: Price, tier: str = "") -> bool:
    return batch_tier(tier) in price.variants


def at_batch(price: Price, tier: str = "") -> Price:
    """The same price with nothing but its tariff for batches; where it has none, with that of single calls."""
    name = batch_tier(tier)
    single = price.standard if name == TIER else price.tariff(name)
    return replace(price, standard=price.variants.get(name, single), variants={})


@dataclass(slots=True)
class Tally:
    """The exact sum of many costs that are billed as one: rounded up once, at the end."""

    usage: Usage = field(default_factory=Usage)
    versions: set[str] = field(default_factory=set)  # of the prices that it was made of
    unpriced: set[str] = field(default_factory=set)
    _by_unit: dict[int, int] = field(default_factory=dict)

    def add(self, usage: Usage, price: Price) -> None:
        cost = price.cost(usage)
        for part in cost.parts:
            self._by_unit[part.per] = self._by_unit.get(part.per, 0) + part.quantity * part.rate
        self.usage = Usage(*map(add, _counts(self.usage), _counts(usage)))
        self.versions.add(price.version)
        self.unpriced.update(cost.unpriced)

    @property
    def nanos(self) -> Nanos:
        return Nanos(ceil(sum((Fraction(amount, per) for per, amount in self._by_unit.items()), Fraction())))
