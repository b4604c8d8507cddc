"""May this call go? Every rule that looks at it is evaluated, and the most severe verdict wins."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from pricing.estimate import Estimate
from pricing.money import Nanos
from rules.alert import Alert, balance_alert, cost_alert, error_alert, figure_alert
from rules.breaker import Breaker, State
from rules.budget import Budget
from rules.call import Call
from rules.figures import Figures
from rules.matter import Matter
from rules.objection import refusal_of_breaker, refusal_of_cost, refusal_of_error, refusal_of_figure
from rules.plan import Plan
from rules.policy import Policy
from rules.refusal import Refusal, refusal_of_limit, refusal_of_model
from rules.rule import Action, OnError, Rule, ThresholdType
from rules.scope import Scope
from rules.verdict import Cap, Decision, Downgrade, Measured, Pace, Trip, Verdict

__all__ = ["Decision", "Refusal", "Verdict", "decide", "refusal_of_limit"]

NOTHING_AGAINST = "no rule stands against it"


def decide(
    policy: Policy,
    call: Call,
    estimate: Estimate,
    *,
    key_budgets: Sequence[Budget] = (),
    figures: Figures,
    now: datetime,
) -> Decision:
    """Never raises. Balances decide alerts, paces, caps and shadow verdicts here; what they block, place blocks."""
    plan = policy.plan(call, key_budgets)
    if plan.is_quiet:
        return Decision(Verdict.ALLOW, NOTHING_AGAINST, None, plan.limits, rates=plan.rates)
    found = _Findings(plan, call, estimate, now)
    if plan.closed is not None:
        found.refuse(plan.closed.owner, refusal_of_model(plan.closed, call))
    if plan.output_cap is not None:
        found.caps.append(Cap(plan.output_cap.owner, tokens=plan.output_cap.tokens))
    for matter in plan.matters:
        try:
            found.weigh(matter, figures)
        except Exception as error:  # noqa: BLE001 - whatever it is: what then happens, the rule says
            found.fail(matter, error)
    return found.decision()


@dataclass(slots=True)
class _Findings:
    """What the matters looked at so far come to."""

    plan: Plan
    call: Call
    estimate: Estimate
    now: datetime
    refusal: Refusal | None = None
    matched: list[str] = field(default_factory=list)
    shadow: list[str] = field(default_factory=list)
    alerts: list[Alert] = field(default_factory=list)
    paces: list[Pace] = field(default_factory=list)
    caps: list[Cap] = field(default_factory=list)
    downgrade: Downgrade | None = None
    trips: list[Trip] = field(default_factory=list)
    trials: list[tuple[Rule, Scope]] = field(default_factory=list)
    measured: list[Measured] = field(default_factory=list)

    def weigh(self, matter: Matter, figures: Figures) -> None:
        rule = matter.rule
        breaker = figures.breaker(rule.rule_id, matter.scope, matter.causes) if rule.is_enforced else None
        is_tripped = breaker is not None and breaker.state is not State.CLOSED
        if matter.is_placed and not is_tripped and not self._is_beyond_place(matter):
            return
        figure = matter.figure(self.estimate, figures)
        is_reached = (
            self._is_beyond_place(matter) if matter.is_placed else matter.is_reached(figure, self.estimate)
        )
        if not rule.is_enforced:
            self.shadow += [rule.rule_id] if is_reached else []
            return
        if is_tripped:
            assert breaker is not None, "tripped"
            self._measure(matter, figure)
            self._obey(matter, breaker, figure)
        if is_reached:
            self._act(matter, figure)

    def fail(self, matter: Matter, error: Exception) -> None:
        """A figure that cannot be told blocks under a hard budget, unless the rule says otherwise."""
        rule = matter.rule
        if not rule.is_enforced:
            return
        blocks = rule.on_error is OnError.BLOCK or (rule.on_error is None and self.plan.is_hard)
        self.matched.append(rule.rule_id)
        self.alerts.append(error_alert(rule, matter.scope, self.call, error, self.now, blocks=blocks))
        if blocks and rule.action is not Action.ALERT_ONLY:
            self.refuse(rule.rule_id, refusal_of_error(rule, matter.scope))

    def refuse(self, owner: str, refusal: Refusal) -> None:
        """The first that refuses speaks: models before rules, and these in the order of their priority."""
        self.matched.append(owner)
        if self.refusal is None:
            self.refusal = refusal

    def _is_beyond_place(self, matter: Matter) -> bool:
        """A call that alone costs more than a rate of dollars lets through at once never will."""
        rate = matter.rate
        if rate is None or not matter.rule.threshold_type.is_money or rate.capacity is None:
            return False
        return self.estimate.expected > rate.capacity

    def _obey(self, matter: Matter, breaker: Breaker, figure: Decimal | None) -> None:
        """A rule that is tripped acts, whatever the figure is now."""
        rule = matter.rule
        match breaker.state:
            case State.OPEN:
                self.refuse(rule.rule_id, refusal_of_breaker(rule, matter.scope, breaker, self.now))
            case State.HALF_OPEN:
                self.trials.append((rule, matter.scope))
            case _:
                self._moderate(matter, figure)

    def _act(self, matter: Matter, figure: Decimal | None) -> None:
        rule = matter.rule
        if rule.has_breaker:
            self.trips.append(Trip(rule, matter.scope, matter.cause, matter.as_threshold(figure)))
        if rule.action is Action.ALERT_ONLY:
            self.matched.append(rule.rule_id)
            self.alerts.append(self._alert(matter, figure))
        elif rule.action is Action.BLOCK:
            self.refuse(rule.rule_id, self._refusal(matter, figure))
        else:
            self._moderate(matter, figure)

    def _moderate(self, matter: Matter, figure: Decimal | None) -> None:
        """Slow down, ask for a cheaper model, or for a shorter answer."""
        rule = matter.rule
        if rule.rule_id in self.matched:
            return
        self.matched.append(rule.rule_id)
        if rule.action is Action.THROTTLE:
            self.paces.append(Pace(rule.rule_id, matter.scope, rule.throttle_factor))
        elif rule.action is Action.DOWNGRADE and self.downgrade is None:
            model = rule.cheaper(self.call.model)
            self.downgrade = None if model is None else Downgrade(rule.rule_id, model)
        elif rule.action is Action.CAP:
            self.caps.append(Cap(rule.rule_id, rule.max_output_tokens, self._room(matter, figure)))

    def _room(self, matter: Matter, figure: Decimal | None) -> int | None:
        """What the answer may cost at most, where the rule leaves that to its threshold."""
        rule = matter.rule
        if rule.max_output_tokens is not None:
            return None
        if matter.limit is not None and matter.limit.nanos is not None:
            return max(0, matter.limit.nanos - int(figure or 0))
        return rule.threshold - 1 if rule.threshold_type is ThresholdType.OPERATION_COST else None

    def _measure(self, matter: Matter, figure: Decimal | None) -> None:
        rule = matter.rule
        now = matter.as_threshold(figure)
        if rule.recovery_threshold is not None and now is not None:
            self.measured.append(Measured(rule.rule_id, matter.scope, now))

    def _alert(self, matter: Matter, figure: Decimal | None) -> Alert:
        rule = matter.rule
        if matter.limit is not None:
            return balance_alert(rule, matter.limit, Nanos(int(figure or 0)), self.call, self.now)
        if rule.threshold_type is ThresholdType.OPERATION_COST:
            return cost_alert(rule, matter.scope, self.call, self.estimate, self.now)
        return figure_alert(rule, matter.scope, matter.as_threshold(figure), self.call, self.now)

    def _refusal(self, matter: Matter, figure: Decimal | None) -> Refusal:
        if matter.rule.threshold_type is ThresholdType.OPERATION_COST:
            return refusal_of_cost(matter.rule, matter.scope, self.call, self.estimate)
        return refusal_of_figure(matter.rule, matter.scope, matter.as_threshold(figure))

    def decision(self) -> Decision:
        refusal, verdict = self.refusal, self._verdict()
        matched = tuple(dict.fromkeys(self.matched))
        return Decision(
            verdict=verdict,
            reason=_reason(verdict, matched) if refusal is None else refusal.sentence,
            rule_id=None if refusal is None else refusal.rule_id,
            limits=self.plan.limits,
            matched=matched,
            shadow=tuple(dict.fromkeys(self.shadow)),
            alerts=tuple(self.alerts),
            refusal=refusal,
            rates=self.plan.rates,
            paces=tuple(self.paces),
            caps=tuple(self.caps),
            downgrade=self.downgrade,
            trips=tuple(self.trips),
            trials=tuple(self.trials),
            measured=tuple(self.measured),
        )

    def _verdict(self) -> Verdict:
        if self.refusal is not None:
            return Verdict.BLOCK
        if self.paces:
            return Verdict.THROTTLE
        if self.downgrade is not None:
            return Verdict.DOWNGRADE
        return Verdict.CAP if len(self.caps) > (self.plan.output_cap is not None) else Verdict.ALLOW


_DONE = {
    Verdict.ALLOW: "allowed; alerting",
    Verdict.CAP: "capped",
    Verdict.DOWNGRADE: "downgraded",
    Verdict.THROTTLE: "slowed down",
}


def _reason(verdict: Verdict, matched: Sequence[str]) -> str:
    return f"{_DONE[verdict]}: {', '.join(matched)}" if matched else NOTHING_AGAINST
