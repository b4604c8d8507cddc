"""`spendgate calls show`: every row explains itself."""

import json
from decimal import Decimal

import pytest

from tests.support.calls import chat_body, post
from tests.support.process import Spendgate
from tests.support.script import Script


async def test_a_call_is_shown_with_its_classes_unit_prices_and_sum(
    spendgate: Spendgate, key: str, tag: str
) -> None:
    await post(spendgate.url, key, Script(tag=tag, cached_tokens=4), chat_body(10, max_tokens=5))
    row = spendgate.call(tag)

    shown = spendgate.run("calls", "show", row["call_id"])
    (told,) = json.loads(spendgate.run("calls", "show", row["call_id"], "--format", "json"))

    parts = {part["class"]: part for part in told["working"]["parts"]}
    assert {name: part["quantity"] for name, part in parts.items()} == {
        "cache_read": 4,
        "input": 6,
        "output": 5,
    }
    assert (parts["cache_read"]["unit_usd"], parts["input"]["unit_usd"]) == ("0.075", "0.15")
    assert sum(Decimal(part["cost_usd"]) for part in parts.values()) == Decimal(row["cost_usd"])
    assert told["working"]["note"] == ""
    for words in (row["call_id"], "cache_read", f"${row['cost_usd']} reported", row["price_version"]):
        assert words in shown


async def test_a_refused_call_says_why_and_that_it_was_not_charged(spendgate: Spendgate, tag: str) -> None:
    key = spendgate.key(tag, "--budget-usd", "0.000001", "--period", "total", "--hold", "strict")
    await post(spendgate.url, key, Script(tag=tag), chat_body())

    shown = spendgate.run("calls", "show", spendgate.call(tag)["call_id"])

    assert "402 refused" in shown
    assert "has $0.000001 left" in shown
    assert shown.rstrip().endswith("not charged")


def test_a_call_that_is_not_there_is_told(spendgate: Spendgate) -> None:
    with pytest.raises(AssertionError, match="no call call-nowhere is in the ledger"):
        spendgate.run("calls", "show", "call-nowhere")
