"""The lean way to a provider: aiohttp's connections and parser without its session. Nothing is added, followed, decoded
or sent twice."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from functools import partial
from weakref import WeakSet

from aiohttp import (
    ClientConnectionError,
    ClientConnectorDNSError,
    ClientConnectorError,
    ClientPayloadError,
    ClientProxyConnectionError,
    ClientRequest,
    ClientResponseError,
    ClientSSLError,
    ClientTimeout,
    ServerDisconnectedError,
    ServerTimeoutError,
    TCPConnector,
)
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.helpers import _EXC_SENTINEL
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import RawResponseMessage
from aiohttp.streams import StreamReader
from multidict import CIMultiDict
from tenacity import (
    AsyncRetrying,
    retry_if_exception_type,
    stop_after_attempt,
    stop_before_delay,
    wait_exponential_jitter,
)
from yarl import URL

from proxy import jobs
from proxy.outbound import HttpProxy

HEADER_BYTES_MAX = 65_536
READ_BYTES = 65_536
WRITE_AT_ONCE_MAX = 262_144  # a larger body is written while the answer is awaited
POOLED_SECONDS = 30.0  # an idle connection is kept so long
RETRY_SECONDS_MAX = 2.0
INFORMATIONAL_MAX = 100  # 1xx answers before the real one
PROXY_REFUSED = 407  # a proxy's own word: no provider says it

Headers = list[tuple[str, str]]


class UpstreamFailure(Exception):
    """No answer, or not all of one. `sent`: something was handed to the provider's socket. `proven`: False where a reused
    connection died without a byte, which happens to a request that nobody ever read. `retries`: tries to connect after the
    first one."""

    retries = 0

    def __init__(self, code: str, detail: str, *, sent: bool, proven: bool = True) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail
        self.sent = sent
        self.proven = proven


class _Protocol(ResponseHandler):
    """aiohttp's connection; but bytes that are not HTTP, in the middle of a body, fail the body too: aiohttp would let
    its reader wait for ever."""

    def set_exception(self, exc: BaseException, exc_cause: BaseException = _EXC_SENTINEL) -> None:
        super().set_exception(exc, exc_cause)
        payload = self._payload
        if payload is not None and not payload.is_eof() and payload.exception() is None:
            payload.set_exception(exc, exc_cause)


class Answer:
    """A provider's answer, its headers read. The connection goes back to the pool at the end of the body."""

    def __init__(
        self,
        message: RawResponseMessage,
        payload: StreamReader,
        connection: Connection,
        writing: "asyncio.Task[None] | None",
        retries: int = 0,
    ) -> None:
        self.retries = retries
        self.status = message.code
        self.reason = message.reason or ""
        self.headers: Headers = [
            (name.decode("ascii", "surrogateescape"), value.decode("utf-8", "surrogateescape"))
            for name, value in message.raw_headers
        ]
        names = {name.lower() for name, _ in self.headers}
        self.close_delimited = "content-length" not in names and not message.chunked and not payload.is_eof()
        self._payload = payload
        self._connection: Connection | None = connection
        self._writing = writing
        if payload.is_eof():
            self._release()

    async def pieces(self) -> AsyncIterator[bytes]:
        """Whatever has arrived, one item a wake-up; transfer coding removed, content coding kept. Raises UpstreamFailure.
        May be iterated again after a cancelled wait, and goes on there."""
        while True:
            try:
                piece = await self._payload.readany()
            except (ClientConnectionError, ClientPayloadError, HttpProcessingError, OSError) as error:
                self.close()
                raise _failure(error, sent=True, proven=True) from error
            if not piece:
                self._release()
                return
            yield piece

    def close(self) -> None:
        """Cut the connection: the provider should stop its work. Does nothing after the end."""
        self._stop_writing()
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _release(self) -> None:
        if self._writing is not None and not self._writing.done():
            self.close()  # answered before it had read the request: the rest of the body must not become a request
            return
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.release()

    def _stop_writing(self) -> None:
        if self._writing is not None:
            self._writing.cancel()


class Upstream:
    """One endpoint. `idle_seconds` bounds the wait for the first byte and between two reads, `connect_seconds` that for a
    connection, in line for one of `connections_max` too (0: as many as there are calls)."""

    def __init__(
        self,
        base_url: str,
        *,
        connect_seconds: float = 5.0,
        idle_seconds: float = 300.0,
        connect_retries: int = 0,
        connections_max: int = 0,
        ssl_context: ssl.SSLContext | None = None,
        proxy: HttpProxy | None = None,
    ) -> None:
        self._origin = URL(base_url).origin()
        self._host = self._origin.raw_authority
        self._proxy = proxy
        # Only what goes to the provider in the clear is seen by the proxy; else its part ends with CONNECT.
        self._asks_proxy = proxy is not None and self._origin.scheme == "http"
        self._connections_max = connections_max
        self._timeout = ClientTimeout(total=None, connect=connect_seconds, sock_connect=connect_seconds)
        self._connect_seconds = connect_seconds
        self._idle_seconds = idle_seconds
        self._connect_retries = connect_retries
        self._ssl = ssl_context
        self._connector: TCPConnector | None = None
        self._template: ClientRequest | None = None
        self._used: WeakSet[ResponseHandler] = WeakSet()

    async def send(
        self,
        method: str,
        raw_target: str,
        headers: Headers,
        body: bytes | None,
        *,
        on_sent: Callable[[], None],
    ) -> Answer:
        """Raises UpstreamFailure. `on_sent` is called once the first bytes were handed to the socket."""
        if self._asks_proxy:
            raw_target, headers = self._for_proxy(raw_target, headers)
        head = _request_head(method, raw_target, self._host, headers, body)
        connection, retries = await (self._connect_again() if self._connect_retries else self._connect_once())
        protocol = connection.protocol
        assert protocol is not None, "a connection has a protocol until it is released"
        reused = protocol in self._used
        self._used.add(protocol)
        writing: asyncio.Task[None] | None = None
        try:
            protocol.set_response_params(
                skip_payload=method == "HEAD",
                read_until_eof=True,
                auto_decompress=False,
                read_timeout=self._idle_seconds,
                read_bufsize=READ_BYTES,
                max_line_size=HEADER_BYTES_MAX,
                max_field_size=HEADER_BYTES_MAX,
            )
            writing = _write(protocol, head, body)
            on_sent()
            protocol.start_timeout()
            message, payload = await _read_head(protocol)
        except (ClientConnectionError, ClientPayloadError, HttpProcessingError, OSError) as error:
            _abandon(connection, writing)
            silent = isinstance(error, ClientConnectionError | OSError) and not isinstance(
                error, TimeoutError
            )
            failure = _failure(error, sent=True, proven=not (reused and silent))
            failure.retries = retries
            raise failure from error
        except BaseException:
            _abandon(connection, writing)
            raise
        if self._asks_proxy and message.code == PROXY_REFUSED:
            _abandon(connection, writing)
            raise _refused_by_proxy(message.code)
        return Answer(message, payload, connection, writing, retries)

    async def close(self) -> None:
        if self._connector is not None:
            await self._connector.close()

    async def _connect_once(self) -> tuple[Connection, int]:
        return await self._connect(), 0

    async def _connect_again(self) -> tuple[Connection, int]:
        """The one thing that is tried twice: nothing was sent, so nothing can be done twice. All tries together are over
        within the time for one. Gives how many failed, too."""
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(UpstreamFailure),
            stop=stop_after_attempt(1 + self._connect_retries) | stop_before_delay(self._connect_seconds),
            wait=wait_exponential_jitter(multiplier=0.1, max=RETRY_SECONDS_MAX, jitter=0.1),
            reraise=True,
        )
        try:
            connection = await self._within_time_for_one(retrying)
        except UpstreamFailure as failure:
            failure.retries = _retries(retrying)
            raise
        return connection, _retries(retrying)

    async def _within_time_for_one(self, retrying: AsyncRetrying) -> Connection:
        try:
            async with asyncio.timeout(self._connect_seconds):
                return await retrying(self._connect)
        except TimeoutError as error:
            raise self._not_connected(error) from error

    async def _connect(self) -> Connection:
        if self._connector is None or self._template is None:
            self._connector = TCPConnector(
                limit=self._connections_max,
                keepalive_timeout=POOLED_SECONDS,
                ssl=self._ssl or True,
                ttl_dns_cache=60,
            )
            factory = partial(_Protocol, loop=asyncio.get_running_loop())
            self._connector._factory = factory  # type: ignore[assignment] # `partial` is invariant
            self._template = self._make_template()
        try:
            while True:
                connection = await self._connector.connect(self._template, [], self._timeout)
                protocol = connection.protocol
                if protocol is None or not protocol.should_close:
                    return connection
                connection.close()  # it spoke unasked while it was idle: that would be read as our answer
        except (ClientConnectionError, ClientResponseError, OSError) as error:
            if self._proxy is None:
                raise self._not_connected(error) from error
            raise self._not_connected(error) from None  # its words may hold the proxy's credential

    def _make_template(self) -> ClientRequest:
        """Made once: the connector only asks it where to connect and how."""
        proxy, tunnel = self._proxy, CIMultiDict[str]()
        if proxy is not None and proxy.authorization and not self._asks_proxy:
            # With the host, which aiohttp would add: a connection is pooled by these headers as they are.
            host = self._origin.host_port_subcomponent or self._host
            tunnel.update({"Host": host, "Proxy-Authorization": proxy.authorization})
        return ClientRequest(
            "GET",
            self._origin,
            loop=asyncio.get_running_loop(),
            ssl=self._ssl or True,
            proxy=None if proxy is None else URL(proxy.url),
            proxy_headers=tunnel or None,
        )

    def _for_proxy(self, raw_target: str, headers: Headers) -> tuple[str, Headers]:
        """A plain request as a proxy takes it: for a whole URL, and with its own credential."""
        assert self._proxy is not None, "there is a proxy to ask"
        credential = self._proxy.authorization
        own = [("Proxy-Authorization", credential)] if credential else []
        return f"http://{self._host}{raw_target}", [*headers, *own]

    def _not_connected(self, error: Exception) -> UpstreamFailure:
        """Nothing was sent."""
        if self._connections_max and isinstance(error, TimeoutError):
            waited = (
                f"connecting, or waiting for one of its {self._connections_max} connections, took too long"
            )
            return UpstreamFailure("upstream_timeout", waited, sent=False)
        if isinstance(error, ClientResponseError):
            return _refused_by_proxy(error.status)
        if isinstance(error, ClientProxyConnectionError):
            return UpstreamFailure(
                "upstream_proxy", "the proxy to it does not accept connections", sent=False
            )
        if self._proxy is not None and isinstance(error, ClientConnectorDNSError):
            return UpstreamFailure(
                "upstream_proxy", "the name of the proxy to it could not be resolved", sent=False
            )
        return _failure(error, sent=False, proven=True)


def _retries(retrying: AsyncRetrying) -> int:
    return int(retrying.statistics["attempt_number"]) - 1


def _refused_by_proxy(status: int) -> UpstreamFailure:
    detail = f"the proxy to it refused the connection ({status})"
    return UpstreamFailure("upstream_proxy", detail, sent=False)


def _write(protocol: ResponseHandler, head: bytes, body: bytes | None) -> "asyncio.Task[None] | None":
    transport = protocol.transport
    if transport is None or transport.is_closing():
        raise ConnectionResetError("the connection was closed")
    if not body or len(body) <= WRITE_AT_ONCE_MAX:
        transport.write(head + body if body else head)
        return None
    transport.write(head)
    return jobs.run(_write_slowly(protocol, body), name="upload", expects=(OSError, ClientConnectionError))


async def _write_slowly(protocol: ResponseHandler, body: bytes) -> None:
    view = memoryview(body)
    for start in range(0, len(body), WRITE_AT_ONCE_MAX):
        transport = protocol.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the provider closed the connection while the request was sent")
        transport.write(view[start : start + WRITE_AT_ONCE_MAX])
        await protocol._drain_helper()


async def _read_head(protocol: ResponseHandler) -> tuple[RawResponseMessage, StreamReader]:
    for n in range(INFORMATIONAL_MAX):
        try:
            message, payload = await protocol.read()
        except ServerDisconnectedError as error:
            # aiohttp gives half a head in place of a sentence: whoever began an answer has read the request.
            if n or not isinstance(error.message, str):
                raise ClientPayloadError("it began an answer") from error
            raise
        if message.code >= 200:
            return message, payload
        if message.code == 101:
            break
        protocol.start_timeout()  # which aiohttp stops at every head without a body
    raise HttpProcessingError(message="no final answer")


def _abandon(connection: Connection, writing: "asyncio.Task[None] | None") -> None:
    if writing is not None:
        writing.cancel()
    connection.close()


def _request_head(method: str, raw_target: str, host: str, headers: Headers, body: bytes | None) -> bytes:
    lines = [
        f"{method} {raw_target} HTTP/1.1",
        f"Host: {host}",
        *(f"{name}: {value}" for name, value in headers),
    ]
    if body is not None or method in ("POST", "PUT", "PATCH"):
        lines.append(f"Content-Length: {len(body or b'')}")
    text = "\r\n".join(lines)
    if "\0" in text or text.count("\n") != len(lines) - 1 or text.count("\r") != len(lines) - 1:
        raise UpstreamFailure("upstream_protocol", "a header holds a line break", sent=False)
    return text.encode("utf-8", "surrogateescape") + b"\r\n\r\n"


def _failure(error: Exception, *, sent: bool, proven: bool) -> UpstreamFailure:
    """What went wrong, in a word that metrics count and a sentence without anything secret."""
    match error:
        case ServerTimeoutError() | TimeoutError():
            code, detail = (
                "upstream_timeout",
                "it did not answer in time" if sent else "connecting took too long",
            )
        case ClientConnectorDNSError():
            code, detail = "upstream_dns", "its name could not be resolved"
        case ClientSSLError() | ssl.SSLError():
            code, detail = "upstream_tls", "no secure connection could be made"
        case ClientConnectorError():
            code, detail = "upstream_connect", "it does not accept connections"
        case HttpProcessingError():
            code, detail = "upstream_protocol", "its answer is not HTTP"
        case ClientPayloadError():
            code, detail = "upstream_reset", "its answer broke off"
        case _:
            code, detail = "upstream_reset" if sent else "upstream_connect", "it closed the connection"
    return UpstreamFailure(code, detail, sent=sent, proven=proven)
