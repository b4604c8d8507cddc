"""The built-in provider: OpenAI-shaped, offline, for `test` keys and for a first run without any provider's key.

It is reached without a socket: `SampleProvider` answers where an upstream would. Its answers say what they are, and
its usage is honest: counted with the counter that estimates calls.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from pricing.tokens import Counter, Prompt
from proxy import clock
from proxy.dialects import BadBody, Dialect, Reading

TEXT = (
    "This is the sample provider built into Spendgate. No model was asked, nothing left this machine and nothing "
    "was spent, but the call was authenticated, estimated, held, metered and settled like any other. Name a real "
    "provider in config.yaml, and use a live key, to get real answers."
)
MODELS = ("gpt-4o-mini", "gpt-4o", "text-embedding-3-small")
PAUSE_SECONDS = 0.005  # between events: enough to see a stream stream
CHOICES_MAX = 128
VECTOR = (0.1, -0.2, 0.3, -0.4)  # as good as any without a model

Headers = Sequence[tuple[str, str]]
JsonObject = dict[str, Any]


class SampleAnswer:
    """An answer that is made as it is read. `pieces` goes on where a cancelled iteration stopped."""

    close_delimited = False
    retries = 0

    def __init__(self, status: int, content_type: str, pieces: Iterator[bytes], pause_seconds: float) -> None:
        self.status = status
        self.reason = HTTPStatus(status).phrase
        self.headers = [("Content-Type", content_type)]
        self._pieces = pieces
        self._pause_seconds = pause_seconds
        self._closed = False

    async def pieces(self) -> AsyncIterator[bytes]:
        while not self._closed:
            await asyncio.sleep(self._pause_seconds)
            piece = next(self._pieces, None)
            if piece is None:
                return
            yield piece

    def close(self) -> None:
        self._closed = True


class SampleProvider:
    """Chat completions, completions, embeddings, responses and the list of models; 404 for all else."""

    def __init__(self, counter: Counter, dialect: Dialect) -> None:
        self._counter = counter
        self._dialect = dialect  # reads a request as it reads every provider's
        self._made = 0

    async def send(
        self,
        method: str,
        raw_target: str,
        headers: Headers,
        body: bytes | None,
        *,
        on_sent: Callable[[], None],
    ) -> SampleAnswer:
        on_sent()
        path = raw_target.partition("?")[0]
        if method == "GET" and path == "/v1/models":
            return _json(200, {"object": "list", "data": [_model(name) for name in MODELS]})
        work = _WORK.get(path) if method == "POST" else None
        surface = self._dialect.surface(method, path)
        if work is None or surface.api is None:
            return _problem(404, "unknown_url", f"the sample provider has no {method} {path}")
        try:
            reading = surface.api.read(body or b"", strict=False)
        except BadBody as bad:
            return _problem(400, bad.code, bad.message)
        return work(await self._task(reading))

    async def _task(self, reading: Reading) -> "_Task":
        self._made += 1
        count = await asyncio.to_thread(self._counter.count, reading.prompt, reading.model)
        words, finished = self._words(reading)
        return _Task(
            number=self._made,
            reading=reading,
            words=words,
            finished=finished,
            choices=min(reading.choices, CHOICES_MAX),
            input_tokens=count.tokens,
            output_tokens=self._count("".join(words), reading.model),
        )

    def _words(self, reading: Reading) -> tuple[list[str], bool]:
        """As much of the text as the call's token limit allows, and whether that is all of it."""
        words = [word if n == 0 else f" {word}" for n, word in enumerate(TEXT.split(" "))]
        most = reading.output_tokens_max
        whole = len(words)
        while most is not None and words and self._count("".join(words), reading.model) > most:
            words.pop()
        return words, len(words) == whole

    def _count(self, text: str, model: str) -> int:
        return self._counter.count(Prompt(texts=(text,)), model).tokens if text else 0


@dataclass(frozen=True, slots=True)
class _Task:
    """One call, and what it is answered."""

    number: int
    reading: Reading
    words: list[str]
    finished: bool  # the text is whole, not cut by the token limit
    choices: int
    input_tokens: int
    output_tokens: int  # of one choice

    @property
    def text(self) -> str:
        return "".join(self.words)

    def name(self, prefix: str) -> str:
        return f"{prefix}-sample-{self.number}"


# -- chat and completions -------------------------------------------------------------------------------------------


def _chat(task: _Task) -> SampleAnswer:
    return _answer_choices(
        task,
        name="chatcmpl",
        kinds=("chat.completion", "chat.completion.chunk"),
        whole={"message": {"role": "assistant", "content": task.text, "refusal": None}, "logprobs": None},
        first={"delta": {"role": "assistant", "content": ""}},
        word=lambda word: {"delta": {"content": word}},
        last={"delta": {}},
    )


def _completion(task: _Task) -> SampleAnswer:
    return _answer_choices(
        task,
        name="cmpl",
        kinds=("text_completion", "text_completion"),
        whole={"text": task.text, "logprobs": None},
        first=None,
        word=lambda word: {"text": word},
        last={"text": ""},
    )


def _answer_choices(
    task: _Task,
    *,
    name: str,
    kinds: tuple[str, str],
    whole: JsonObject,
    first: JsonObject | None,
    word: Callable[[str], JsonObject],
    last: JsonObject,
) -> SampleAnswer:
    """The two old APIs differ in their names only."""
    reason = "stop" if task.finished else "length"
    frame: JsonObject = {"id": task.name(name), "created": _now(), "model": task.reading.model}
    usage = _usage(task)
    numbers = range(task.choices)
    if not task.reading.stream:
        choices = [{"index": n, **whole, "finish_reason": reason} for n in numbers]
        return _json(200, {"object": kinds[0], **frame, "choices": choices, "usage": usage})

    def chunk(n: int, part: JsonObject, finish: str | None = None) -> bytes:
        rest: JsonObject = {"usage": None} if task.reading.include_usage_asked else {}
        choice = {"index": n, **part, "logprobs": None, "finish_reason": finish}
        return _event({"object": kinds[1], **frame, "choices": [choice], **rest})

    def events() -> Iterator[bytes]:
        if first is not None:
            yield from (chunk(n, first) for n in numbers)
        for one in task.words:
            yield from (chunk(n, word(one)) for n in numbers)
        yield from (chunk(n, last, reason) for n in numbers)
        if task.reading.include_usage_asked:
            yield _event({"object": kinds[1], **frame, "choices": [], "usage": usage})
        yield b"data: [DONE]\n\n"

    return _stream(events())


def _usage(task: _Task) -> JsonObject:
    output = task.output_tokens * task.choices
    return {
        "prompt_tokens": task.input_tokens,
        "completion_tokens": output,
        "total_tokens": task.input_tokens + output,
    }


# -- embeddings -----------------------------------------------------------------------------------------------------


def _embeddings(task: _Task) -> SampleAnswer:
    vectors = [
        {"object": "embedding", "index": n, "embedding": list(VECTOR)} for n in range(task.reading.batch_size)
    ]
    usage = {"prompt_tokens": task.input_tokens, "total_tokens": task.input_tokens}
    return _json(200, {"object": "list", "data": vectors, "model": task.reading.model, "usage": usage})


# -- responses ------------------------------------------------------------------------------------------------------


def _response(task: _Task) -> SampleAnswer:
    status = "completed" if task.finished else "incomplete"
    if not task.reading.stream:
        return _json(200, _response_object(task, status))
    return _stream(_response_events(task, status))


def _response_object(task: _Task, status: str) -> JsonObject:
    done = status != "in_progress"
    usage = {
        "input_tokens": task.input_tokens,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": task.output_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": task.input_tokens + task.output_tokens,
    }
    return {
        "id": task.name("resp"),
        "object": "response",
        "created_at": _now(),
        "status": status,
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
        "model": task.reading.model,
        "output": [_message(task, status)] if done else [],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": usage if done else None,
    }


def _message(task: _Task, status: str) -> JsonObject:
    content = [_text_part(task.text)] if status != "in_progress" else []
    return {
        "id": task.name("msg"),
        "type": "message",
        "role": "assistant",
        "status": status,
        "content": content,
    }


def _text_part(text: str) -> JsonObject:
    return {"type": "output_text", "text": text, "annotations": []}


def _response_events(task: _Task, status: str) -> Iterator[bytes]:
    item: JsonObject = {"item_id": task.name("msg"), "output_index": 0, "content_index": 0}
    parts: list[tuple[str, JsonObject]] = [
        ("response.created", {"response": _response_object(task, "in_progress")}),
        ("response.in_progress", {"response": _response_object(task, "in_progress")}),
        ("response.output_item.added", {"output_index": 0, "item": _message(task, "in_progress")}),
        ("response.content_part.added", {**item, "part": _text_part("")}),
        *(("response.output_text.delta", {**item, "delta": word}) for word in task.words),
        ("response.output_text.done", {**item, "text": task.text}),
        ("response.content_part.done", {**item, "part": _text_part(task.text)}),
        ("response.output_item.done", {"output_index": 0, "item": _message(task, status)}),
        (f"response.{status}", {"response": _response_object(task, status)}),
    ]
    for number, (name, data) in enumerate(parts):
        yield _event({"type": name, "sequence_number": number, **data}, name)


# -- the wire -------------------------------------------------------------------------------------------------------

_WORK: dict[str, Callable[[_Task], SampleAnswer]] = {
    "/v1/chat/completions": _chat,
    "/v1/completions": _completion,
    "/v1/embeddings": _embeddings,
    "/v1/responses": _response,
}


def _model(name: str) -> JsonObject:
    return {"id": name, "object": "model", "created": 0, "owned_by": "spendgate-sample"}


def _problem(status: int, code: str, message: str) -> SampleAnswer:
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
    return _json(status, {"error": error})


def _json(status: int, body: JsonObject) -> SampleAnswer:
    return SampleAnswer(status, "application/json", iter([json.dumps(body).encode()]), 0)


def _stream(events: Iterator[bytes]) -> SampleAnswer:
    return SampleAnswer(200, "text/event-stream; charset=utf-8", events, PAUSE_SECONDS)


def _event(data: JsonObject, name: str = "") -> bytes:
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {json.dumps(data)}\n\n".encode()


def _now() -> int:
    return int(clock.now().timestamp())
