"""The admin API of providers and their breakers."""

from aiohttp import web

from proxy import clock
from proxy.admin import upstreams
from proxy.admin.answers import answer
from proxy.admin.breakers import Reasoned
from proxy.admin.doors import Door
from proxy.admin.forms import Handler, said
from proxy.admin.state import AdminState

PATH = "/api/v1/upstreams"


def routes() -> list[tuple[str, str, Door, Handler]]:
    def force(*, is_open: bool) -> Handler:
        async def forced(state: AdminState, request: web.Request, actor: str) -> web.StreamResponse:
            guard, change = (
                upstreams.guard_of(state, request.match_info["provider"]),
                await said(request, Reasoned),
            )
            signer, now = state.signer(actor), clock.now()
            guard.force(await upstreams.force(state.ledger, signer, guard.name, change, now, is_open=is_open))
            return answer(guard.details())

        return forced

    async def reset(state: AdminState, request: web.Request, actor: str) -> web.StreamResponse:
        guard, change = (
            upstreams.guard_of(state, request.match_info["provider"]),
            await said(request, Reasoned),
        )
        await upstreams.reset(state.ledger, state.signer(actor), guard.name, change, clock.now())
        guard.reset(change.reason)
        return answer(guard.details())

    one = PATH + "/{provider}"
    return [
        ("GET", PATH, Door.READERS, _listed),
        ("GET", one, Door.READERS, _one),
        ("POST", f"{one}/open", Door.ADMINS, force(is_open=True)),
        ("POST", f"{one}/close", Door.ADMINS, force(is_open=False)),
        ("POST", f"{one}/reset", Door.ADMINS, reset),
    ]


async def _listed(state: AdminState, _: web.Request, __: str) -> web.StreamResponse:
    return answer({"upstreams": upstreams.listed(state)})


async def _one(state: AdminState, request: web.Request, _: str) -> web.StreamResponse:
    return answer(upstreams.guard_of(state, request.match_info["provider"]).details())
