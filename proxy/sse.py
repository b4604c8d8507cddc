"""Server-sent events cut out of a byte stream, wherever the network cut it."""

import re
from collections.abc import Iterator

EVENT_BYTES_MAX = 1 << 20  # a tool call with a large argument still fits

# A blank line ends an event. Lines end in LF, CRLF or CR, and some streams mix them. Possessive, so that the two halves
# of one CRLF are never two line ends; it starts with a set of bytes, which is searched for several times faster.
_END = re.compile(rb"[\r\n](?:(?<=\r)\n)?+[\r\n](?:(?<=\r)\n)?+")
_LINE_END = re.compile(rb"[\r\n]")


class Events:
    """Feed bytes, get whole events with the blank line that ends them. The bytes given out are the bytes put in."""

    def __init__(self, *, bytes_max: int = EVENT_BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._rest = b""
        self.gave_up = False  # an event was larger than we keep

    def feed(self, piece: bytes) -> list[bytes]:
        buffer = self._rest + piece if self._rest else piece
        found = []
        at = 0
        # What was searched before holds at most the beginning of an end: "\r\n\r".
        for start, end in _ends(buffer, max(0, len(self._rest) - 3)):
            if start >= at:
                found.append(buffer[at:end])
                at = end
        self._rest = buffer[at:]
        if len(self._rest) > self._bytes_max:
            self.gave_up = True
            found.append(self._rest)
            self._rest = b""
        return found

    def rest(self) -> bytes:
        """What came after the last whole event."""
        rest, self._rest = self._rest, b""
        return rest


def _ends(buffer: bytes, begin: int) -> Iterator[tuple[int, int]]:
    """A CR at the very end may be the first half of a CRLF that is still on its way."""
    for match in _END.finditer(buffer, begin):
        if match.end() == len(buffer) and buffer.endswith(b"\r"):
            return
        yield match.span()


def data_of(event: bytes) -> bytes:
    """The data of an event: its lines joined. Empty for comments and for events without data."""
    if event.startswith(b"data:") and not _LINE_END.search(event.rstrip(b"\r\n")):
        return event[5:].strip()
    lines = (line[5:].removeprefix(b" ") for line in event.splitlines() if line.startswith(b"data:"))
    return b"\n".join(lines).strip()
