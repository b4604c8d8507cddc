"""Background responses as the scripted provider speaks them: queued at once, worked on while they are asked after."""

import json
import re
from dataclasses import dataclass, replace
from typing import Any

from aiohttp import web

from tests.support import shapes
from tests.support.bill import BillWriter, Work
from tests.support.script import Script

POLLS = "x-background-polls"
"""A request header: so many answers say that the work goes on; the next one tells its end. 1 without it."""
STATUS = "x-background-status"
"""A request header: how the work ends. `completed` without it."""

_PATH = re.compile(r"/responses/(bg-[\w-]+)")


@dataclass(slots=True)
class Running:
    ask: shapes.Asked
    script: Script
    model: str
    polls: int
    status: str
    done: bool = False


class Background:
    """Every background response of one provider, until its process ends."""

    def __init__(self, bill: BillWriter) -> None:
        self._bill = bill
        self._all: dict[str, Running] = {}

    def begin(
        self, request: web.BaseRequest, answer_id: str, ask: shapes.Asked, script: Script, model: str
    ) -> web.Response:
        answer_id = f"bg-{answer_id}"
        polls, status = request.headers.get(POLLS, "1"), request.headers.get(STATUS, "completed")
        running = self._all[answer_id] = Running(ask, script, model, int(polls), status)
        self._write(answer_id, running, Work(ask.input_tokens), final=False)
        return self._told(answer_id, running, "queued", None)

    def asked(self, request: web.BaseRequest, path: str) -> web.Response | None:
        """Of a GET of one of them; None for any other path."""
        found = _PATH.search(path)
        running = None if found is None else self._all.get(found.group(1))
        if found is None or running is None or request.method != "GET":
            return None
        if request.headers.get("Authorization") is None:
            return web.json_response({"error": {"message": "no credential"}}, status=401)
        answer_id = found.group(1)
        running.polls -= 1
        if running.polls >= 0:
            return self._told(answer_id, running, "in_progress", None)
        work = Work(running.ask.input_tokens, running.script.cached_tokens, running.ask.output_tokens)
        if not running.done:
            running.done = True
            self._write(answer_id, running, work, final=True)
        blocks = shapes.usage_blocks(replace(running.ask, path="/v1/responses"), work, running.script)
        return self._told(answer_id, running, running.status, blocks[-1] if blocks else None)

    def _told(self, answer_id: str, running: Running, status: str, usage: Any) -> web.Response:
        body = {
            "id": answer_id,
            "object": "response",
            "background": True,
            "status": status,
            "model": running.model,
            "output": [],
            "usage": usage,
        }
        return web.Response(body=json.dumps(body).encode(), content_type="application/json")

    def _write(self, answer_id: str, running: Running, work: Work, *, final: bool) -> None:
        self._bill.write(
            answer_id=answer_id,
            tag=running.script.tag,
            path=running.ask.path,
            model=running.model,
            work=work,
            free=False,
            final=final,
        )
