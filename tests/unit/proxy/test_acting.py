"""What rules did, and would have done, is counted once a call."""

from pricing.charge import Charge
from proxy import metrics
from proxy.acting import acted, note_acts, note_shadow
from proxy.opencall import OpenCall
from rules.verdict import Verdict
from tests.support.records import charge
from tests.unit.proxy.test_till import open_call
from tests.unit.rules.build import policy

RULES = """
rules:
  - {rule_id: %(name)s, threshold_type: operation_cost, threshold_value: 1, action: throttle}
"""


def ruled(name: str) -> OpenCall:
    return open_call(policy(RULES % {"name": name}))


def verdicts(owner: str, verdict: str) -> float:
    return (
        metrics.REGISTRY.get_sample_value(
            "spendgate_rule_verdicts_total", {"rule": owner, "verdict": verdict}
        )
        or 0
    )


def shadowed(name: str, figure: str) -> float | None:
    labels = {"rule": name, "action": "throttle"}
    return metrics.REGISTRY.get_sample_value(f"spendgate_shadow_{figure}_total", labels)


def test_a_verdict_counts_once_however_often_it_was_decided() -> None:
    call = ruled("acting-once")

    for _ in range(3):
        acted(call, "acting-once", Verdict.THROTTLE)
    acted(call, "acting-once", Verdict.BLOCK)
    note_acts(call)

    assert (verdicts("acting-once", "throttle"), verdicts("acting-once", "block")) == (1, 1)


def test_owners_that_are_no_rules_are_not_counted_as_such() -> None:
    call = ruled("acting-rule")

    acted(call, "team:search:daily", Verdict.BLOCK)
    acted(call, None, Verdict.BLOCK)
    note_acts(call)

    assert verdicts("team:search:daily", "block") == 0


def test_shadow_counts_the_call_and_what_it_was_charged() -> None:
    for name, made in (("seen-charged", charge(2_000_000_000)), ("seen-free", None)):
        note(name, made)

    assert (shadowed("seen-charged", "calls"), shadowed("seen-charged", "cost_usd")) == (1, 2)
    assert (shadowed("seen-free", "calls"), shadowed("seen-free", "cost_usd")) == (1, 0)


def note(name: str, made: Charge | None) -> None:
    call = ruled(name)
    call.row.shadow_ids = [name]
    note_shadow(call, made)


def test_a_call_that_no_rule_in_shadow_looked_at_counts_for_none() -> None:
    note_shadow(ruled("seen-never"), charge())

    assert shadowed("seen-never", "calls") is None
