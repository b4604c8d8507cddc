"""The admin API of breakers and of the emergency shutdown."""

from aiohttp import web
from sqlalchemy.exc import SQLAlchemyError

from proxy import clock
from proxy.admin import breaker_views, breakers
from proxy.admin.answers import Problem, answer
from proxy.admin.breaker_rules import rule_of
from proxy.admin.breakers import Change, Reasoned
from proxy.admin.doors import Door
from proxy.admin.forms import Handler, said
from proxy.admin.state import AdminState
from proxy.shutdown import Shutdown
from rules.rule import Rule

PATH = "/api/v1/circuit-breakers"
SHUTDOWN_PATH = f"{PATH}/emergency-shutdown"


def routes() -> list[tuple[str, str, Door, Handler]]:
    async def shut_down(state: AdminState, request: web.Request, actor: str) -> web.StreamResponse:
        """In memory first: whatever the ledger does, from now on no call goes."""
        reason, now = (await said(request, Reasoned)).reason, clock.now()
        state.switch.shut_down(Shutdown(reason, actor, now))
        try:
            made = await breakers.shut_down(state.ledger, state.signer(actor), reason, now)
        except SQLAlchemyError as error:
            raise Problem(
                503,
                "ledger_unavailable",
                "every call is refused from now on, but the ledger cannot be written: a restart would forget it. "
                "Look into the log, and ask again.",
            ) from error
        return answer({"emergency_shutdown": made.details()})

    async def lift(state: AdminState, request: web.Request, actor: str) -> web.StreamResponse:
        reason = (await said(request, Reasoned)).reason
        state.switch.lift(await breakers.lift(state.ledger, state.signer(actor), reason, clock.now()))
        return answer({"emergency_shutdown": None})

    def force(*, is_open: bool) -> Handler:
        async def forced(state: AdminState, request: web.Request, actor: str) -> web.StreamResponse:
            rule, change = _rule(state, request), await said(request, Change)
            signer, now = state.signer(actor), clock.now()
            state.breakers.force(
                await breakers.force(state.ledger, signer, rule, change, now, is_open=is_open)
            )
            return answer(breaker_views.shown(state.breakers, rule, clock.now()))

        return forced

    async def reset(state: AdminState, request: web.Request, actor: str) -> web.StreamResponse:
        rule, change = _rule(state, request), await said(request, Change)
        await breakers.reset(state.ledger, state.signer(actor), change, clock.now(), rule=rule)
        state.breakers.reset(change.reason, clock.now(), rule_id=rule.rule_id, scope=change.where)
        return answer(breaker_views.shown(state.breakers, rule, clock.now()))

    async def reset_all(state: AdminState, request: web.Request, actor: str) -> web.StreamResponse:
        reason, now = (await said(request, Reasoned)).reason, clock.now()
        await breakers.reset(state.ledger, state.signer(actor), Change(reason=reason), now)
        return answer({"reset": state.breakers.reset(reason, now)})

    one = PATH + "/{rule_id}"
    return [
        ("GET", PATH, Door.READERS, _listed),
        ("GET", one, Door.READERS, _one),
        ("POST", SHUTDOWN_PATH, Door.ADMINS, shut_down),
        ("DELETE", SHUTDOWN_PATH, Door.ADMINS, lift),
        ("POST", f"{PATH}/reset", Door.ADMINS, reset_all),
        ("POST", f"{one}/open", Door.ADMINS, force(is_open=True)),
        ("POST", f"{one}/close", Door.ADMINS, force(is_open=False)),
        ("POST", f"{one}/reset", Door.ADMINS, reset),
    ]


async def _listed(state: AdminState, _: web.Request, __: str) -> web.StreamResponse:
    return answer(breaker_views.listed(state.breakers, state.policy(), state.switch.shutdown, clock.now()))


async def _one(state: AdminState, request: web.Request, _: str) -> web.StreamResponse:
    return answer(breaker_views.shown(state.breakers, _rule(state, request), clock.now()))


def _rule(state: AdminState, request: web.Request) -> Rule:
    return rule_of(state.policy(), request.match_info["rule_id"])
