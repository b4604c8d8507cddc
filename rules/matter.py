"""One rule on one subject of a call: the figure it looks at there, and where its threshold lies."""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from pricing.estimate import Estimate
from pricing.money import NANOS_PER_USD, Nanos
from rules.breaker import Cause
from rules.budget import share_of
from rules.call import Call
from rules.counter import CounterKey, Limit, counter_at
from rules.figures import Figures
from rules.measure import Measure
from rules.rate import BucketKey, Rate
from rules.rule import Action, Per, Rule, ThresholdType
from rules.scope import EVERYONE, Scope, ScopeKind
from rules.window import Period


@dataclass(frozen=True, slots=True)
class Matter:
    """`limit` where the figure is a balance, `rate` where it is what flowed through a bucket. `whole` is the budget that
    a percentage is a share of."""

    rule: Rule
    scope: Scope
    limit: Limit | None = None
    rate: Rate | None = None
    hard: bool = False  # is the ceiling held on the counter?
    whole: Nanos | None = None
    causes: tuple[Cause, ...] = ()  # of all its rule's matters on this scope

    @property
    def is_placed(self) -> bool:
        """Does place enforce it?"""
        blocks = self.rule.action is Action.BLOCK and self.rule.is_enforced
        return blocks and (self.limit is not None or self.rate is not None)

    @property
    def cause(self) -> Cause | None:
        """What a breaker that trips now stands for: another window, or a higher limit, ends it."""
        limit = self.limit
        return None if limit is None or limit.nanos is None else Cause(limit.counter, limit.nanos)

    def as_threshold(self, figure: Decimal | None) -> Decimal | None:
        """A figure in the unit that the rule's threshold is written in."""
        rule = self.rule
        if figure is None:
            return None
        if self.whole is not None:
            return figure * 100 / self.whole if self.whole else Decimal(100)
        if rule.threshold_type is ThresholdType.RATE_BASED:
            return figure * 60 / rule.window_minutes / NANOS_PER_USD
        return figure / NANOS_PER_USD if rule.threshold_type.is_money else figure

    def figure(self, estimate: Estimate, figures: Figures) -> Decimal | None:
        """What stands now, without this call but for figures of the call itself: nano-dollars, requests, tokens, times
        the usual, repetitions. None: not known."""
        if self.limit is not None:
            # Others' open holds make place wait, not refuse: only what is spent counts towards a verdict.
            return Decimal(figures.balance(self.limit.counter).spent)
        if self.rate is not None:
            return Decimal(figures.used(self.rate.bucket))
        match self.rule.threshold_type:
            case ThresholdType.SPEND_VELOCITY:
                return figures.velocity(self.scope, self.rule.window_minutes)
            case ThresholdType.REPEAT_CALLS:
                return Decimal(figures.repeats(self.scope, self.rule.window_minutes))
            case _:
                return Decimal(estimate.expected)

    def is_reached(self, figure: Decimal | None, estimate: Estimate) -> bool:
        """Does this call carry the figure to the threshold (alerts, and figures of the call itself), or beyond it?"""
        if figure is None:
            return False
        if self.limit is not None:
            threshold = self.limit.nanos
            assert threshold is not None, f"{self.rule.rule_id} watches nothing"
            if self.rule.action is Action.ALERT_ONLY:
                return figure + estimate.expected >= threshold
            return figure + (estimate.ceiling if self.hard else estimate.expected) > threshold
        if self.rate is not None:
            capacity = self.rate.capacity
            assert capacity is not None, f"{self.rule.rule_id} watches nothing"
            return figure + amount_of(self.rate.bucket.measure, estimate) > capacity
        if self.rule.threshold_type is ThresholdType.OPERATION_COST:
            return figure >= self.rule.threshold
        return figure >= self.rule.threshold_value


def amount_of(measure: Measure, estimate: Estimate) -> int:
    """What one call asks of a counter or a bucket of that measure."""
    match measure:
        case Measure.TOKENS:
            return estimate.input_tokens + estimate.output_tokens
        case Measure.SPEND:
            return estimate.expected
        case _:
            return 1


def matters_of(rule: Rule, call: Call, budgets: tuple[Limit, ...], *, timezone: str) -> Iterator[Matter]:
    """Of a percentage one for each budget it follows, else one. `budgets` are the limits that cover the call."""
    kind = rule.threshold_type
    if kind.is_percentage:
        yield from _shares(rule, call, budgets)
        return
    scope = scope_of(call, rule.per)
    if kind.is_rate:
        yield Matter(rule, scope, rate=_rate(rule, scope))
    elif (counter := own_counter(rule, call, timezone=timezone)) is not None:
        hard = any(limit.counter == counter and limit.hold.hard for limit in budgets)
        limit = Limit(counter, rule.threshold, rule.rule_id)
        yield Matter(rule, scope, limit=limit, hard=hard, causes=(Cause(counter, rule.threshold),))
    else:
        yield Matter(rule, scope)


def own_counter(rule: Rule, call: Call, *, timezone: str) -> CounterKey | None:
    """The counter of a rule over dollars of a period; percentages look at those of budgets."""
    kind = rule.threshold_type
    if kind.period is None or kind.is_percentage:
        return None
    return counter_at(scope_of(call, rule.per), kind.period, timezone, call.at)


def scope_of(call: Call, per: Per | None) -> Scope:
    """The scope of a call that a rule's figure is measured per: the team, unless the rule says otherwise."""
    match per:
        case Per.GLOBAL:
            return EVERYONE
        case Per.KEY:
            return Scope(ScopeKind.KEY, call.key_id)
        case Per.MODEL:
            return Scope(ScopeKind.MODEL, call.model)
        case Per.USER:
            return call.counted(ScopeKind.USER, call.user)
        case _:
            return Scope(ScopeKind.TEAM, call.team)


def _rate(rule: Rule, scope: Scope) -> Rate:
    """A window's worth may come at once; it flows off at the threshold's pace."""
    kind = rule.threshold_type
    if kind is ThresholdType.RATE_BASED:
        return Rate(
            BucketKey(scope, Measure.SPEND, rule.window_minutes, rule.rule_id),
            capacity=rule.threshold * rule.window_minutes // 60,
            per_minute=Fraction(rule.threshold, 60),
            owner=rule.rule_id,
            code="circuit_breaker_open",
        )
    measure = Measure.REQUESTS if kind is ThresholdType.REQUESTS_PER_MINUTE else Measure.TOKENS
    amount = int(rule.threshold_value)
    return Rate(
        BucketKey(scope, measure, 1, rule.rule_id),
        capacity=amount,
        per_minute=Fraction(amount),
        owner=rule.rule_id,
        code="rate_limited",
    )


def _shares(rule: Rule, call: Call, budgets: tuple[Limit, ...]) -> Iterator[Matter]:
    """The rule's share of each budget of that period: the scope's, or without `per` the team's, else everyone's."""
    # An alert fires when the share is reached, a block when it would be passed: each rounds to its own side.
    up = rule.action is Action.ALERT_ONLY
    hard = {limit.counter for limit in budgets if limit.hold.hard}
    for scope in [scope_of(call, rule.per)] if rule.per is not None else [scope_of(call, Per.TEAM), EVERYONE]:
        shares = [
            (
                limit.nanos,
                Limit(limit.counter, share_of(limit.nanos, rule.threshold_value, up=up), rule.rule_id),
            )
            for limit in budgets
            if limit.nanos is not None and _is_balance_of(limit, scope, rule.threshold_type.period)
        ]
        causes = tuple(Cause(share.counter, share.nanos) for _, share in shares if share.nanos is not None)
        for whole, share in shares:
            yield Matter(rule, scope, share, hard=share.counter in hard, whole=whole, causes=causes)
        if shares:
            return


def _is_balance_of(limit: Limit, scope: Scope, period: Period | None) -> bool:
    counter = limit.counter
    return counter.scope == scope and counter.period is period and counter.measure is Measure.SPEND
