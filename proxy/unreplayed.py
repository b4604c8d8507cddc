"""What a replay of past calls cannot tell, in words."""

from collections.abc import Iterator

from proxy.ledger.past import Told
from rules.policy import Policy
from rules.rule import Action, ThresholdType
from rules.sentence import counted
from rules.tally import Tallies


def unreplayed(policy: Policy, told: Told, tallies: Tallies) -> Iterator[str]:
    """Only what concerns these rules and these calls."""
    loops = [rule.rule_id for rule in policy.rules if rule.threshold_type is ThresholdType.REPEAT_CALLS]
    if loops:
        yield f"repeated calls ({', '.join(loops)}): the ledger keeps no text, so no call looks like another"
    for reason, calls in sorted(told.left_out.items()):
        yield f"{counted(calls, 'call')}: {reason}"
    refused = tallies.totals.refused_then
    if refused:
        yield f"what {counted(refused, 'refused call')} would have cost: the estimate stands, and they take no time"
    if told.busy:
        yield f"waiting for other calls' holds ({counted(told.busy, 'call')}): each call is settled as it comes"
    if told.capped:
        yield f"the answers that {counted(told.capped, 'call')} asked for before they were shortened: as they went"
    caps = [each for each in policy.rules if each.action is Action.CAP and each.is_enforced]
    if caps or any(tally.capped for tally in tallies.of.values()):
        yield "max_tokens of a call: an answer counts as shortened where it was longer, as one choice"
    untold = sum(tally.untold for tally in tallies.of.values())
    if untold:
        yield f"what {counted(untold, 'edited call')} would have cost: no price is known"
    if any(tally.downgraded for tally in tallies.of.values()):
        yield "what a cheaper model would have answered: as many tokens as the one that did"
    if any(budget.hold.hard for budget in policy.budgets):
        yield "calls in flight at once: between two that overlap, a hard budget may also have made one wait"
    yield "limits raised by hand, breakers forced by hand, and routes: calls stay with the provider that served them"
