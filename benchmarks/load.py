"""The load: keep-alive clients on bare sockets, closed loop or paced, and what they saw."""

import asyncio
import time
from dataclasses import dataclass, field

READ_SECONDS = 30.0


@dataclass(slots=True)
class Seen:
    """Latencies in seconds, sorted at the end. `first` is the time to the first byte of a stream's body."""

    latencies: list[float] = field(default_factory=list)
    first: list[float] = field(default_factory=list)
    chunks: int = 0
    errors: int = 0
    seconds: float = 0.0

    def percentile(self, share: float, of: list[float] | None = None) -> float:
        ordered = sorted(self.latencies if of is None else of)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else float("nan")


def request_bytes(port: int, key: str, *, body: bytes) -> bytes:
    return (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nAccept-Encoding: gzip, deflate\r\nUser-Agent: bench\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body


async def closed_loop(port: int, request: bytes, *, clients: int, seconds: float) -> Seen:
    """Every client sends its next call when the last was answered."""
    seen = Seen()
    started = time.perf_counter()
    until = started + seconds

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
        try:
            while time.perf_counter() < until:
                await _one(reader, writer, request, seen)
        except (OSError, asyncio.IncompleteReadError, ValueError):
            seen.errors += 1
        finally:
            writer.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    seen.seconds = time.perf_counter() - started
    return seen


async def paced(port: int, request: bytes, *, per_second: float, seconds: float) -> Seen:
    """Calls at a steady rate, each on a free connection: what a quiet service feels."""
    seen = Seen()
    free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
    started = time.perf_counter()

    async def call() -> None:
        reader, writer = (
            free.pop() if free else await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
        )
        try:
            await _one(reader, writer, request, seen)
            free.append((reader, writer))
        except (OSError, asyncio.IncompleteReadError, ValueError):
            seen.errors += 1
            writer.close()

    calls = []
    for number in range(int(per_second * seconds)):
        await asyncio.sleep(max(0.0, started + number / per_second - time.perf_counter()))
        calls.append(asyncio.ensure_future(call()))
    await asyncio.gather(*calls)
    for _, writer in free:
        writer.close()
    seen.seconds = time.perf_counter() - started
    return seen


async def _one(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes, seen: Seen
) -> None:
    sent = time.perf_counter()
    writer.write(request)
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), READ_SECONDS)
    if not head.startswith(b"HTTP/1.1 200"):
        raise ValueError(head[:80])
    lowered = head.lower()
    at = lowered.find(b"content-length:")
    if at >= 0:
        await reader.readexactly(int(lowered[at + 15 : lowered.index(b"\r\n", at)]))
    else:
        await _chunks(reader, seen, sent)
    seen.latencies.append(time.perf_counter() - sent)


async def _chunks(reader: asyncio.StreamReader, seen: Seen, sent: float) -> None:
    first = True
    while True:
        size = int(await asyncio.wait_for(reader.readuntil(b"\r\n"), READ_SECONDS), 16)
        data = await reader.readexactly(size + 2)
        if first:
            seen.first.append(time.perf_counter() - sent)
            first = False
        if not size:
            return
        seen.chunks += data.count(b"data: ")
