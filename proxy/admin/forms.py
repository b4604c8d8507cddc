"""Bodies of the admin API: JSON, checked against the form that a path takes."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import orjson
from aiohttp import web
from pydantic import BaseModel, ValidationError

from proxy.admin.answers import Problem, invalid
from proxy.admin.state import AdminState

Handler = Callable[[AdminState, web.Request, str], Awaitable[web.StreamResponse]]
"""Of one path; the last argument is the actor, by the key that the request came with."""

M = TypeVar("M", bound=BaseModel)


async def said(request: web.Request, form: type[M]) -> M:
    """What the body says. Raises Problem for one that is not JSON, or not of that form."""
    if request.content_type != "application/json":
        raise Problem(415, "invalid_request", "send JSON, with Content-Type: application/json")
    try:
        return form.model_validate(orjson.loads(await request.read()))
    except orjson.JSONDecodeError as error:
        raise Problem(400, "invalid_request", f"the body is not JSON: {error}") from error
    except ValidationError as error:
        raise invalid(error) from error
