"""Answers of pictures and sound as they pass: megabytes of base64 are left out, and what is left is read."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from pricing.usage import Usage
from proxy.dialects import BadBody, MediaApi, Metered, Reading
from proxy.dialects.body import written
from proxy.dialects.codings import decoded
from proxy.dialects.usage import Checked
from proxy.meter import TEXT_CHARS_MAX, parsed
from proxy.sse import Events, data_of

RUN_BYTES_MAX = 512  # of an unbroken run; names, ids and words are shorter, pictures are longer
JSON_BYTES_MAX = 32 << 20  # of an answer, its long runs cut short: an hour's words with their times
PLAIN_BYTES_MAX = 4 << 20  # of text, or of sound, which is only measured
DECODED_BYTES_MAX = 64 << 20

_RUN = re.compile(rb"[A-Za-z0-9+/=_-]+")


def metered_of(checked: Checked | None, answer: Mapping[str, Any]) -> Metered:
    """A whole JSON answer of which only the usage is of interest."""
    return Metered(
        usage=None if checked is None else checked.usage,
        suspect=checked is not None and bool(checked.problems),
        suspect_reason="" if checked is None else "; ".join(checked.problems),
        own_cost=None if checked is None else checked.own_cost.nanos,
        own_cost_problem="" if checked is None else checked.own_cost.problem,
        complete=True,
        failed=answer.get("error") is not None,
    )


class Elided:
    """Bytes with every long unbroken run cut short, wherever the network cut them."""

    def __init__(self, run_bytes_max: int = RUN_BYTES_MAX) -> None:
        self._run_bytes_max = run_bytes_max
        self._run = 0
        self.left_out = 0  # bytes so far

    def feed(self, piece: bytes) -> bytes:
        kept: list[bytes] = []
        at = 0
        for match in _RUN.finditer(piece):
            start, end = match.span()
            before = self._run if start == 0 else 0
            keep = min(end - start, max(0, self._run_bytes_max - before))
            self.left_out += end - start - keep
            self._run = before + end - start
            kept.append(piece[at : start + keep])
            at = end
        if at < len(piece):
            self._run = 0
            kept.append(piece[at:])
        return b"".join(kept)


class MediaMeter:
    """Of a whole answer of a media API: JSON with pictures in it, text, or sound."""

    def __init__(self, api: MediaApi, reading: Reading, *, coding: str, streams: bool) -> None:
        self._api = api
        self._reading = reading
        self._coding = "" if coding.lower() == "identity" else coding.lower()
        self._streams = streams  # an event stream that came compressed
        self._elided = Elided()
        self._kept = bytearray()
        self._size = 0
        self._has_ended = False
        self._result: Metered | None = None

    def feed(self, piece: bytes) -> bytes:
        self._size += len(piece)
        kept = piece if self._coding else self._elided.feed(piece)
        self._kept += kept[: max(0, self._limit(kept) - len(self._kept))]
        self._result = None
        return piece

    def _limit(self, piece: bytes) -> int:
        if self._coding:
            return DECODED_BYTES_MAX
        return JSON_BYTES_MAX if _is_object(self._kept or piece) else PLAIN_BYTES_MAX

    def end(self) -> bytes:
        self._has_ended = True
        self._result = None
        return b""

    def result(self) -> Metered:
        if self._result is None:
            self._result = self._read()
        return self._result

    def _read(self) -> Metered:
        body = bytes(self._kept)
        if not self._coding:
            return self._metered(body, self._size)
        try:
            plain = decoded(body, self._coding, limit_bytes=DECODED_BYTES_MAX)
        except BadBody:
            plain = None
        if plain is None:
            return Metered(readable=False)
        if self._streams:
            meter = self._api.meter(self._reading, withhold_usage=False)
            meter.feed(plain)
            meter.end()
            return meter.result()
        return self._metered(Elided().feed(plain), len(plain))

    def _metered(self, body: bytes, size_bytes: int) -> Metered:
        return self._api.meter_media(
            self._reading,
            parsed(body) if _is_object(body) else None,
            text=body,
            size_bytes=size_bytes,
            ended=self._has_ended,
        )


def _is_object(body: bytes | bytearray) -> bool:
    return body[:64].lstrip().startswith(b"{")


UsageOf = Callable[[Mapping[str, Any]], Checked | None]


class EventMeter:
    """Of typed events: deltas, then one end for each choice, with its usage. Every byte passes at once."""

    def __init__(
        self,
        ends: tuple[str, ...],
        *,
        choices: int = 1,
        usage_of: UsageOf,
        tokens_seen: Callable[[int, int], int],
    ) -> None:
        """`tokens_seen`: of so many bytes that are no text, and so many ends."""
        self._ends = ends
        self._marks = tuple(end.encode() for end in ends)
        self._choices = choices
        self._usage_of = usage_of
        self._tokens_seen = tokens_seen
        self._events = Events()
        self._elided = Elided()
        self._ended = 0
        self._is_over = False
        self._usage: Usage | None = None
        self._problems: list[str] = []
        self._text: list[str] = []
        self._text_chars = 0
        self._has_failed = False

    def feed(self, piece: bytes) -> bytes:
        for event in self._events.feed(self._elided.feed(piece)):
            self._read(event)
        return piece

    def end(self) -> bytes:
        rest = self._events.rest()
        if rest:
            self._read(rest)
        self._is_over = True
        return b""

    def result(self) -> Metered:
        # An end for each choice; or fewer, and the stream's own: some of the pictures may have been refused.
        complete = self._ended >= self._choices or (self._is_over and self._ended > 0)
        complete = complete and not self._has_failed
        believed = self._usage is not None and not self._problems and complete
        return Metered(
            usage=self._usage,
            final=complete,
            suspect=self._usage is not None and bool(self._problems),
            suspect_reason="; ".join(self._problems),
            complete=complete,
            failed=self._has_failed,
            output_text="" if believed else "".join(self._text),
            output_tokens_seen=0 if believed else self._tokens_seen(self._elided.left_out, self._ended),
        )

    def _read(self, event: bytes) -> None:
        if any(mark in event for mark in self._marks) or b'"error"' in event or b".delta" in event:
            data = parsed(data_of(event))
            if data is not None:
                self._note(data)

    def _note(self, data: Mapping[str, Any]) -> None:
        kind = data.get("type")
        if kind in self._ends:
            self._ended += 1
            self._note_usage(self._usage_of(data))
        elif kind == "error" or data.get("error") is not None:
            self._has_failed = True
        delta = data.get("delta")
        if isinstance(delta, str) and self._text_chars < TEXT_CHARS_MAX:
            self._text.append(written(delta))
            self._text_chars += len(delta)

    def _note_usage(self, checked: Checked | None) -> None:
        """Each end tells of its own choice: they add up."""
        if checked is None:
            return
        self._problems += checked.problems
        self._usage = checked.usage if self._usage is None else added(self._usage, checked.usage)


def added(one: Usage, other: Usage) -> Usage:
    return Usage(**{name: getattr(one, name) + getattr(other, name) for name in Usage.__dataclass_fields__})
