"""Past calls made cheaper: another model or a shorter answer, and what that would have saved."""

from dataclasses import dataclass, field, replace

from pricing.estimate import Estimate
from pricing.money import Nanos
from rules.breaker import Ticket
from rules.call import Operation
from rules.past import Costs, PastCall
from rules.past_facts import Facts, FactsBook
from rules.policy import Policy
from rules.scope import Scope
from rules.tally import Tallies, Tally
from rules.verdict import Cap, Downgrade

CAP_TOKENS_MIN = 16  # a shorter answer is of use to nobody


class Refused(Exception):
    """By the rule, budget or allowance of that name."""

    def __init__(self, owner: str) -> None:
        super().__init__(owner)
        self.owner = owner


@dataclass(slots=True)
class Going:
    """`at` moves on when it waits, its money changes when it is edited."""

    past: PastCall
    facts: Facts
    at: int
    cost: int
    estimate: Estimate
    model: str
    trials: list[tuple[str, Scope, Ticket]] = field(default_factory=list)

    def hit(self, tallies: Tallies, owner: str) -> Tally:
        tally = tallies[owner]
        tally.hit(self.past.at, self.past.team)
        return tally


class Edits:
    """Of one policy."""

    def __init__(
        self, policy: Policy, book: FactsBook, costs: Costs, tallies: Tallies, *, allowed: bool
    ) -> None:
        """Not `allowed`: calls go to the byte as they came."""
        self._policy = policy
        self._book = book
        self._costs = costs
        self._tallies = tallies
        self._allowed = allowed

    def downgrade(self, going: Going, asked: Downgrade) -> bool:
        past, named = going.past, self._policy.route(asked.model)
        if not self.can_edit(past) or named not in (None, past.provider):
            return False
        tally = going.hit(self._tallies, asked.rule_id)
        tally.downgraded += 1
        before = self._costs.cost(past, past.model, None)
        after = self._costs.cost(past, asked.model, None)
        if not before or after is None:
            tally.untold += 1
        else:
            estimate = going.estimate
            expected, ceiling, cost = (
                -(-amount * after // before) for amount in (estimate.expected, estimate.ceiling, going.cost)
            )
            tally.saved_nanos += going.cost - cost
            going.estimate = replace(estimate, expected=Nanos(expected), ceiling=Nanos(ceiling))
            going.cost = cost
        going.facts, going.model = self._book.of(past, asked.model), asked.model
        return True

    def shorten(self, going: Going, cap: Cap) -> None:
        """Where the answer was longer than the cap, or may have cost more than it leaves."""
        if going.past.operation != Operation.LLM:
            return
        if cap.nanos is not None and going.estimate.ceiling > cap.nanos:
            if not self.cut_to(going, cap.owner, cap.nanos):
                raise Refused(cap.owner)
            return
        past = going.past
        put_out = past.output_tokens if past.refused else past.output_charged
        if cap.tokens is not None and put_out > cap.tokens and self.can_edit(past):
            self._note_cut(going, cap.owner, self._costs.cost(past, going.model, cap.tokens))

    def cut_to(self, going: Going, owner: str, nanos: int) -> bool:
        """Shorten the answer so that the call costs no more. False: nothing worth having would be left."""
        past = going.past
        tokens = self._costs.affordable(past, going.model, nanos)
        if tokens is not None and tokens < CAP_TOKENS_MIN:
            return False
        if not self.can_edit(past):
            return True
        cost = None if tokens is None else self._costs.cost(past, going.model, tokens)
        self._note_cut(going, owner, cost)
        estimate = going.estimate
        expected, ceiling = min(estimate.expected, nanos), min(estimate.ceiling, nanos)
        going.estimate = replace(estimate, expected=Nanos(expected), ceiling=Nanos(ceiling))
        return True

    def _note_cut(self, going: Going, owner: str, cost: int | None) -> None:
        tally = going.hit(self._tallies, owner)
        tally.capped += 1
        if cost is None:
            tally.untold += 1
        elif cost < going.cost:
            tally.saved_nanos += going.cost - cost
            going.cost = cost

    def can_edit(self, past: PastCall) -> bool:
        return self._allowed and not past.fixed
