"""The hardened server of the data plane, on aiohttp's low-level one: its own error pages, its own exact answers."""

import asyncio
import errno
import ssl
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, Protocol

import orjson
from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import HttpVersion10
from aiohttp.http_parser import HttpRequestParser, HttpRequestParserPy, RawRequestMessage
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import RequestHandler

from proxy import clock, log
from proxy.errors import StartupError

HEADER_BYTES_MAX = 65_536  # a request line or one header
HEADERS_MAX = 128
KEEPALIVE_SECONDS = 20.0  # also how long a client may take over its headers
LINGER_SECONDS = 5.0  # reading away a refused body, so that the client sees the answer
CANCEL_SECONDS = 2.0  # for cancelled calls to end their books
BODY_BYTES_PER_SECOND_MIN = 256  # over a whole body: slower is a slow-loris
BODY_GRACE_SECONDS = 60.0

Headers = list[tuple[str, str]]


class TooLarge(Exception):
    """The body is over the limit."""


class Slow(Exception):
    """The body stopped arriving."""


class Response(Protocol):
    """What a handler gives back: aiohttp asks it to write itself."""

    @property
    def keep_alive(self) -> bool | None: ...
    async def prepare(self, request: web.BaseRequest) -> object: ...
    async def write_eof(self) -> None: ...


Handler = Callable[[web.BaseRequest], Awaitable[Response]]


def require_c_parser() -> None:
    """aiohttp's parser in pure Python accepts framing that its C parser refuses: without that one we do not start."""
    if HttpRequestParser is HttpRequestParserPy:
        raise StartupError(
            "aiohttp runs without its C parser",
            "install aiohttp from a wheel, and unset AIOHTTP_NO_EXTENSIONS",
        )


class Server:
    """Listens, hands requests to one handler, and stops in order: no new ones, a grace for the running, then cancel."""

    def __init__(self, handler: Handler, *, ssl_context: ssl.SSLContext | None = None) -> None:
        self._handler = handler
        self._ssl = ssl_context
        self._protocols: _Protocols | None = None
        self._listener: asyncio.Server | None = None
        self._idle = asyncio.Event()
        self._idle.set()
        self.in_flight = 0

    async def start(self, host: str, port: int) -> tuple[str, int]:
        """The address bound, which names the port that 0 stood for. Raises StartupError."""
        loop = asyncio.get_running_loop()
        self._protocols = _Protocols(
            self._counted,  # type: ignore[arg-type] # our responses write themselves; aiohttp asks for no more
            request_factory=_make_request,
            handler_cancellation=True,
            keepalive_timeout=KEEPALIVE_SECONDS,
            max_line_size=HEADER_BYTES_MAX,
            max_field_size=HEADER_BYTES_MAX,
            max_headers=HEADERS_MAX,
            lingering_time=LINGER_SECONDS,
            auto_decompress=False,
            access_log=None,
        )
        try:
            self._listener = await loop.create_server(
                self._protocols, host, port, ssl=self._ssl, backlog=1024, reuse_address=True
            )
        except OSError as error:
            raise cannot_listen(host, port, error) from error
        bound = self._listener.sockets[0].getsockname()
        return str(bound[0]), int(bound[1])

    async def stop(self, grace_seconds: float) -> None:
        if self._listener is None or self._protocols is None:
            return
        self._listener.close()
        self._protocols.pre_shutdown()
        await self._until_idle(grace_seconds)
        for connection in self._protocols.connections:
            task = connection._task_handler
            if task is not None:
                task.cancel()
        await self._until_idle(CANCEL_SECONDS)
        await self._protocols.shutdown(0.1)

    async def _until_idle(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._idle.wait(), seconds)
        except TimeoutError:
            log.get().warning("calls_still_running", count=self.in_flight)

    async def _counted(self, request: web.BaseRequest) -> Response:
        self.in_flight += 1
        self._idle.clear()
        try:
            return await self._handler(request)
        finally:
            self.in_flight -= 1
            if not self.in_flight:
                self._idle.set()


class _Protocol(RequestHandler):
    """aiohttp's connection, with error pages that neither echo nor log what the client sent."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> Any:
        if isinstance(exc, ConnectionError) or request._payload_writer.output_size > 0:
            # The client has gone, or half an answer is out: the connection can only break off.
            raise ConnectionError("the connection broke off") from exc
        request_id = clock.new_call_id(clock.now())
        if status >= 500:
            log.get().error("request_failed", request_id=request_id, status=500, error=_told(exc))
            words = "An unexpected error occurred. Look for the request id in the log."
            return error_page(request, 500, "internal_error", words, request_id, kind="api_error")
        log.get().warning("bad_request", request_id=request_id, status=status, error=type(exc).__name__)
        return error_page(
            request, status, "bad_framing", "the request is not well-formed HTTP/1.1", request_id
        )


def _told(exc: BaseException | None) -> str:
    """The kind of an error and the place of it; never its text, which may hold what a client sent."""
    trace = None if exc is None else exc.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = (
        ""
        if trace is None
        else f" at {trace.tb_frame.f_code.co_filename.rpartition('/')[2]}:{trace.tb_lineno}"
    )
    return f"{type(exc).__name__}{place}"


class _Protocols(web.Server):
    def __call__(self) -> RequestHandler:
        return _Protocol(self, loop=self._loop, **self._kwargs)


def _make_request(
    message: RawRequestMessage,
    payload: StreamReader,
    protocol: RequestHandler,
    writer: AbstractStreamWriter,
    task: "asyncio.Task[None]",
) -> web.BaseRequest:
    if message.chunked or "Upgrade" in message.headers:
        # aiohttp's parser takes the last trailer of a chunked body for a header of the next request, and loses what
        # follows an upgrade that it does not know: such a connection carries no other request.
        message = message._replace(should_close=True)
    return web.BaseRequest(message, payload, protocol, writer, task, asyncio.get_running_loop())


def cannot_listen(host: str, port: int, error: OSError) -> StartupError:
    if error.errno == errno.EADDRINUSE:
        return StartupError(
            f"port {port} on {host} is in use", "stop what listens there, or set another port"
        )
    if error.errno == errno.EACCES:
        return StartupError(f"no permission to listen on {host}:{port}", "use a port above 1023")
    return StartupError(
        f"cannot listen on {host}:{port}: {error.strerror or error}", "set listen to an address of this host"
    )


# -- requests ---------------------------------------------------------------------------------------------------------


async def read_body(request: web.BaseRequest, *, limit_bytes: int, idle_seconds: float) -> bytes:
    """The whole body as it came. Only now a client that asked whether to send it is told to go on.

    Raises TooLarge or Slow."""
    content = request.content
    if content.is_eof():  # it came together with the head: nothing to wait for
        body = content.read_nowait()
        if len(body) > limit_bytes:
            raise TooLarge
        return body
    if "Expect" in request.headers and not content.total_bytes and request.version != HttpVersion10:
        _write(request, b"HTTP/1.1 100 Continue\r\n\r\n")
        request._payload_writer.output_size = 0
    pieces: list[bytes] = []
    size, started = 0, clock.monotonic()
    while True:
        try:
            async with asyncio.timeout(idle_seconds):
                piece = await content.readany()
        except TimeoutError as error:
            raise Slow from error
        if not piece:
            return b"".join(pieces)
        pieces.append(piece)
        size += len(piece)
        if size > limit_bytes:
            raise TooLarge
        taken = clock.monotonic() - started
        if taken > BODY_GRACE_SECONDS and size < taken * BODY_BYTES_PER_SECOND_MIN:
            raise Slow


# -- answers ----------------------------------------------------------------------------------------------------------


class Reply:
    """A whole answer: these headers, in this order, and no others but the framing's own."""

    def __init__(
        self,
        request: web.BaseRequest,
        status: int,
        reason: str | None,
        headers: Headers,
        body: bytes,
        close: bool,
    ) -> None:
        self.status = status
        self.keep_alive = (
            request.keep_alive and not close and request.version != HttpVersion10 and _was_read(request)
        )
        bodiless = status in (204, 304) or status < 200
        told = next((value for name, value in headers if name.lower() == "content-length"), None)
        kept = [(name, value) for name, value in headers if name.lower() != "content-length"]
        if request.method == "HEAD":
            kept += [] if told is None else [("Content-Length", told)]
        elif not bodiless:
            kept.append(("Content-Length", str(len(body))))
        elif told is not None:
            kept.append(("Content-Length", told))
        head = _head(status, reason, kept, keep_alive=self.keep_alive)
        self._data = head if bodiless or request.method == "HEAD" else head + body
        self._request = request

    async def prepare(self, request: web.BaseRequest) -> None:
        _write(request, self._data)
        if len(self._data) > HEADER_BYTES_MAX:
            await request.protocol._drain_helper()

    async def write_eof(self) -> None:
        return


def reply(
    request: web.BaseRequest,
    status: int,
    reason: str | None,
    headers: Headers,
    body: bytes,
    *,
    close: bool = False,
) -> Reply:
    """A refused request whose body was not read closes its connection: what follows could be read as a request."""
    return Reply(request, status, reason, headers, body, close)


def error_page(
    request: web.BaseRequest,
    status: int,
    code: str,
    message: str,
    request_id: str,
    *,
    kind: str = "invalid_request_error",
) -> Reply:
    body = orjson.dumps(
        {"error": {"message": message, "type": kind, "code": code, "param": None, "request_id": request_id}}
    )
    return reply(
        request,
        status,
        None,
        [("Content-Type", "application/json"), ("X-Request-ID", request_id)],
        body,
        close=True,
    )


class Stream:
    """An answer that goes out piece by piece: as long as its Content-Length says, else chunked, else (HTTP/1.0) to the end
    of the connection. Broken off, it never looks complete."""

    def __init__(self, request: web.BaseRequest, headers: Headers) -> None:
        has_length = any(name.lower() == "content-length" for name, _ in headers)
        self._request = request
        self._chunked = not has_length and request.version != HttpVersion10
        self._silent = request.method == "HEAD"
        self.keep_alive = request.keep_alive and request.version != HttpVersion10 and _was_read(request)
        self._is_broken = False

    @classmethod
    async def open(
        cls, request: web.BaseRequest, status: int, reason: str | None, headers: Headers
    ) -> "Stream":
        stream = cls(request, headers)
        framing = [("Transfer-Encoding", "chunked")] if stream._chunked and status not in (204, 304) else []
        stream._silent = stream._silent or status in (204, 304)
        _write(request, _head(status, reason, [*headers, *framing], keep_alive=stream.keep_alive))
        return stream

    async def write(self, data: bytes) -> None:
        """One write to the socket, then wait while the client is slower than the provider. Raises ConnectionError."""
        if not data or self._silent:
            return
        _write(self._request, b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)
        await self._request.protocol._drain_helper()

    async def end(self) -> None:
        if self._chunked and not self._silent:
            _write(self._request, b"0\r\n\r\n")

    def break_off(self) -> None:
        """The client sees a reset, not an end."""
        self._is_broken = True
        self.keep_alive = False
        transport = self._request.transport
        if transport is not None:
            transport.abort()

    @property
    def response(self) -> "Stream":
        return self

    async def prepare(self, request: web.BaseRequest) -> None:
        """Nothing: all was written already."""

    async def write_eof(self) -> None:
        if self._is_broken:
            raise ConnectionResetError("broken off")


def _was_read(request: web.BaseRequest) -> bool:
    return request.content.is_eof()


def _head(status: int, reason: str | None, headers: Headers, *, keep_alive: bool) -> bytes:
    lines = [f"HTTP/1.1 {status} {_phrase(status) if reason is None else reason}"]
    lines += [f"{name}: {value}" for name, value in headers]
    if not keep_alive:
        lines.append("Connection: close")
    text = "\r\n".join(lines)
    if "\0" in text or text.count("\n") != len(lines) - 1 or text.count("\r") != len(lines) - 1:
        raise ValueError("a header value holds a line break")
    return text.encode("utf-8", "surrogateescape") + b"\r\n\r\n"


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def _write(request: web.BaseRequest, data: bytes) -> None:
    transport = request.transport
    if transport is None or transport.is_closing():
        raise ConnectionResetError("the client has gone")
    transport.write(data)
    request._payload_writer.output_size += len(data)
