"""A streamed Gemini answer read as it passes: events, or a JSON array that grows, each piece with the usage so far."""

import re
from collections.abc import Mapping
from typing import Any

from pricing.usage import Usage
from proxy.dialects import Metered
from proxy.dialects.body import json_text, string_of
from proxy.dialects.gemini_usage import read_usage, tier_of
from proxy.dialects.media import Elided
from proxy.meter import TEXT_CHARS_MAX, parsed
from proxy.sse import Events, data_of

PIECE_BYTES_MAX = 8 << 20  # pictures come whole, in one piece of the stream, and are left out
RUN_BYTES_MAX = 65_536  # of what is not left out: no model writes as much without a space
SEARCHES_MAX = 1_000
PICTURE_TOKENS = 1_290
_SPACE = b" \t\r\n"
_BILLED_ONCE = re.compile(r"gemini-[12](?!\d)")


class GeminiMeter:
    """Every byte passes at once. Nothing marks the end of a stream but the finish of its candidates: until as many as were
    asked for have finished, only the end of the stream itself tells that no more will come."""

    def __init__(self, *, candidates: int, model: str) -> None:
        self._asked = candidates
        self._begun = b""
        self._cutter: Events | Objects | None = None
        self._elided = Elided(RUN_BYTES_MAX)
        self._state = _State(model)

    def feed(self, piece: bytes) -> bytes:
        read = self._elided.feed(piece)
        if self._cutter is None:
            self._begun += read
            first = self._begun.lstrip(_SPACE)[:1]
            if not first:
                self._begun = b""  # only space so far
                return piece
            self._cutter = Objects() if first in b"[{" else Events(bytes_max=PIECE_BYTES_MAX)
            self._take(self._cutter.feed(self._begun))
            self._begun = b""
        else:
            self._take(self._cutter.feed(read))
        return piece

    def end(self) -> bytes:
        rest = b"" if self._cutter is None else self._cutter.rest()
        if rest:
            self._take([rest])
        self._state.has_ended = True
        return b""

    def result(self) -> Metered:
        gave_up = self._cutter is not None and self._cutter.gave_up
        return self._state.result(self._asked, gave_up=gave_up)

    def _take(self, pieces: list[bytes]) -> None:
        for piece in pieces:
            self._state.take(parsed(_json_of(piece)))


def _json_of(piece: bytes) -> bytes:
    """An event's data, or an object as it stands: errors come without any framing at times."""
    return piece if piece.lstrip(_SPACE)[:1] == b"{" else data_of(piece)


class _State:
    """What a stream told so far."""

    def __init__(self, model: str) -> None:
        self.has_ended = False
        self._asked_model = model
        self._usage: Usage | None = None
        self._unsound: list[str] = []  # problems of the latest usage
        self._problems: list[str] = []
        self._is_last = False  # the usage came with or after all output so far
        self._seen: set[int] = set()
        self._finished: set[int] = set()
        self._is_blocked = False  # the prompt was refused: there will be no candidates
        self._has_failed = False
        self._searches: set[str] = set()
        self._text: list[str] = []
        self._chars = 0
        self._media_tokens = 0
        self._model = ""
        self._id = ""
        self._tier = ""

    def result(self, asked: int, *, gave_up: bool) -> Metered:
        complete = not self._has_failed and self._is_complete(asked)
        final = complete and self._is_last
        problems = [*self._problems, *self._unsound]
        if gave_up and not final:
            problems.append("a piece of the stream was too large to read")
        missing = self._usage is None or bool(problems) or not final
        return Metered(
            usage=self._usage,
            final=final,
            suspect=self._usage is not None and bool(problems),
            suspect_reason="; ".join(problems),
            served_model=self._model,
            provider_id=self._id,
            service_tier=self._tier,
            complete=complete,
            failed=self._has_failed,
            output_text="".join(self._text) if missing else "",
            output_tokens_seen=self._media_tokens if missing else 0,
        )

    def _is_complete(self, asked: int) -> bool:
        if self._is_blocked:
            return True
        every_seen = bool(self._seen) and self._seen <= self._finished
        return every_seen and (self.has_ended or len(self._finished) >= asked)

    def take(self, data: Mapping[str, Any] | None) -> None:
        if data is None:
            return
        self._has_failed = self._has_failed or data.get("error") is not None
        self._model = model_of(data) or self._model
        self._id = string_of(data.get("responseId")) or self._id
        self._is_blocked = self._is_blocked or is_blocked(data)
        has_output = False
        for candidate in dicts(data.get("candidates")):
            has_output = self._take_candidate(candidate) or has_output
        block = data.get("usageMetadata")
        if block is not None:
            self._tier = tier_of(block) or self._tier
            self._note_usage(block)
            self._is_last = True
        elif has_output:
            self._is_last = False

    def _take_candidate(self, candidate: Mapping[str, Any]) -> bool:
        """Does it bring output, or its end?"""
        index = candidate.get("index")
        number = index if isinstance(index, int) else 0
        self._seen.add(number)
        self._media_tokens += media_tokens_of(candidate)
        words = text_of(candidate)
        if words and self._chars < TEXT_CHARS_MAX:
            self._text.append(words)
            self._chars += len(words)
        if len(self._searches) < SEARCHES_MAX:
            self._searches |= searches_of(candidate)
        is_finished = has_finished(candidate)
        if is_finished:
            self._finished.add(number)
        elif has_parts(candidate):
            self._finished.discard(number)  # it went on after all
        return is_finished or has_parts(candidate)

    def _note_usage(self, block: Any) -> None:
        """The latest stands. Usage that shrinks is an error, and the larger one stands."""
        billed = searches_billed(self._model or self._asked_model, len(self._searches))
        checked = read_usage(block, searches=billed)
        if checked is None:
            return
        before, now = self._usage, checked.usage
        if before is not None and (
            now.output_tokens < before.output_tokens or now.input_tokens < before.input_tokens
        ):
            self._problems.append("usage decreased")
            return
        self._usage, self._unsound = now, checked.problems


_MARK = re.compile(rb'["{}]')
_IN_STRING = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)


class Objects:
    """The objects of a JSON array that grows, or one after the other: feed bytes, get whole objects."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._at = 0  # scanned up to here
        self._depth = 0
        self._in_string = False
        self._is_lost = False  # the object being read is too large to keep
        self.gave_up = False

    def feed(self, piece: bytes) -> list[bytes]:
        self._buffer += piece
        found: list[bytes] = []
        start = 0
        while self._scan():
            end = self._at
            if self._depth == 1 and self._buffer[end - 1 : end] == b"{":
                start = end - 1
            elif not self._depth:
                if not self._is_lost:
                    found.append(bytes(self._buffer[start:end]))
                self._is_lost = False
                start = end
        self._drop(start)
        return found

    def rest(self) -> bytes:
        """What came after the last whole object is none."""
        self._buffer.clear()
        self._at = 0
        return b""

    def _scan(self) -> bool:
        """Up to the next brace that opens or closes an object of the array. False where the bytes end before it."""
        while True:
            if self._in_string:
                inner = _IN_STRING.match(self._buffer, self._at)
                assert inner is not None, "an empty run always matches"
                self._at = inner.end()
                if self._buffer[self._at : self._at + 1] != b'"':
                    return False  # the bytes end here, maybe between a backslash and what it escapes
                self._at += 1
                self._in_string = False
            mark = _MARK.search(self._buffer, self._at)
            if mark is None:
                self._at = len(self._buffer)
                return False
            self._at = mark.end()
            if mark[0] == b'"':
                self._in_string = True
            elif mark[0] == b"{":
                self._depth += 1
                if self._depth == 1:
                    return True
            elif self._depth:
                self._depth -= 1
                if not self._depth:
                    return True

    def _drop(self, start: int) -> None:
        """What is not part of an object still to come, or of one that is too large."""
        if not self._depth:
            start = self._at
        elif self._is_lost or len(self._buffer) - start > PIECE_BYTES_MAX:
            self._is_lost = self.gave_up = True
            start = self._at
        del self._buffer[:start]
        self._at -= start


# -- what an answer says ----------------------------------------------------------------------------------------------


def metered_answer(answer: Mapping[str, Any], model: str) -> Metered:
    """Of a whole answer."""
    candidates = dicts(answer.get("candidates"))
    searches = set[str]().union(*(searches_of(candidate) for candidate in candidates))
    block = answer.get("usageMetadata")
    checked = read_usage(block, searches=searches_billed(model_of(answer) or model, len(searches)))
    missing = checked is None or bool(checked.problems)
    return Metered(
        usage=None if checked is None else checked.usage,
        suspect=checked is not None and bool(checked.problems),
        suspect_reason="" if checked is None else "; ".join(checked.problems),
        served_model=model_of(answer),
        provider_id=string_of(answer.get("responseId")),
        service_tier=tier_of(block),
        complete=True,
        failed=answer.get("error") is not None,
        output_text="".join(map(text_of, candidates)) if missing else "",
        output_tokens_seen=sum(map(media_tokens_of, candidates)) if missing else 0,
    )


def model_of(answer: Mapping[str, Any]) -> str:
    return string_of(answer.get("modelVersion")).removeprefix("models/")


def is_blocked(answer: Mapping[str, Any]) -> bool:
    """Was the prompt refused? Then there are no candidates."""
    feedback = answer.get("promptFeedback")
    return isinstance(feedback, Mapping) and bool(feedback.get("blockReason"))


def has_finished(candidate: Mapping[str, Any]) -> bool:
    """By name or by number; the number 0 and its name say that it goes on."""
    reason = candidate.get("finishReason")
    return bool(reason) and reason != "FINISH_REASON_UNSPECIFIED"


def has_parts(candidate: Mapping[str, Any]) -> bool:
    return bool(_parts(candidate))


def text_of(candidate: Mapping[str, Any]) -> str:
    """Everything that a model wrote into a candidate, its shown thoughts included."""
    words = []
    for part in _parts(candidate):
        words.append(string_of(part.get("text")))
        call, code = part.get("functionCall"), part.get("executableCode")
        if isinstance(call, Mapping):
            words += [string_of(call.get("name")), json_text(call.get("args"))]
        if isinstance(code, Mapping):
            words.append(string_of(code.get("code")))
    return "".join(words)


def media_tokens_of(candidate: Mapping[str, Any]) -> int:
    """Of pictures that passed: what the first models count for each. Newer ones differ by little."""
    return PICTURE_TOKENS * sum(isinstance(part.get("inlineData"), Mapping) for part in _parts(candidate))


def searches_billed(model: str, searches: int) -> int:
    """Up to Gemini 2.5 an answer that searched is billed once, from Gemini 3 on each search is."""
    return min(1, searches) if _BILLED_ONCE.search(model.lower()) else searches


def searches_of(candidate: Mapping[str, Any]) -> set[str]:
    """What was asked of a web search, the same once, and empty ones left out: as they are billed."""
    grounding = candidate.get("groundingMetadata")
    queries = grounding.get("webSearchQueries") if isinstance(grounding, Mapping) else None
    return (
        {query for query in queries if isinstance(query, str) and query}
        if isinstance(queries, list)
        else set()
    )


def _parts(candidate: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    content = candidate.get("content")
    return dicts(content.get("parts")) if isinstance(content, Mapping) else []


def dicts(value: Any) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []
