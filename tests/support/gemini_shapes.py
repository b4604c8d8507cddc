"""Gemini's wire shapes as the scripted provider speaks them. The model stands in the path, and is billed by its name.

A quarter of every answer is thought, and told apart from what is written, as at the real one."""

import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from aiohttp import web

from tests.support.bill import Work
from tests.support.script import Script
from tests.support.shapes import HUGE, OUTPUT_TOKENS_DEFAULT, Asked, JsonObject, StreamShape, event

EMBEDDING = (":embedContent", ":batchEmbedContents")
METERED = (":generateContent", ":streamGenerateContent", *EMBEDDING)
COUNT = ":countTokens"
TURN_TOKENS = 2  # a turn, beside its words
SAYS = "the script says so"


@dataclass(frozen=True, slots=True)
class GeminiAsked(Asked):
    cached_tokens: int = 0
    is_sse: bool = False
    tells_usage: bool = True

    @property
    def embeds(self) -> bool:
        return self.path.endswith(EMBEDDING)


def asked(target: str, body: JsonObject, script: Script) -> GeminiAsked:
    parts = urlsplit(target)
    config = body.get("generationConfig") or body.get("generation_config") or {}
    limit = config.get("maxOutputTokens", config.get("max_output_tokens"))
    output = OUTPUT_TOKENS_DEFAULT if limit is None else limit
    path = unquote(parts.path)
    embeds = path.endswith(EMBEDDING)
    return GeminiAsked(
        path=path,
        model=path.rpartition("/models/")[2].partition(":")[0],
        input_tokens=count(body) if script.input_tokens is None else script.input_tokens,
        output_tokens=0 if embeds else int(output) if script.output_tokens is None else script.output_tokens,
        choices=int(config.get("candidateCount") or config.get("candidate_count") or 1),
        stream=path.endswith(":streamGenerateContent"),
        include_usage=True,
        inputs=len(body.get("requests") or [body]),
        cached_tokens=script.cached_tokens,
        is_sse=parse_qs(parts.query).get("alt") == ["sse"],
        tells_usage=script.usage not in ("missing", "null"),
    )


def count(body: JsonObject) -> int:
    """Words; of a chat two more a turn."""
    if "contents" not in body:
        return sum(_words(one["content"]) for one in body.get("requests") or [body])
    system = body.get("systemInstruction") or body.get("system_instruction") or {}
    return _words(system) + sum(TURN_TOKENS + _words(turn) for turn in body["contents"])


def _words(content: JsonObject) -> int:
    return sum(len(part.get("text", "").split()) for part in content.get("parts", []))


def thought_of(output_tokens: int) -> int:
    return output_tokens // 4


# -- usage ----------------------------------------------------------------------------------------------------------


def usage_blocks(ask: GeminiAsked, work: Work, script: Script) -> list[Any]:
    """The usage told at the end, in order: one block if it is honest."""
    if ask.embeds:
        return []  # embeddings tell none
    honest = _usage(work.input_tokens, work.cached_tokens, work.output_tokens)
    output = "candidatesTokenCount"
    lies: dict[str, list[Any]] = {
        "honest": [honest],
        "late": [honest],
        "missing": [],
        "null": [None],
        "zero": [{"promptTokenCount": 0, "candidatesTokenCount": 0, "totalTokenCount": 0}],
        "negative": [{**honest, output: -5}],
        "nan": [{**honest, output: float("nan")}],
        "infinity": [{**honest, output: float("inf")}],
        "string": [{**honest, output: "many"}],
        "fraction": [{**honest, output: 1.5}],
        "huge": [{**honest, output: HUGE}],
        "doubled": [honest, honest],
        "decreasing": [honest, _usage(work.input_tokens, work.cached_tokens, 1)],
    }
    return lies[script.usage]


def _usage(inputs: int, cached: int, outputs: int) -> JsonObject:
    """Counts that are nothing are left out."""
    thought = thought_of(outputs)
    block: JsonObject = {
        "promptTokenCount": inputs,
        "totalTokenCount": inputs + outputs,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": inputs}],
    }
    if cached:
        block["cachedContentTokenCount"] = cached
    if outputs - thought:
        block["candidatesTokenCount"] = outputs - thought
    if thought:
        block["thoughtsTokenCount"] = thought
    return block


# -- answers --------------------------------------------------------------------------------------------------------


def answer(ask: GeminiAsked, answer_id: str, model: str, text: str, blocks: list[Any]) -> JsonObject:
    if ask.embeds:
        vector = {"values": [0.5, -0.5]}
        if ask.path.endswith(":embedContent"):
            return {"embedding": vector}
        return {"embeddings": [vector] * ask.inputs}
    candidates = [_candidate(n, text, finish="STOP") for n in range(ask.choices)]
    body = {"candidates": candidates, "modelVersion": model, "responseId": answer_id}
    return {**body, "usageMetadata": blocks[-1]} if blocks else body


def _candidate(index: int, text: str, *, finish: str = "") -> JsonObject:
    content: JsonObject = {"parts": [{"text": text}] if text else [], "role": "model"}
    return {"content": content, "index": index, **({"finishReason": finish} if finish else {})}


def refusal(script: Script) -> web.Response:
    problem = {"code": script.status, "message": SAYS, "status": "UNAVAILABLE"}
    headers = {"Retry-After": script.retry_after} if script.retry_after else {}
    return web.json_response({"error": problem}, status=script.status, headers=headers)


# -- streams --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class GeminiShape(StreamShape):
    """One stream, as events or as an array that grows; every piece tells the usage so far."""

    ask: GeminiAsked

    @property
    def content_type(self) -> str:
        return "text/event-stream" if self.ask.is_sse else "application/json; charset=UTF-8"

    def opening(self) -> list[bytes]:
        return [] if self.ask.is_sse else [b"["]

    def token(self, n: int, choice: int) -> bytes:
        made = n * self.ask.choices + choice + 1
        usage = {"usageMetadata": _usage(self.ask.input_tokens, self.ask.cached_tokens, made)}
        piece = {"candidates": [_candidate(choice, "word" if n == 0 else " word")]}
        return self._piece({**piece, **(usage if self.ask.tells_usage else {})}, first=made == 1)

    def ending(self, text: str) -> list[bytes]:
        return []

    def usage(self, text: str, blocks: list[Any]) -> list[bytes]:
        """The last piece ends every candidate, and tells the usage of all."""
        last: JsonObject = {"candidates": [_candidate(n, "", finish="STOP") for n in range(self.ask.choices)]}
        pieces = [{**last, "usageMetadata": block} for block in blocks] or [last]
        nothing_yet = not self.ask.output_tokens
        return [self._piece(piece, first=nothing_yet and n == 0) for n, piece in enumerate(pieces)]

    def closing(self) -> list[bytes]:
        return [] if self.ask.is_sse else [b"]\n"]

    def error(self) -> bytes:
        problem = {"code": 503, "message": SAYS, "status": "UNAVAILABLE"}
        if self.ask.is_sse:
            return event({"error": problem})
        return b",\r\n" + json.dumps({"error": problem}).encode() + b"]\n"

    def _piece(self, data: JsonObject, *, first: bool) -> bytes:
        whole = {**data, "modelVersion": self.model, "responseId": self.answer_id}
        if self.ask.is_sse:
            return event(whole)
        return (b"" if first else b",\r\n") + json.dumps(whole, indent=2).encode()
