"""The kinds of values a rules file holds: money, percentages, names, globs, and keys of later versions."""

from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    model_validator,
)
from pydantic_core import CoreSchema

from rules.editors import OR_NOTHING, UNIQUE, Json, named, number, of_json, or_nothing

EACH = "*"
"""As a scope's name: each team, key or provider has a counter of its own."""
USD_MAX = Decimal(1_000_000_000)
"""A billion dollars: its nano-dollars fit a 64-bit integer eight times over."""
PERCENT_MAX = Decimal(200)
NAME_CHARS_MAX = 128
PATTERN_CHARS_MAX = 256
PATTERNS_MAX = 200
THRESHOLDS_MAX = 20
MINUTES_MAX = 7 * 24 * 60


class Spec(BaseModel):
    """A part of a file as people write it: unknown keys are errors, values never change once read."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Section(Spec):
    """A part all of whose keys may be left out, so that its name alone, with nothing below it, is valid."""

    @model_validator(mode="before")
    @classmethod
    def _nothing_is_empty(cls, data: Any) -> Any:
        return {} if data is None else data

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> Json:
        return or_nothing(core_schema, handler)


def _decimal(value: object, *, example: str) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        raise ValueError(f"{value!r} is not a number: write {example}")
    try:
        number = Decimal(value)
    except InvalidOperation:
        raise ValueError(f'"{value}" is not a number: write {example}') from None
    if not number.is_finite():
        raise ValueError(f"{value} is not a number: write {example}")
    return number


def _usd(value: object) -> Decimal:
    amount = _decimal(value, example='dollars such as 50 or "0.50"')
    if amount < 0:
        raise ValueError(f"{value} must be at least 0")
    if amount > USD_MAX:
        raise ValueError(f"{value} must be at most {USD_MAX}")
    return amount


def _above_zero(amount: Decimal) -> Decimal:
    if amount == 0:
        raise ValueError("must be above 0")
    return amount


def _percent(value: object) -> Decimal:
    percent = _decimal(value, example="a percentage such as 75")
    if not 0 < percent <= PERCENT_MAX:
        raise ValueError(f"{value} must be above 0 and at most {PERCENT_MAX}")
    return percent


def _minutes(value: object) -> Decimal:
    minutes = _decimal(value, example="minutes such as 5 or 0.5")
    if not 0 <= minutes <= MINUTES_MAX:
        raise ValueError(f"{value} must be from 0 to {MINUTES_MAX} (a week)")
    return minutes


def _factor(value: object) -> Decimal:
    factor = _decimal(value, example="a share such as 0.5")
    if not 0 < factor <= 1:
        raise ValueError(f"{value} must be above 0 and at most 1")
    return factor


def _rising(value: tuple[Decimal, ...]) -> tuple[Decimal, ...]:
    if list(value) != sorted(set(value)):
        raise ValueError("thresholds must rise, each only once, as in [75, 90, 100]")
    return value


def name_of(value: object) -> str:
    """A name of a team, key, budget or rule. It stands in counter names, logs and sentences."""
    if not isinstance(value, str):
        raise ValueError(f'{value!r} is not a name: write it in quotes, as in "{value}"')
    if not value or len(value) > NAME_CHARS_MAX or value != value.strip():
        raise ValueError(f"a name has 1 to {NAME_CHARS_MAX} characters and no spaces around it")
    if not value.isprintable() or "|" in value:
        raise ValueError(f"{value!r} holds a character that a name cannot have")
    return value


def exact_name(name: str) -> str:
    if any(mark in name for mark in "*?["):
        raise ValueError(f'"{name}" looks like a pattern: write one whole name')
    return name


def exact_name_or_each(name: str) -> str:
    return name if name == EACH else exact_name(name)


def _nothing_as_empty(value: object) -> object:
    """`teams:` with all its entries commented out is an empty section, not a mistake."""
    return () if value is None else value


def _nothing_as_empty_map(value: object) -> object:
    return {} if value is None else value


def _not_yet(value: object) -> object:
    raise ValueError("not available in this version: remove it")


Usd = Annotated[Decimal, BeforeValidator(_usd), number(minimum=0, maximum=int(USD_MAX))]
UsdAboveZero = Annotated[Usd, AfterValidator(_above_zero), number(exclusiveMinimum=0, maximum=int(USD_MAX))]
Percent = Annotated[Decimal, BeforeValidator(_percent), number(exclusiveMinimum=0, maximum=int(PERCENT_MAX))]
Minutes = Annotated[Decimal, BeforeValidator(_minutes), number(minimum=0, maximum=MINUTES_MAX)]
Factor = Annotated[Decimal, BeforeValidator(_factor), number(exclusiveMinimum=0, maximum=1)]
Thresholds = Annotated[tuple[Percent, ...], Field(max_length=THRESHOLDS_MAX), AfterValidator(_rising), UNIQUE]
Name = Annotated[str, BeforeValidator(name_of), of_json(named(NAME_CHARS_MAX))]
ExactName = Annotated[Name, AfterValidator(exact_name), of_json(named(NAME_CHARS_MAX, exact=True))]
NameOrEach = Annotated[
    Name,
    AfterValidator(exact_name_or_each),
    of_json({"anyOf": [{"const": EACH}, named(NAME_CHARS_MAX, exact=True)]}),
]
Pattern = Annotated[str, Field(min_length=1, max_length=PATTERN_CHARS_MAX)]
Patterns = Annotated[tuple[Pattern, ...], Field(min_length=1, max_length=PATTERNS_MAX)]

NotYet = Annotated[Any, BeforeValidator(_not_yet)]
"""A key that a later version implements: refused when present, never silently ignored."""

T = TypeVar("T")
ListOf = Annotated[tuple[T, ...], BeforeValidator(_nothing_as_empty), OR_NOTHING]
MapOf = Annotated[dict[ExactName, T], BeforeValidator(_nothing_as_empty_map), OR_NOTHING]
MapOfPatterns = Annotated[dict[Pattern, T], BeforeValidator(_nothing_as_empty_map), OR_NOTHING]
