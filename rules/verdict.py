"""What was decided on a call: the verdict, why, and what the shell has to do about it."""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from rules.alert import Alert
from rules.breaker import Cause
from rules.counter import Limit
from rules.rate import Rate
from rules.refusal import Refusal
from rules.rule import Rule
from rules.scope import Scope


class Verdict(StrEnum):
    """What becomes of a call, from the mildest to the most severe."""

    ALLOW = "allow"
    CAP = "cap"
    DOWNGRADE = "downgrade"
    THROTTLE = "throttle"
    BLOCK = "block"


@dataclass(frozen=True, slots=True)
class Pace:
    """A scope is slowed to that share of its own usual rate."""

    rule_id: str
    scope: Scope
    factor: Decimal


@dataclass(frozen=True, slots=True)
class Cap:
    """A shorter answer: no more tokens a choice than `tokens`, and a ceiling of no more than `nanos`, where told."""

    owner: str
    tokens: int | None = None
    nanos: int | None = None


@dataclass(frozen=True, slots=True)
class Downgrade:
    rule_id: str
    model: str


@dataclass(frozen=True, slots=True)
class Trip:
    """A rule matched on a scope: its breaker opens, or stays so for longer."""

    rule: Rule
    scope: Scope
    cause: Cause | None
    figure: Decimal | None  # in the unit of the rule's threshold


@dataclass(frozen=True, slots=True)
class Measured:
    """The figure of a tripped rule as it is now, in the unit of its threshold: low enough for long, and it recovers."""

    rule_id: str
    scope: Scope
    figure: Decimal


@dataclass(frozen=True, slots=True)
class Decision:
    """`limits` and `rates` are for place, which alone enforces balances. `matched` and `shadow` are rule ids. `trials`
    are half-open breakers that let this call try, if there is still a place."""

    verdict: Verdict
    reason: str
    rule_id: str | None
    limits: tuple[Limit, ...]
    matched: tuple[str, ...] = ()
    shadow: tuple[str, ...] = ()
    alerts: tuple[Alert, ...] = ()
    refusal: Refusal | None = None
    rates: tuple[Rate, ...] = ()
    paces: tuple[Pace, ...] = ()
    caps: tuple[Cap, ...] = ()
    downgrade: Downgrade | None = None
    trips: tuple[Trip, ...] = ()
    trials: tuple[tuple[Rule, Scope], ...] = ()
    measured: tuple[Measured, ...] = ()
