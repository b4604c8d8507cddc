"""How money, people and periods are spoken of in refusals and alerts."""

from pricing.money import NANOS_PER_USD, usd
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


def _grain(amount: int) -> int:
    """Cents; for less than ten cents the unit of the second leading digit."""
    grain = NANOS_PER_USD // 100
    while grain > 1 and amount < 10 * grain:
        grain //= 10
    return grain
