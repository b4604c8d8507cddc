"""The admin API of emergency budget overrides."""

from aiohttp import web

from proxy import clock
from proxy.admin import overrides
from proxy.admin.answers import answer
from proxy.admin.breakers import Reasoned
from proxy.admin.doors import Door
from proxy.admin.forms import Handler, said
from proxy.admin.overrides import Wanted, books_of, choose, shown
from proxy.admin.state import AdminState
from proxy.overrides import reset_breakers, scope_of

PATH = "/api/v1/overrides"
BUDGETS_PATH = "/api/v1/budgets"


def routes() -> list[tuple[str, str, Door, Handler]]:
    async def make(state: AdminState, request: web.Request, actor: str) -> web.StreamResponse:
        wanted, standing = await said(request, Wanted), state.overrides
        async with standing.changing:
            now = clock.now()
            chosen = choose(books_of(state, now), request.match_info["id"], wanted)
            made = await overrides.make(state.ledger, state.signer(actor), chosen, wanted, now)
            standing.put(made, clock.now())
        scopes = {scope_of(row) for row in made}
        reset = reset_breakers(state.breakers, scopes, wanted.reason, clock.now())
        await standing.swap.follow_up()
        return answer({"overrides": [shown(row) for row in made], "breakers_reset": reset}, status=201)

    async def lift(state: AdminState, request: web.Request, actor: str) -> web.StreamResponse:
        reason, standing = (await said(request, Reasoned)).reason, state.overrides
        async with standing.changing:
            row = await overrides.lift(
                state.ledger, state.signer(actor), request.match_info["id"], reason, clock.now()
            )
            standing.drop([row], clock.now())
        await standing.swap.follow_up()
        return answer(shown(row))

    return [
        ("POST", BUDGETS_PATH + "/{id}/override", Door.ADMINS, make),
        ("GET", PATH, Door.READERS, _listed),
        ("DELETE", PATH + "/{id}", Door.ADMINS, lift),
    ]


async def _listed(state: AdminState, _: web.Request, __: str) -> web.StreamResponse:
    return answer({"overrides": [shown(row) for row in state.overrides.standing(clock.now())]})
