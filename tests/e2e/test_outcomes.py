"""How a call can end, and what it is then charged: every row of the money rules, through real sockets."""

import asyncio
from typing import Any

import pytest

from tests.support.calls import CHAT, chat_body, headers_for, post
from tests.support.client import Broken, Connection
from tests.support.gathering import ceiling, dollars
from tests.support.process import ScriptedProvider, Spendgate
from tests.support.script import Fault, Script, Tale

INPUT = 10
OUTPUT = 5
COST = ceiling(OUTPUT)
INPUT_COST = ceiling(0)


def body(**more: Any) -> bytes:
    return chat_body(INPUT, max_tokens=OUTPUT, **more)


# -- answered -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_with_usage_is_charged_as_reported(
    spendgate: Spendgate, provider: ScriptedProvider, key: str, tag: str, stream: bool
) -> None:
    await post(spendgate.url, key, Script(tag=tag), body(stream=stream))

    row = spendgate.call(tag)
    assert (row.basis, row.nanos, row["outcome"]) == ("reported", COST, "answered")
    assert row["provider_id"] == provider.billed(tag).answer_id
    assert (row["input_tokens"], row["output_tokens"]) == (INPUT, OUTPUT)
    assert (row["team"], row["model"], row["status"]) == ("free", "gpt-4o-mini", 200)


async def test_an_explicit_zero_stays_zero(spendgate: Spendgate, key: str, tag: str) -> None:
    await post(spendgate.url, key, Script(tag=tag, usage="zero"), body())

    row = spendgate.call(tag)
    assert (row.basis, row.nanos) == ("reported", 0)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("tale", ["missing", "null"])
async def test_an_answer_without_usage_is_charged_as_observed(
    spendgate: Spendgate, key: str, tag: str, stream: bool, tale: Tale
) -> None:
    """What went in and what came out are counted by us: of these words, exactly as the provider counts."""
    await post(spendgate.url, key, Script(tag=tag, usage=tale), body(stream=stream))

    row = spendgate.call(tag)
    assert (row.basis, row.nanos) == ("observed", COST)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("tale", ["negative", "nan", "infinity", "string", "fraction", "huge"])
async def test_usage_that_cannot_be_true_is_replaced_by_what_was_seen_and_flagged(
    spendgate: Spendgate, key: str, tag: str, stream: bool, tale: Tale
) -> None:
    await post(spendgate.url, key, Script(tag=tag, usage=tale), body(stream=stream))

    row = spendgate.call(tag)
    assert row.basis == "observed"
    assert COST <= row.nanos <= 2 * COST
    assert "usage_suspect" in row.flags


async def test_usage_that_decreases_is_flagged(spendgate: Spendgate, key: str, tag: str) -> None:
    await post(spendgate.url, key, Script(tag=tag, usage="decreasing"), body(stream=True))

    row = spendgate.call(tag)
    assert row.nanos >= COST
    assert "usage_suspect" in row.flags


@pytest.mark.parametrize("tale", ["doubled", "late", "after_done"])
async def test_usage_told_twice_or_late_is_charged_once(
    spendgate: Spendgate, key: str, tag: str, tale: Tale
) -> None:
    await post(spendgate.url, key, Script(tag=tag, usage=tale), body(stream=True))

    row = spendgate.call(tag)
    assert row.nanos == COST


async def test_another_model_served_is_charged_at_the_truth(spendgate: Spendgate, key: str, tag: str) -> None:
    await post(spendgate.url, key, Script(tag=tag, model="gpt-4o"), body())

    row = spendgate.call(tag)
    assert (row.basis, row.nanos) == ("reported", INPUT * 2500 + OUTPUT * 10_000)
    assert row["served_model"] == "gpt-4o"
    assert "served_other_model" in row.flags


async def test_an_answer_that_is_not_json_is_charged_and_not_as_reported(
    spendgate: Spendgate, key: str, tag: str
) -> None:
    await post(spendgate.url, key, Script(tag=tag, fault="invalid_json"), body())

    row = spendgate.call(tag)
    assert row.basis in ("observed", "estimated")
    assert row.nanos >= INPUT_COST


# -- refused by the provider ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 404, 429])
async def test_a_refusal_of_the_provider_passes_through_and_costs_nothing(
    spendgate: Spendgate, key: str, tag: str, status: int
) -> None:
    reply = await post(spendgate.url, key, Script(tag=tag, status=status, retry_after="3"), body())

    assert (reply.status, reply.header("Retry-After")) == (status, "3")
    assert reply.json()["error"]["message"] == "the script says so"
    row = spendgate.call(tag)
    assert (row.basis, row.nanos, row["status"]) == ("reported", 0, status)


# -- failed ---------------------------------------------------------------------------------------------------------


async def test_a_provider_that_cannot_be_reached_costs_nothing(
    spendgate: Spendgate, key: str, tag: str
) -> None:
    reply = await post(spendgate.url, key, Script(tag=tag), body(), f"/dead{CHAT}")

    assert (reply.status, reply.json()["error"]["code"]) == (502, "upstream_connect")
    row = spendgate.call(tag)
    assert (row.basis, row.nanos, row["outcome"]) == ("", 0, "not_sent")


async def test_a_server_error_is_charged_as_estimated(spendgate: Spendgate, key: str, tag: str) -> None:
    reply = await post(spendgate.url, key, Script(tag=tag, status=503), body())

    assert reply.status == 503
    row = spendgate.call(tag)
    assert row.basis == "estimated"
    assert INPUT_COST <= row.nanos <= COST


async def test_a_silent_provider_is_504_and_charged_as_estimated(
    spendgate: Spendgate, key: str, tag: str
) -> None:
    script = Script(tag=tag, fault="hang")

    reply = await post(spendgate.url, key, script, body(), f"/hasty{CHAT}")

    assert (reply.status, reply.json()["error"]["code"]) == (504, "upstream_timeout")
    row = spendgate.call(tag)
    assert row.basis == "estimated"
    assert INPUT_COST <= row.nanos <= COST


@pytest.mark.parametrize("fault", ["garbage", "reset"])
async def test_no_answer_to_a_request_that_was_sent_is_502(
    spendgate: Spendgate, key: str, tag: str, fault: Fault
) -> None:
    """Charged as estimated, unless it came over a used connection that may have been dead before."""
    reply = await post(spendgate.url, key, Script(tag=tag, fault=fault), body())

    assert reply.status == 502
    row = spendgate.call(tag)
    if "unproven" in row.flags or row["outcome"] == "unproven":
        assert (fault, row.nanos) == ("reset", 0)
    else:
        assert row.basis == "estimated"
        assert INPUT_COST <= row.nanos <= COST


async def test_a_used_connection_that_died_without_a_byte_costs_nothing_and_is_flagged(
    spendgate: Spendgate, key: str, tag: str
) -> None:
    await post(spendgate.url, key, Script(tag=f"{tag}-before"), body())

    reply = await post(spendgate.url, key, Script(tag=tag, fault="drop"), body())

    assert reply.status == 502
    row = spendgate.call(tag)
    assert (row["outcome"], row.nanos) == ("unproven", 0)
    assert "unproven" in row.flags


async def test_every_failure_gives_its_hold_back(spendgate: Spendgate, tag: str) -> None:
    """After one failed connection a strict budget for one call still affords one."""
    limit = dollars(COST)
    key = spendgate.key(tag, "--budget-usd", limit, "--period", "total", "--hold", "strict")
    await post(spendgate.url, key, Script(tag=f"{tag}-1"), body(), f"/dead{CHAT}")
    await post(spendgate.url, key, Script(tag=f"{tag}-2", status=400), body())

    reply = await post(spendgate.url, key, Script(tag=f"{tag}-3"), body())

    assert reply.status == 200


# -- broken ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["cut", "reset", "hang"])
async def test_a_stream_that_breaks_off_breaks_off_for_the_client_and_is_charged_as_observed(
    spendgate: Spendgate, key: str, tag: str, fault: Fault
) -> None:
    script = Script(tag=tag, fault=fault, after_chunks=3)

    with pytest.raises(Broken) as broken:
        await post(spendgate.url, key, script, body(stream=True), f"/hasty{CHAT}")

    assert broken.value.got.count(b'"word"') + broken.value.got.count(b'" word"') == 3
    row = spendgate.call(tag)
    assert (row.basis, row["outcome"]) == ("observed", "broken")
    assert row.nanos >= ceiling(3)


async def test_a_stream_without_length_that_is_cut_does_not_look_complete(
    spendgate: Spendgate, key: str, tag: str
) -> None:
    """A body that ends with its connection: only the missing end of the stream tells that it was cut."""
    script = Script(tag=tag, fault="cut", after_chunks=3, close_delimited=True)

    with pytest.raises(Broken):
        await post(spendgate.url, key, script, body(stream=True))

    row = spendgate.call(tag)
    assert (row.basis, row["outcome"]) == ("observed", "broken")


async def test_a_whole_stream_without_length_is_answered(spendgate: Spendgate, key: str, tag: str) -> None:
    reply = await post(spendgate.url, key, Script(tag=tag, close_delimited=True), body(stream=True))

    assert reply.body.endswith(b"data: [DONE]\n\n")
    assert spendgate.call(tag).nanos == COST


async def test_an_answer_cut_in_its_middle_is_charged(spendgate: Spendgate, key: str, tag: str) -> None:
    reply = await post(spendgate.url, key, Script(tag=tag, fault="cut", after_chunks=0), body())

    assert reply.status == 502
    row = spendgate.call(tag)
    assert row.basis in ("observed", "estimated")
    assert row.nanos >= INPUT_COST


async def test_an_error_in_the_middle_of_a_stream_is_passed_on_and_charged_as_observed(
    spendgate: Spendgate, key: str, tag: str
) -> None:
    script = Script(tag=tag, fault="error_event", after_chunks=2)

    try:
        got = (await post(spendgate.url, key, script, body(stream=True))).body
    except Broken as broken:
        got = broken.got

    assert b"the script says so" in got
    row = spendgate.call(tag)
    assert row.basis == "observed"
    assert row.nanos >= ceiling(2)


# -- the client left ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("abruptly", [False, True])
async def test_a_stream_left_by_its_client_is_stopped_and_charged_as_observed(
    spendgate: Spendgate, provider: ScriptedProvider, key: str, tag: str, abruptly: bool
) -> None:
    script = Script(tag=tag, chunk_delay_ms=50)
    async with Connection(spendgate.url) as connection:
        await connection.start(
            "POST", CHAT, headers_for(key, script), chat_body(INPUT, max_tokens=40, stream=True)
        )
        pieces = connection.pieces()
        for _ in range(3):
            await anext(pieces)
        if abruptly:
            connection.reset()

    row = spendgate.call(tag)
    assert (row.basis, row["outcome"], row["status"]) == ("observed", "client_left", 200)
    assert row.nanos > INPUT_COST
    billed = provider.billed(tag)
    assert billed.output_tokens < 40, "the provider was not stopped"
    assert row.nanos >= billed.nanos, "less than the provider billed, despite the quarter second on top"


async def test_an_answer_left_by_its_client_is_read_on_and_charged_as_reported(
    spendgate: Spendgate, provider: ScriptedProvider, key: str, tag: str
) -> None:
    script = Script(tag=tag, delay_ms=200)
    async with Connection(spendgate.url) as connection:
        await connection.send("POST", CHAT, headers_for(key, script), body())
        await asyncio.to_thread(provider.wait_for_arrival, tag)

    row = spendgate.call(tag)
    assert (row.basis, row.nanos, row["status"]) == ("reported", COST, 499)
    assert row["error_type"] == "client_left"


async def test_a_client_that_leaves_while_it_waits_for_a_budget_is_not_sent(
    spendgate: Spendgate, provider: ScriptedProvider, tag: str
) -> None:
    limit = dollars(COST)
    key = spendgate.key(tag, "--budget-usd", limit, "--period", "total", "--hold", "strict")
    slow = Script(tag=f"{tag}-slow", delay_ms=600)
    async with asyncio.TaskGroup() as group:
        first = group.create_task(post(spendgate.url, key, slow, body()))
        await asyncio.to_thread(provider.wait_for_arrival, f"{tag}-slow")
        async with Connection(spendgate.url) as waiting:
            await waiting.send("POST", CHAT, headers_for(key, Script(tag=f"{tag}-waiting")), body())
            await asyncio.sleep(0.1)

    assert first.result().status == 200
    row = spendgate.call(f"{tag}-waiting")
    assert (row["status"], row.nanos) == (499, 0)
    assert provider.bill(f"{tag}-waiting") == []
