"""What a provider asks for a model, and what a usage costs at it: exact integers, rounded up once a call."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, time

from pricing.money import Nanos
from pricing.parts import FILE_SEARCH_DEAREST, WEB_SEARCH_DEAREST, Part, parts_of, unpriced
from pricing.rates import MILLION, PER, Rates
from pricing.usage import Usage

__all__ = [
    "EVERY_DAY",
    "FILE_SEARCH_DEAREST",
    "MILLION",
    "PER",
    "STANDARD",
    "US",
    "WEB_SEARCH_DEAREST",
    "Cost",
    "Part",
    "Price",
    "Rates",
    "Tariff",
    "Tier",
    "Window",
]

_SCALE = 9_000_000  # the least number that a million and an hour both divide: sums stay whole


@dataclass(frozen=True, slots=True)
class Tier:
    """Above so many input tokens the whole call is priced at these rates."""

    above_input_tokens: int
    rates: Rates


@dataclass(frozen=True, slots=True)
class Tariff:
    """One way of being billed: its rates, and the tiers above them in rising order."""

    rates: Rates
    tiers: tuple[Tier, ...] = ()

    def rates_for(self, input_tokens: int) -> Rates:
        found = self.rates
        for tier in self.tiers:
            if input_tokens > tier.above_input_tokens:
                found = tier.rates
        return found


@dataclass(frozen=True, slots=True)
class Cost:
    """`unpriced` names the classes that were used and whose price nobody knows: they are billed as the dearest that
    is known, or where there is nothing to go by not at all."""

    nanos: Nanos
    parts: tuple[Part, ...]
    unpriced: tuple[str, ...] = ()


STANDARD = ("", "auto", "default", "standard", "standard_only")
US = "us"  # of work that stays in the United States: `us`, `us-fast`, `us-batch`
EVERY_DAY = frozenset(range(1, 8))


@dataclass(frozen=True, slots=True)
class Price:
    """One model of one provider from a date on. `variants` are tariffs by service tier: batch, flex, priority, fast.
    `windows` are hours of the day, in UTC, at which another price holds."""

    provider: str
    model: str
    version: str
    standard: Tariff
    variants: Mapping[str, Tariff] = field(default_factory=dict)
    context_tokens: int | None = None
    output_tokens_max: int | None = None
    windows: tuple["Window", ...] = ()
    audio_seconds_min: int = 0  # a shorter sound is billed as this

    @property
    def by_token(self) -> bool:
        """Is a token billed at all? False for what is billed by time, character or page, and for what is free."""
        return self.standard.rates.input > 0 or self.standard.rates.output > 0

    def at(self, when: datetime) -> "Price":
        """This price, or that of the last window that holds at the instant."""
        return next((window.price for window in reversed(self.windows) if window.holds(when)), self)

    def cost(self, usage: Usage, *, service_tier: str = "") -> Cost:
        """What a usage costs. A tier that is not in the catalogue is billed at the dearer of the standard and the
        dearest known tariff: an unknown tier is more often a dear one than a cheap one."""
        rates = self.tariff(service_tier).rates_for(usage.input_tokens)
        parts = tuple(parts_of(usage, rates, self.audio_seconds_min))
        scaled = sum(part.quantity * part.rate * (_SCALE // part.per) for part in parts)
        return Cost(Nanos(-(-scaled // _SCALE)), parts, tuple(unpriced(usage, rates)))

    def tariff(self, service_tier: str) -> Tariff:
        if service_tier in STANDARD:
            return self.standard
        known = self.variants.get(service_tier)
        if known is not None:
            return known
        is_us = service_tier.startswith(US)
        alike = [tariff for name, tariff in self.variants.items() if name.startswith(US) is is_us]
        return max(
            (self.standard, *alike),
            key=lambda tariff: tariff.rates.output + tariff.rates.input,
        )


@dataclass(frozen=True, slots=True)
class Window:
    """Hours of a day, from `start` up to but without `end`, in UTC. One that ends before it starts goes over midnight
    and belongs to the day on which it starts."""

    start: time
    end: time
    price: Price
    days: frozenset[int] = EVERY_DAY  # of the week: Monday is 1

    def holds(self, when: datetime) -> bool:
        there = when.astimezone(UTC)
        now, day = there.time(), there.isoweekday()
        if self.start <= self.end:
            return self.start <= now < self.end and day in self.days
        if now >= self.start:
            return day in self.days
        return now < self.end and (day - 2) % 7 + 1 in self.days
