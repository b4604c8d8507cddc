"""prices.yaml as people write it: which keys it has, and what each may hold."""

import re
from collections.abc import Iterator
from dataclasses import fields
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from pricing.money import NANOS_PER_USD
from pricing.price import MILLION, PER, STANDARD, Rates
from pricing.problem import nearest

NAME_CHARS_MAX = 128
ENTRIES_MAX = 2_000
AMOUNT_MAX = 1_000_000_000  # of any currency
PLACES_MAX = 12  # after the point
USD = "USD"

KINDS = tuple(each.name for each in fields(Rates))
"""All that has a rate."""
APART = (*PER, "characters")
"""Kinds that are part of no other: searches, calls, pages, hours. All others are tokens."""
_REQUIRED = ("input", "output")

T = TypeVar("T")


# -- values -----------------------------------------------------------------------------------------------------------


def _decimal(value: object, *, example: str) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        raise ValueError(f"is no number: write {example}")
    try:
        number = Decimal(value)
    except InvalidOperation:
        raise ValueError(f'"{value!s:.60}" is no number: write {example}') from None
    if not number.is_finite():
        raise ValueError(f"{value!s:.60} is no number: write {example}")
    if number < 0:
        raise ValueError(f"{value!s:.60} must be at least 0")
    # Compared before anything is computed: 1e999999999 as an integer would fill the memory.
    if number > AMOUNT_MAX:
        raise ValueError(f"{value!s:.60} must be at most {AMOUNT_MAX}")
    exponent = number.as_tuple().exponent
    if isinstance(exponent, int) and exponent < -PLACES_MAX:
        raise ValueError(f"{value!s:.60} has more than {PLACES_MAX} places after the point: round it up")
    return number


def _amount(value: object) -> Decimal:
    return _decimal(value, example='an amount such as 2.5 or "2.50"')


def _percent(value: object) -> Decimal:
    percent = _decimal(value, example="a percentage such as 15")
    if percent > 100:
        raise ValueError(f"{value} must be at most 100")
    return percent


def _rate_of_exchange(value: object) -> Decimal:
    rate = _decimal(value, example='dollars such as "1.08"')
    if rate == 0:
        raise ValueError("must be above 0")
    return rate


def _currency(value: object) -> object:
    if not isinstance(value, str) or not re.fullmatch("[A-Z]{3}", value):
        raise ValueError("is no currency: write three capital letters, such as EUR")
    return value


def _name(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f'{value!r:.60} is not a name: write it in quotes, as in "{value!s:.60}"')
    if not value or len(value) > NAME_CHARS_MAX or value != value.strip() or not value.isprintable():
        raise ValueError(f"a name has 1 to {NAME_CHARS_MAX} plain characters and no spaces around it")
    return value


def _exact(name: str) -> str:
    if any(mark in name for mark in "*?["):
        raise ValueError(f'"{name}" looks like a pattern: write one whole name')
    return name


def _instant(value: object) -> datetime | None:
    if value is None or isinstance(value, datetime):
        return value
    example = "write a day such as 2026-01-31, or an instant such as 2026-01-31T18:00:00Z"
    try:
        found = datetime.fromisoformat(value if isinstance(value, str) else "")
    except ValueError:
        raise ValueError(f'"{value!s:.60}" is no date: {example}') from None
    if found.tzinfo is None:
        if not isinstance(value, str) or len(value) > len("2026-01-31"):
            raise ValueError(f'"{value!s:.60}" has no time zone: {example}')
        return found.replace(tzinfo=UTC)
    try:
        return found.astimezone(UTC)
    except OverflowError:
        raise ValueError(f'"{value!s:.60}" is no date: {example}') from None


def _kind(name: str) -> str:
    if name not in KINDS:
        near = nearest(name, KINDS)
        hint = f'did you mean "{near}"?' if near else f"choose one of {', '.join(KINDS)}"
        raise ValueError(f'"{name:.60}" is nothing that has a price: {hint}')
    return name


def _countable(name: str) -> str:
    if name in KINDS and name not in PER:
        raise ValueError(f"{name} has no price for one: write it in per_1m or per_1k")
    return _kind(name)


def _service_tier(name: str) -> str:
    if name in STANDARD:
        raise ValueError(f'"{name}" is the price itself: write its rates above')
    return _name(name)


def _nothing_as_empty(value: object) -> object:
    """A section with all its entries commented out is an empty section, not a mistake."""
    return () if value is None else value


def _nothing_as_empty_map(value: object) -> object:
    return {} if value is None else value


Amount = Annotated[Decimal, BeforeValidator(_amount)]
Percent = Annotated[Decimal, BeforeValidator(_percent)]
Name = Annotated[str, BeforeValidator(_name)]
ExactName = Annotated[Name, AfterValidator(_exact)]
Instant = Annotated[datetime | None, BeforeValidator(_instant)]
TokensAtLeastOne = Annotated[int, Field(strict=True, ge=1, le=1_000_000_000)]
ListOf = Annotated[tuple[T, ...], BeforeValidator(_nothing_as_empty), Field(max_length=ENTRIES_MAX)]
Kind = Annotated[str, AfterValidator(_kind)]
Countable = Annotated[str, AfterValidator(_countable)]
Amounts = Annotated[dict[Kind, Amount], BeforeValidator(_nothing_as_empty_map)]
AmountsEach = Annotated[dict[Countable, Amount], BeforeValidator(_nothing_as_empty_map)]


# -- sections ---------------------------------------------------------------------------------------------------------


class Spec(BaseModel):
    """Unknown keys are errors, values never change once read."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class RatesSpec(Spec):
    """What each kind costs, for a million of it, for a thousand, or for one."""

    per_1m: Amounts = Field(default_factory=dict)
    per_1k: Amounts = Field(default_factory=dict)
    each: AmountsEach = Field(default_factory=dict)

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        told = [name for _, name, _ in self.placed()]
        twice = sorted({name for name in told if told.count(name) > 1})
        if twice:
            raise ValueError(f"{', '.join(twice)} has two prices: keep one")
        missing = [name for name in _REQUIRED if name not in told]
        if missing:
            raise ValueError(f"has no price for {' and '.join(missing)}: add it, 0 where it is free")
        return self

    def placed(self) -> Iterator[tuple[str, str, Fraction]]:
        """Every amount: its unit, its kind, and what a million come to."""
        for unit, amounts, times in (
            ("per_1m", self.per_1m, 1),
            ("per_1k", self.per_1k, 1_000),
            ("each", self.each, MILLION),
        ):
            for name, amount in amounts.items():
                yield unit, name, Fraction(amount) * times

    def told(self, usd_per_unit: Decimal) -> dict[str, int]:
        """Nano-dollars for a million, or for one of what is asked for by the piece; each rounded up."""
        factor = Fraction(usd_per_unit) * NANOS_PER_USD
        return {
            name: _rounded_up(amount * factor / (MILLION if name in PER else 1))
            for _, name, amount in self.placed()
        }


class TierSpec(RatesSpec):
    above_input_tokens: TokensAtLeastOne


class TariffSpec(RatesSpec):
    tiers: ListOf[TierSpec] = ()

    @field_validator("tiers")
    @classmethod
    def _rising(cls, tiers: tuple[TierSpec, ...]) -> tuple[TierSpec, ...]:
        edges = [tier.above_input_tokens for tier in tiers]
        if edges != sorted(set(edges)):
            raise ValueError("above_input_tokens must rise from tier to tier: put them in order, each once")
        return tiers


class Dated(Spec):
    """Holds from one instant on, until before another; left out: always."""

    from_: Instant = Field(default=None, alias="from")
    until: Instant = None

    @field_validator("until")
    @classmethod
    def _after_its_start(cls, until: datetime | None, info: ValidationInfo) -> datetime | None:
        start = info.data.get("from_")
        if until is not None and start is not None and until <= start:
            raise ValueError("must be later than from, for it is the first instant without this price")
        return until


class PriceSpec(Dated, TariffSpec):
    provider: Name
    model: Name
    service_tiers: Annotated[
        dict[Annotated[str, AfterValidator(_service_tier)], TariffSpec],
        BeforeValidator(_nothing_as_empty_map),
    ] = Field(default_factory=dict)
    context_tokens: TokensAtLeastOne | None = None
    output_tokens_max: TokensAtLeastOne | None = None


class DiscountSpec(Dated):
    provider: Name
    models: Annotated[tuple[Name, ...], Field(min_length=1, max_length=ENTRIES_MAX)] = ("*",)
    percent: Percent


class PricesFile(Spec):
    """The whole file."""

    version: Literal[1] = 1
    currency: Annotated[str, BeforeValidator(_currency)] = USD
    usd_per_unit: Annotated[Decimal, BeforeValidator(_rate_of_exchange)] | None = Field(
        default=None, validate_default=True
    )
    prices: ListOf[PriceSpec] = ()
    discounts: ListOf[DiscountSpec] = ()
    aliases: Annotated[dict[ExactName, ExactName], BeforeValidator(_nothing_as_empty_map)] = Field(
        default_factory=dict
    )

    @field_validator("usd_per_unit")
    @classmethod
    def _known_for_its_currency(cls, rate: Decimal | None, info: ValidationInfo) -> Decimal | None:
        currency = info.data.get("currency", USD)
        if currency != USD and rate is None:
            raise ValueError(f"is missing: write how many dollars one {currency} is")
        if currency == USD and rate not in (None, 1) and "currency" in info.data:
            raise ValueError(f"{rate} dollars for a dollar: name the currency, or remove it")
        return rate


def _rounded_up(exact: Fraction) -> int:
    return -(-exact.numerator // exact.denominator)


def less(rate: int, percent: Any) -> int:
    """A rate after a discount, rounded up."""
    return _rounded_up(Fraction(rate) * (100 - Fraction(percent)) / 100)
