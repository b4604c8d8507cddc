"""A small HTTP client that shows every byte, and that can leave, reset or read slowly in the middle of an answer."""

import asyncio
import contextlib
import json
import socket
import struct
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

HEAD_BYTES_MAX = 1 << 20
WAIT_SECONDS = 30.0

Headers = Sequence[tuple[str, str]]


class Broken(Exception):
    """The answer's body ended before its framing said so; `got` is what came."""

    def __init__(self, got: bytes) -> None:
        super().__init__(f"broken off after {len(got)} bytes")
        self.got = got


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer."""

    status: int
    reason: str
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        return header(self.headers, name)

    def json(self) -> Any:
        return json.loads(self.body)


def header(headers: Headers, name: str) -> str | None:
    return next((value for key, value in headers if key.lower() == name.lower()), None)


class Connection:
    """One connection to the proxy; requests go one after the other."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname, f"{url} names no host"
        assert parts.port, f"{url} names no port"
        self._host, self._port = parts.hostname, parts.port
        self.status = 0
        self.reason = ""
        self.headers: list[tuple[str, str]] = []

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection(
            self._host, self._port, limit=HEAD_BYTES_MAX
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.leave()

    async def ask(self, method: str, target: str, headers: Headers = (), body: bytes | None = None) -> Reply:
        """Send and read the whole answer. Raises Broken for one that ends early."""
        async with asyncio.timeout(WAIT_SECONDS):
            await self.start(method, target, headers, body)
            data = b"".join([piece async for piece in self.pieces(method)])
        return Reply(self.status, self.reason, self.headers, data)

    async def start(self, method: str, target: str, headers: Headers = (), body: bytes | None = None) -> None:
        """Send, and read the head of the answer."""
        await self.send(method, target, headers, body)
        await self.read_head()

    async def send(self, method: str, target: str, headers: Headers = (), body: bytes | None = None) -> None:
        lines = [f"{method} {target} HTTP/1.1", f"Host: {self._host}:{self._port}"]
        lines += [f"{name}: {value}" for name, value in headers]
        if body is not None and header(headers, "transfer-encoding") is None:
            lines.append(f"Content-Length: {len(body)}")
        await self.write("\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b""))

    async def write(self, data: bytes) -> None:
        """Bytes as they are, well-formed or not."""
        self._writer.write(data)
        await self._writer.drain()

    async def read_head(self) -> None:
        head = await self._reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")[:-2]
        version, status, self.reason = [*first.split(" ", 2), "", ""][:3]
        if not version.startswith("HTTP/1."):
            raise ValueError(f"not HTTP: {first[:40]!r}")
        self.status = int(status)
        self.headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]

    async def pieces(self, method: str = "POST") -> AsyncIterator[bytes]:
        """The body as it comes, its framing taken off and checked."""
        if method == "HEAD" or self.status in (204, 304) or self.status < 200:
            return
        length = header(self.headers, "content-length")
        if header(self.headers, "transfer-encoding") == "chunked":
            async for piece in self._chunks():
                yield piece
        elif length is not None:
            yield await self._exactly(int(length))
        else:
            yield await self._reader.read()

    async def _chunks(self) -> AsyncIterator[bytes]:
        got = b""
        while True:
            try:
                size = int(await self._reader.readuntil(b"\r\n"), 16)
                data = (await self._reader.readexactly(size + 2))[:-2]
            except (asyncio.IncompleteReadError, ConnectionError) as error:
                raise Broken(got) from error
            if not size:
                return
            got += data
            yield data

    async def _exactly(self, length: int) -> bytes:
        try:
            return await self._reader.readexactly(length)
        except asyncio.IncompleteReadError as error:
            raise Broken(error.partial) from error
        except ConnectionError as error:
            raise Broken(b"") from error

    async def is_closed(self) -> bool:
        """True once the other side has closed; waits for it."""
        try:
            return await asyncio.wait_for(self._reader.read(1), WAIT_SECONDS) == b""
        except ConnectionError:
            return True

    async def leave(self) -> None:
        """Close, whatever is still to come."""
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()

    def reset(self) -> None:
        """Leave with RST instead of FIN."""
        sock = self._writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()


def call_headers(key: str, extra: Mapping[str, str] | None = None) -> list[tuple[str, str]]:
    """What every JSON call carries."""
    plain = [("Authorization", f"Bearer {key}"), ("Content-Type", "application/json")]
    return [*plain, *(extra or {}).items()]


async def ask(url: str, method: str, target: str, headers: Headers = (), body: bytes | None = None) -> Reply:
    """One request on a connection of its own."""
    async with Connection(url) as connection:
        return await connection.ask(method, target, headers, body)
