"""The scripted provider itself: an oracle must be right before anything is compared with it."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.bill import read_bill
from tests.support.calls import CHAT, EMBEDDINGS, RESPONSES, chat_body, headers_for, post
from tests.support.client import Broken, Connection
from tests.support.provider import serving
from tests.support.script import Fault, Script, Tale


@pytest.fixture
def bill(tmp_path: Path) -> Path:
    return tmp_path / "bill"


@pytest.fixture
async def url(bill: Path) -> AsyncIterator[str]:
    async with serving(bill) as port:
        yield f"http://127.0.0.1:{port}"


def events(body: bytes) -> list[str]:
    return [line[6:] for line in body.decode().split("\n") if line.startswith("data: ")]


async def test_an_honest_answer_tells_what_is_billed(url: str, bill: Path) -> None:
    reply = await post(url, "k", Script(tag="t"), chat_body(10, max_tokens=5))

    assert reply.status == 200
    assert reply.json()["usage"]["prompt_tokens"] == 10
    assert reply.json()["usage"]["completion_tokens"] == 5
    assert [(e.tag, e.nanos, e.final) for e in read_bill(bill)] == [("t", 10 * 150 + 5 * 600, True)]
    assert read_bill(bill)[0].answer_id == reply.json()["id"]


async def test_cached_input_is_billed_at_its_own_price(url: str, bill: Path) -> None:
    await post(url, "k", Script(cached_tokens=4), chat_body(10, max_tokens=5))

    assert read_bill(bill)[0].nanos == 6 * 150 + 4 * 75 + 5 * 600


async def test_every_choice_is_billed(url: str, bill: Path) -> None:
    await post(url, "k", Script(), chat_body(10, max_tokens=5, n=3))

    assert read_bill(bill)[0].nanos == 10 * 150 + 15 * 600


async def test_a_stream_tells_its_usage_only_when_asked(url: str) -> None:
    silent = await post(url, "k", Script(), chat_body(max_tokens=3, stream=True))
    told = await post(
        url, "k", Script(), chat_body(max_tokens=3, stream=True, stream_options={"include_usage": True})
    )

    assert "usage" not in silent.body.decode()
    assert events(silent.body)[-1] == "[DONE]"
    assert json.loads(events(told.body)[-2])["usage"]["completion_tokens"] == 3
    assert json.loads(events(told.body)[-2])["choices"] == []


async def test_a_response_stream_ends_with_its_usage(url: str) -> None:
    body = json.dumps({"model": "gpt-4o-mini", "input": "word word", "stream": True}).encode()

    reply = await post(url, "k", Script(output_tokens=4), body, RESPONSES)

    last = json.loads(events(reply.body)[-1])
    assert last["type"] == "response.completed"
    assert last["response"]["usage"]["output_tokens"] == 4


async def test_embeddings_bill_every_input(url: str, bill: Path) -> None:
    body = json.dumps({"model": "text-embedding-3-small", "input": ["word word", "word"]}).encode()

    reply = await post(url, "k", Script(), body, EMBEDDINGS)

    assert len(reply.json()["data"]) == 2
    assert read_bill(bill)[0].nanos == 3 * 20


@pytest.mark.parametrize("fault", ["cut", "reset"])
async def test_a_broken_stream_is_billed_up_to_the_break(url: str, bill: Path, fault: Fault) -> None:
    script = Script(fault=fault, after_chunks=2, chunk_delay_ms=5)

    with pytest.raises(Broken):
        await post(url, "k", script, chat_body(max_tokens=9, stream=True))

    assert read_bill(bill)[0].nanos == 10 * 150 + 2 * 600


@pytest.mark.parametrize("fault", ["cut", "reset", "drop"])
async def test_a_fault_without_chunks_leaves_no_answer(url: str, fault: Fault) -> None:
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        await post(url, "k", Script(fault=fault), chat_body())


async def test_garbage_is_no_http(url: str) -> None:
    async with Connection(url) as connection:
        with pytest.raises(ValueError, match="not HTTP"):
            await connection.start("POST", CHAT, headers_for("k", Script(fault="garbage")), chat_body())


@pytest.mark.parametrize(("ignores", "billed"), [(False, False), (True, True)])
async def test_work_goes_on_without_a_reader_only_when_the_script_says_so(
    url: str, bill: Path, ignores: bool, billed: bool
) -> None:
    script = Script(chunk_delay_ms=20, ignores_disconnect=ignores)
    async with Connection(url) as connection:
        await connection.start("POST", CHAT, headers_for("k", script), chat_body(max_tokens=10, stream=True))

    async with asyncio.timeout(5):
        while not read_bill(bill)[0].final:
            await asyncio.sleep(0.01)

    assert (read_bill(bill)[0].output_tokens == 10) is billed


async def test_a_refusal_costs_nothing(url: str, bill: Path) -> None:
    reply = await post(url, "k", Script(status=429, retry_after="7"), chat_body())

    assert (reply.status, reply.header("Retry-After")) == (429, "7")
    assert [entry.nanos for entry in read_bill(bill)] == [0]


@pytest.mark.parametrize(
    ("tale", "completion"),
    [("negative", "-5"), ("nan", "NaN"), ("infinity", "Infinity"), ("string", '"many"'), ("fraction", "1.5")],
)
async def test_a_lie_is_told_but_the_truth_is_billed(
    url: str, bill: Path, tale: Tale, completion: str
) -> None:
    reply = await post(url, "k", Script(usage=tale), chat_body(max_tokens=5))

    assert f'"completion_tokens": {completion}' in reply.body.decode()
    assert read_bill(bill)[0].nanos == 10 * 150 + 5 * 600


async def test_a_misspelt_script_is_refused(url: str) -> None:
    async with Connection(url) as connection:
        reply = await connection.ask("POST", CHAT, [("x-script", '{"faullt": "cut"}')], chat_body())

    assert reply.status == 400
    assert "faullt" in reply.body.decode()


async def test_an_echo_shows_the_bytes_that_came(url: str) -> None:
    async with Connection(url) as connection:
        reply = await connection.ask("PUT", "/v1/echo/%41?a=%2F&b=+", [("X-Mixed-Case", "1")], b"\x00\xff")

    assert reply.json()["target"] == "/v1/echo/%41?a=%2F&b=+"
    assert ["X-Mixed-Case", "1"] in reply.json()["headers"]
    assert reply.json()["body_bytes"] == 2
