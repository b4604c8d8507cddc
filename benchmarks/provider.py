"""A provider that answers at once, from prepared bytes: far faster than anything measured in front of it."""

import argparse
import asyncio
import json
from typing import cast

import uvloop

ANSWER_TEXT_BYTES = 600  # with its envelope, an answer of about 1 kB


def unary_answer() -> bytes:
    body = json.dumps(
        {
            "id": "chatcmpl-bench",
            "object": "chat.completion",
            "created": 1,
            "model": "gpt-4o-mini",
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": "word " * (ANSWER_TEXT_BYTES // 5)},
                    "finish_reason": "stop",
                }
            ],
            "usage": {"prompt_tokens": 200, "completion_tokens": 120, "total_tokens": 320},
        }
    ).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def stream_chunk(delta: dict[str, str], finish: str | None = None) -> bytes:
    event = {
        "id": "chatcmpl-bench",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "gpt-4o-mini",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        "usage": None,
    }
    return chunked(b"data: " + json.dumps(event).encode() + b"\n\n")


def chunked(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


UNARY = unary_answer()
STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
STREAM_WORD = stream_chunk({"content": "word "})
STREAM_LAST = stream_chunk({}, "stop")
STREAM_USAGE = chunked(
    b'data: {"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1,"model":"gpt-4o-mini","choices":[],'
    b'"usage":{"prompt_tokens":200,"completion_tokens":20,"total_tokens":220}}\n\n'
)
STREAM_DONE = chunked(b"data: [DONE]\n\n") + b"0\r\n\r\n"


class Provider(asyncio.Protocol):
    """Just enough HTTP/1.1: reads Content-Length requests, answers unary or streamed as the body asks."""

    def __init__(self, chunks: int, per_second: float) -> None:
        self._chunks = chunks
        self._gap = 1 / per_second if per_second else 0.0
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while True:
            head, separator, rest = self._buffer.partition(b"\r\n\r\n")
            if not separator:
                return
            length = 0
            for line in head.split(b"\r\n")[1:]:
                if line[:15].lower() == b"content-length:":
                    length = int(line[15:])
            if len(rest) < length:
                return
            body, self._buffer = rest[:length], rest[length:]
            if b'"stream":true' in body or b'"stream": true' in body:
                self._stream(b"include_usage" in body)
            else:
                self._transport.write(UNARY)

    def _stream(self, wants_usage: bool) -> None:
        tail = STREAM_LAST + (STREAM_USAGE if wants_usage else b"") + STREAM_DONE
        if not self._gap:
            self._transport.write(STREAM_HEAD + STREAM_WORD * self._chunks + tail)
            return
        self._transport.write(STREAM_HEAD)
        self._next(self._chunks, tail)

    def _next(self, left: int, tail: bytes) -> None:
        if self._transport.is_closing():
            return
        if not left:
            self._transport.write(tail)
            return
        self._transport.write(STREAM_WORD)
        asyncio.get_running_loop().call_later(self._gap, self._next, left - 1, tail)


async def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--chunks", type=int, default=20)
    arguments.add_argument(
        "--per-second", type=float, default=20.0, help="chunks a second of one stream; 0: a flood"
    )
    asked = arguments.parse_args()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Provider(asked.chunks, asked.per_second), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
