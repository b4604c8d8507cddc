"""The provider's side of the HTTP edge: how connections are used, what an answer may look like, and how it can fail."""

import asyncio
import contextlib
import hashlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest
import trustme
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.upstream import READ_BYTES, WRITE_AT_ONCE_MAX, Answer, Headers, Upstream, UpstreamFailure
from tests.support.calls import CHAT, chat_body, post
from tests.support.process import PROVIDER_KEY, ScriptedProvider, Spendgate, config_for
from tests.support.script import Script

Peer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
MEBIBYTE = 1 << 20


class Raw:
    """A provider made of bytes: `script` plays one connection; each is counted."""

    def __init__(self, script: Peer) -> None:
        self._script = script
        self._writers: list[asyncio.StreamWriter] = []
        self.connections = 0

    async def play(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.append(writer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await self._script(reader, writer)
        writer.close()

    def hang_up(self) -> None:
        for writer in self._writers:
            writer.transport.abort()


@asynccontextmanager
async def speaking(
    script: Peer, *, idle_seconds: float = 10.0, tls: ssl.SSLContext | None = None, **more: Any
) -> AsyncIterator[tuple[Upstream, Raw]]:
    raw = Raw(script)
    listener = await asyncio.start_server(raw.play, "127.0.0.1", 0, ssl=tls)
    port = listener.sockets[0].getsockname()[1]
    scheme = "http" if tls is None else "https"
    upstream = Upstream(
        f"{scheme}://localhost:{port}/v1", connect_seconds=5, idle_seconds=idle_seconds, **more
    )
    try:
        yield upstream, raw
    finally:
        await upstream.close()
        listener.close()
        raw.hang_up()


async def read_request(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    length = next((int(line[15:]) for line in lines if line.startswith(b"content-length:")), 0)
    return head, await reader.readexactly(length)


def says(*answers: bytes, hold: float = 0) -> Peer:
    """One answer a request, whatever it asks; after the last one the connection closes (after `hold` seconds)."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            await read_request(reader)
            writer.write(answer)
            await writer.drain()
        await asyncio.sleep(hold)

    return script


async def send(
    upstream: Upstream, method: str = "POST", headers: Headers | None = None, body: bytes | None = b"{}"
) -> Answer:
    return await upstream.send(method, "/v1/x", headers or [], body, on_sent=lambda: None)


async def whole(answer: Answer) -> bytes:
    return b"".join([piece async for piece in answer.pieces()])


async def asked(upstream: Upstream, method: str = "POST") -> bytes:
    return await whole(await send(upstream, method))


async def failure_of(upstream: Upstream) -> UpstreamFailure:
    with pytest.raises(UpstreamFailure) as failed:
        await asked(upstream)
    return failed.value


# -- the request ------------------------------------------------------------------------------------------------------


async def test_a_request_is_what_was_given_and_no_more() -> None:
    got: list[tuple[bytes, bytes]] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(3):
            got.append(await read_request(reader))
            writer.write(OK)

    async with speaking(script) as (upstream, _):
        await whole(await send(upstream, "POST", [("X-b", "1"), ("x-A", "é\udcff")], b"body"))
        await whole(await send(upstream, "POST", [], None))
        await whole(await send(upstream, "GET", [], None))
        host = f"localhost:{upstream._origin.port}".encode()

    assert got == [
        (
            b"POST /v1/x HTTP/1.1\r\nHost: %b\r\nX-b: 1\r\nx-A: \xc3\xa9\xff\r\nContent-Length: 4\r\n\r\n"
            % host,
            b"body",
        ),
        (b"POST /v1/x HTTP/1.1\r\nHost: %b\r\nContent-Length: 0\r\n\r\n" % host, b""),
        (b"GET /v1/x HTTP/1.1\r\nHost: %b\r\n\r\n" % host, b""),
    ]


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nb", "a\rb", "a\0b"])
async def test_a_header_cannot_end_its_line(value: str) -> None:
    async with speaking(says(OK)) as (upstream, raw):
        with pytest.raises(UpstreamFailure) as failed:
            await send(upstream, headers=[("X", value)])

    assert (failed.value.code, failed.value.sent, raw.connections) == ("upstream_protocol", False, 0)


async def test_a_large_body_arrives_whole() -> None:
    body = bytes(range(256)) * (20 * MEBIBYTE // 256)
    digests = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):
            digests.append(hashlib.sha256((await read_request(reader))[1]).digest())
            writer.write(OK)

    async with speaking(script) as (upstream, raw):
        for _ in range(2):
            await whole(await send(upstream, body=body))

    assert digests == [hashlib.sha256(body).digest()] * 2
    assert raw.connections == 1


async def test_an_answer_before_the_body_was_read_counts_and_ends_its_connection() -> None:
    """The rest of the body must not be read as the next request."""
    refusal = b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno"

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        writer.write(OK if b"Content-Length: 2\r\n" in head else refusal)
        await asyncio.sleep(60)

    async with speaking(script) as (upstream, raw):
        first = await send(upstream, body=b"x" * (64 * MEBIBYTE))
        refused = (first.status, await whole(first))
        second = await asked(upstream)

    assert refused == (413, b"no")
    assert second == b"ok"
    assert raw.connections == 2


async def test_a_provider_that_reads_slowly_holds_the_body_back() -> None:
    """What is waiting in the process is a step of the body, not all of it."""
    async with speaking(_never_reads) as (upstream, _):
        sending = asyncio.gather(send(upstream, body=b"x" * (64 * MEBIBYTE)), return_exceptions=True)
        while not upstream._used:
            await asyncio.sleep(0.01)
        (protocol,) = upstream._used
        assert protocol.transport is not None
        while not protocol.writing_paused:
            await asyncio.sleep(0.01)
        waiting = protocol.transport.get_write_buffer_size()
        sending.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await sending

    assert 0 < waiting <= 2 * WRITE_AT_ONCE_MAX


async def _never_reads(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    transport = writer.transport
    assert isinstance(transport, asyncio.ReadTransport)
    transport.pause_reading()
    await asyncio.sleep(60)


# -- answers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "status", "body"),
    [
        (OK, 200, b"ok"),
        (b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok", 200, b"ok"),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, b"ok"),
        (b"HTTP/1.1 200 OK\r\n\r\nto the end", 200, b"to the end"),
        (CHUNKED + b"1\r\no\r\n1;x=y\r\nk\r\n0\r\nX-Trailer: 1\r\n\r\n", 200, b"ok"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n", 304, b""),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, 200, b"ok"),
        (b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 20 + OK, 200, b"ok"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 65_000 + b"\r\nContent-Length: 2\r\n\r\nok", 200, b"ok"),
    ],
)
async def test_an_answer_is_read_by_its_framing(answer: bytes, status: int, body: bytes) -> None:
    async with speaking(says(answer)) as (upstream, _):
        got = await send(upstream)

        assert (got.status, await whole(got)) == (status, body)
        assert got.close_delimited == (b"to the end" in body)


async def test_headers_of_an_interim_answer_are_not_the_answers() -> None:
    async with speaking(says(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK)) as (upstream, _):
        assert (await send(upstream)).headers == [("Content-Length", "2")]


async def test_an_answer_to_head_has_no_body_and_keeps_its_length() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"
    async with speaking(says(head, OK)) as (upstream, raw):
        answer = await send(upstream, "HEAD", body=None)
        assert (answer.headers, await whole(answer)) == ([("Content-Length", "9")], b"")
        assert await asked(upstream) == b"ok"

    assert raw.connections == 1


BAD_HEADS = {
    "not HTTP": b"\x16\x03\x01 not HTTP\r\n\r\n",
    "no head": b"hello",
    "both framings": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
    "an unknown coding and a length": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: x\r\nContent-Length: 2\r\n\r\nok",
    "a NUL in a header": b"HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 2\r\n\r\nok",
    "a carriage return in a header": b"HTTP/1.1 200 OK\r\nX: a\rb\r\nContent-Length: 2\r\n\r\nok",
    "a space before a colon": b"HTTP/1.1 200 OK\r\nX : a\r\nContent-Length: 2\r\n\r\nok",
    "a header too long": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 66_000 + b"\r\nContent-Length: 2\r\n\r\nok",
    "headers too many": b"HTTP/1.1 200 OK\r\n" + b"X: 1\r\n" * 200 + b"Content-Length: 2\r\n\r\nok",
    "an upgrade": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n",
    "interim answers without end": b"HTTP/1.1 100 Continue\r\n\r\n" * 200 + OK,
    "a bad chunk": CHUNKED + b"zz\r\nok\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("name", BAD_HEADS)
async def test_an_answer_that_is_not_http_is_none(name: str) -> None:
    async with speaking(says(BAD_HEADS[name])) as (upstream, _):
        failed = await failure_of(upstream)

    assert (failed.code, failed.sent, failed.proven) == ("upstream_protocol", True, True)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok", "upstream_reset"),
        (CHUNKED + b"2\r\nok\r\n", "upstream_reset"),
        (CHUNKED + b"9\r\nok", "upstream_reset"),
        (CHUNKED + b"2\r\nok\r\n0\r\n", "upstream_reset"),
    ],
)
async def test_a_body_that_is_cut_is_a_failure_after_what_came(answer: bytes, code: str) -> None:
    async with speaking(says(answer, hold=0.05)) as (upstream, _):
        got = await send(upstream)
        pieces = got.pieces()
        assert await anext(pieces) == b"ok"
        with pytest.raises(UpstreamFailure) as failed:
            await anext(pieces)

    assert (got.status, failed.value.code, failed.value.proven) == (200, code, True)


async def test_a_chunk_that_is_bad_in_the_middle_of_a_body_is_a_failure() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(CHUNKED + b"2\r\nok\r\n")
        await asyncio.sleep(0.05)
        writer.write(b"zz\r\nok\r\n0\r\n\r\n")
        await asyncio.sleep(60)

    async with speaking(script, idle_seconds=5) as (upstream, _):
        pieces = (await send(upstream)).pieces()
        assert await anext(pieces) == b"ok"
        with pytest.raises(UpstreamFailure) as failed:
            await anext(pieces)

    assert (failed.value.code, failed.value.proven) == ("upstream_protocol", True)


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\nContent-Le", OK[:-1], b"HTTP/1.1 103 E\r\n\r\n"])
async def test_silence_is_a_timeout_wherever_it_falls(said: bytes) -> None:
    async with speaking(says(said, hold=60), idle_seconds=0.1) as (upstream, _):
        failed = await failure_of(upstream)

    assert (failed.code, failed.sent, failed.proven) == ("upstream_timeout", True, True)


async def test_a_reader_that_is_slow_holds_the_provider_back() -> None:
    """What has been read and not asked for stays near the two reads that the parser may hold."""
    sent = 0

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (256 * MEBIBYTE))
        while True:
            writer.write(b"x" * MEBIBYTE)
            await writer.drain()
            sent += MEBIBYTE

    async with speaking(script) as (upstream, _):
        answer = await send(upstream)
        before = -1
        while before != sent:
            before = sent
            await asyncio.sleep(0.1)
        stopped_at = sent
        taken = 0
        async for piece in answer.pieces():
            assert len(piece) <= 8 * READ_BYTES
            taken += len(piece)
            if taken > 64 * MEBIBYTE:
                break
        answer.close()

    assert stopped_at < 32 * MEBIBYTE
    assert taken > stopped_at


# -- connections ------------------------------------------------------------------------------------------------------


async def test_a_connection_serves_one_call_after_the_other() -> None:
    async with speaking(says(OK, CHUNKED + b"2\r\nok\r\n0\r\n\r\n", OK, OK)) as (upstream, raw):
        assert [await asked(upstream) for _ in range(4)] == [b"ok"] * 4

    assert raw.connections == 1


async def test_an_answer_given_up_takes_its_connection_along() -> None:
    async with speaking(says(OK[:-1], hold=60)) as (upstream, raw):
        for _ in range(2):
            answer = await send(upstream)
            answer.close()
            answer.close()

    assert raw.connections == 2


@pytest.mark.parametrize("header", [b"Connection: close\r\n", b""])
async def test_an_answer_that_ends_its_connection_is_not_followed_on_it(header: bytes) -> None:
    """Said, or by an idle close between two calls: which is no error."""
    answer = OK.replace(b"\r\n\r\n", b"\r\n" + header + b"\r\n")
    async with speaking(says(answer)) as (upstream, raw):
        for _ in range(3):
            assert await asked(upstream) == b"ok"
            await asyncio.sleep(0.05)  # the close arrives

    assert raw.connections == 3


async def test_an_answer_that_nobody_asked_for_is_nobodys_answer() -> None:
    """A second answer to one call, late, on an idle connection: the next call, of another team, must not get it."""
    second = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(OK)
        if raw.connections == 1:
            await second.wait()
            writer.write(OK.replace(b"ok", b"NO"))
            await reader.read()

    async with speaking(script) as (upstream, raw):
        assert await asked(upstream) == b"ok"
        second.set()
        await asyncio.sleep(0.05)  # it arrives
        assert await asked(upstream) == b"ok"

    assert raw.connections == 2


async def test_two_answers_at_once_are_one_and_the_connections_end() -> None:
    async with speaking(says(OK + OK.replace(b"ok", b"NO"), hold=60)) as (upstream, raw):
        assert [await asked(upstream) for _ in range(2)] == [b"ok", b"ok"]

    assert raw.connections == 2


@pytest.mark.parametrize(
    ("said", "proven"),
    [
        (b"", False),
        (b"HTT", True),
        (b"HTTP/1.1 200 OK\r\nContent-Le", True),
        (b"HTTP/1.1 103 Early Hints\r\n\r\n", True),
    ],
)
async def test_only_a_used_connection_that_dies_in_silence_leaves_it_open_whether_anybody_read(
    said: bytes, proven: bool
) -> None:
    """Whoever has begun an answer has read the request, and may bill it."""
    async with speaking(says(OK, said)) as (upstream, _):
        await asked(upstream)
        reused = await failure_of(upstream)
    async with speaking(says(said)) as (upstream, _):
        fresh = await failure_of(upstream)

    assert (reused.code, reused.sent, reused.proven) == ("upstream_reset", True, proven)
    assert (fresh.code, fresh.sent, fresh.proven) == ("upstream_reset", True, True)


# -- reaching it ------------------------------------------------------------------------------------------------------


async def unreachable(url: str, **more: Any) -> tuple[str, bool]:
    upstream = Upstream(url, connect_seconds=more.pop("connect_seconds", 5), **more)
    failed = await failure_of(upstream)
    await upstream.close()
    assert failed.proven
    return failed.code, failed.sent


async def _speaks_first(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"220 hello\r\n")
    await reader.read()


async def test_what_keeps_a_provider_from_being_reached_has_a_word() -> None:
    async with speaking(_speaks_first) as (plain, _):
        assert await unreachable(f"https://localhost:{plain._origin.port}") == ("upstream_tls", False)
    assert await unreachable("http://127.0.0.1:1") == ("upstream_connect", False)
    assert await unreachable("http://nobody.invalid") == ("upstream_dns", False)


async def test_a_certificate_that_nobody_trusts_is_not_accepted() -> None:
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)

    async with speaking(says(OK), tls=context) as (distrusting, _):
        failed = await failure_of(distrusting)
    async with speaking(says(OK), tls=context, ssl_context=trusting) as (upstream, _):
        answer = await asked(upstream)

    assert (failed.code, failed.sent) == ("upstream_tls", False)
    assert answer == b"ok"


async def test_a_certificate_for_another_name_is_not_accepted() -> None:
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("other.example").configure_cert(context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)

    async with speaking(says(OK), tls=context, ssl_context=trusting) as (upstream, _):
        assert (await failure_of(upstream)).code == "upstream_tls"


async def test_a_handshake_or_a_name_that_takes_too_long_is_a_timeout(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with speaking(_never_reads) as (silent, _):
        url = f"https://127.0.0.1:{silent._origin.port}"
        assert await unreachable(url, connect_seconds=0.2) == ("upstream_timeout", False)

    async def forever(*_: object, **__: object) -> list[Any]:
        await asyncio.sleep(60)
        return []

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", forever)
    slow = await unreachable("http://slow.example", connect_seconds=0.2)
    assert slow == ("upstream_timeout", False)


# -- however it is cut ------------------------------------------------------------------------------------------------

ANSWERS = {
    "by length": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Made\r\nX-A: 1\r\nx-a: 2\r\nContent-Length: 11\r\n\r\nhello world",
    "in chunks": CHUNKED + b"5;x=y\r\nhello\r\n6\r\n world\r\n0\r\nX-Trailer: 1\r\n\r\n",
    "to the end": b"HTTP/1.1 200 OK\r\nX-A:  1 \r\n\r\nhello world",
    "cut by length": b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nhello world",
    "cut in chunks": CHUNKED + b"5\r\nhello\r\n6\r\n world\r\n",
}


@pytest.mark.parametrize("name", ANSWERS)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_an_answer_is_the_same_however_its_bytes_are_cut(name: str, data: st.DataObject) -> None:
    raw = ANSWERS[name]
    cuts = data.draw(st.sets(st.integers(1, len(raw) - 1), max_size=10))
    bounds = [0, *sorted(cuts), len(raw)]

    got = asyncio.run(_received([raw[a:b] for a, b in pairwise(bounds)]))

    assert got == asyncio.run(_received([raw]))
    assert (got[2], got[3]) == (b"hello world", "upstream_reset" if "cut" in name else "")


async def _received(pieces: list[bytes]) -> tuple[int, Headers, bytes, str]:
    """Status, headers, body, and how it failed."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        for piece in pieces:
            writer.write(piece)
            await asyncio.sleep(0)  # both ends share the loop: each piece is read by itself
            await asyncio.sleep(0)
        await got_all.wait()

    got_all, body, code = asyncio.Event(), b"", ""
    async with speaking(script) as (upstream, _):
        answer = await send(upstream)
        try:
            async for piece in answer.pieces():
                body += piece
                if body == b"hello world":
                    got_all.set()
        except UpstreamFailure as failed:
            code = failed.code
        return answer.status, answer.headers, body, code


# -- through the gateway ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def astray(tmp_path_factory: pytest.TempPathFactory, provider: ScriptedProvider) -> Iterator[Spendgate]:
    """None of its providers can be used."""
    config = config_for(provider.url)
    openai = config["providers"]["openai"]
    config["providers"] |= {
        "nobody": {**openai, "base_url": "http://nobody.invalid/v1"},
        "plain": {**openai, "base_url": f"{provider.url.replace('http', 'https')}/v1"},
    }
    with Spendgate(tmp_path_factory.mktemp("astray"), config) as started:
        yield started


@pytest.fixture(scope="module")
def lost_key(astray: Spendgate) -> str:
    return astray.key("lost")


@pytest.mark.parametrize(
    ("name", "code"), [("nobody", "upstream_dns"), ("plain", "upstream_tls"), ("dead", "upstream_connect")]
)
async def test_a_provider_that_is_not_reached_is_502_with_its_word_and_costs_nothing(
    astray: Spendgate, lost_key: str, tag: str, name: str, code: str
) -> None:
    reply = await post(astray.url, lost_key, Script(tag=tag), chat_body(), f"/{name}{CHAT}")

    error = reply.json()["error"]
    assert (reply.status, error["code"], error["type"]) == (502, code, "api_error")
    assert f'"{name}"' in error["message"]
    assert PROVIDER_KEY not in reply.body.decode()
    row = await asyncio.to_thread(astray.call, tag)
    assert (row["outcome"], row.nanos) == ("not_sent", 0)
