"""How money, people and periods are spoken of in refusals and alerts."""

from decimal import ROUND_FLOOR, Decimal
from fractions import Fraction
from math import ceil

from pricing.money import NANOS_PER_USD, usd
from rules.rule import Rule, ThresholdType
from rules.scope import Scope, ScopeKind
from rules.window import Period

_DURING = {
    Period.HOURLY: "this hour",
    Period.DAILY: "today",
    Period.WEEKLY: "this week",
    Period.MONTHLY: "this month",
    Period.TOTAL: "in total",
}


def subject(scope: Scope) -> str:
    """Whom a scope means: `team "search"`, `everyone together`."""
    return "everyone together" if scope.kind is ScopeKind.GLOBAL else f'{scope.kind.value} "{scope.name}"'


def during(period: Period) -> str:
    return _DURING[period]


def dollars(amount: int) -> str:
    """The exact amount with at least two decimals: $500.00, $0.0123."""
    whole, _, fraction = usd(amount).partition(".")
    return f"${whole}.{fraction:0<2}"


def dollars_left(amount: int) -> str:
    """What is left, rounded down to figures that matter: never more than there is."""
    return dollars(amount - amount % _grain(amount))


def dollars_needed(amount: int) -> str:
    """What something costs, rounded up to figures that matter: it never looks smaller than what is left."""
    return dollars(amount + -amount % _grain(amount))


def counted(number: int | Fraction, thing: str) -> str:
    """1 request, 400,000 tokens; a part of one with three figures."""
    told = f"{float(number):.3g}" if number.denominator != 1 else f"{number.numerator:,}"
    return f"{told} {thing}" if number == 1 else f"{told} {thing}s"


def soon(seconds: float) -> str:
    """A wait, rounded up: 2 s, 5 min, 3 h."""
    for unit, size, fewest in (("h", 3600, 2), ("min", 60, 2)):
        if seconds > size * fewest:
            return f"{ceil(seconds / size)} {unit}"
    return f"{max(1, ceil(seconds))} s"


def _grain(amount: int) -> int:
    """Cents; for less than ten cents the unit of the second leading digit."""
    grain = NANOS_PER_USD // 100
    while grain > 1 and amount < 10 * grain:
        grain //= 10
    return grain


def figure_told(rule: Rule, figure: Decimal | None) -> str:
    """A figure of a rule over rates, velocities or repetitions, in its unit."""
    if figure is None:
        return "an unknown figure"
    whole = int(figure.to_integral_value(ROUND_FLOOR))
    match rule.threshold_type:
        case ThresholdType.REQUESTS_PER_MINUTE:
            return f"{counted(whole, 'request')} a minute"
        case ThresholdType.TOKENS_PER_MINUTE:
            return f"{counted(whole, 'token')} a minute"
        case ThresholdType.SPEND_VELOCITY:
            return f"{figure.quantize(Decimal('0.1')).normalize():f} times its usual spending"
        case ThresholdType.REPEAT_CALLS:
            return f"{counted(whole, 'repetition')} of one call in {soon(60 * rule.window_minutes)}"
        case _:
            return f"${figure.normalize():f} an hour"
