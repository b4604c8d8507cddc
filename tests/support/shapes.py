"""OpenAI's wire shapes as the scripted provider speaks them: requests read, answers and events made."""

import json
from dataclasses import dataclass
from typing import Any

from tests.support.bill import Work
from tests.support.script import Script

JsonObject = dict[str, Any]
OUTPUT_TOKENS_DEFAULT = 16
HUGE = 10**15


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request asks for. Prompts in tests are made of plain words, each one token in OpenAI's encodings."""

    path: str
    model: str
    input_tokens: int
    output_tokens: int  # of one choice
    choices: int
    stream: bool
    include_usage: bool
    inputs: int = 1


def asked(path: str, body: JsonObject, script: Script) -> Asked:
    options = body.get("stream_options") or {}
    limit = body.get("max_completion_tokens") or body.get("max_tokens") or body.get("max_output_tokens")
    output = OUTPUT_TOKENS_DEFAULT if limit is None else limit
    return Asked(
        path=path,
        model=str(body["model"]),
        input_tokens=_input_tokens(path, body) if script.input_tokens is None else script.input_tokens,
        output_tokens=int(output) if script.output_tokens is None else script.output_tokens,
        choices=int(body.get("n") or 1),
        stream=bool(body.get("stream")),
        include_usage=bool(options.get("include_usage")),
        inputs=len(body["input"]) if isinstance(body.get("input"), list) else 1,
    )


def _input_tokens(path: str, body: JsonObject) -> int:
    """OpenAI's published formula for chat: 3 a message, its strings, and 3 that prime the answer."""
    messages = body.get("messages")
    if messages is not None:
        return sum(3 + _words(m["role"]) + _words(m["content"]) for m in messages) + 3
    given = body.get("prompt", body.get("input", ""))
    if isinstance(given, list):
        return sum(_words(one) if isinstance(one, str) else 3 + _words(one["content"]) for one in given)
    return _words(given)


def _words(text: Any) -> int:
    assert isinstance(text, str), f"prompts of tests are strings, not {type(text).__name__}"
    return len(text.split())


def words(count: int) -> str:
    """A text of exactly `count` tokens."""
    return " ".join(["word"] * count)


# -- usage blocks ---------------------------------------------------------------------------------------------------


def usage_blocks(ask: Asked, work: Work, script: Script) -> list[Any]:
    """The usage blocks that the provider tells, in order: one if it is honest."""
    honest = _usage(ask, work.input_tokens, work.output_tokens, work.cached_tokens)
    if script.cost_usd is not None or script.cost_lie is not None:
        honest["cost"] = script.cost_usd if script.cost_lie is None else script.cost_lie
    output = _output_name(ask)
    lies: dict[str, list[Any]] = {
        "honest": [honest],
        "late": [honest],
        "after_done": [honest],
        "missing": [],
        "null": [None],
        "zero": [_usage(ask, 0, 0, 0)],
        "negative": [{**honest, output: -5}],
        "nan": [{**honest, output: float("nan")}],
        "infinity": [{**honest, output: float("inf")}],
        "string": [{**honest, output: "many"}],
        "fraction": [{**honest, output: 1.5}],
        "huge": [{**honest, output: HUGE}],
        "doubled": [honest, honest],
        "decreasing": [honest, _usage(ask, work.input_tokens, 1, work.cached_tokens)],
    }
    return lies[script.usage]


def _output_name(ask: Asked) -> str:
    if ask.path.endswith("/embeddings"):
        return "prompt_tokens"
    return "output_tokens" if ask.path.endswith("/responses") else "completion_tokens"


def _usage(ask: Asked, inputs: int, outputs: int, cached: int) -> JsonObject:
    if ask.path.endswith("/embeddings"):
        return {"prompt_tokens": inputs, "total_tokens": inputs}
    if ask.path.endswith("/responses"):
        return {
            "input_tokens": inputs,
            "input_tokens_details": {"cached_tokens": cached},
            "output_tokens": outputs,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": inputs + outputs,
        }
    return {
        "prompt_tokens": inputs,
        "completion_tokens": outputs,
        "total_tokens": inputs + outputs,
        "prompt_tokens_details": {"cached_tokens": cached, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }


# -- unary answers --------------------------------------------------------------------------------------------------


def answer(ask: Asked, answer_id: str, model: str, text: str, blocks: list[Any]) -> JsonObject:
    if ask.path.endswith("/embeddings"):
        vectors = [{"object": "embedding", "index": n, "embedding": [0.5, -0.5]} for n in range(ask.inputs)]
        body: JsonObject = {"object": "list", "data": vectors, "model": model}
    elif ask.path.endswith("/responses"):
        body = _response(answer_id, model, text, status="completed")
    elif ask.path.endswith("/chat/completions"):
        message = {"role": "assistant", "content": text, "refusal": None}
        choices = [
            {"index": n, "message": message, "logprobs": None, "finish_reason": "stop"}
            for n in range(ask.choices)
        ]
        body = {
            "id": answer_id,
            "object": "chat.completion",
            "created": 1,
            "model": model,
            "choices": choices,
        }
    else:
        choices = [{"index": n, "text": text, "finish_reason": "stop"} for n in range(ask.choices)]
        body = {
            "id": answer_id,
            "object": "text_completion",
            "created": 1,
            "model": model,
            "choices": choices,
        }
    return {**body, "usage": blocks[-1]} if blocks else body


def _response(answer_id: str, model: str, text: str, *, status: str) -> JsonObject:
    return {
        "id": answer_id,
        "object": "response",
        "created_at": 1,
        "status": status,
        "model": model,
        "output": [_message(text, status)] if text else [],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
    }


def _message(text: str, status: str) -> JsonObject:
    content = [{"type": "output_text", "text": text, "annotations": []}] if text else []
    return {"id": "msg_1", "type": "message", "role": "assistant", "status": status, "content": content}


# -- streams --------------------------------------------------------------------------------------------------------


def event(data: Any, name: str = "") -> bytes:
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {json.dumps(data)}\n\n".encode()


DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True, slots=True)
class StreamShape:
    """One stream's events: what opens it, one a token, what ends the text, one with usage, what closes it."""

    ask: Asked
    answer_id: str
    model: str

    @property
    def _is_response(self) -> bool:
        return self.ask.path.endswith("/responses")

    def opening(self) -> list[bytes]:
        if self._is_response:
            begun = _response(self.answer_id, self.model, "", status="in_progress")
            part = {"type": "output_text", "text": "", "annotations": []}
            return [
                self._named("response.created", response=begun),
                self._named("response.output_item.added", output_index=0, item=_message("", "in_progress")),
                self._named(
                    "response.content_part.added", item_id="msg_1", output_index=0, content_index=0, part=part
                ),
            ]
        return [self._chunk({"role": "assistant", "content": ""})]

    def token(self, n: int, choice: int) -> bytes:
        word = "word" if n == 0 else " word"
        if self._is_response:
            return self._named(
                "response.output_text.delta", item_id="msg_1", output_index=0, content_index=0, delta=word
            )
        return self._chunk({"content": word}, choice=choice)

    def ending(self, text: str) -> list[bytes]:
        if self._is_response:
            return [
                self._named(
                    "response.output_text.done", item_id="msg_1", output_index=0, content_index=0, text=text
                )
            ]
        return [self._chunk({}, choice=n, finish="stop") for n in range(self.ask.choices)]

    def usage(self, text: str, blocks: list[Any]) -> list[bytes]:
        if self._is_response:
            whole = _response(self.answer_id, self.model, text, status="completed")
            return [
                self._named("response.completed", response={**whole, "usage": block})
                for block in (blocks or [None])
            ]
        if not self.ask.include_usage:
            return []
        return [event({**self._frame(), "choices": [], "usage": block}) for block in blocks]

    def closing(self) -> list[bytes]:
        return [] if self._is_response else [DONE]

    def error(self) -> bytes:
        problem = {"type": "server_error", "code": "overloaded", "message": "the script says so"}
        return self._named("error", **problem) if self._is_response else event({"error": problem})

    def _frame(self) -> JsonObject:
        chat = self.ask.path.endswith("/chat/completions")
        kind = "chat.completion.chunk" if chat else "text_completion"
        return {"id": self.answer_id, "object": kind, "created": 1, "model": self.model}

    def _chunk(self, delta: JsonObject, *, choice: int = 0, finish: str | None = None) -> bytes:
        if self.ask.path.endswith("/chat/completions"):
            one: JsonObject = {"index": choice, "delta": delta, "finish_reason": finish}
        else:
            one = {"index": choice, "text": delta.get("content", ""), "finish_reason": finish}
        usage = {"usage": None} if self.ask.include_usage else {}
        return event({**self._frame(), "choices": [one], **usage})

    def _named(self, name: str, **data: Any) -> bytes:
        return event({"type": name, **data}, name)
