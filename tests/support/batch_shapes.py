"""Batches as the scripted provider speaks them, OpenAI's and Anthropic's: files kept, requests done all at once at the end,
for half the price of the same calls."""

import json
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from aiohttp import web

from tests.support import anthropic_shapes, shapes
from tests.support.bill import BillWriter, Work
from tests.support.script import HEADER, Script, read

HOW = "x-batch"
"""A request header of the submission: how the batch goes, as the JSON of a `How`."""

JsonObject = dict[str, Any]

_FILES = re.compile(r"/files$")
_CONTENT = re.compile(r"/files/(file-[\w-]+)/content$")
_BATCHES = re.compile(r"(/messages)?/batches$")
_BATCH = re.compile(r"(?:/messages)?/batches/([\w-]+)(/cancel|/results)?$")


@dataclass(frozen=True, slots=True)
class How:
    """All defaults together: every request is done, and its own usage is told in its line alone."""

    polls: int = 0  # so many answers say that it goes on
    status: str = "completed"
    failing: int = 0  # so many of the first requests fail, and cost nothing
    usage: bool = False  # the batch tells the usage of all its requests
    silent: bool = False  # answers tell no usage
    gone: bool = False  # its results are not there
    served: str = ""  # another model than the one asked for

    def header(self) -> dict[str, str]:
        return {HOW: json.dumps({name: getattr(self, name) for name in self.__slots__})}


@dataclass(frozen=True, slots=True)
class Half(Work):
    """Many calls' work, each by the prices of one call."""

    parts: tuple[tuple[Work, str], ...] = ()

    def nanos(self, model: str) -> int:
        return -(-sum(work.nanos(served) for work, served in self.parts) // 2)


@dataclass(slots=True)
class Running:
    batch_id: str
    tag: str
    path: str
    requests: list[JsonObject]
    how: How
    facts: JsonObject
    polls: int
    is_done: bool = False
    results: list[JsonObject] = field(default_factory=list)
    failures: list[JsonObject] = field(default_factory=list)
    usage: JsonObject | None = None

    @property
    def is_message(self) -> bool:
        return self.path.endswith("/messages/batches")


class Batches:
    """Every file and batch of one provider, until its process ends."""

    def __init__(self, bill: BillWriter) -> None:
        self._bill = bill
        self._files: dict[str, bytes] = {}
        self._all: dict[str, Running] = {}

    def answer(self, request: web.BaseRequest, path: str, body: bytes) -> web.Response | None:
        """None for any other path."""
        is_upload = bool(_FILES.search(path)) and b'name="purpose"\r\n\r\nbatch' in body
        found = _CONTENT.search(path) or _BATCH.search(path)
        is_new = bool(_BATCHES.search(path)) and HOW in request.headers
        is_known = found is not None and (found.group(1) in self._files or found.group(1) in self._all)
        if not (is_upload or is_new or is_known):
            return None
        if request.headers.get("Authorization") is None and request.headers.get("x-api-key") is None:
            return _problem(401, "no credential")
        if "/messages/" in path and request.headers.get("anthropic-version") is None:
            return _problem(400, "anthropic-version: header is required")
        if is_upload:
            return self._keep(body)
        if is_new:
            return self._begin(request, path, json.loads(body))
        assert found is not None, "a file or a batch that is known"
        if found.group(1) in self._files:
            return web.Response(body=self._files[found.group(1)], content_type="application/octet-stream")
        running = self._all[found.group(1)]
        return self._results(running) if found.group(2) == "/results" else self._told(running)

    def _keep(self, form: bytes) -> web.Response:
        """The part of a form that is the file."""
        content = next(part for part in form.split(b"\r\n--") if b'name="file"' in part)
        name = f"file-{secrets.token_hex(8)}"
        self._files[name] = content.partition(b"\r\n\r\n")[2]
        told = {"id": name, "object": "file", "bytes": len(self._files[name]), "created_at": 1}
        return web.json_response(
            {**told, "filename": "batch.jsonl", "purpose": "batch", "status": "processed"}
        )

    def _begin(self, request: web.BaseRequest, path: str, body: JsonObject) -> web.Response:
        how = How(**json.loads(request.headers[HOW]))
        script = read(request.headers.get(HEADER))
        requests, facts = body.get("requests"), {}
        if requests is None:
            content = self._files.get(str(body.get("input_file_id")), b"")
            requests = [json.loads(line) for line in content.splitlines() if line.startswith(b"{")]
            facts = {name: body[name] for name in ("endpoint", "input_file_id", "completion_window")}
        batch_id = f"{'msgbatch' if path.endswith('/messages/batches') else 'batch'}_{secrets.token_hex(8)}"
        running = Running(batch_id, script.tag, path, requests, how, facts, how.polls)
        self._all[batch_id] = running
        self._write(running, (), final=False)
        return _json(self._shown(running, done=False))

    def _told(self, running: Running) -> web.Response:
        running.polls -= 1
        if running.polls >= 0:
            return _json(self._shown(running, done=False))
        if not running.is_done:
            running.is_done = True
            self._do(running)
        return _json(self._shown(running, done=True))

    def _do(self, running: Running) -> None:
        """All requests at once; the bill is written before anyone is told."""
        parts: list[tuple[Work, str]] = []
        for n, request in enumerate(running.requests):
            if n < running.how.failing:
                running.failures.append(_failed(running, request))
                continue
            params = request["params"] if running.is_message else request["body"]
            model = running.how.served or params["model"]
            ask, work = _done(running, request, params)
            parts.append((work, model))
            running.results.append(_succeeded(running, request, ask, work, model))
        self._write(running, parts, final=True)
        if running.how.usage:
            running.usage = _usage_of_all(work for work, _ in parts)
        if not running.is_message and not running.how.gone:
            self._files[f"file-out-{running.batch_id}"] = _lines(running.results)
            self._files[f"file-err-{running.batch_id}"] = _lines(running.failures)

    def _results(self, running: Running) -> web.Response:
        if not running.is_done or running.how.gone:
            return _problem(404, "no results")
        return web.Response(
            body=_lines([*running.results, *running.failures]), content_type="application/binary"
        )

    def _shown(self, running: Running, *, done: bool) -> JsonObject:
        if running.is_message:
            return _shown_messages(running, done=done)
        total, failed = len(running.requests), len(running.failures)
        status = running.how.status if done else "in_progress"
        counts = {"total": total, "completed": len(running.results), "failed": failed}
        shown = {
            "id": running.batch_id,
            "object": "batch",
            "created_at": 1,
            "status": status,
            **running.facts,
            "request_counts": counts,
            "output_file_id": f"file-out-{running.batch_id}" if done and running.results else None,
            "error_file_id": f"file-err-{running.batch_id}" if done and running.failures else None,
        }
        return {**shown, "usage": running.usage} if running.usage else shown

    def _write(self, running: Running, parts: Iterable[tuple[Work, str]], *, final: bool) -> None:
        work = Half(parts=tuple(parts))
        self._bill.write(
            answer_id=running.batch_id,
            tag=running.tag,
            path=running.path,
            model="",
            work=work,
            free=False,
            final=final,
        )


def _done(running: Running, request: JsonObject, params: JsonObject) -> tuple[shapes.Asked, Work]:
    if running.is_message:
        message = anthropic_shapes.asked("/v1/messages", params, Script())
        return message, replace(message.work, output_tokens=message.output_tokens)
    ask = shapes.asked(str(request["url"]), params, Script())
    made = 0 if ask.path.endswith("/embeddings") else ask.output_tokens * ask.choices
    return ask, Work(ask.input_tokens, 0, made)


def _succeeded(
    running: Running, request: JsonObject, ask: shapes.Asked, work: Work, model: str
) -> JsonObject:
    script, name = Script(usage="missing") if running.how.silent else Script(), f"id-{secrets.token_hex(4)}"
    text = shapes.words(ask.output_tokens)
    if isinstance(ask, anthropic_shapes.MessageAsked):
        blocks = anthropic_shapes.usage_blocks(ask, work, script)
        message = anthropic_shapes.answer(ask, name, model, text, blocks)
        return {"custom_id": request["custom_id"], "result": {"type": "succeeded", "message": message}}
    answer = shapes.answer(ask, name, model, text, shapes.usage_blocks(ask, work, script))
    response = {"status_code": 200, "request_id": f"req-{name}", "body": answer}
    return {
        "id": f"batch_req_{name}",
        "custom_id": request["custom_id"],
        "response": response,
        "error": None,
    }


def _failed(running: Running, request: JsonObject) -> JsonObject:
    problem = {"type": "invalid_request_error", "message": "the script says so"}
    if running.is_message:
        return {
            "custom_id": request["custom_id"],
            "result": {"type": "errored", "error": {"type": "error", "error": problem}},
        }
    response = {"status_code": 400, "request_id": "req-1", "body": {"error": problem}}
    return {"id": "batch_req_1", "custom_id": request["custom_id"], "response": response, "error": None}


def _shown_messages(running: Running, *, done: bool) -> JsonObject:
    total = len(running.requests)
    counts = {"processing": 0 if done else total, "succeeded": len(running.results), "canceled": 0}
    return {
        "id": running.batch_id,
        "type": "message_batch",
        "processing_status": "ended" if done else "in_progress",
        "request_counts": {**counts, "errored": len(running.failures), "expired": 0},
        "created_at": "2026-01-01T00:00:00Z",
        "expires_at": "2026-01-02T00:00:00Z",
        "ended_at": "2026-01-01T00:01:00Z" if done else None,
        "cancel_initiated_at": None,
        "archived_at": None,
        "results_url": f"https://elsewhere.test/{running.batch_id}/results" if done else None,
    }


def _usage_of_all(works: Iterable[Work]) -> JsonObject:
    made = list(works)
    given, written = sum(each.input_tokens for each in made), sum(each.output_tokens for each in made)
    return {
        "input_tokens": given,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": written,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": given + written,
    }


def _lines(values: list[JsonObject]) -> bytes:
    return b"".join(json.dumps(value).encode() + b"\n" for value in values)


def _json(value: JsonObject) -> web.Response:
    return web.Response(body=json.dumps(value).encode(), content_type="application/json")


def _problem(status: int, message: str) -> web.Response:
    return web.json_response({"error": {"message": message, "type": "invalid_request_error"}}, status=status)
