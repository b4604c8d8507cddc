"""Paths, methods and connections that could lead past a budget, and work that goes on after an answer."""

import asyncio
import json

import pytest

from tests.support.calls import CHAT, RESPONSES, chat_body, headers_for
from tests.support.client import Connection, ask
from tests.support.evasion import Attempt, nanos, outcome, row_of
from tests.support.gathering import ceiling, dollars
from tests.support.process import LedgerCall, ScriptedProvider, Spendgate, wait_for
from tests.support.script import Script, exactly

# -- work that goes on elsewhere ------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
async def test_work_in_the_background_is_held_at_its_ceiling_under_a_strict_budget_and_marked_elsewhere(
    spendgate: Spendgate, provider: ScriptedProvider, poor: str, key: str, tag: str, stream: bool
) -> None:
    body = {
        "model": "gpt-4o-mini",
        "input": "hi",
        "background": True,
        "max_output_tokens": 900,
        "stream": stream,
    }
    queued = {"id": "resp_1", "object": "response", "status": "queued", "model": "gpt-4o-mini", "usage": None}
    reply = exactly(200, [("Content-Type", "application/json")], json.dumps(queued).encode())
    attempt = Attempt(json.dumps(body).encode(), RESPONSES, Script(reply=reply))

    refused = await outcome(spendgate, provider, poor, f"{tag}-poor", attempt)
    passed = await outcome(spendgate, provider, key, f"{tag}-free", attempt)

    assert (refused.status, refused.code) == (402, "budget_exceeded")
    assert refused.estimate == passed.ceiling
    assert "background" in passed.flags


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/responses/resp_1"),
        ("GET", "/v1/responses/resp_1?stream=true&starting_after=3"),
        ("POST", "/v1/responses/resp_1/cancel"),
        ("DELETE", "/v1/responses/resp_1"),
        ("GET", "/v1/chat/completions"),
        ("GET", "/v1/models"),
    ],
)
async def test_asking_after_what_was_paid_costs_nothing_however_often(
    spendgate: Spendgate, provider: ScriptedProvider, poor: str, tag: str, method: str, path: str
) -> None:
    for n in range(3):
        asked = await outcome(spendgate, provider, poor, f"{tag}-{n}", Attempt(b"", path, method=method))
        assert (asked.status, asked.nanos, asked.billed) == (200, 0, None)


# -- paths and methods ----------------------------------------------------------------------------------------------

PATHS = [
    "/v1/chat/completions/", "/v1/Chat/Completions", "/V1/chat/completions", "/v1/chat%2Fcompletions",
    "/v1/ch%61t/completions", "/v1//chat/completions", "//v1/chat/completions", "/v1/./chat/completions",
    "/v1/../v1/chat/completions", "/v1/%2e%2e/v1/chat/completions", "/v1/.%2e/v1/chat/completions",
    "/v1/chat/completions%2e", "/v1/chat/completions%00", "/v1/chat/completions%20", "/v1/chat/completions%0a",
    "/v1/chat/completions;x", "/v1/chat/completions%3Bx", "/v1/chat/completions%3Fx", "/v1/chat/completions/%3Fx",
    "/v1/chat/completions/%20", "/v1/chat/completions/%23", "/v1/chat/completions/;", "/v1/chat/completions%23",
    "/v1/moderations%0a", "/v1/chat/completions#x", "/v1/chat%252Fcompletions", "/v1/chat%5Ccompletions",
    "/v1\\chat\\completions", "/v1/%EF%BD%83hat/completions", "/openai/v1/chat/completions", "/openai/chat/completions",
    "/openai/v1/v1/chat/completions", "/openai/openai/v1/chat/completions", "/v1/v1/chat/completions",
    "/v1/models/chat/completions", "/v1/files/chat/completions", "/v1/conversations/%2f/chat/completions",
    "/v1/conversations/chat/completions", "/v1/uploads/chat/completions", "/v1/responses/compact",
    "/v1/engines/gpt-4o/completions", "/v1/completions/extra", "/v1/realtime/sessions", "/v1/batches",
    "/v1/fine_tuning/jobs", "/v1/videos", "/v1/threads/runs", "/v1/evals", "/v1", "/v1/",
    "http://elsewhere/v1/chat/completions", "/v1/chat/completions?model=gpt-4o", "/v1/chat/completions?stream=true",
    "/v1/chat/completions?max_tokens=900&n=9", "/v1/chat/completions?_method=GET",
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
async def test_no_form_of_a_path_passes_a_strict_budget_or_is_billed_without_a_word(
    spendgate: Spendgate, provider: ScriptedProvider, poor: str, key: str, tag: str, path: str
) -> None:
    """The provider serves whatever ends in a path of its own."""
    attempt = Attempt(chat_body(max_tokens=5), path)
    refused = await outcome(spendgate, provider, poor, f"{tag}-poor", attempt)
    assert refused.row is None, "it reached the provider, against a strict budget"

    passed = await outcome(spendgate, provider, key, f"{tag}-free", attempt)
    if passed.billed is not None:
        assert passed.nanos >= passed.billed.nanos or "unmetered" in passed.flags


@pytest.mark.parametrize("method", ["PUT", "PATCH", "post", "Post", "TRACE", "CONNECT", "POST "])
async def test_another_method_is_no_way_to_a_metered_path(
    spendgate: Spendgate, provider: ScriptedProvider, poor: str, tag: str, method: str
) -> None:
    reply = await ask(spendgate.url, method, CHAT, headers_for(poor, Script(tag=tag)), chat_body())

    assert 400 <= reply.status < 500 or reply.status == 501
    assert provider.bill(tag) == []


@pytest.mark.parametrize("name", ["X-HTTP-Method-Override", "x-http-method", "X-Method-Override"])
@pytest.mark.parametrize("method", ["GET", "DELETE", "POST"])
async def test_a_method_in_a_header_is_refused(
    spendgate: Spendgate, provider: ScriptedProvider, poor: str, tag: str, name: str, method: str
) -> None:
    """GET is free, and some servers would read this one as POST."""
    headers = [*headers_for(poor, Script(tag=tag)), (name, "POST")]

    reply = await ask(spendgate.url, method, CHAT, headers, chat_body())

    assert (reply.status, json.loads(reply.body)["error"]["code"]) == (400, "method_override")


# -- connections ----------------------------------------------------------------------------------------------------

BODY = chat_body(max_tokens=5)
CHUNKED = b"".join(b"%x\r\n%s\r\n" % (len(one), one) for one in (BODY[:7], BODY[7:8], BODY[8:])) + b"0\r\n"


@pytest.mark.parametrize(
    ("version", "framing", "sent"),
    [
        (0, f"Content-Length: {len(BODY)}", BODY),
        (1, "Transfer-Encoding: chunked", CHUNKED + b"\r\n"),
        (1, "Transfer-Encoding: chunked", CHUNKED + b"X-Script: {}\r\nAuthorization: none\r\n\r\n"),
        (1, f"Content-Length: {len(BODY)}\r\nExpect: 100-continue", BODY),
    ],
    ids=["http/1.0", "chunks", "trailers", "expect"],
)
async def test_every_way_to_send_a_body_is_charged_alike(
    spendgate: Spendgate,
    provider: ScriptedProvider,
    key: str,
    tag: str,
    version: int,
    framing: str,
    sent: bytes,
) -> None:
    lines = [f"{name}: {value}" for name, value in headers_for(key, Script(tag=tag))]
    head = "\r\n".join([f"POST {CHAT} HTTP/1.{version}", "Host: x", *lines, framing, "", ""])
    async with Connection(spendgate.url) as connection:
        await connection.write(head.encode() + sent)
        await connection.read_head()
        if connection.status == 100:
            await connection.read_head()
        row = await row_of(spendgate, key, connection.headers)

    assert nanos(row["cost_usd"]) == provider.billed(tag).nanos == ceiling(5)


async def test_a_client_that_leaves_before_its_call_is_sent_neither_pays_nor_keeps_a_hold(
    spendgate: Spendgate, provider: ScriptedProvider, tag: str
) -> None:
    key = spendgate.key(tag, "--budget-usd", dollars(ceiling(5)), "--period", "total", "--hold", "strict")
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers_for(key, Script(tag=tag)))
    whole = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\n{lines}Content-Length: {len(BODY)}\r\n\r\n".encode() + BODY
    for cut in (3, 60, whole.index(b"\r\n\r\n") + 4, len(whole) - len(BODY) // 2, len(whole) - 1):
        async with Connection(spendgate.url) as connection:
            await connection.write(whole[:cut])
            connection.reset()

    assert provider.bill(tag) == []
    last = await outcome(spendgate, provider, key, f"{tag}-last", Attempt(BODY))
    assert (last.status, last.nanos) == (200, ceiling(5))


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_leaves_later_pays_what_the_provider_made(
    spendgate: Spendgate, provider: ScriptedProvider, key: str, tag: str, stream: bool
) -> None:
    """However much of the answer it has read: none, its head, some, all."""
    body = chat_body(max_tokens=20, stream=stream)
    for pieces_read in (None, 0, 3, 1000):
        script = Script(tag=f"{tag}-{pieces_read}", delay_ms=0 if stream else 30, chunk_delay_ms=10)
        async with Connection(spendgate.url) as connection:
            await connection.send("POST", CHAT, headers_for(key, script), body)
            await asyncio.to_thread(provider.wait_for_arrival, script.tag)
            if pieces_read is not None:
                await connection.read_head()
                pieces = connection.pieces()
                for _ in range(pieces_read):
                    if await anext(pieces, None) is None:
                        break
            connection.reset()

    def ended() -> list[LedgerCall] | None:
        found = spendgate.calls(tag, "--limit", "50")
        return found if len(found) == 4 else None

    for call in await asyncio.to_thread(wait_for, "four calls in the ledger", ended):
        # Of a stream left before its first event nothing was seen: what the provider made until it noticed, nobody knows.
        is_unseen = stream and call.tag.endswith(("-None", "-0"))
        owed = ceiling(0) if is_unseen else provider.billed(call.tag).nanos
        assert owed <= call.nanos
        assert call.nanos <= ceiling(20) or call.flags
