"""How the admin API answers: JSON, and one envelope for everything that went wrong."""

from typing import Any

import orjson
from aiohttp import web
from pydantic import ValidationError

from pricing.document import path_of

SERVER = "spendgate"  # in place of aiohttp's own words, which tell versions


class Problem(Exception):
    """What the caller did wrong, or may not do."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


def answer(body: Any, *, status: int = 200) -> web.Response:
    """Never kept by anything on the way: it may hold a new key."""
    return web.Response(
        status=status,
        body=orjson.dumps(body),
        content_type="application/json",
        headers={"Cache-Control": "no-store"},
    )


def refuse(problem: Problem, request_id: str) -> web.Response:
    error = {"code": problem.code, "message": problem.message, "request_id": request_id}
    response = answer({"error": error}, status=problem.status)
    response.headers["X-Request-ID"] = request_id
    return response


def invalid(error: ValidationError) -> Problem:
    """Every wrong value at once, each with its place. What was given is not repeated: it may be a secret."""
    told = [
        f"{path_of(detail['loc'])}: {_words(detail['msg'])}".removeprefix(": ")
        for detail in error.errors(include_url=False, include_input=False)
    ]
    return Problem(400, "invalid_request", "; ".join(told))


def _words(message: str) -> str:
    return message.removeprefix("Value error, ")
