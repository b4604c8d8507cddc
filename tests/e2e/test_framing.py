"""The client's side of the HTTP edge: requests that two parsers could read differently, and what becomes of each."""

import asyncio
import io
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy import log
from proxy import server as edge
from proxy.gate import check_request
from proxy.server import Response, Server, Slow, Stream, TooLarge, error_page, read_body, reply
from tests.support.calls import CHAT, chat_body, headers_for
from tests.support.client import Broken, Connection, Headers, ask, header
from tests.support.process import ScriptedProvider, Spendgate, config_for
from tests.support.script import Script, exactly

CANARY = "canary-in-a-header"
HOST = "Host: a\r\n"
CHUNKED = f"POST /v1/echo HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n"


def bearer(key: str) -> tuple[str, str]:
    return ("Authorization", f"Bearer {key}")


def hidden_call(key: str, tag: str) -> bytes:
    """A whole call that would be billed, were it ever read as a request."""
    body = chat_body()
    lines = [f"{name}: {value}" for name, value in headers_for(key, Script(tag=tag))]
    head = [f"POST {CHAT} HTTP/1.1", "Host: a", *lines, f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(head).encode() + body


async def everything(url: str, data: bytes) -> bytes:
    """All that is answered to these bytes until the server closes; it must."""
    async with Connection(url) as connection, asyncio.timeout(15):
        await connection.write(data)
        try:
            return await connection._reader.read()
        except ConnectionError:
            return b""


# -- request smuggling ------------------------------------------------------------------------------------------------

CORPUS = {
    "both framings": "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "both framings, turned": "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
    "two lengths": "Content-Length: 0\r\nContent-Length: 9\r\n\r\n",
    "one length twice": "Content-Length: 0\r\nContent-Length: 0\r\n\r\n",
    "a list of lengths": "Content-Length: 0, 0\r\n\r\n",
    "a signed length": "Content-Length: +0\r\n\r\n",
    "a negative length": "Content-Length: -1\r\n\r\n",
    "a hexadecimal length": "Content-Length: 0x0\r\n\r\n",
    "a grouped length": "Content-Length: 0_0\r\n\r\n",
    "an empty length": "Content-Length:\r\n\r\n",
    "an overflowing length": "Content-Length: 18446744073709551616\r\n\r\n",
    "a length with a space before its colon": "Content-Length : 0\r\n\r\n",
    "another coding": "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "a coding that is none": "Transfer-Encoding: identity\r\n\r\n",
    "chunked is not last": "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "chunked is not alone": "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunked twice in one": "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "chunked twice": "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked after a vertical tab": "Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
    "chunked after a folded line": "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "a folded header": "X: a\r\n Content-Length: 9\r\n\r\n",
    "a bare line feed between headers": "X: a\nContent-Length: 9\r\n\r\n",
    "bare line feeds after the headers": "X: a\n\n",
    "a carriage return in a value": "X: a\rContent-Length: 9\r\n\r\n",
    "a NUL in a value": "X: a\0b\r\n\r\n",
    "a NUL in a name": "X\0: a\r\n\r\n",
    "a space before the colon": "X : a\r\n\r\n",
    "a header without a name": ": a\r\n\r\n",
    "a header without a colon": "X\r\n\r\n",
    "a second host": "Host: b\r\n\r\n",
}

CHUNKS = {
    "a hexadecimal prefix": "0x2\r\nab\r\n0\r\n\r\n",
    "a plus": "+2\r\nab\r\n0\r\n\r\n",
    "a minus": "-2\r\nab\r\n0\r\n\r\n",
    "no size": "\r\nab\r\n0\r\n\r\n",
    "letters": "zz\r\nab\r\n0\r\n\r\n",
    "an overflowing size": "10000000000000002\r\nab\r\n0\r\n\r\n",
    "a space before the size": " 2\r\nab\r\n0\r\n\r\n",
    "bare line feeds": "2\nab\n0\n\n",
    "a line feed in an extension": "2;a\nb\r\nab\r\n0\r\n\r\n",
    "more data than its size": "2\r\nabcd\r\n0\r\n\r\n",
    "a length among its trailers": "0\r\nContent-Length: 9\r\n\r\n",
    "a coding among its trailers": "0\r\nTransfer-Encoding: chunked\r\n\r\n",
}

WHOLE = {
    "no host": "GET /v1/echo HTTP/1.1\r\n\r\n",
    "a folded first header": f"GET /v1/echo HTTP/1.1\r\n X: a\r\n{HOST}\r\n",
    "bare line feeds": "GET /v1/echo HTTP/1.1\nHost: a\n\n",
    "chunked in HTTP/1.0": f"POST /v1/echo HTTP/1.0\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "HTTP/0.9": "GET /v1/echo\r\n\r\n",
    "HTTP/2": f"GET /v1/echo HTTP/2.0\r\n{HOST}\r\n",
    "a word after the version": f"GET /v1/echo HTTP/1.1 x\r\n{HOST}\r\n",
    "a tab in the request line": f"GET\t/v1/echo\tHTTP/1.1\r\n{HOST}\r\n",
    "an absolute target": f"GET http://a/v1/echo HTTP/1.1\r\n{HOST}\r\n",
    "a lower-case method": f"get /v1/echo HTTP/1.1\r\n{HOST}\r\n",
    "TRACE": f"TRACE /v1/echo HTTP/1.1\r\n{HOST}\r\n",
    "CONNECT to a path": f"CONNECT /v1/echo HTTP/1.1\r\n{HOST}\r\n",
    "CONNECT to a host": f"CONNECT a:443 HTTP/1.1\r\n{HOST}\r\n",
    "a WebSocket": f"GET /v1/echo HTTP/1.1\r\n{HOST}Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    "another expectation": f"POST /v1/echo HTTP/1.1\r\n{HOST}Expect: magic\r\n\r\n",
}

REQUESTS = {
    **{
        name: f"POST /v1/echo HTTP/1.1\r\n{HOST}X-Canary: {CANARY}\r\n{rest}" for name, rest in CORPUS.items()
    },
    **{f"a chunk: {name}": f"{CHUNKED}X-Canary: {CANARY}\r\n\r\n{rest}" for name, rest in CHUNKS.items()},
    **WHOLE,
}
REFUSED = {"TRACE": 405, "CONNECT to a path": 405, "CONNECT to a host": 405, "a WebSocket": 426}
REFUSED |= {"another expectation": 417, "chunked is not alone": 501}


@pytest.mark.parametrize("name", REQUESTS)
async def test_a_request_that_two_parsers_read_differently_is_refused_and_hides_no_other(
    spendgate: Spendgate, provider: ScriptedProvider, key: str, tag: str, name: str
) -> None:
    """One error page, which tells nothing of what was sent; the connection ends, and the call behind it is not made."""
    sent = (
        REQUESTS[name].encode("latin-1").replace(b"\r\n", f"\r\nAuthorization: Bearer {key}\r\n".encode(), 1)
    )
    if name in ("a folded first header", "bare line feeds", "HTTP/0.9"):
        sent = REQUESTS[name].encode("latin-1")

    answer = await everything(spendgate.url, sent + hidden_call(key, tag))

    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {REFUSED.get(name, 400)} ".encode())
    assert b"\r\nConnection: close" in head
    assert answer.count(b"HTTP/1.1 ") == 1
    page = json.loads(body)["error"]
    assert page["type"] == "invalid_request_error"
    assert page["request_id"] == header(_headers(head), "x-request-id")
    assert CANARY.encode() not in answer
    assert key.encode() not in answer
    assert provider.bill(tag) == []


def _headers(head: bytes) -> Headers:
    lines = (line.partition(": ") for line in head.decode("latin-1").split("\r\n")[1:])
    return [(name, value) for name, _, value in lines]


def test_nothing_of_a_refused_request_is_logged(spendgate: Spendgate, key: str) -> None:
    asyncio.run(everything(spendgate.url, REQUESTS["a NUL in a value"].encode()))
    secret = f"GET /v1/echo HTTP/1.1\r\n{HOST}Authorization: Bearer {key}\r\nBad {CANARY}\r\n\r\n"
    asyncio.run(everything(spendgate.url, secret.encode()))

    logged = spendgate.log.read_text()

    assert "bad_request" in logged
    assert CANARY not in logged
    assert key not in logged


async def test_no_trailer_becomes_a_header_of_the_next_request(spendgate: Spendgate, key: str) -> None:
    """aiohttp's parser takes the last trailer over: the connection ends instead."""
    trailer = f"{CHUNKED}Authorization: Bearer {key}\r\n\r\n0\r\nX-Trailer: {CANARY}\r\n\r\n".encode()
    follows = f"GET /v1/echo HTTP/1.1\r\n{HOST}Authorization: Bearer {key}\r\n\r\n".encode()

    answer = await everything(spendgate.url, trailer + follows)

    assert answer.count(b"HTTP/1.1 200") == 1
    assert CANARY.encode() not in answer


async def test_what_follows_an_unknown_upgrade_is_not_lost_on_an_open_connection(
    spendgate: Spendgate, key: str
) -> None:
    """The request itself is answered as if it had not asked, and the client is told to connect anew."""
    upgrade = f"GET /v1/echo HTTP/1.1\r\n{HOST}Authorization: Bearer {key}\r\n"
    upgrade += "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AA\r\n\r\n"
    follows = f"GET /v1/echo HTTP/1.1\r\n{HOST}Authorization: Bearer {key}\r\n\r\n"

    answer = await everything(spendgate.url, (upgrade + follows).encode())

    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"\r\nConnection: close\r\n" in answer
    assert b"HTTP2-Settings" not in answer


async def test_an_escaped_letter_does_not_hide_a_metered_path(
    spendgate: Spendgate, key: str, tag: str
) -> None:
    """It is an unknown path to this provider, but others unescape it and answer: and bill."""
    await ask(spendgate.url, "POST", "/v1/chat/%63ompletions", headers_for(key, Script(tag=tag)), chat_body())

    row = await asyncio.to_thread(spendgate.call, tag)
    assert (row["operation"], row["model"]) == ("llm_call", "gpt-4o-mini")


@pytest.mark.parametrize("bytes_of_it", [b"\xff", b"\xc3\xa9", b"\xed\xa0\x80"])
async def test_a_header_may_hold_any_byte_above_ascii(
    spendgate: Spendgate, key: str, bytes_of_it: bytes
) -> None:
    for name in ("X-Any", "X-Trace-ID", "User-Agent"):
        async with Connection(spendgate.url) as connection:
            head = f"GET /v1/echo HTTP/1.1\r\n{HOST}Authorization: Bearer {key}\r\n{name}: ".encode()
            await connection.write(head + bytes_of_it + b"\r\n\r\n")
            await connection.read_head()
            got = json.loads(b"".join([piece async for piece in connection.pieces()]))

        assert connection.status == 200
        assert [name, bytes_of_it.decode("latin-1")] in got["headers"]


# -- limits -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "status"), [(65_000, 200), (66_000, 400)])
@pytest.mark.parametrize("where", ["header", "target"])
async def test_a_header_and_a_target_have_a_limit(
    spendgate: Spendgate, key: str, where: str, size: int, status: int
) -> None:
    long = "x" * size
    target, headers = ("/v1/echo", [("X-Long", long)]) if where == "header" else (f"/v1/echo?q={long}", [])

    reply = await ask(spendgate.url, "HEAD", target, [bearer(key), *headers])

    assert reply.status == status


@pytest.mark.parametrize(("count", "status"), [(100, 200), (200, 400)])
async def test_headers_have_a_greatest_number(
    spendgate: Spendgate, key: str, count: int, status: int
) -> None:
    headers = [(f"X-{n}", "1") for n in range(count)]

    assert (await ask(spendgate.url, "HEAD", "/v1/echo", [bearer(key), *headers])).status == status


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, provider: ScriptedProvider) -> Iterator[Spendgate]:
    """Takes bodies of up to one mebibyte."""
    config = config_for(provider.url, limits={"body_mb": 1})
    with Spendgate(tmp_path_factory.mktemp("small"), config) as started:
        yield started


@pytest.fixture(scope="module")
def small_key(small: Spendgate) -> str:
    return small.key("small")


MEBIBYTE = 1 << 20


@pytest.mark.parametrize("framing", ["said", "sent by length", "sent in chunks"])
async def test_a_body_over_the_limit_is_refused_and_ends_its_connection(
    small: Spendgate, small_key: str, provider: ScriptedProvider, tag: str, framing: str
) -> None:
    data = b"x" * (MEBIBYTE + 1)
    framed = b"Content-Length: 1048577\r\n\r\n" + (b"" if framing == "said" else data)
    if framing == "sent in chunks":
        framed = b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(data), data)
    head = f"POST /v1/echo HTTP/1.1\r\n{HOST}Authorization: Bearer {small_key}\r\n".encode()
    async with Connection(small.url) as connection:
        await connection.write(head + framed)
        if framing != "said":
            await connection.write(hidden_call(small_key, tag))
        await connection.read_head()
        page = json.loads(b"".join([piece async for piece in connection.pieces()]))
        if framing != "said":
            assert await connection.is_closed()

    assert (connection.status, page["error"]["code"]) == (413, "body_too_large")
    assert header(connection.headers, "connection") == "close"
    assert provider.bill(tag) == []


async def test_a_body_of_the_limit_passes(small: Spendgate, small_key: str) -> None:
    reply = await ask(small.url, "POST", "/v1/echo", [bearer(small_key)], b"x" * MEBIBYTE)

    assert (reply.status, reply.json()["body_bytes"]) == (200, MEBIBYTE)


async def test_a_refused_client_is_not_asked_for_its_body(small: Spendgate, small_key: str) -> None:
    """Whoever expects 100-continue and is refused never hears it."""
    for key, length, status in ((small_key, "2000000", 413), ("unknown", "4", 401)):
        headers = [bearer(key), ("Expect", "100-continue"), ("Content-Length", length)]
        async with Connection(small.url) as connection:
            await connection.start("POST", "/v1/echo", headers)

            assert (connection.status, header(connection.headers, "connection")) == (status, "close")


# -- answers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [204, 304])
async def test_an_answer_that_has_no_body_has_no_framing_of_one(
    spendgate: Spendgate, key: str, status: int
) -> None:
    headers = [bearer(key), *Script(reply=exactly(status, [("ETag", "x")])).header().items()]
    async with Connection(spendgate.url) as connection:
        first = await connection.ask("GET", "/v1/echo", headers)
        second = await connection.ask("GET", "/v1/echo", [bearer(key)])

    assert (first.status, first.header("ETag")) == (status, "x")
    assert first.header("Transfer-Encoding") is None
    assert second.status == 200


async def test_an_answer_to_http_1_0_ends_with_its_connection_and_has_no_chunks(
    spendgate: Spendgate, key: str, tag: str
) -> None:
    body = chat_body(max_tokens=3, stream=True)
    lines = [f"{name}: {value}" for name, value in headers_for(key, Script(tag=tag))]
    head = [f"POST {CHAT} HTTP/1.0", *lines, "Connection: keep-alive"]
    sent = "\r\n".join([*head, f"Content-Length: {len(body)}", "", ""]).encode() + body

    answer = await everything(spendgate.url, sent)

    head_of_it, _, stream = answer.partition(b"\r\n\r\n")
    assert head_of_it.startswith(b"HTTP/1.1 200 ")
    assert b"Transfer-Encoding" not in head_of_it
    assert stream.startswith(b"data: ")
    assert stream.endswith(b"data: [DONE]\n\n")


# -- the server alone -------------------------------------------------------------------------------------------------


async def mirror(request: web.BaseRequest) -> Response:
    """What arrived; or, at /stream, as much as is asked for."""
    problem = check_request(request, body_bytes_max=1000)
    if problem is not None:
        return error_page(request, problem.status, problem.code, problem.message, "id")
    if request.raw_path.startswith("/stream/"):
        return await _much(request, int(request.raw_path.rpartition("/")[2]))
    try:
        body = await read_body(request, limit_bytes=1000, idle_seconds=0.2)
    except TooLarge:
        return error_page(request, 413, "body_too_large", "too large", "id")
    except Slow:
        return error_page(request, 408, "body_too_slow", "too slow", "id")
    seen = [request.method, request.raw_path, [[a.decode(), b.decode()] for a, b in request.raw_headers]]
    return reply(request, 200, None, [], json.dumps([*seen, body.decode()]).encode())


written = 0


async def _much(request: web.BaseRequest, count: int) -> Response:
    global written
    written = 0
    stream = await Stream.open(request, 200, None, [])
    for _ in range(count):
        await stream.write(b"x" * 65_536)
        written += 65_536
    await stream.end()
    return stream.response


@asynccontextmanager
async def serving() -> AsyncIterator[str]:
    server = Server(mirror)
    host, port = await server.start("127.0.0.1", 0)
    try:
        yield f"http://{host}:{port}"
    finally:
        await server.stop(0)


async def test_a_client_that_dribbles_its_headers_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each byte in time does not help: the time is for all of them."""
    monkeypatch.setattr(edge, "KEEPALIVE_SECONDS", 0.3)
    async with serving() as url, Connection(url) as connection:
        dribble = asyncio.gather(_dribble(connection), return_exceptions=True)
        assert await connection.is_closed()
        await dribble


async def _dribble(connection: Connection) -> None:
    await connection.write(b"GET / HTTP/1.1\r\nHost: a\r\nX: ")
    while not connection._reader.at_eof():
        await connection.write(b"x")
        await asyncio.sleep(0.02)


async def test_a_body_that_stops_arriving_is_408_and_ends_its_connection() -> None:
    async with serving() as url, Connection(url) as connection:
        await connection.start("POST", "/", [("Content-Length", "10")])

        assert (connection.status, header(connection.headers, "connection")) == (408, "close")


async def test_a_client_of_http_1_0_is_never_told_to_continue() -> None:
    """It knows of no interim answers, and would take this one for the answer."""
    async with serving() as url, Connection(url) as connection:
        await connection.write(b"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
        await asyncio.sleep(0.05)  # the server has read this much, and would have answered
        await connection.write(b"body")
        await connection.read_head()

    assert connection.status == 200


async def test_an_own_error_does_not_tell_of_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    logged = io.TextIOWrapper(io.BytesIO(), write_through=True)
    monkeypatch.setattr(log, "_current", log._make("INFO", "json", logged))

    async def fails(request: web.BaseRequest) -> Response:
        raise KeyError(request.headers["X-Canary"])

    server = Server(fails)
    host, port = await server.start("127.0.0.1", 0)
    answer = await ask(f"http://{host}:{port}", "GET", "/", [("X-Canary", CANARY)])
    await server.stop(0)

    assert (answer.status, answer.json()["error"]["code"]) == (500, "internal_error")
    logged.seek(0)
    text = logged.read()
    assert "KeyError at test_framing.py" in text
    assert CANARY not in text + answer.body.decode()


async def test_a_client_that_reads_slowly_holds_the_stream_back() -> None:
    """A gigabyte waits at its source: what is on its way is what the two sockets hold."""
    async with serving() as url, Connection(url) as connection:
        await connection.start("GET", "/stream/16384")
        before = -1
        while before != written:
            before = written
            await asyncio.sleep(0.1)

        assert written < 32 << 20
        assert len(await anext(connection.pieces())) == 65_536


async def test_a_stream_that_is_broken_off_does_not_look_complete() -> None:
    async def breaks(request: web.BaseRequest) -> Response:
        stream = await Stream.open(request, 200, None, [("X-A", "1")])
        await stream.write(b"half")
        stream.break_off()
        return stream.response

    server = Server(breaks)
    host, port = await server.start("127.0.0.1", 0)
    with pytest.raises((Broken, ConnectionError, asyncio.IncompleteReadError)):
        await ask(f"http://{host}:{port}", "GET", "/")
    await server.stop(0)


PIPELINE = (
    b"POST /one HTTP/1.1\r\nHost: a\r\nX-A: 1\r\nContent-Length: 5\r\n\r\nhello"
    b"GET /two?a=%20 HTTP/1.1\r\nHost: a\r\n\r\n"
    b"DELETE /three HTTP/1.1\r\nHost: a\r\nX-B:  \t spaced \r\n\r\n"
    b"POST /four HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
)


@settings(max_examples=60, deadline=None)
@given(st.sets(st.integers(1, len(PIPELINE) - 1), max_size=12))
def test_requests_mean_the_same_however_their_bytes_are_cut(cuts: set[int]) -> None:
    whole = asyncio.run(_exchange([PIPELINE]))
    bounds = [0, *sorted(cuts), len(PIPELINE)]

    answers = asyncio.run(_exchange([PIPELINE[a:b] for a, b in pairwise(bounds)]))

    assert answers == whole
    assert [line for line in answers.split(b"\r\n") if line.startswith(b"[")][-1].endswith(b'"abcde"]')
    assert answers.count(b"HTTP/1.1 200 OK") == 4


async def _exchange(pieces: list[bytes]) -> bytes:
    async with serving() as url, Connection(url) as connection:
        for piece in pieces:
            await connection.write(piece)
            await asyncio.sleep(0)  # client and server share the loop: the server reads each piece by itself
            await asyncio.sleep(0)
        return await connection._reader.read()
