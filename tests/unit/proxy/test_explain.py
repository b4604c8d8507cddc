"""What is told of a call from its row alone."""

from typing import Any

import pytest

from proxy.admin.explain import explain, told
from rules.counter import CounterKey, counter_at, in_flight
from rules.window import Period
from tests.support.records import NOON, SEARCH

TODAY = counter_at(SEARCH, Period.DAILY, "UTC", NOON)


def row(**facts: Any) -> dict[str, Any]:
    """A call that went, as the ledger shows it."""
    plain = {
        "call_id": "call-1",
        "at": NOON.isoformat(),
        "team": "search",
        "key_id": "k1",
        "model": "gpt-4o-mini",
        "asked_model": "",
        "outcome": "answered",
        "status": 200,
        "error_type": "",
        "verdict": "allow",
        "reason": "",
        "refusal": {},
        "limits": [],
        "rule_ids": [],
        "shadow_ids": [],
        "flags": [],
        "waited_ms": 0.0,
        "estimate_expected_usd": "0.01",
        "estimate_ceiling_usd": "0.02",
        "policy_version": "5f2c",
    }
    return plain | facts


def limit(counter: CounterKey, most: int | None, spent: int = 0, held: int = 0) -> dict[str, Any]:
    return {"counter": str(counter), "owner": "search-daily", "limit": most, "spent": spent, "held": held}


def lines(**facts: Any) -> list[str]:
    explained = explain(row(**facts))
    return [explained["sentence"], *told(explained)]


def test_explain_tells_the_refusal_as_its_caller_got_it_with_its_figures() -> None:
    sentence = 'team "search" has $0.10 left of $5.00 today; this call will likely cost $0.20.'
    figures = {
        "rule_id": "search-daily",
        "scope": "team:search",
        "limit_usd": "5",
        "spent_usd": "4.9",
        "held_usd": "0",
        "estimate_usd": "0.2",
        "resets_at": "2026-01-06T00:00:00Z",
    }
    refused = row(
        outcome="refused", status=402, error_type="budget_exceeded", reason=sentence, refusal=figures
    )

    explained = explain(refused)

    assert (explained["went"], explained["sentence"]) == (False, sentence)
    assert explained["refusal"] == {"status": 402, "code": "budget_exceeded", **figures}
    assert list(told(explained)) == [
        'refused by search-daily, of team "search" (402 budget_exceeded)',
        "limit $5, spent $4.9, held $0, estimate $0.2",
        "resets 2026-01-06 00:00 UTC",
    ]


def test_explain_tells_counts_where_a_rate_refused() -> None:
    figures = {
        "rule_id": "team:search:rate",
        "scope": "team:search",
        "limit_usd": None,
        "limit_requests": "2",
    }

    told_lines = lines(
        outcome="refused",
        status=429,
        error_type="rate_limited",
        reason="Slow down.",
        refusal={**figures, "used_requests": "2", "asked_requests": "1"},
    )

    assert told_lines[1:] == [
        'refused by team:search:rate, of team "search" (429 rate_limited)',
        "limit requests 2, used requests 2, asked requests 1",
    ]


def test_explain_tells_a_refusal_that_no_rule_made() -> None:
    told_lines = lines(outcome="refused", status=499, error_type="client_left", reason="The client left.")

    assert told_lines == ["The client left.", "refused with client_left (499 client_left)"]


def test_explain_tells_what_each_budget_had_left() -> None:
    budgets = [limit(TODAY, 50 * 10**9, 10**9, 6_000), limit(TODAY, None), limit(in_flight(SEARCH), 3, 0, 2)]

    explained = explain(row(limits=budgets))

    assert explained["sentence"] == "it went: every limit over it had room"
    assert explained["budgets"][0] == {
        "owner": "search-daily",
        "scope": "team:search",
        "period": "daily",
        "measure": "spend",
        "resets_at": "2026-01-06T00:00:00Z",
        "limit_usd": "50",
        "spent_usd": "1",
        "held_usd": "0.000006",
        "left_usd": "48.999994",
    }
    assert list(told(explained)) == [
        'search-daily: team "search" had $48.999994 left of $50 today, $1 spent and $0.000006 held, '
        "this call's hold among it, resets 2026-01-06 00:00 UTC",
        'search-daily: team "search" had 2 of 3 calls in flight, this one among them',
    ]


@pytest.mark.parametrize(
    ("facts", "sentence", "edit"),
    [
        (
            {"asked_model": "gpt-4o", "verdict": "downgrade"},
            'it went, to model "gpt-4o-mini" instead of "gpt-4o"',
            'a rule had model "gpt-4o-mini" asked for instead of "gpt-4o"',
        ),
        (
            {"flags": ["capped"], "verdict": "cap"},
            "it went, with a shorter answer: no limit is over it",
            "its longest answer was lowered",
        ),
        (
            {"waited_ms": 1234.5, "verdict": "throttle"},
            "it went, slowed down: no limit is over it",
            "it waited 1.23 s for its turn",
        ),
        (
            {"flags": ["not_downgraded"]},
            "it went: no limit is over it",
            "a rule asked for a cheaper model, and the request could not be changed so",
        ),
    ],
)
def test_explain_tells_what_was_changed(facts: dict[str, Any], sentence: str, edit: str) -> None:
    assert lines(**facts) == [sentence, edit]


def test_explain_tells_rules_that_matched_and_those_that_only_would_have() -> None:
    assert lines(rule_ids=["dear", "day"], shadow_ids=["loop"])[1:] == [
        "rules and limits that met it: dear, day",
        "rules that would have acted, were they enforced: loop",
    ]
