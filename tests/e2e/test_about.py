"""A key asks about its own calls."""

import json

from tests.support.calls import chat_body, post
from tests.support.client import ask
from tests.support.process import Spendgate
from tests.support.script import Script

PAGE = "/_spendgate/v1/calls/"


async def test_the_cost_of_a_stream_is_told_by_its_call_id(spendgate: Spendgate, key: str, tag: str) -> None:
    streamed = await post(spendgate.url, key, Script(tag=tag), chat_body(stream=True))
    call_id = streamed.header("x-spendgate-call-id")

    told = await ask(spendgate.url, "GET", f"{PAGE}{call_id}", [("Authorization", f"Bearer {key}")])

    assert told.status == 200
    page = json.loads(told.body)
    assert (page["call_id"], page["basis"]) == (call_id, "reported")
    assert page["cost_usd"] == spendgate.call(tag)["cost_usd"] != "0"


async def test_a_call_of_another_key_is_not_found(spendgate: Spendgate, key: str, tag: str) -> None:
    made = await post(spendgate.url, key, Script(tag=tag), chat_body())
    other = spendgate.key("someone-else")

    told = await ask(
        spendgate.url,
        "GET",
        PAGE + str(made.header("x-spendgate-call-id")),
        [("Authorization", f"Bearer {other}")],
    )

    assert told.status == 404
    assert json.loads(told.body)["error"]["code"] == "unknown_call"


async def test_nothing_is_told_without_a_key(spendgate: Spendgate) -> None:
    assert (await ask(spendgate.url, "GET", f"{PAGE}call-1", [])).status == 401
