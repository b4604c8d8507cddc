"""Who may come in to the admin listener: which host names, which pages of the web, which keys."""

import secrets
from collections.abc import Awaitable, Callable
from enum import StrEnum
from hmac import compare_digest
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from sqlalchemy.exc import SQLAlchemyError

from proxy import clock, log
from proxy.address import is_loopback
from proxy.admin.answers import Problem, refuse
from proxy.admin.state import AdminState
from proxy.auth import BadKey, Role, credential

OPERATOR = "operator"
"""The actor of whoever can read the data folder: the command line, by the token of this start."""


class Door(StrEnum):
    """What a path needs. Every path of the table names one."""

    EVERYONE = "everyone"  # no key: health and metrics
    READERS = "readers"  # any control key
    ADMINS = "admins"  # a control key of the role admin


def guard(state: AdminState) -> Middleware:
    """Around every path, unknown ones included: refuses what a browser was tricked into, and gives every error the one
    envelope and a request id."""

    @web.middleware
    async def around(request: web.Request, handler: Handler) -> web.StreamResponse:
        request_id = f"req-{secrets.token_hex(10)}"
        try:
            _check_host(state, request)
            _check_origin(request)
            return await handler(request)
        except Problem as problem:
            return _refused(request, problem, request_id)
        except web.HTTPException as error:
            code = error.reason.lower().replace(" ", "_")
            told = Problem(error.status, code, f"{request.method} {request.path}: {error.reason}")
            return _refused(request, told, request_id)
        except SQLAlchemyError as error:
            log.get().error("ledger_unavailable", error_code="DATABASE_ERROR", detail=str(error)[:300])
            told = Problem(
                503, "ledger_unavailable", "the ledger cannot be used now: see the log, and try again"
            )
            return _refused(request, told, request_id)

    return around


def at(
    door: Door,
    state: AdminState,
    handler: Callable[[AdminState, web.Request, str], Awaitable[web.StreamResponse]],
) -> Handler:
    """The handler behind its door. It is told who came in."""

    async def behind(request: web.Request) -> web.StreamResponse:
        actor = "" if door is Door.EVERYONE else _admit(state, request, door)
        return await handler(state, request, actor)

    return behind


def _admit(state: AdminState, request: web.Request, door: Door) -> str:
    try:
        if compare_digest(
            credential(request.headers).encode("utf-8", "replace"), state.control_token.encode()
        ):
            return OPERATOR
        key = state.keyring.authenticate_control(request.headers, clock.now())
    except BadKey as bad:
        log.get().warning(
            "authentication_failed", reason=bad.reason, key_id=bad.key_id, path=request.path[:512], status=401
        )
        raise Problem(
            401,
            "invalid_api_key",
            "this needs a control key: `spendgate keys create --role viewer` makes one",
        ) from bad
    if door is Door.ADMINS and key.role != Role.ADMIN:
        raise Problem(
            403, "insufficient_permissions", f'the role "{key.role}" may read only: use a key of role admin'
        )
    return f"key:{key.id}"


def _check_host(state: AdminState, request: web.Request) -> None:
    """A listener on the loopback is asked by loopback names only: a page of the web whose name was rebound to
    127.0.0.1 still sends its own name."""
    if is_loopback(state.admin_host) and not is_loopback(_host_of(request.headers.get("Host", ""))):
        raise Problem(
            403, "host_refused", "this listener is on the loopback: ask it as 127.0.0.1 or localhost"
        )


def _check_origin(request: web.Request) -> None:
    """Browsers say which page asks; no other page than our own may."""
    origin = request.headers.get("Origin")
    foreign = (
        origin is not None and urlsplit(origin).netloc.lower() != request.headers.get("Host", "").lower()
    )
    if foreign or request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
        raise Problem(403, "origin_refused", "pages of other origins may not ask here")


def _host_of(header: str) -> str:
    """Without the port and the brackets of IPv6."""
    try:
        return urlsplit(f"//{header}").hostname or ""
    except ValueError:
        return ""


def _refused(request: web.Request, problem: Problem, request_id: str) -> web.Response:
    log.get().info(
        "admin_request_refused",
        request_id=request_id,
        path=request.path[:512],
        status=problem.status,
        error_code=problem.code,
    )
    return refuse(problem, request_id)
