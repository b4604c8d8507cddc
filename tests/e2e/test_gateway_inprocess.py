"""The gateway in the test's own process: what only shows from inside, under production's rules of cancellation."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from pytest_aiohttp import AiohttpRawServer

from proxy.app import Running, running
from proxy.config import environ, load_config
from tests.support.bill import BillWriter, read_bill
from tests.support.calls import CHAT, chat_body, headers_for, post
from tests.support.client import Connection
from tests.support.gathering import ceiling
from tests.support.process import Spendgate, config_for
from tests.support.provider import Provider
from tests.support.script import Script

STREAMS = 50


@pytest.fixture
def bill(tmp_path: Path) -> Path:
    return tmp_path / "bill"


@pytest.fixture
async def provider_url(aiohttp_raw_server: AiohttpRawServer, bill: Path) -> AsyncIterator[str]:
    writer = BillWriter(bill)
    # pytest-aiohttp's server cancels the handler of a client that has left, as ours does.
    server = await aiohttp_raw_server(Provider(writer).handle, auto_decompress=False)
    yield f"http://127.0.0.1:{server.port}"
    writer.close()


@pytest.fixture
def folder(tmp_path: Path, provider_url: str) -> Spendgate:
    prepared = Spendgate(tmp_path / "spendgate", config_for(provider_url))
    prepared.prepare()
    return prepared


@pytest.fixture
def key(folder: Spendgate) -> str:
    return folder.key("inside")


@pytest.fixture
async def gateway(folder: Spendgate, key: str) -> AsyncIterator[Running]:
    """The whole server, listeners and all, on this loop."""
    async with running(load_config(folder.folder / "config.yaml", environ())) as up:
        yield up


async def test_calls_leave_no_task_behind(gateway: Running, key: str, bill: Path) -> None:
    await post(gateway.data_url, key, Script(tag="first"), chat_body())
    before = len(asyncio.all_tasks())

    for n in range(5):
        await post(gateway.data_url, key, Script(tag=f"{n}"), chat_body(stream=n % 2 == 0))

    assert len(read_bill(bill)) == 6
    await until(lambda: len(asyncio.all_tasks()) <= before)


async def test_streams_left_by_their_clients_stop_the_provider_and_leave_nothing_behind(
    gateway: Running, folder: Spendgate, key: str, bill: Path
) -> None:
    """Every handler is cancelled, every upstream connection cut, every call charged once."""
    await post(gateway.data_url, key, Script(tag="first"), chat_body())
    before = len(asyncio.all_tasks())

    async def leave(n: int) -> None:
        script = Script(tag=f"left-{n}", chunk_delay_ms=50)
        async with Connection(gateway.data_url) as connection:
            body = chat_body(max_tokens=1000, stream=True)
            await connection.start("POST", CHAT, headers_for(key, script), body)
            await anext(connection.pieces())

    await asyncio.gather(*(leave(n) for n in range(STREAMS)))

    await until(lambda: len(asyncio.all_tasks()) <= before)
    await until(lambda: all(entry.final for entry in read_bill(bill)))
    assert all(entry.output_tokens < 1000 for entry in read_bill(bill))
    rows = await asyncio.to_thread(folder.calls, "left-")
    assert sorted(row.tag for row in rows) == sorted(f"left-{n}" for n in range(STREAMS))
    assert {row.basis for row in rows} == {"observed"}


async def test_a_stop_lets_running_calls_finish(folder: Spendgate, key: str) -> None:
    """SIGTERM does the same: no new connections, and an answer on its way comes to its end."""
    async with running(load_config(folder.folder / "config.yaml", environ())) as up:
        script = Script(tag="last", chunk_delay_ms=20)
        connection = await Connection(up.data_url).__aenter__()
        await connection.start("POST", CHAT, headers_for(key, script), chat_body(max_tokens=20, stream=True))
        rest = connection.pieces()
        first = await anext(rest)
        reading = asyncio.gather(_all(rest))

    assert first + (await reading)[0] != b""
    assert (await reading)[0].endswith(b"data: [DONE]\n\n")
    await connection.leave()
    rows = await asyncio.to_thread(folder.calls)
    assert [(row.basis, row.nanos) for row in rows] == [("reported", ceiling(20))]


async def _all(pieces: AsyncIterator[bytes]) -> bytes:
    return b"".join([piece async for piece in pieces])


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0.01)
