"""Anthropic's wire shapes as the scripted provider speaks them, and its prices for them.

What a message cost follows from its own body, as at the real one: blocks with `cache_control` are written to the cache,
a web search tool searches once, any other tool is called with words for its argument.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.support.bill import Work
from tests.support.script import Script
from tests.support.shapes import HUGE, OUTPUT_TOKENS_DEFAULT, Asked, JsonObject, StreamShape, event

PATH = "/messages"
COUNT_PATH = "/messages/count_tokens"
TOOLS_TOKENS = 346  # the published size of the instructions that come with tools


@dataclass(frozen=True, slots=True)
class MessageTariff:
    """Nano-dollars a token; a search each."""

    fresh: int
    cached: int
    written: int
    written_1h: int
    output: int
    search: int = 10_000_000


# The published prices per million tokens, e.g. Sonnet 4.6: $3 in, $0.30 cached, $3.75 and $6 written, $15 out.
TARIFFS = {
    "claude-sonnet-4-6": MessageTariff(3000, 300, 3750, 6000, 15_000),
    "claude-haiku-4-5": MessageTariff(1000, 100, 1250, 2000, 5000),
}


@dataclass(frozen=True, slots=True)
class MessageWork(Work):
    """`input_tokens` holds them all, whatever became of them in the cache."""

    written_tokens: int = 0
    written_1h_tokens: int = 0
    searches: int = 0

    @property
    def fresh_tokens(self) -> int:
        return self.input_tokens - self.cached_tokens - self.written_tokens - self.written_1h_tokens

    def nanos(self, model: str) -> int:
        tariff = next(tariff for name, tariff in TARIFFS.items() if model.startswith(name))
        return (
            self.fresh_tokens * tariff.fresh
            + self.cached_tokens * tariff.cached
            + self.written_tokens * tariff.written
            + self.written_1h_tokens * tariff.written_1h
            + self.output_tokens * tariff.output
            + self.searches * tariff.search
        )


@dataclass(frozen=True, slots=True)
class MessageAsked(Asked):
    work: MessageWork = field(default_factory=MessageWork)  # done before the first word
    tool: str = ""  # to be called with the words


def asked(path: str, body: JsonObject, script: Script) -> MessageAsked:
    limit = body.get("max_tokens") or OUTPUT_TOKENS_DEFAULT
    tools = body.get("tools") or []
    searches = sum(str(tool.get("type", "")).startswith("web_search_") for tool in tools)
    plain = [str(tool["name"]) for tool in tools if not str(tool.get("type", "")).startswith("web_search_")]
    ttls = [(block, (block["cache_control"].get("ttl") or "5m")) for block in _blocks(body, "cache_control")]
    work = MessageWork(
        input_tokens=count(body) + script.cached_tokens
        if script.input_tokens is None
        else script.input_tokens,
        cached_tokens=script.cached_tokens,
        written_tokens=sum(_words(block) for block, ttl in ttls if ttl == "5m"),
        written_1h_tokens=sum(_words(block) for block, ttl in ttls if ttl == "1h"),
        searches=searches,
    )
    return MessageAsked(
        path=path,
        model=str(body["model"]),
        input_tokens=work.input_tokens,
        output_tokens=int(limit) if script.output_tokens is None else script.output_tokens,
        choices=1,
        stream=bool(body.get("stream")),
        include_usage=True,
        work=work,
        tool=plain[0] if plain else "",
    )


def count(body: JsonObject) -> int:
    """What stands in the body: its words, three more a message, and what tools bring along."""
    turns = body["messages"]
    tools = TOOLS_TOKENS if body.get("tools") else 0
    return _words(body.get("system") or "") + sum(3 + _words(turn["content"]) for turn in turns) + tools


def _words(content: Any) -> int:
    if isinstance(content, str):
        return len(content.split())
    if isinstance(content, list):
        return sum(map(_words, content))
    return _words(content.get("text") or content.get("content") or "")


def _blocks(body: JsonObject, having: str) -> Iterator[JsonObject]:
    for content in (body.get("system"), *(turn["content"] for turn in body["messages"])):
        for block in content if isinstance(content, list) else ():
            if block.get(having):
                yield block


# -- usage ----------------------------------------------------------------------------------------------------------


def usage_blocks(ask: MessageAsked, work: Work, script: Script) -> list[Any]:
    """As told at the end, in order: one block if it is honest."""
    assert isinstance(work, MessageWork), "messages are another work"
    honest = _usage(work, work.output_tokens)
    lies: dict[str, list[Any]] = {
        "honest": [honest],
        "late": [honest],
        "after_done": [honest],
        "missing": [],
        "null": [None],
        "zero": [_usage(MessageWork(), 0)],
        "negative": [{**honest, "output_tokens": -5}],
        "nan": [{**honest, "output_tokens": float("nan")}],
        "infinity": [{**honest, "output_tokens": float("inf")}],
        "string": [{**honest, "output_tokens": "many"}],
        "fraction": [{**honest, "output_tokens": 1.5}],
        "huge": [{**honest, "output_tokens": HUGE}],
        "doubled": [honest, honest],
        "decreasing": [honest, _usage(work, 1)],
    }
    return lies[script.usage]


def _usage(work: MessageWork, output: int) -> JsonObject:
    return {
        "input_tokens": work.fresh_tokens,
        "cache_creation_input_tokens": work.written_tokens + work.written_1h_tokens,
        "cache_read_input_tokens": work.cached_tokens,
        "cache_creation": {
            "ephemeral_5m_input_tokens": work.written_tokens,
            "ephemeral_1h_input_tokens": work.written_1h_tokens,
        },
        "output_tokens": output,
        "service_tier": "standard",
        **({"server_tool_use": {"web_search_requests": work.searches}} if work.searches else {}),
    }


# -- answers --------------------------------------------------------------------------------------------------------


def answer(ask: MessageAsked, answer_id: str, model: str, text: str, blocks: list[Any]) -> JsonObject:
    if ask.tool:
        content: JsonObject = {
            "type": "tool_use",
            "id": "toolu_1",
            "name": ask.tool,
            "input": {"words": text},
        }
    else:
        content = {"type": "text", "text": text}
    body = {**_message(answer_id, model), "content": [content], "stop_reason": _stop_reason(ask)}
    return {**body, "usage": blocks[-1]} if blocks else body


def refusal(script: Script) -> web.Response:
    """An error as the real provider tells it."""
    kinds = {400: "invalid_request_error", 401: "authentication_error", 403: "permission_error"}
    kinds |= {404: "not_found_error", 429: "rate_limit_error", 529: "overloaded_error"}
    problem = {"type": kinds.get(script.status, "api_error"), "message": "the script says so"}
    headers = {"request-id": "req-refused"}
    if script.retry_after:
        headers["Retry-After"] = script.retry_after
    told = {"type": "error", "error": problem, "request_id": "req-refused"}
    return web.json_response(told, status=script.status, headers=headers)


def _message(answer_id: str, model: str) -> JsonObject:
    return {
        "id": answer_id,
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
    }


def _stop_reason(ask: MessageAsked) -> str:
    return "tool_use" if ask.tool else "end_turn"


# -- streams --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class MessageShape(StreamShape):
    """One streamed message: its usage stands in the first event and in one of the last."""

    ask: MessageAsked

    def opening(self) -> list[bytes]:
        message = {**_message(self.answer_id, self.model), "usage": _usage(self.ask.work, 1)}
        empty: JsonObject = {"type": "text", "text": ""}
        if self.ask.tool:
            empty = {"type": "tool_use", "id": "toolu_1", "name": self.ask.tool, "input": {}}
        return [
            self._named("message_start", message=message),
            self._named("content_block_start", index=0, content_block=empty),
            self._named("ping"),
        ]

    def token(self, n: int, choice: int) -> bytes:
        word = "word" if n == 0 else " word"
        if self.ask.tool:
            return self._argument(json.dumps({"words": ""})[:-2] + word if n == 0 else word)
        return self._named("content_block_delta", index=0, delta={"type": "text_delta", "text": word})

    def ending(self, text: str) -> list[bytes]:
        closed = [self._argument('"}' if text else "")] if self.ask.tool else []
        return [*closed, self._named("content_block_stop", index=0)]

    def usage(self, text: str, blocks: list[Any]) -> list[bytes]:
        delta = {"stop_reason": _stop_reason(self.ask), "stop_sequence": None}
        return [self._named("message_delta", delta=delta, usage=block) for block in blocks]

    def closing(self) -> list[bytes]:
        return [self._named("message_stop")]

    def error(self) -> bytes:
        return self._named("error", error={"type": "overloaded_error", "message": "the script says so"})

    def _argument(self, piece: str) -> bytes:
        delta = {"type": "input_json_delta", "partial_json": piece}
        return self._named("content_block_delta", index=0, delta=delta)

    def _named(self, name: str, **data: Any) -> bytes:
        return event({"type": name, **data}, name)
