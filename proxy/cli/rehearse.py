"""What becomes of a call under a policy when things stand as a case says: decided and placed as a server would."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime

from pricing.estimate import Estimate
from pricing.overrides import Prices
from proxy.cli.case_cost import cost_of
from proxy.estimating import affordable_tokens
from rules.alert import Alert
from rules.budget import Budget, budgets_for_key
from rules.call import Call, CallId, Operation
from rules.cases import CallSpec, CaseSpec, Ending
from rules.counter import HoldMode
from rules.decide import decide
from rules.foretell import Obstacle, foretell
from rules.given import CaseError, Given, given
from rules.objection import refusal_of_cost
from rules.policy import Policy
from rules.refusal import Refusal, refusal_of_limit
from rules.verdict import Cap, Decision, Verdict


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an expectation is held against; `reason` is the sentence."""

    verdict: Ending
    reason: str
    rule_id: str | None
    code: str | None
    alerts: tuple[str, ...]
    shadow: tuple[str, ...]
    model: str
    max_tokens: int | None


@dataclass(frozen=True, slots=True)
class Bench:
    """Where cases are run: a policy, prices, the provider of calls that neither name one nor have a route, and the time."""

    policy: Policy
    prices: Prices
    provider: str
    now: datetime

    def run(self, case: CaseSpec, default: CallSpec) -> Outcome:
        """Raises CaseError where the case leaves something open that its outcome depends on."""
        asked = case.call.over(default)
        call = self._call(asked)
        own = budgets_for_key(call.key_id, case.key_budgets, timezone=self.policy.timezone)
        stands = given(case, call, self.policy, own)
        return _Rehearsal(self, asked, call, own, stands, asked.max_tokens).outcome()

    def _call(self, asked: CallSpec) -> Call:
        for name in ("team", "model"):
            if not getattr(asked, name):
                raise CaseError(
                    ("call",), f"has no {name}", f"give it one, or put {name} into the file's call"
                )
        team, model = asked.team or "", asked.model or ""
        return Call(
            CallId("case"),
            asked.at or self.now,
            asked.operation,
            asked.provider or self.policy.route(model) or self.provider,
            model,
            team,
            asked.key,
            user=asked.user,
            category=asked.category,
        )


@dataclass(slots=True)
class _Rehearsal:
    bench: Bench
    asked: CallSpec
    call: Call
    key_budgets: tuple[Budget, ...]
    stands: Given
    max_tokens: int | None
    rule_id: str | None = None
    alerts: list[Alert] = field(default_factory=list)
    shadow: list[str] = field(default_factory=list)
    edit: Verdict | None = None

    def outcome(self) -> Outcome:
        """The steps of placing a call, without the waits."""
        decision = self._decide()
        if decision.refusal is None and decision.downgrade is not None and self._is_served(decision):
            self.edit, self.rule_id = Verdict.DOWNGRADE, decision.downgrade.rule_id
            self.call = replace(self.call, model=decision.downgrade.model)
            decision = self._decide()
        refusal = decision.refusal or self._no_room(decision)
        if refusal is None and self._shorten(decision):
            decision = self._decide()
            refusal = decision.refusal
        if refusal is not None:
            return self._ended(Ending.BLOCK, refusal)
        obstacle = self._placed(decision)
        if obstacle is not None and self._shorten_to_fit(obstacle):
            decision = self._decide()
            obstacle = self._placed(decision)
        if obstacle is not None:
            return self._ended(Ending.WAIT if obstacle.waits else Ending.BLOCK, obstacle.refusal)
        return self._went(decision)

    def _decide(self) -> Decision:
        decision = decide(
            self.bench.policy,
            self.call,
            self._estimate(self.max_tokens),
            key_budgets=self.key_budgets,
            figures=self.stands,
            now=self.call.at,
        )
        self.alerts += [each for each in decision.alerts if each not in self.alerts]
        self.shadow += [each for each in decision.shadow if each not in self.shadow]
        return decision

    def _is_served(self, decision: Decision) -> bool:
        """A call stays with its provider: a model that another one serves is not asked for."""
        assert decision.downgrade is not None, "asks for no other model"
        provider = self.bench.policy.route(decision.downgrade.model)
        return provider is None or provider == self.call.provider or self.asked.provider is not None

    def _placed(self, decision: Decision) -> Obstacle | None:
        return foretell(
            decision.limits,
            decision.rates,
            self._estimate(self.max_tokens),
            self.call,
            balance=self.stands.balance,
            used=self.stands.used,
        )

    # -- shorter answers ----------------------------------------------------------------------------------------------

    def _shorten(self, decision: Decision) -> bool:
        if self.call.operation is not Operation.LLM:
            return False
        longest = self._longest()
        caps = [
            (tokens, cap.owner)
            for cap in decision.caps
            if (tokens := self._tokens(cap)) is not None
            and (cap.owner in decision.matched if longest is None else tokens < longest)
        ]
        return bool(caps) and self._cut(*min(caps))

    def _tokens(self, cap: Cap) -> int | None:
        """The longest answer that a rule leaves. None: any."""
        made = self._estimate(self.max_tokens)
        if cap.nanos is None or made.ceiling <= cap.nanos:
            return cap.tokens
        return affordable_tokens(self._at_cap("is cut to what its rule leaves"), made, cap.nanos)

    def _no_room(self, decision: Decision) -> Refusal | None:
        """Of a rule that leaves no answer worth having."""
        made = self._estimate(self.max_tokens)
        if self.call.operation is not Operation.LLM:
            return None
        short = {
            cap.owner
            for cap in decision.caps
            if cap.nanos is not None and made.ceiling > cap.nanos and self._tokens(cap) is None
        }
        matters = self.bench.policy.plan(self.call, self.key_budgets).matters
        matter = next((each for each in matters if each.rule.rule_id in short), None)
        if matter is None:
            return None
        if matter.limit is not None:
            balance = self.stands.balance(matter.limit.counter)
            return refusal_of_limit(matter.limit, balance, made.ceiling, self.call)
        return refusal_of_cost(matter.rule, matter.scope, self.call, made)

    def _shorten_to_fit(self, obstacle: Obstacle) -> bool:
        limit = obstacle.limit
        if limit is None or limit.hold is not HoldMode.CAPPED or limit.nanos is None:
            return False
        if self.call.operation is not Operation.LLM:
            return False
        balance = self.stands.balance(limit.counter)
        room = limit.nanos - balance.spent - balance.held
        if room <= 0:
            return False
        at_cap = self._at_cap(f"is cut to what {limit.owner} has left")
        tokens = affordable_tokens(at_cap, self._estimate(self.max_tokens), room)
        return tokens is not None and self._cut(tokens, limit.owner)

    def _cut(self, tokens: int, owner: str) -> bool:
        self.max_tokens = tokens
        if self.edit is None:
            self.edit, self.rule_id = Verdict.CAP, owner
        return True

    def _longest(self) -> int | None:
        """None: the case does not say how long the answer may get. Then rules cut it, and plain limits do not."""
        if self.asked.estimate_usd is not None:
            return self.max_tokens
        return self._estimate(self.max_tokens).output_tokens_max

    def _at_cap(self, why: str) -> Callable[[int], Estimate]:
        if self.asked.estimate_usd is not None:
            raise CaseError(
                ("call",),
                f"this call {why}, and how far depends on its price",
                "give input_tokens and max_tokens in place of estimate_usd",
            )
        return self._estimate

    def _estimate(self, max_tokens: int | None) -> Estimate:
        return cost_of(self.asked, self.call, self.bench.prices, max_tokens)

    # -- the end ------------------------------------------------------------------------------------------------------

    def _went(self, decision: Decision) -> Outcome:
        """An edit that was made counts, not one that a rule asked for in vain."""
        asked, reason, rule_id = decision.verdict, decision.reason, self.rule_id
        verdict = self.edit or Verdict.ALLOW
        if asked is Verdict.THROTTLE and self.edit is not Verdict.DOWNGRADE:
            verdict, rule_id = asked, decision.paces[0].rule_id
        if verdict is not Verdict.ALLOW:
            reason = f"{_DONE[verdict]} by {rule_id}"
        elif asked is not Verdict.ALLOW:
            reason = f"goes as it is: {', '.join(decision.matched)}"
        return self._told(Ending(verdict.value), reason, rule_id, None)

    def _ended(self, ending: Ending, refusal: Refusal) -> Outcome:
        code = refusal.code
        if ending is Ending.WAIT and code != "concurrency_limited":
            code = "budget_busy"
        return self._told(ending, refusal.sentence, refusal.rule_id, code)

    def _told(self, ending: Ending, reason: str, rule_id: str | None, code: str | None) -> Outcome:
        return Outcome(
            ending,
            reason,
            rule_id,
            code,
            tuple(dict.fromkeys(each.facts["rule_id"] for each in self.alerts)),
            tuple(self.shadow),
            self.call.model,
            self.max_tokens,
        )


_DONE = {Verdict.CAP: "cut", Verdict.DOWNGRADE: "downgraded", Verdict.THROTTLE: "slowed down"}
