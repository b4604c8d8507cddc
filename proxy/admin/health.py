"""Is the server up, and can it take calls? The same pages on both listeners, without a key."""

from collections.abc import Callable
from typing import Any

import orjson
from aiohttp import web

from proxy import clock
from proxy.admin.answers import SERVER
from proxy.admin.state import HEALTHY, AdminState

Page = tuple[int, dict[str, Any]]


def health(state: AdminState) -> Page:
    uptime = int(clock.monotonic() - state.started)
    return 200, {"status": HEALTHY, "version": state.version, "uptime_seconds": uptime}


def live(state: AdminState) -> Page:
    """For a supervisor that restarts what does not answer: nothing is asked but the process itself."""
    return health(state)


def ready(state: AdminState) -> Page:
    """For a load balancer: 503 while any part is not fit to take calls."""
    components = dict(state.components())
    fit = all(condition == HEALTHY for condition in components.values())
    status, page = health(state)
    return (status if fit else 503), {
        **page,
        "status": HEALTHY if fit else "degraded",
        "components": components,
        **state.details(),
    }


PAGES: dict[str, Callable[[AdminState], Page]] = {"/health": health, "/live": live, "/ready": ready}


def own_page(state: AdminState, request: web.BaseRequest) -> web.StreamResponse | None:
    """The answer to a request for one of these pages; None for every other."""
    page = PAGES.get(request.raw_path.partition("?")[0])
    if page is None:
        return None
    if request.method not in ("GET", "HEAD"):
        return web.Response(status=405, headers={"Allow": "GET, HEAD", "Server": SERVER})
    status, body = page(state)
    return web.Response(
        status=status,
        body=orjson.dumps(body),
        content_type="application/json",
        headers={"Cache-Control": "no-store", "Server": SERVER},
    )
