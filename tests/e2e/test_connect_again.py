"""Connecting again, where it is allowed: only while nothing was sent."""

import asyncio
import socket

import pytest

from proxy.upstream import Upstream, UpstreamFailure

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def ask(upstream: Upstream, on_sent: list[str]) -> bytes:
    answer = await upstream.send("POST", "/v1/x", [], b"{}", on_sent=lambda: on_sent.append("sent"))
    on_sent += ["again"] * min(1, answer.retries)
    return b"".join([piece async for piece in answer.pieces()])


async def test_a_provider_that_comes_up_meanwhile_is_reached() -> None:
    port, sent = free_port(), list[str]()
    upstream = Upstream(f"http://127.0.0.1:{port}", connect_retries=10)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n{}")
        writer.write(OK)
        await writer.drain()
        writer.close()

    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        asking = group.create_task(ask(upstream, sent))
        await asyncio.sleep(0.05)  # the first try has failed
        server = await asyncio.start_server(serve, "127.0.0.1", port)
    assert asking.result() == b"ok"
    assert sent == ["sent", "again"]
    await upstream.close()
    server.close()
    await server.wait_closed()


async def test_what_stays_unreachable_fails_after_the_last_try_with_nothing_sent() -> None:
    sent: list[str] = []
    upstream = Upstream(f"http://127.0.0.1:{free_port()}", connect_retries=1)

    with pytest.raises(UpstreamFailure) as failed:
        await ask(upstream, sent)

    assert (failed.value.code, failed.value.sent, sent) == ("upstream_connect", False, [])
    assert failed.value.retries == 1
    await upstream.close()


async def test_what_was_sent_is_never_sent_again() -> None:
    arrived = 0

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal arrived
        await reader.readuntil(b"\r\n\r\n{}")
        arrived += 1
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    upstream = Upstream(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", connect_retries=5)

    with pytest.raises(UpstreamFailure) as failed:
        await ask(upstream, [])

    assert failed.value.sent
    assert arrived == 1
    await upstream.close()
    server.close()
    await server.wait_closed()


async def test_all_tries_are_over_within_the_time_for_one() -> None:
    upstream = Upstream(f"http://127.0.0.1:{free_port()}", connect_seconds=0.2, connect_retries=1000)

    with pytest.raises(UpstreamFailure) as failed:
        await ask(upstream, [])

    assert 1 <= failed.value.retries < 10
    await upstream.close()
