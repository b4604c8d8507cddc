"""What an answer cost, read from its bytes as they pass: the usage block, and the text itself where there is none."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from pricing.usage import Usage
from proxy.dialects import Api, BadBody, Metered, Reading
from proxy.dialects.body import string_of
from proxy.dialects.codings import decoded, partly_decoded
from proxy.dialects.own_cost import UNTOLD, OwnCost
from proxy.dialects.usage import Checked, read_usage
from proxy.sse import Events, data_of

KEPT_BYTES_MAX = 262_144  # of a stream's events, until they are folded into their text
TEXT_CHARS_MAX = 4 << 20
WHOLE_BYTES_MAX = 64 << 20

TextOf = Callable[[Mapping[str, Any]], str]


class _Streamed:
    """What streamed answers share: events pass, their raw bytes are kept until it is known that nobody needs them."""

    def __init__(self) -> None:
        self._events = Events()
        self._kept: list[bytes] = []
        self._kept_bytes = 0
        self._text: list[str] = []
        self._text_chars = 0
        self._usage: Usage | None = None
        self._is_last = False  # the usage came after all output so far
        self._problems: list[str] = []
        self._own_cost = UNTOLD
        self._model = ""
        self._id = ""
        self._tier = ""
        self._is_complete = False
        self._has_failed = False

    def result(self) -> Metered:
        if (
            self._events.gave_up
            and "an event was too large to read" not in self._problems
            and self._usage is None
        ):
            self._problems.append("an event was too large to read")
        final = self._is_complete or self._is_last
        missing = self._usage is None or bool(self._problems) or not final
        return Metered(
            usage=self._usage,
            final=final,
            suspect=self._usage is not None and bool(self._problems),
            suspect_reason="; ".join(self._problems),
            own_cost=self._own_cost.nanos,
            own_cost_problem=self._own_cost.problem,
            served_model=self._model,
            provider_id=self._id,
            service_tier=self._tier,
            complete=self._is_complete,
            failed=self._has_failed,
            output_text=self._folded() if missing else "",
        )

    def _note_usage(self, checked: Checked | None) -> None:
        """The latest replaces what came before; usage that shrinks is an error, and the larger one stands."""
        if checked is None:
            return
        self._problems += checked.problems
        before, now = self._usage, checked.usage
        if before is not None and (
            now.output_tokens < before.output_tokens or now.input_tokens < before.input_tokens
        ):
            self._problems.append("usage decreased")
            return
        if checked.own_cost != UNTOLD or now != before:  # the same usage again takes no cost back
            self._own_cost = checked.own_cost
        self._usage = now

    def _keep(self, event: bytes) -> None:
        self._kept.append(event)
        self._kept_bytes += len(event)
        if self._kept_bytes > KEPT_BYTES_MAX:
            self._fold()

    def _fold(self) -> None:
        for event in self._kept:
            data = parsed(data_of(event))
            if data is not None and self._text_chars < TEXT_CHARS_MAX:
                words = self._text_in(data)
                self._text.append(words)
                self._text_chars += len(words)
        self._kept.clear()
        self._kept_bytes = 0

    def _folded(self) -> str:
        self._fold()
        return "".join(self._text)

    def _text_in(self, data: Mapping[str, Any]) -> str:
        raise NotImplementedError


class ChunkMeter(_Streamed):
    """Of chat completions and completions: chunks with `choices`, the usage in one of the last, then [DONE].

    With `withhold_usage` only whole events are passed on, and the extra chunk that our `include_usage` asked for
    (empty choices, with usage) is taken out again. Without it every byte passes at once."""

    def __init__(self, *, withhold_usage: bool, text_of: TextOf) -> None:
        super().__init__()
        self._withhold = withhold_usage
        self._text_of = text_of

    def feed(self, piece: bytes) -> bytes:
        passed = [event for event in self._events.feed(piece) if not self._read(event)]
        return b"".join(passed) if self._withhold else piece

    def end(self) -> bytes:
        rest = self._events.rest()
        extra = bool(rest) and self._read(rest)
        return rest if self._withhold and not extra else b""

    def _read(self, event: bytes) -> bool:
        """Take in one event. True for the extra usage chunk."""
        tells_usage = b'"usage"' in event and not _is_null_usage(event)
        if tells_usage:
            data = parsed(data_of(event))
            told = _usage_in(data or {})
            if data is not None and isinstance(told, Mapping):
                self._note_names(data)
                self._note_usage(read_usage(told))
                self._is_last = not data.get("choices")
                if data.get("choices") == []:
                    return True
            elif told is not None:
                self._note_usage(read_usage(told))
        elif not self._id and not event.startswith(b":"):
            data = parsed(data_of(event))
            if data is not None:
                self._note_names(data)
        if b'"error"' in event:
            data = parsed(data_of(event))
            self._has_failed = self._has_failed or (data is not None and data.get("error") is not None)
        if b"[DONE]" in event and data_of(event) == b"[DONE]":
            self._is_complete = not self._has_failed
            return False
        if b'"choices"' in event:
            self._is_last = self._is_last and tells_usage
        if not self._is_last or self._problems:
            self._keep(event)
        return False

    def _note_names(self, data: Mapping[str, Any]) -> None:
        self._model = string_of(data.get("model")) or self._model
        self._id = string_of(data.get("id")) or self._id
        self._tier = string_of(data.get("service_tier")) or self._tier

    def _text_in(self, data: Mapping[str, Any]) -> str:
        choices = data.get("choices")
        if not isinstance(choices, list):
            return ""
        return "".join(self._text_of(choice) for choice in choices if isinstance(choice, Mapping))


class ResponseMeter(_Streamed):
    """Of OpenAI responses: typed events; the last one holds the whole response with its usage. Every byte passes."""

    _ENDS = ("response.completed", "response.incomplete", "response.failed")

    def __init__(self, whole: Callable[[Mapping[str, Any]], Metered]) -> None:
        super().__init__()
        self._whole = whole

    def feed(self, piece: bytes) -> bytes:
        for event in self._events.feed(piece):
            self._read(event)
        return piece

    def end(self) -> bytes:
        rest = self._events.rest()
        if rest:
            self._read(rest)
        return b""

    def _read(self, event: bytes) -> None:
        if (
            b'"response.completed"' in event
            or b'"response.incomplete"' in event
            or b'"response.failed"' in event
        ):
            self._read_end(parsed(data_of(event)))
        elif not self._id and b'"response.created"' in event:
            data = parsed(data_of(event))
            response = None if data is None else data.get("response")
            if isinstance(response, Mapping):
                self._id, self._model = string_of(response.get("id")), string_of(response.get("model"))
        elif b'"error"' in event:
            data = parsed(data_of(event))
            self._has_failed = self._has_failed or (data is not None and data.get("type") == "error")
        if self._usage is None:
            self._keep(event)

    def _read_end(self, data: Mapping[str, Any] | None) -> None:
        response = None if data is None else data.get("response")
        if data is None or data.get("type") not in self._ENDS or not isinstance(response, Mapping):
            return
        self._is_complete = self._is_last = True
        told = self._whole(response)
        self._has_failed = self._has_failed or told.failed
        self._model, self._id, self._tier = told.served_model, told.provider_id, told.service_tier
        if told.usage is not None:
            cost = OwnCost(told.own_cost, told.own_cost_problem)
            self._note_usage(Checked(told.usage, [told.suspect_reason] if told.suspect else [], cost))

    def _text_in(self, data: Mapping[str, Any]) -> str:
        return string_of(data.get("delta")) if str(data.get("type", "")).endswith(".delta") else ""


class WholeMeter:
    """Of an answer that is read when it has ended: a JSON body, or a stream that came compressed."""

    def __init__(self, api: Api, reading: Reading, *, coding: str, streams: bool) -> None:
        self._api = api
        self._reading = reading
        self._coding = coding.lower()
        self._streams = streams
        self._body = bytearray()
        self._is_too_large = False
        self._result: Metered | None = None

    def feed(self, piece: bytes) -> bytes:
        if len(self._body) + len(piece) > WHOLE_BYTES_MAX:
            self._is_too_large = True
        else:
            self._body += piece
        self._result = None
        return piece

    def end(self) -> bytes:
        return b""

    def result(self) -> Metered:
        if self._result is None:
            self._result = self._read()
        return self._result

    def _read(self) -> Metered:
        try:
            plain = (
                None
                if self._is_too_large
                else decoded(bytes(self._body), self._coding, limit_bytes=WHOLE_BYTES_MAX)
            )
        except BadBody:
            plain = None
        if plain is None:
            # A coding that cannot be read, or a body cut in the middle of one: nothing of it can be told.
            plain = partly_decoded(bytes(self._body), self._coding, limit_bytes=TEXT_CHARS_MAX)
            return Metered(readable=False, output_text=plain.decode("utf-8", "replace")[:TEXT_CHARS_MAX])
        if self._streams:
            meter = self._api.meter(self._reading, withhold_usage=False)
            meter.feed(plain)
            meter.end()
            return meter.result()
        answer = parsed(plain)
        if answer is None:
            return Metered(output_text=plain.decode("utf-8", "replace")[:TEXT_CHARS_MAX])
        return self._api.meter_whole(answer)


def parsed(data: bytes) -> Mapping[str, Any] | None:
    """A JSON object, or None for anything else."""
    if not data:
        return None
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        return _leniently(data)
    return value if isinstance(value, dict) else None


def _leniently(data: bytes) -> Mapping[str, Any] | None:
    """NaN and its like are not JSON, but a provider that sends them must not hide its other figures."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _usage_in(data: Mapping[str, Any]) -> Any:
    """Groq tells it one level down, also where nobody asked for it."""
    told, groq = data.get("usage"), data.get("x_groq")
    return groq.get("usage") if told is None and isinstance(groq, Mapping) else told


def _is_null_usage(event: bytes) -> bool:
    """Providers write it into every chunk before the last: not worth parsing. Where "usage" stands twice, it is."""
    return (b'"usage":null' in event or b'"usage": null' in event) and event.count(b'"usage"') == 1
