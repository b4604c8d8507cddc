"""A streamed message read as it passes: its usage at the start and at the end, and what the model wrote in between."""

from collections.abc import Mapping
from typing import Any

from pricing.usage import Usage
from proxy.dialects import Metered
from proxy.dialects.anthropic_usage import read_usage, tier_of
from proxy.dialects.body import json_text, string_of
from proxy.meter import KEPT_BYTES_MAX, TEXT_CHARS_MAX, parsed
from proxy.sse import Events, data_of


class MessageMeter:
    """Every byte passes at once.

    `message_start` tells the input, `message_delta` all of it, cumulatively: what it tells replaces what was told before.
    Until one came after the last content, the usage is not final."""

    def __init__(self) -> None:
        self._events = Events()
        self._wrote = _Wrote()
        self._told: dict[str, Any] = {}  # the usage block so far
        self._usage: Usage | None = None
        self._unsound: list[str] = []  # problems of the latest usage
        self._problems: list[str] = []
        self._is_last = False  # the usage came after all content so far
        self._model = ""
        self._id = ""
        self._is_complete = False
        self._has_failed = False

    def feed(self, piece: bytes) -> bytes:
        for event in self._events.feed(piece):
            self._read(event)
        return piece

    def end(self) -> bytes:
        rest = self._events.rest()
        if rest:
            self._read(rest)
        return b""

    def result(self) -> Metered:
        problems = [*self._problems, *self._unsound]
        if self._events.gave_up and not self._is_last:
            problems.append("an event was too large to read")
        missing = self._usage is None or bool(problems) or not self._is_last
        return Metered(
            usage=self._usage,
            final=self._is_last,
            suspect=self._usage is not None and bool(problems),
            suspect_reason="; ".join(problems),
            served_model=self._model,
            provider_id=self._id,
            service_tier=tier_of(self._told),
            complete=self._is_complete and not self._has_failed,
            failed=self._has_failed,
            output_text=self._wrote.text() if missing else "",
        )

    def _read(self, event: bytes) -> None:
        if b'"message_' in event or b'"error"' in event:
            data = parsed(data_of(event)) or {}
        elif b'"content_block_' in event:
            data = {"type": "content_block_delta"}  # most events: not worth parsing
        else:
            return
        kind = string_of(data.get("type"))
        if kind.startswith("content_block_"):
            self._is_last = False
            self._wrote.keep(event)
        elif kind == "message_start":
            self._read_start(data)
        elif kind == "message_delta":
            self._read_end(data)
        elif kind == "message_stop":
            self._is_complete = True
        elif kind == "error":
            self._has_failed = True

    def _read_start(self, data: Mapping[str, Any]) -> None:
        message = data.get("message")
        if isinstance(message, Mapping):
            self._model, self._id = string_of(message.get("model")), string_of(message.get("id"))
            self._note_usage(message.get("usage"))

    def _read_end(self, data: Mapping[str, Any]) -> None:
        told = data.get("usage")
        self._note_usage(told)
        self._is_last = isinstance(told, Mapping) and told.get("output_tokens") is not None

    def _note_usage(self, block: Any) -> None:
        """Usage that shrinks is an error, and the larger one stands."""
        if block is None:
            return
        if not isinstance(block, Mapping):
            self._problems.append(f"usage is {type(block).__name__}, not an object")
            return
        told = {**self._told, **{name: value for name, value in block.items() if value is not None}}
        checked = read_usage(told)
        assert checked is not None, "an object is read"
        before, now = self._usage, checked.usage
        if before is not None and (
            now.output_tokens < before.output_tokens or now.input_tokens < before.input_tokens
        ):
            self._problems.append("usage decreased")
            return
        self._told, self._usage, self._unsound = told, now, checked.problems


class _Wrote:
    """What the model wrote: raw events at first, folded into their text only when somebody asks or they grow many."""

    def __init__(self) -> None:
        self._events: list[bytes] = []
        self._bytes = 0
        self._words: list[str] = []
        self._chars = 0

    def keep(self, event: bytes) -> None:
        self._events.append(event)
        self._bytes += len(event)
        if self._bytes > KEPT_BYTES_MAX:
            self._fold()

    def text(self) -> str:
        self._fold()
        return "".join(self._words)

    def _fold(self) -> None:
        for event in self._events:
            data = parsed(data_of(event))
            if data is not None and self._chars < TEXT_CHARS_MAX:
                words = text_of_block(data.get("content_block")) + text_of_block(data.get("delta"))
                self._words.append(words)
                self._chars += len(words)
        self._events.clear()
        self._bytes = 0


_WRITTEN = ("text", "thinking", "partial_json", "name")


def text_of_block(block: Any) -> str:
    """Everything that a model wrote into a content block or a delta of one. Results of the provider's tools are not its
    words, nor are citations and signatures."""
    if not isinstance(block, Mapping):
        return ""
    words = [string_of(block.get(name)) for name in _WRITTEN]
    if block.get("type") == "compaction_delta":
        words.append(string_of(block.get("content")))
    if block.get("input"):
        words.append(json_text(block["input"]))
    return "".join(words)
