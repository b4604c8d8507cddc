"""`hold: capped`: a call gets as long an answer as its budget affords, and no call at all where that is too short."""

import gzip
import json

from tests.support.calls import CHAT, chat_body, headers_for, post
from tests.support.client import ask
from tests.support.gathering import ceiling, dollars
from tests.support.process import ScriptedProvider, Spendgate
from tests.support.script import Script

AFFORDED = 20  # tokens of an answer


def capped_key(spendgate: Spendgate, team: str, tokens: int = AFFORDED) -> str:
    limit = dollars(ceiling(tokens))
    return spendgate.key(team, "--budget-usd", limit, "--period", "total", "--hold", "capped")


async def test_a_long_answer_is_cut_to_what_the_budget_affords(
    spendgate: Spendgate, provider: ScriptedProvider, tag: str
) -> None:
    key = capped_key(spendgate, tag)

    reply = await post(spendgate.url, key, Script(tag=tag), chat_body(max_tokens=1000))

    assert reply.status == 200
    billed = provider.billed(tag)
    assert (billed.output_tokens, billed.nanos) == (AFFORDED, ceiling(AFFORDED))
    row = spendgate.call(tag)
    assert (row["verdict"], row["flags"], row.nanos) == ("cap", ["capped"], billed.nanos)


async def test_a_call_that_fits_is_not_touched(
    spendgate: Spendgate, provider: ScriptedProvider, tag: str
) -> None:
    reply = await post(spendgate.url, capped_key(spendgate, tag), Script(tag=tag), chat_body(max_tokens=10))

    assert reply.status == 200
    assert provider.billed(tag).output_tokens == 10
    assert spendgate.call(tag)["flags"] == []


async def test_an_answer_too_short_to_be_of_use_is_refused(
    spendgate: Spendgate, provider: ScriptedProvider, tag: str
) -> None:
    key = capped_key(spendgate, tag, tokens=10)

    reply = await post(spendgate.url, key, Script(tag=tag), chat_body(max_tokens=1000))

    assert (reply.status, json.loads(reply.body)["error"]["code"]) == (402, "budget_exceeded")
    assert provider.bill(tag) == []


async def test_a_compressed_request_cannot_be_edited_and_is_refused_instead(
    spendgate: Spendgate, provider: ScriptedProvider, tag: str
) -> None:
    headers = [*headers_for(capped_key(spendgate, tag), Script(tag=tag)), ("Content-Encoding", "gzip")]

    reply = await ask(spendgate.url, "POST", CHAT, headers, gzip.compress(chat_body(max_tokens=1000)))

    assert reply.status == 402
    assert provider.bill(tag) == []


async def test_a_request_that_grows_beyond_the_limit_when_decoded_is_too_large(
    spendgate: Spendgate, key: str, tag: str
) -> None:
    bomb = gzip.compress(bytes(65 << 20))
    headers = [*headers_for(key, Script(tag=tag)), ("Content-Encoding", "gzip")]

    reply = await ask(spendgate.url, "POST", CHAT, headers, bomb)

    assert (reply.status, json.loads(reply.body)["error"]["code"]) == (413, "body_too_large")
