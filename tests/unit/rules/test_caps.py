"""How short a rule that caps makes an answer: as its key says, or as its threshold leaves room."""

import pytest

from pricing.money import nanos
from rules.counter import Balance
from rules.decide import decide
from rules.figures import Balances
from rules.verdict import Cap, Verdict
from tests.unit.rules.build import NOON, call, estimate, policy, spent


def caps(rule: str, balance: Balance, costs: str = "0.50") -> tuple[Cap, ...]:
    ruled = policy(
        f"budgets: [{{period: daily, limit_usd: 20}}]\nrules: [{{rule_id: r, action: cap, {rule}}}]"
    )
    decision = decide(ruled, call(), estimate(costs), figures=Balances(lambda _: balance), now=NOON)

    assert decision.verdict is (Verdict.CAP if decision.caps else Verdict.ALLOW)
    return decision.caps


@pytest.mark.parametrize(
    ("rule", "balance", "room"),
    [
        ("threshold_type: absolute_daily, threshold_value: 10", spent("9.80"), "0.20"),
        ("threshold_type: absolute_daily, threshold_value: 10", spent("9.80", held="5"), "0.20"),
        ("threshold_type: absolute_daily, threshold_value: 10", spent("12"), "0"),
        ("threshold_type: percentage_daily, threshold_value: 50", spent("9.80"), "0.20"),
    ],
)
def test_a_balance_leaves_what_is_not_spent_yet(rule: str, balance: Balance, room: str) -> None:
    assert caps(rule, balance) == (Cap("r", nanos=nanos(room)),)


def test_a_balance_that_this_call_fits_caps_nothing() -> None:
    assert caps("threshold_type: absolute_daily, threshold_value: 10", spent("9.50")) == ()


def test_a_dear_call_is_cut_to_below_the_threshold() -> None:
    (cap,) = caps("threshold_type: operation_cost, threshold_value: 0.40", spent("0"))

    assert cap == Cap("r", nanos=nanos("0.40") - 1)


def test_tokens_that_the_rule_names_stand_in_place_of_room() -> None:
    found = caps("threshold_type: absolute_daily, threshold_value: 10, max_output_tokens: 50", spent("9.80"))

    assert found == (Cap("r", tokens=50),)
