"""What proxy/server.py and proxy/upstream.py take from the lower layers of aiohttp, which it may change in any minor.

A failure here after an upgrade names what has changed: mend those two files before anything else.
"""

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any
from unittest.mock import Mock
from weakref import WeakSet

import aiohttp
import pytest
from aiohttp import ClientRequest, ClientTimeout, TCPConnector, http_exceptions, web
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.helpers import _EXC_SENTINEL
from aiohttp.http_parser import (
    HttpRequestParser,
    HttpRequestParserPy,
    HttpResponseParser,
    HttpResponseParserPy,
    RawRequestMessage,
    RawResponseMessage,
)
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.web_protocol import RequestHandler
from multidict import CIMultiDict
from yarl import URL

from tests.support.client import Connection as Client

SERVER, UPSTREAM = "proxy/server.py", "proxy/upstream.py"


def need(holds: object, user: str, what: str) -> None:
    assert holds, f"aiohttp {aiohttp.__version__} has changed what {user} stands on: {what}"


def parameters(function: Callable[..., Any]) -> set[str]:
    return set(inspect.signature(function).parameters)


def need_parameters(function: Callable[..., Any], names: Iterable[str], user: str) -> None:
    missing = set(names) - parameters(function)
    need(not missing, user, f"{function.__qualname__} takes no {', '.join(sorted(missing))}")


def need_members(owner: object, names: str, user: str) -> None:
    missing = [name for name in names.split() if not hasattr(owner, name)]
    need(not missing, user, f"{owner} has no {', '.join(missing)}")


# -- names and signatures -------------------------------------------------------------------------------------------


def test_the_parsers_are_the_ones_in_c() -> None:
    need(HttpRequestParser is not HttpRequestParserPy, SERVER, "requests are parsed in Python")
    need(HttpResponseParser is not HttpResponseParserPy, UPSTREAM, "answers are parsed in Python")


def test_a_servers_connections_take_our_settings() -> None:
    names = "keepalive_timeout max_line_size max_field_size max_headers lingering_time"
    need_parameters(
        RequestHandler.__init__, [*names.split(), "auto_decompress", "access_log", "loop"], SERVER
    )
    need_parameters(web.Server.__init__, ["handler", "request_factory", "handler_cancellation"], SERVER)


async def test_a_server_keeps_what_it_makes_connections_of() -> None:
    server = web.Server(lambda _: None, handler_cancellation=True)  # type: ignore[arg-type,return-value]

    need_members(server, "connections pre_shutdown shutdown _loop _kwargs", SERVER)
    need(server.handler_cancellation is True, SERVER, "handler_cancellation is not kept")
    connection = RequestHandler(server, loop=server._loop, **server._kwargs)
    need_members(connection, "_task_handler _drain_helper handle_error transport", SERVER)


def test_the_error_page_of_a_connection_can_be_ours() -> None:
    names = list(inspect.signature(RequestHandler.handle_error).parameters)

    need(names == ["self", "request", "status", "exc", "message"], SERVER, f"handle_error takes {names}")


def test_a_request_is_made_of_a_message_and_its_connection() -> None:
    names = list(inspect.signature(web.BaseRequest.__init__).parameters)[1:7]

    need(
        names == ["message", "payload", "protocol", "payload_writer", "task", "loop"],
        SERVER,
        f"BaseRequest takes {names}",
    )
    wanted = "method version raw_path headers raw_headers keep_alive content transport protocol"
    need_members(web.BaseRequest, wanted, SERVER)
    need_members(StreamReader, "is_eof readany", SERVER)
    need(StreamReader(Mock(), 1, loop=Mock()).total_bytes == 0, SERVER, "a body does not count its bytes")


def test_a_message_can_be_told_to_be_its_connections_last() -> None:
    url, headers = URL("/"), Mock()
    message = RawRequestMessage(
        "GET", "/", aiohttp.HttpVersion11, headers, (), False, None, False, False, url
    )

    need(message._replace(should_close=True).should_close is True, SERVER, "should_close cannot be set")
    need(message.chunked is False, SERVER, "a message does not tell whether it is chunked")


def test_a_connection_to_a_provider_takes_our_settings() -> None:
    names = (
        "skip_payload read_until_eof auto_decompress read_timeout read_bufsize max_line_size max_field_size"
    )
    need_parameters(ResponseHandler.set_response_params, names.split(), UPSTREAM)
    need_members(ResponseHandler, "start_timeout read should_close _drain_helper", UPSTREAM)
    need_members(Connection, "protocol release close", UPSTREAM)
    need_parameters(TCPConnector.__init__, ["limit", "keepalive_timeout", "ssl", "ttl_dns_cache"], UPSTREAM)
    names_of_connect = list(inspect.signature(TCPConnector.connect).parameters)
    need(
        names_of_connect == ["self", "req", "traces", "timeout"],
        UPSTREAM,
        f"connect takes {names_of_connect}",
    )


async def test_a_template_request_says_where_to_connect() -> None:
    loop = asyncio.get_running_loop()

    key = ClientRequest("GET", URL("https://host.example:8443"), loop=loop, ssl=True).connection_key

    need((key.host, key.port, key.is_ssl) == ("host.example", 8443, True), UPSTREAM, f"the key is {key}")


async def test_a_template_request_leads_through_a_proxy_with_headers_of_its_own() -> None:
    """Made once, and asked at each connect: it must not become the key of another pool on the way."""
    loop = asyncio.get_running_loop()
    headers = CIMultiDict({"Host": "host.example:8443", "Proxy-Authorization": "Basic eA=="})
    template = ClientRequest(
        "GET",
        URL("https://host.example:8443"),
        loop=loop,
        ssl=True,
        proxy=URL("http://127.0.0.1:1"),
        proxy_headers=headers,
    )
    before = template.connection_key
    connector = TCPConnector()

    with pytest.raises(aiohttp.ClientProxyConnectionError):
        await connector.connect(template, [], ClientTimeout(sock_connect=5))

    await connector.close()
    need(template.connection_key == before, UPSTREAM, "connecting by a proxy changes the key of the pool")
    need(before.proxy_auth is None, UPSTREAM, "the proxy's credential is in the key")


def test_a_proxy_that_refuses_raises_what_we_catch() -> None:
    need(issubclass(aiohttp.ClientHttpProxyError, aiohttp.ClientResponseError), UPSTREAM, "another base")
    need(
        issubclass(aiohttp.ClientProxyConnectionError, aiohttp.ClientConnectorError), UPSTREAM, "another base"
    )


async def test_connections_can_be_remembered_weakly() -> None:
    protocol = ResponseHandler(asyncio.get_running_loop())
    used = WeakSet([protocol])

    need(protocol in used, UPSTREAM, "a ResponseHandler is not itself in a set")
    need(ResponseHandler(asyncio.get_running_loop()) not in used, UPSTREAM, "any two are equal")
    need(protocol.should_close is False, UPSTREAM, "a fresh connection is to be closed")


def test_an_answers_head_has_the_fields_that_we_pass_on() -> None:
    need_members(RawResponseMessage, "code reason raw_headers chunked", UPSTREAM)
    need(EMPTY_PAYLOAD.is_eof(), UPSTREAM, "an answer without a body is not at its end")


@pytest.mark.parametrize(
    ("error", "kinds"),
    [
        (aiohttp.ServerTimeoutError, (TimeoutError, aiohttp.ClientConnectionError)),
        (aiohttp.ClientConnectorDNSError, (aiohttp.ClientConnectorError,)),
        (aiohttp.ClientConnectorCertificateError, (aiohttp.ClientSSLError,)),
        (aiohttp.ClientConnectorSSLError, (aiohttp.ClientSSLError, aiohttp.ClientConnectorError)),
        (aiohttp.ClientConnectorError, (aiohttp.ClientConnectionError, OSError)),
        (aiohttp.ServerDisconnectedError, (aiohttp.ClientConnectionError,)),
        (aiohttp.ClientConnectionResetError, (ConnectionResetError,)),
        (http_exceptions.LineTooLong, (http_exceptions.HttpProcessingError,)),
        (http_exceptions.BadStatusLine, (http_exceptions.HttpProcessingError,)),
    ],
)
def test_errors_are_of_the_kinds_that_we_catch(error: type[Exception], kinds: tuple[type, ...]) -> None:
    for kind in kinds:
        need(issubclass(error, kind), UPSTREAM, f"{error.__name__} is no {kind.__name__}")


def test_a_broken_body_is_not_taken_for_a_lost_connection() -> None:
    lost = (aiohttp.ClientConnectionError, OSError, http_exceptions.HttpProcessingError)

    need(not issubclass(aiohttp.ClientPayloadError, lost), UPSTREAM, "ClientPayloadError has another base")
    need(
        not issubclass(http_exceptions.HttpProcessingError, lost[:2]),
        UPSTREAM,
        "bad HTTP is a lost connection",
    )


# -- behaviour ------------------------------------------------------------------------------------------------------


class OwnAnswer:
    """No more than aiohttp asks of a handler's answer."""

    keep_alive = True

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def prepare(self, request: web.BaseRequest) -> None:
        self.asked.append("prepare")
        assert request.transport is not None, "the client waits"
        request.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    async def write_eof(self) -> None:
        self.asked.append("write_eof")


@asynccontextmanager
async def serving(handler: Callable[..., Any], **settings: Any) -> AsyncIterator[str]:
    loop = asyncio.get_running_loop()
    server = web.Server(handler, handler_cancellation=True, access_log=None, **settings)
    listener = await loop.create_server(server, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    finally:
        listener.close()
        await server.shutdown(0.1)


async def test_an_answer_writes_itself() -> None:
    answer = OwnAnswer()

    async def handler(request: web.BaseRequest) -> OwnAnswer:
        need(request._payload_writer.output_size == 0, SERVER, "an unanswered request has output")
        request._payload_writer.output_size += 1
        return answer

    async with serving(handler) as url, Client(url) as client:
        replies = [(await client.ask("GET", "/")).body for _ in range(2)]

    need(replies == [b"ok", b"ok"], SERVER, f"the answers were {replies}")
    need(answer.asked == ["prepare", "write_eof"] * 2, SERVER, f"an answer was asked to {answer.asked}")


async def test_a_client_that_leaves_cancels_its_handler() -> None:
    began, ended = asyncio.Event(), asyncio.Event()

    async def handler(request: web.BaseRequest) -> OwnAnswer:
        began.set()
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()
        return OwnAnswer()

    async with serving(handler) as url:
        async with Client(url) as client:
            await client.send("GET", "/")
            await began.wait()
        await asyncio.wait_for(ended.wait(), 10)


async def test_a_request_of_the_wrong_framing_goes_to_the_error_page() -> None:
    handled: list[str] = []

    class Ours(RequestHandler):
        __slots__ = ()

        def handle_error(self, request: Any, status: int = 500, exc: Any = None, message: Any = None) -> Any:
            handled.append(f"{status} {type(exc).__name__}")
            return OwnAnswer()

    class Servers(web.Server):
        def __call__(self) -> RequestHandler:
            return Ours(self, loop=self._loop, **self._kwargs)

    server = Servers(Mock(), access_log=None)
    listener = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    async with Client(f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}") as client:
        await client.write(b"GET / HTTP/1.1\r\nBad : x\r\n\r\n")
        await client.read_head()
    listener.close()
    await server.shutdown(0.1)

    need(handled == ["400 BadHttpMessage"], SERVER, f"handle_error was called for {handled}")


async def test_a_connector_makes_its_connections_by_a_factory() -> None:
    connector = TCPConnector()
    factory = getattr(connector, "_factory", None)
    await connector.close()

    need(isinstance(factory, partial), UPSTREAM, "TCPConnector._factory is no partial")
    assert isinstance(factory, partial)
    need(factory.func is ResponseHandler, UPSTREAM, f"TCPConnector._factory makes {factory.func}")


async def test_a_connection_that_breaks_in_a_body_calls_set_exception_while_it_has_the_body() -> None:
    bodies: list[object] = []

    class Noting(ResponseHandler):
        def set_exception(self, exc: BaseException, exc_cause: BaseException = _EXC_SENTINEL) -> None:
            bodies.append(self._payload)
            super().set_exception(exc, exc_cause)

    protocol = Noting(asyncio.get_running_loop())
    protocol.connection_made(Mock())
    protocol.set_response_params(read_until_eof=True)
    protocol.data_received(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n")
    _, payload = await protocol.read()
    protocol.data_received(b"zz\r\n")

    need(bodies == [payload], UPSTREAM, f"set_exception saw {bodies}")


async def test_an_exchange_with_a_provider_by_hand() -> None:
    """Connect, write, read a head and a body, give back; the same connection serves again."""
    connector = TCPConnector(limit=0, ssl=True, ttl_dns_cache=60)
    template_of = asyncio.get_running_loop()
    protocols, bodies = [], []
    async with serving(lambda _: _ready(OwnAnswer())) as url:
        template = ClientRequest("GET", URL(url), loop=template_of, ssl=True)
        for _ in range(2):
            connection = await connector.connect(template, [], ClientTimeout(sock_connect=5))
            protocol = connection.protocol
            assert protocol is not None, "just connected"
            assert protocol.transport is not None, "just connected"
            protocols.append(protocol)
            protocol.set_response_params(read_until_eof=True, auto_decompress=False, read_timeout=5)
            protocol.transport.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            protocol.start_timeout()
            message, payload = await protocol.read()
            need(
                message.raw_headers == ((b"Content-Length", b"2"),),
                UPSTREAM,
                f"headers {message.raw_headers}",
            )
            bodies.append((message.code, await payload.readany(), await payload.readany()))
            connection.release()
        await connector.close()

    need(bodies == [(200, b"ok", b"")] * 2, UPSTREAM, f"the answers were {bodies}")
    need(protocols[0] is protocols[1], UPSTREAM, "a released connection is not used again")


async def _ready(answer: OwnAnswer) -> OwnAnswer:
    return answer


@pytest.mark.parametrize(
    ("said", "is_silent"), [(b"", True), (b"HTT", False), (b"HTTP/1.1 200 OK\r\nX", False)]
)
async def test_a_closed_connection_tells_whether_an_answer_had_begun(said: bytes, is_silent: bool) -> None:
    protocol = ResponseHandler(asyncio.get_running_loop())
    protocol.connection_made(Mock())
    protocol.set_response_params(read_until_eof=True)
    protocol.data_received(said)
    protocol.connection_lost(None)

    with pytest.raises(aiohttp.ServerDisconnectedError) as closed:
        await protocol.read()

    need(isinstance(closed.value.message, str) == is_silent, UPSTREAM, "half a head looks like silence")


async def test_an_idle_connection_that_was_spoken_on_is_not_to_be_used_again() -> None:
    protocol = ResponseHandler(asyncio.get_running_loop())
    protocol.connection_made(Mock())
    protocol.set_response_params(read_until_eof=True)
    need(protocol.should_close is False, UPSTREAM, "an idle connection is to be closed")

    protocol.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    need(protocol.should_close is True, UPSTREAM, "an answer that nobody asked for is not noticed")
