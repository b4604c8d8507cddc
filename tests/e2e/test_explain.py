"""`spendgate explain` and its page of the admin API: the caller's own refusal again, and what a call passed."""

import json
from typing import Any

import pytest

from proxy import control
from proxy.control import ControlError
from tests.support.calls import chat_body, post
from tests.support.process import Spendgate
from tests.support.script import Script


def page(server: Spendgate, call_id: str) -> dict[str, Any]:
    live = control.find(server.folder / "data")
    assert live is not None, "not running"
    return dict(control.ask(live, "GET", f"/api/v1/calls/{call_id}/explain"))


async def test_explain_has_the_sentence_and_the_figures_of_the_refusal(
    spendgate: Spendgate, tag: str
) -> None:
    key = spendgate.key(tag, "--budget-usd", "0.000001", "--period", "daily", "--hold", "strict")
    refused = await post(spendgate.url, key, Script(tag=tag), chat_body())
    body = json.loads(refused.body)["error"]
    call_id = body["request_id"]

    told = page(spendgate, call_id)
    (by_command,) = json.loads(spendgate.run("explain", call_id, "--format", "json"))
    words = spendgate.run("explain", call_id).splitlines()

    assert refused.status == 402
    assert told == by_command
    assert told["sentence"] == body["message"] == words[1]
    names = ("code", "rule_id", "scope", "limit_usd", "spent_usd", "held_usd", "estimate_usd", "resets_at")
    assert {name: told["refusal"][name] for name in names} == {name: body[name] for name in names}
    assert f"refused by {body['rule_id']}" in words[2]


async def test_explain_of_a_call_that_went_tells_what_its_budget_had_left(
    spendgate: Spendgate, tag: str
) -> None:
    key = spendgate.key(tag, "--budget-usd", "1", "--period", "total")
    went = await post(spendgate.url, key, Script(tag=tag), chat_body())
    call_id = str(went.header("x-spendgate-call-id"))

    told = page(spendgate, call_id)

    assert (told["went"], told["verdict"], told["refusal"]) == (True, "allow", None)
    assert told["sentence"] == "it went: every limit over it had room"
    (budget,) = told["budgets"]
    assert (budget["limit_usd"], budget["spent_usd"], budget["resets_at"]) == ("1", "0", None)
    assert budget["held_usd"] == told["estimate_usd"] != "0"


def test_explain_of_a_call_that_is_not_there_is_told(spendgate: Spendgate) -> None:
    with pytest.raises(ControlError, match="no call with that id is in the ledger") as problem:
        page(spendgate, "call-nowhere")
    assert problem.value.status == 404
    with pytest.raises(AssertionError, match="no call call-nowhere is in the ledger"):
        spendgate.run("explain", "call-nowhere")
