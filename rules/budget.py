"""How much may be spent, by whom, in which period; and when somebody should hear of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal

from pricing.money import Nanos, nanos
from rules.counter import CounterKey, HoldMode, Limit, Measure, counter_at
from rules.scope import Scope, ScopeKind
from rules.spec import Name, Spec, Thresholds, Usd
from rules.window import Period

THRESHOLDS = (Decimal(75), Decimal(90), Decimal(100))


@dataclass(frozen=True, slots=True)
class Budget:
    """A limit over the counters of one scope. `limit` None: counted, never refused. 0: nothing passes.
    The money itself sits in the counters, so a budget may come, change and go without losing any."""

    id: str
    scope: Scope
    period: Period
    limit: Nanos | None
    hold: HoldMode = HoldMode.EXPECTED
    timezone: str = "UTC"
    thresholds: tuple[Decimal, ...] = THRESHOLDS
    marks: tuple[Nanos, ...] = field(init=False, repr=False)
    """For each threshold the least spend that reaches it; none without a limit."""

    def __post_init__(self) -> None:
        marks = () if self.limit is None else tuple(_mark(self.limit, each) for each in self.thresholds)
        object.__setattr__(self, "marks", marks)

    @property
    def is_hard(self) -> bool:
        return self.hold.hard and self.limit is not None

    def limit_on(self, scope: Scope, at: datetime) -> Limit:
        """This budget as a limit on the counter of `scope`, which is its own or, under `*`, one of them."""
        return Limit(counter_at(scope, self.period, self.timezone, at), self.limit, self.id, self.hold)

    def counts_on(self, counter: CounterKey) -> bool:
        """For a counter whose scope it is over: does it count money in those windows?"""
        same = self.period is counter.period and self.timezone == counter.timezone
        return same and counter.measure is Measure.SPEND


def share_of(limit: Nanos, percent: Decimal, *, up: bool) -> Nanos:
    """So many percent of a limit, exact in integers but for the last nano-dollar."""
    times, per = percent.as_integer_ratio()
    share, rest = divmod(limit * times, 100 * per)
    return Nanos(share + 1 if up and rest else share)


def _mark(limit: Nanos, threshold: Decimal) -> Nanos:
    """A budget of zero has spent all its percentages with its first charge, not before."""
    return max(Nanos(1), share_of(limit, threshold, up=True))


class BudgetSpec(Spec):
    """A budget as written in rules.yaml or on the command line, without the scope, which its place gives."""

    period: Period
    limit_usd: Usd | None
    hold: HoldMode = HoldMode.EXPECTED
    thresholds: Thresholds | None = None
    id: Name | None = None

    def budget(
        self,
        scope: Scope,
        *,
        timezone: str,
        default_id: str,
        thresholds: tuple[Decimal, ...] = THRESHOLDS,
    ) -> Budget:
        return Budget(
            id=self.id or default_id,
            scope=scope,
            period=self.period,
            limit=None if self.limit_usd is None else nanos(self.limit_usd),
            hold=self.hold,
            timezone=timezone,
            thresholds=thresholds if self.thresholds is None else self.thresholds,
        )


def budgets_for_key(key_id: str, specs: Sequence[BudgetSpec], *, timezone: str) -> tuple[Budget, ...]:
    """The budgets that a key was issued with. Their ids differ from those that a rules file gives by default."""
    scope = Scope(ScopeKind.KEY, key_id)
    return tuple(
        spec.budget(scope, timezone=timezone, default_id=f"key:{key_id}:issued:{spec.period.value}")
        for spec in specs
    )


def in_timezone(budgets: tuple[Budget, ...], timezone: str) -> tuple[Budget, ...]:
    """The same budgets, their windows those of another time zone."""
    if all(budget.timezone == timezone for budget in budgets):
        return budgets
    return tuple(replace(budget, timezone=timezone) for budget in budgets)
