"""What may stand between Spendgate and a provider: an HTTP proxy that asks for a password, and TLS by an authority of its
own. Each runs in a thread, beside the tests."""

import asyncio
import base64
import contextlib
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import trustme

HEAD_BYTES_MAX = 1 << 20
REFUSAL = (
    b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n"
)


@dataclass(frozen=True, slots=True)
class Asked:
    """The head of one request, as the proxy read it."""

    line: str
    headers: dict[str, str]


@dataclass(slots=True)
class RecordingProxy:
    """An HTTP proxy for one user."""

    user: str
    password: str
    port: int = 0
    asked: list[Asked] = field(default_factory=list)

    def url(self, password: str | None = None) -> str:
        return f"http://{self.user}:{self.password if password is None else password}@127.0.0.1:{self.port}"

    @property
    def credential(self) -> str:
        return "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await self._serve(reader, writer)
        writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[:-2]
        headers = {name.lower(): value.strip() for name, _, value in (each.partition(":") for each in lines)}
        self.asked.append(Asked(line, headers))
        method, target, _ = line.split(" ")
        if headers.get("proxy-authorization") != self.credential:
            writer.write(REFUSAL)
            return
        parts = urlsplit(target if "://" in target else f"//{target}")
        there, back = await asyncio.open_connection(parts.hostname, parts.port, limit=HEAD_BYTES_MAX)
        if method == "CONNECT":
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            kept = [each for each in lines if not each.lower().startswith("proxy-authorization")]
            path = f"{parts.path}?{parts.query}" if parts.query else parts.path
            head = [f"{method} {path} HTTP/1.1", *kept, "Connection: close", "", ""]
            back.write("\r\n".join(head).encode("latin-1"))
        await both_ways(reader, writer, there, back)


@dataclass(frozen=True, slots=True)
class TlsFront:
    """TLS before a plain server on this machine."""

    behind: int

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self.behind)
        await both_ways(reader, writer, there, back)


async def both_ways(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    there: asyncio.StreamReader,
    back: asyncio.StreamWriter,
) -> None:
    """Until both sides have ended."""
    await asyncio.gather(_pass_on(reader, back), _pass_on(there, writer))


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        while piece := await reader.read(65_536):
            writer.write(piece)
            await writer.drain()
    writer.close()


@contextmanager
def serving(server: RecordingProxy | TlsFront, context: ssl.SSLContext | None = None) -> Iterator[int]:
    """In a thread of its own; gives the port."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    starting = asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=context, limit=HEAD_BYTES_MAX)
    listener = asyncio.run_coroutine_threadsafe(starting, loop).result(10)
    try:
        yield listener.sockets[0].getsockname()[1]
    finally:
        asyncio.run_coroutine_threadsafe(_end(listener), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


async def _end(listener: asyncio.Server) -> None:
    listener.close()
    running = asyncio.all_tasks() - {asyncio.current_task()}
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


def private_authority(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """The file of an authority that no system trusts, and a server's context with its certificate for this machine."""
    authority, file = trustme.CA(), folder / "authority.pem"
    file.write_bytes(authority.cert_pem.bytes())
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return file, context
