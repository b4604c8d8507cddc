"""Bodies that come compressed: a bounded plain copy to be read, while the bytes themselves go on as they came."""

import zlib
from collections.abc import Callable
from typing import Protocol

import brotli
import zstandard

from proxy.dialects import BadBody

REQUEST_CODINGS = frozenset({"", "identity", "gzip", "x-gzip", "deflate"})
ANSWER_CODINGS = REQUEST_CODINGS | {"br", "zstd"}
FRAMES_MAX = (
    16_384  # members of a gzip body, or frames of a zstd one: many empty ones cost time and tell nothing
)
PIECE_BYTES = 8_192  # decoded at a time
BROTLI_STEP_BYTES = 65_536  # of plain text
ZSTD_WINDOW_BYTES = 8 << 20  # what RFC 9659 allows in HTTP
ZSTD_GROWTH_MAX = 32_768  # a block of four bytes may hold 128 KiB
_ZLIB, _GZIP, _BARE = 47, 31, -15

Plain = tuple[bytes, bool]
"""What decodes, up to a little over a limit, and whether that is all and came to its end."""


def decoded(body: bytes, coding: str, *, limit_bytes: int) -> bytes | None:
    """None for codings that are not read, and for what does not decode to its end. Of several codings none is read.

    Raises BadBody where it grows beyond the limit."""
    if coding in ("", "identity"):
        return body
    if coding not in ANSWER_CODINGS:
        return None
    plain, is_whole = _plain(body, coding, limit_bytes)
    if len(plain) > limit_bytes:
        raise BadBody("the body is larger than the limit once it is decoded", code="body_too_large")
    return plain if is_whole else None


def decoded_request(body: bytes, coding: str, *, limit_bytes: int) -> bytes | None:
    """As `decoded`, of the few codings in which requests are read."""
    return decoded(body, coding, limit_bytes=limit_bytes) if coding in REQUEST_CODINGS else None


def partly_decoded(body: bytes, coding: str, *, limit_bytes: int) -> bytes:
    """As much as decodes of a body that was cut, or is too large. Nothing of what came plain."""
    if coding in ("", "identity") or coding not in ANSWER_CODINGS:
        return b""
    return _plain(body, coding, limit_bytes)[0][:limit_bytes]


def offered(accepted: str, *, stream: bool) -> str:
    """What of a caller's `Accept-Encoding` its provider may hear: what the meter can decode. A stream must come plain,
    to be metered as it passes."""
    codings = [part.strip() for part in accepted.split(",")]
    usable = [part for part in codings if part.partition(";")[0].strip().lower() in ANSWER_CODINGS - {""}]
    return "identity" if stream or not usable else ", ".join(usable)


def _plain(body: bytes, coding: str, limit_bytes: int) -> Plain:
    if coding == "br":
        return _of_brotli(body, limit_bytes)
    if coding == "zstd":
        return _of_frames(body, limit_bytes, _Zstd, several=True)
    if coding != "deflate":
        return _of_frames(body, limit_bytes, lambda: _Inflating(_GZIP), several=True)
    found = _of_frames(body, limit_bytes, lambda: _Inflating(_ZLIB), several=False)
    # Some send deflate without the zlib frame that the name stands for.
    return (
        found
        if found[0] or found[1]
        else _of_frames(body, limit_bytes, lambda: _Inflating(_BARE), several=False)
    )


class _Frame(Protocol):
    """One member or frame, decoded step by step."""

    def step(self, piece: bytes, room: int) -> bytes:
        """Of a piece all that decodes, or somewhat more than `room` of it. Raises `_Undecodable`."""

    def left(self) -> int | None:
        """How much of the last piece stands behind the end; None: the end has not come."""


class _Undecodable(Exception):
    """The bytes are not what their coding says."""


class _Inflating:
    def __init__(self, bits: int) -> None:
        self._stream = zlib.decompressobj(bits)

    def step(self, piece: bytes, room: int) -> bytes:
        try:
            return self._stream.decompress(piece, room)
        except zlib.error as error:
            raise _Undecodable from error

    def left(self) -> int | None:
        return len(self._stream.unused_data) if self._stream.eof else None


class _Zstd:
    def __init__(self) -> None:
        self._unread = 0
        self._stream = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW_BYTES).decompressobj()

    def step(self, piece: bytes, room: int) -> bytes:
        """There is no bound on what a step makes, but on what a piece can hold."""
        size = max(16, room // ZSTD_GROWTH_MAX)
        made, at = [], 0
        try:
            while at < len(piece) and not self._stream.eof and room > 0:
                made.append(self._stream.decompress(piece[at : at + size]))
                room -= len(made[-1])
                at += size
        except zstandard.ZstdError as error:
            raise _Undecodable from error
        self._unread = max(0, len(piece) - at)
        return b"".join(made)

    def left(self) -> int | None:
        return len(self._stream.unused_data) + self._unread if self._stream.eof else None


def _of_frames(body: bytes, limit_bytes: int, start: Callable[[], _Frame], *, several: bool) -> Plain:
    plain, at = bytearray(), 0
    for _ in range(FRAMES_MAX):
        frame, left = start(), None
        while left is None:
            piece = body[at : at + PIECE_BYTES]
            if not piece:
                return bytes(plain), False
            try:
                plain += frame.step(piece, limit_bytes + 1 - len(plain))
            except _Undecodable:
                return bytes(plain), False
            if len(plain) > limit_bytes:
                return bytes(plain), False
            left = frame.left()
            at += len(piece) - (left or 0)
        if not several or at >= len(body):
            return bytes(plain), True
    return bytes(plain), False


def _of_brotli(body: bytes, limit_bytes: int) -> Plain:
    stream, plain, at = brotli.Decompressor(), bytearray(), 0
    try:
        while not stream.is_finished():
            piece = body[at : at + PIECE_BYTES] if stream.can_accept_more_data() else b""
            made = stream.process(piece, output_buffer_limit=BROTLI_STEP_BYTES)
            if not piece and not made:
                return bytes(plain), False
            at += len(piece)
            plain += made
            if len(plain) > limit_bytes:
                return bytes(plain), False
    except brotli.error:
        return bytes(plain), False
    return bytes(plain), at == len(body)
