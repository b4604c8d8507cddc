"""A scripted provider: OpenAI-shaped, honest by default, faulty on demand, and keeping its own bill.

    python -m tests.support.provider --bill FILE       prints its port

Every call is billed before it is answered: its input when it is accepted, its output as it is made. The bill is the
oracle of every money test; see tests/support/bill.py. Faults are asked for by the header of tests/support/script.py.
"""

import argparse
import asyncio
import contextlib
import gzip
import hashlib
import json
import logging
import secrets
import socket
import struct
import sys
import zlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

import brotli
import zstandard
from aiohttp import web

from tests.support import anthropic_shapes, gemini_shapes, media_shapes, shapes
from tests.support.anthropic_shapes import MessageAsked, MessageShape
from tests.support.background_shapes import Background
from tests.support.batch_shapes import Batches
from tests.support.bill import BillWriter, Work
from tests.support.gemini_shapes import GeminiAsked, GeminiShape
from tests.support.script import HEADER, Script, read
from tests.support.shapes import Asked, StreamShape

METERED = (
    "/chat/completions",
    "/completions",
    "/embeddings",
    "/responses",
    anthropic_shapes.PATH,
    *gemini_shapes.METERED,
)
HANG_SECONDS_MAX = 60.0  # a hang ends at last, should a test forget it
LATE_SECONDS = 0.2
GARBAGE = b"\x16\x03\x01 this is not HTTP\r\n\r\n"
BODY_BYTES_MAX = 256 << 20


class Left(ConnectionError):
    """The connection is gone, by the script or by the client: nothing more can be said on it."""


@dataclass(slots=True)
class Job:
    """One metered call at work."""

    answer_id: str
    ask: Asked
    script: Script
    model: str  # served, and billed
    work: Work
    ended: bool = False  # its last line is on the bill

    @property
    def is_message(self) -> bool:
        return isinstance(self.ask, MessageAsked)


# -- whose wire shape -----------------------------------------------------------------------------------------------


def asked(target: str, body: Any, script: Script) -> Asked:
    path = target.partition("?")[0]
    if path.endswith(gemini_shapes.METERED):
        return gemini_shapes.asked(target, body, script)
    if path.endswith(anthropic_shapes.PATH):
        return anthropic_shapes.asked(path, body, script)
    return shapes.asked(path, body, script)


def usage_blocks(ask: Asked, work: Work, script: Script) -> list[Any]:
    if isinstance(ask, MessageAsked):
        return anthropic_shapes.usage_blocks(ask, work, script)
    if isinstance(ask, GeminiAsked):
        return gemini_shapes.usage_blocks(ask, work, script)
    return shapes.usage_blocks(ask, work, script)


def answer(ask: Asked, answer_id: str, model: str, text: str, blocks: list[Any]) -> dict[str, Any]:
    if isinstance(ask, MessageAsked):
        return anthropic_shapes.answer(ask, answer_id, model, text, blocks)
    if isinstance(ask, GeminiAsked):
        return gemini_shapes.answer(ask, answer_id, model, text, blocks)
    return shapes.answer(ask, answer_id, model, text, blocks)


def stream_shape(ask: Asked, answer_id: str, model: str) -> StreamShape:
    if isinstance(ask, MessageAsked):
        return MessageShape(ask, answer_id, model)
    if isinstance(ask, GeminiAsked):
        return GeminiShape(ask, answer_id, model)
    return StreamShape(ask, answer_id, model)


class Provider:
    """Handles every request; owns the bill."""

    def __init__(self, bill: BillWriter) -> None:
        self._bill = bill
        self._background = Background(bill)
        self._batches = Batches(bill)
        self._unread: set[asyncio.Task[web.StreamResponse]] = set()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        path = request.raw_path.partition("?")[0]
        body = await request.read()
        try:
            script = read(request.headers.get(HEADER))
        except ValueError as error:
            return _error(400, str(error))
        if request.method == "POST" and media_shapes.serves(path):
            return await media_shapes.answer(self._bill, request, path, body, script)
        asked_after = self._background.asked(request, path)
        if asked_after is not None:
            return asked_after
        of_batches = self._batches.answer(request, path, body)
        if of_batches is not None:
            return of_batches
        if request.method == "POST" and path.endswith(METERED):
            return await self._metered(request, path, body, script)
        if path.endswith(anthropic_shapes.COUNT_PATH):
            return web.json_response({"input_tokens": anthropic_shapes.count(json.loads(body))})
        if path.endswith(gemini_shapes.COUNT):
            return web.json_response({"totalTokens": gemini_shapes.count(json.loads(body))})
        if path.endswith("/models"):
            return web.json_response(
                {"object": "list", "data": [{"id": "gpt-4o-mini", "object": "model", "owned_by": "script"}]}
            )
        await asyncio.sleep(script.delay_ms / 1000)
        return _echo(request, body, script)

    async def _metered(
        self, request: web.BaseRequest, path: str, body: bytes, script: Script
    ) -> web.StreamResponse:
        wanted = json.loads(_decoded(request, body))
        ask = asked(request.raw_path, wanted, script)
        model = script.model or ask.model
        if (
            wanted.get("background") is True
            and not ask.stream
            and not (script.reply or script.fault or script.status >= 400)
        ):
            return self._background.begin(request, secrets.token_hex(8), ask, script, model)
        plain = Work(input_tokens=ask.input_tokens, cached_tokens=script.cached_tokens)
        work = ask.work if isinstance(ask, MessageAsked) else plain
        job = Job(f"id-{secrets.token_hex(8)}", ask, script, model, work)
        ends_here = script.status >= 400 or (script.fault != "" and script.after_chunks is None)
        self._write(job, final=ends_here)
        if not script.ignores_disconnect:
            return await self._answer(request, job)
        # The task goes on to bill what it makes, whether or not someone still listens.
        task = asyncio.get_running_loop().create_task(self._answer(request, job))
        self._unread.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    def _ended(self, task: "asyncio.Task[web.StreamResponse]") -> None:
        self._unread.discard(task)
        if not task.cancelled():
            task.exception()  # a reader that has left is no news

    async def _answer(self, request: web.BaseRequest, job: Job) -> web.StreamResponse:
        try:
            return await self._answer_as_scripted(request, job)
        finally:
            if not job.ended:
                self._write(job, final=True)

    async def _answer_as_scripted(self, request: web.BaseRequest, job: Job) -> web.StreamResponse:
        if job.script.after_chunks is None:
            await _misbehave(request, job.script)
        await asyncio.sleep(job.script.delay_ms / 1000)
        if job.script.reply is not None:
            return _reply(job.script.reply)
        if job.script.status >= 400:
            if isinstance(job.ask, GeminiAsked):
                return gemini_shapes.refusal(job.script)
            return anthropic_shapes.refusal(job.script) if job.is_message else _refusal(job.script)
        if job.ask.stream:
            return await self._stream(request, job)
        return await self._whole(request, job)

    # -- unary ------------------------------------------------------------------------------------------------------

    async def _whole(self, request: web.BaseRequest, job: Job) -> web.StreamResponse:
        ask, script = job.ask, job.script
        made = 0 if ask.path.endswith("/embeddings") else ask.output_tokens * ask.choices
        job.work = replace(job.work, output_tokens=made)
        self._write(job, final=True)
        text = shapes.words(ask.output_tokens)
        body = answer(ask, job.answer_id, job.model, text, usage_blocks(ask, job.work, script))
        if script.tier:
            body["service_tier"] = script.tier
        if script.padding_bytes:
            body["padding"] = "x" * script.padding_bytes
        data = b'{"id": "broken' if script.fault == "invalid_json" else json.dumps(body).encode()
        wire = Wire(request, script, "application/json", job.answer_id, length=len(data))
        await wire.open()
        if script.after_chunks is not None and script.fault != "invalid_json":
            await wire.send(data[: len(data) // 2])
            await _misbehave(request, script)
        await wire.send(data)
        return await wire.end()

    # -- streams ----------------------------------------------------------------------------------------------------

    async def _stream(self, request: web.BaseRequest, job: Job) -> web.StreamResponse:
        shape = stream_shape(job.ask, job.answer_id, job.model)
        content_type = shape.content_type if isinstance(shape, GeminiShape) else "text/event-stream"
        wire = Wire(request, job.script, content_type, job.answer_id)
        try:
            await wire.open()
            for opening in shape.opening():
                await wire.send(opening)
            await self._send_tokens(wire, shape, job)
        finally:
            # Billed before the usage is told, and also where the reader left or the script cut it short.
            self._write(job, final=True)
        await self._send_ending(wire, shape, job)
        return await wire.end()

    async def _send_tokens(self, wire: "Wire", shape: StreamShape, job: Job) -> None:
        sent = 0
        for n in range(job.ask.output_tokens):
            for choice in range(job.ask.choices):
                if sent == job.script.after_chunks:
                    await self._fault_in_stream(wire, shape, job)
                job.work = replace(job.work, output_tokens=job.work.output_tokens + 1)
                await self._send(wire, job, shape.token(n, choice))
                sent += 1
                if job.script.chunk_delay_ms:
                    await asyncio.sleep(job.script.chunk_delay_ms / 1000)

    async def _send(self, wire: "Wire", job: Job, data: bytes) -> None:
        try:
            await wire.send(data)
        except ConnectionError:
            if not job.script.ignores_disconnect:
                raise

    async def _fault_in_stream(self, wire: "Wire", shape: StreamShape, job: Job) -> None:
        if job.script.fault == "invalid_json":
            await wire.send(b'data: {"choices": [{"delta\n\n')
        elif job.script.fault == "error_event":
            await wire.send(shape.error())
            await wire.end()
            raise Left
        else:
            await _misbehave(wire.request, job.script)

    async def _send_ending(self, wire: "Wire", shape: StreamShape, job: Job) -> None:
        script, text = job.script, shapes.words(job.ask.output_tokens)
        usage = shape.usage(text, usage_blocks(job.ask, job.work, script))
        events = shape.ending(text)
        if script.usage == "late":
            await self._send(wire, job, b"".join(events))
            await asyncio.sleep(LATE_SECONDS)
            events = []
        if script.usage == "after_done":
            events += [*shape.closing(), *usage]
        else:
            events += [*usage, *shape.closing()]
        for one in events:
            await self._send(wire, job, one)

    def _write(self, job: Job, *, final: bool) -> None:
        # Free is what was refused, what was dropped unread, and what the provider itself says is free.
        script = job.script
        job.ended = final
        free = script.status >= 400 or script.fault == "drop" or script.usage == "zero"
        self._bill.write(
            answer_id=job.answer_id,
            tag=job.script.tag,
            path=job.ask.path,
            model=f"{job.model}@{script.tier}" if script.tier else job.model,
            work=job.work,
            free=free,
            final=final,
            cost_usd=script.cost_usd,
        )


# -- the wire -------------------------------------------------------------------------------------------------------


class _Plain:
    def some(self, data: bytes) -> bytes:
        return data

    def rest(self) -> bytes:
        return b""


class _Gzip(_Plain):
    def __init__(self) -> None:
        self._stream = zlib.compressobj(wbits=31)

    def some(self, data: bytes) -> bytes:
        return self._stream.compress(data) + self._stream.flush(zlib.Z_SYNC_FLUSH)

    def rest(self) -> bytes:
        return self._stream.flush()


class _Brotli(_Plain):
    def __init__(self) -> None:
        self._stream = brotli.Compressor()

    def some(self, data: bytes) -> bytes:
        return bytes(self._stream.process(data) + self._stream.flush())

    def rest(self) -> bytes:
        return bytes(self._stream.finish())


class _Zstd(_Plain):
    """A frame for each piece."""

    def some(self, data: bytes) -> bytes:
        return zstandard.compress(data)


_SQUEEZED: dict[str, type[_Plain]] = {"gzip": _Gzip, "br": _Brotli, "zstd": _Zstd}


class Wire:
    """One answer on its way: in chunks, by length, or up to the end of its connection, as the script says."""

    def __init__(
        self,
        request: web.BaseRequest,
        script: Script,
        content_type: str,
        answer_id: str,
        *,
        length: int | None = None,
    ) -> None:
        self.request = request
        self._script = script
        self._response = web.StreamResponse(
            status=script.status,
            headers={
                "Content-Type": content_type,
                "x-request-id": f"req-{answer_id}",
                "openai-version": "2020-10-01",
            },
        )
        self._length = length
        self._squeezed = _SQUEEZED.get("gzip" if script.gzip else script.coding, _Plain)()
        self._raw = script.close_delimited

    async def open(self) -> None:
        if self._script.gzip or self._script.coding:
            self._response.headers["Content-Encoding"] = self._script.coding or "gzip"
        if type(self._squeezed) is _Plain and self._length is not None and not self._raw:
            self._response.content_length = self._length
        if not self._raw:
            await self._response.prepare(self.request)
            return
        lines = [f"{name}: {value}" for name, value in self._response.headers.items()]
        self._write_raw(f"HTTP/1.1 {self._script.status} OK\r\n".encode())
        self._write_raw("".join(f"{line}\r\n" for line in [*lines, "Connection: close", ""]).encode())

    async def send(self, data: bytes) -> None:
        await self._write(self._squeezed.some(data))

    async def _write(self, data: bytes) -> None:
        if self._raw:
            self._write_raw(data)
        else:
            await self._response.write(data)

    async def end(self) -> web.StreamResponse:
        rest = self._squeezed.rest()
        if rest:
            await self._write(rest)
        if self._raw:
            _close(self.request)
        await self._response.write_eof()
        return self._response

    def _write_raw(self, data: bytes) -> None:
        transport = self.request.transport
        if transport is None or transport.is_closing():
            raise Left
        assert isinstance(transport, asyncio.WriteTransport), "a socket can be written to"
        transport.write(data)


async def _misbehave(request: web.BaseRequest, script: Script) -> None:
    """The faults that end an answer. Returns for a script without one, and once a hang has lasted too long."""
    if script.fault in ("cut", "drop"):
        _close(request)
    if script.fault == "reset":
        _reset(request)
    if script.fault == "garbage":
        transport = request.transport
        assert isinstance(transport, asyncio.WriteTransport), "a socket can be written to"
        transport.write(GARBAGE)
        _close(request)
    if script.fault == "hang":
        await asyncio.sleep(HANG_SECONDS_MAX)


def _close(request: web.BaseRequest) -> NoReturn:
    if request.transport is not None:
        request.transport.close()
    raise Left


def _reset(request: web.BaseRequest) -> NoReturn:
    transport = request.transport
    if transport is not None:
        # Lingering for zero seconds makes the kernel send RST.
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    raise Left


def _refusal(script: Script) -> web.Response:
    response = _error(script.status, "the script says so")
    if script.retry_after:
        response.headers["Retry-After"] = script.retry_after
    return response


def _error(status: int, message: str) -> web.Response:
    kind = "server_error" if status >= 500 else "invalid_request_error"
    body = {"error": {"message": message, "type": kind, "param": None, "code": None}}
    return web.json_response(body, status=status, headers={"x-request-id": "req-refused"})


def _decoded(request: web.BaseRequest, body: bytes) -> bytes:
    coding = request.headers.get("Content-Encoding", "").lower()
    if coding == "gzip":
        return gzip.decompress(body)
    return zlib.decompress(body) if coding == "deflate" else body


def _echo(request: web.BaseRequest, body: bytes, script: Script) -> web.StreamResponse:
    """What arrived, byte for byte; or, where the script has a reply, that."""
    if script.reply is not None:
        return _reply(script.reply)
    arrived = {
        "method": request.method,
        "target": request.raw_path,
        "headers": [[name.decode("latin-1"), value.decode("latin-1")] for name, value in request.raw_headers],
        "body_bytes": len(body),
        "body_sha256": hashlib.sha256(body).hexdigest(),
    }
    return web.json_response(arrived, headers={"x-request-id": "req-echo"})


def _reply(reply: dict[str, Any]) -> web.Response:
    return web.Response(
        status=reply.get("status", 200),
        headers=[(str(name), str(value)) for name, value in reply.get("headers", [])],
        body=bytes.fromhex(reply.get("body", "")),
    )


# -- running it -----------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def serving(bill: Path, port: int = 0) -> AsyncIterator[int]:
    """The provider in this process, on loopback; gives the port."""
    writer = BillWriter(bill)
    server = web.Server(
        Provider(writer).handle,
        request_factory=_request,
        handler_cancellation=True,  # a client that leaves ends the work, unless the script says otherwise
        auto_decompress=False,
        max_line_size=1 << 17,
        max_field_size=1 << 17,
        access_log=None,
    )
    runner = web.ServerRunner(server, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port, backlog=1024)
    await site.start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()
        writer.close()


def _request(message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> web.BaseRequest:
    return web.BaseRequest(
        message, payload, protocol, writer, task, asyncio.get_running_loop(), client_max_size=BODY_BYTES_MAX
    )


async def _main(bill: Path, port: int) -> None:
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)  # scripted faults are no news
    async with serving(bill, port) as bound:
        sys.stdout.write(f"{bound}\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--bill", type=Path, required=True)
    options.add_argument("--port", type=int, default=0)
    given = options.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_main(given.bill, given.port))
