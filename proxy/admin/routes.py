"""The admin listener: which path asks which function, and what each reads from the request."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from proxy import clock, metrics
from proxy.admin import (
    breaker_routes,
    estimates,
    health,
    keys,
    override_routes,
    prices,
    rerate,
    upstream_routes,
)
from proxy.admin.answers import SERVER, Problem, answer
from proxy.admin.doors import Door, at, guard
from proxy.admin.explain import explain
from proxy.admin.forms import said
from proxy.admin.instants import instant_of
from proxy.admin.report import SHADOW_SINCE, Wanted, report, report_estimates, report_shadow
from proxy.admin.rerated import Rater
from proxy.admin.state import AdminState
from proxy.ledger import calls
from proxy.ledger.calls import GROUPS, PAGE_ROWS_MAX, CallFilter
from proxy.reload import MOVING

BODY_BYTES_MAX = 64 << 10
FLUSH_SECONDS = 2.0
CALLS_SHOWN = 100  # where the request does not say


def admin_application(state: AdminState) -> web.Application:
    application = web.Application(middlewares=[guard(state)], client_max_size=BODY_BYTES_MAX)
    for method, path, door, handler in (
        ("*", "/health", Door.EVERYONE, _health),
        ("*", "/live", Door.EVERYONE, _health),
        ("*", "/ready", Door.EVERYONE, _health),
        ("GET", "/metrics", Door.EVERYONE, _metrics),
        ("GET", "/api/v1/keys", Door.READERS, _keys),
        ("POST", "/api/v1/keys", Door.ADMINS, _create_key),
        ("DELETE", "/api/v1/keys/{id}", Door.ADMINS, _revoke_key),
        ("GET", "/api/v1/calls", Door.READERS, _calls),
        ("GET", "/api/v1/calls/{id}", Door.READERS, _call),
        ("GET", "/api/v1/calls/{id}/explain", Door.READERS, _explain),
        ("GET", "/api/v1/report", Door.READERS, _report),
        ("GET", "/api/v1/report/estimates", Door.READERS, _report_estimates),
        ("GET", "/api/v1/report/shadow", Door.READERS, _report_shadow),
        ("POST", "/api/v1/estimate", Door.READERS, _estimate),
        ("GET", "/api/v1/pricing", Door.READERS, _pricing),
        ("POST", "/api/v1/pricing/rerate", Door.ADMINS, _rerate),
        ("POST", "/api/v1/control/flush", Door.ADMINS, _flush),
        ("POST", "/api/v1/control/reload", Door.ADMINS, _reload),
        *breaker_routes.routes(),
        *override_routes.routes(),
        *upstream_routes.routes(),
    ):
        application.router.add_route(method, path, at(door, state, handler))
    application.on_response_prepare.append(_sign)
    return application


async def _sign(_: web.Request, response: web.StreamResponse) -> None:
    response.headers["Server"] = SERVER


# -- keyless --------------------------------------------------------------------------------------------------------


async def _health(state: AdminState, request: web.Request, _: str) -> web.StreamResponse:
    page = health.own_page(state, request)
    assert page is not None, f"{request.path} is a page of health"
    return page


async def _metrics(_: AdminState, __: web.Request, ___: str) -> web.StreamResponse:
    return web.Response(body=metrics.render(), headers={"Content-Type": CONTENT_TYPE_LATEST})


# -- keys -----------------------------------------------------------------------------------------------------------


async def _keys(state: AdminState, request: web.Request, _: str) -> web.StreamResponse:
    _query(request)
    return answer({"keys": await keys.listed(state.ledger)})


async def _create_key(state: AdminState, request: web.Request, actor: str) -> web.StreamResponse:
    wanted = await said(request, keys.NewKey)
    plain, row = await keys.create(state.ledger, state.signer(actor), wanted, clock.now())
    state.keyring.put(row)
    return answer({"key": plain, **keys.shown(row)}, status=201)


async def _revoke_key(state: AdminState, request: web.Request, actor: str) -> web.StreamResponse:
    row = await keys.revoke(state.ledger, state.signer(actor), request.match_info["id"], clock.now())
    state.keyring.put(row)
    return answer(keys.shown(row))


# -- calls and reports ----------------------------------------------------------------------------------------------


async def _calls(state: AdminState, request: web.Request, _: str) -> web.StreamResponse:
    asked = _query(request, "key", "team", "trace", "since", "until", "limit")
    wanted = CallFilter(
        key_id=asked.get("key"),
        team=asked.get("team"),
        trace_id=asked.get("trace"),
        since=_instant(state, asked, "since"),
        until=_instant(state, asked, "until"),
        limit=_limit(asked.get("limit", str(CALLS_SHOWN))),
    )
    async with state.ledger.connect() as connection:
        return answer({"calls": await calls.listed(connection, wanted)})


async def _call(state: AdminState, request: web.Request, _: str) -> web.StreamResponse:
    return answer(await _found(state, request))


async def _found(state: AdminState, request: web.Request) -> dict[str, Any]:
    async with state.ledger.connect() as connection:
        found = await calls.by_id(connection, request.match_info["id"])
    if found is None:
        raise Problem(404, "unknown_call", "no call with that id is in the ledger, or it has not ended yet")
    return found


async def _explain(state: AdminState, request: web.Request, _: str) -> web.StreamResponse:
    """A call that was just refused is on its way to the ledger."""
    await state.shipper.flush(FLUSH_SECONDS)
    return answer(explain(await _found(state, request)))


async def _report(state: AdminState, request: web.Request, _: str) -> web.StreamResponse:
    asked = _query(request, "by", "since", "until")
    by = asked.get("by", GROUPS[0])
    if by not in GROUPS:
        raise Problem(400, "invalid_request", f"by: one of {', '.join(GROUPS)}")
    wanted = Wanted(
        by, _instant(state, asked, "since"), _instant(state, asked, "until"), state.policy().timezone
    )
    return answer(await report(state.ledger, wanted))


async def _report_estimates(state: AdminState, request: web.Request, _: str) -> web.StreamResponse:
    asked = _query(request, "since", "until")
    since, until = _instant(state, asked, "since"), _instant(state, asked, "until")
    return answer(await report_estimates(state.ledger, since=since, until=until))


async def _report_shadow(state: AdminState, request: web.Request, _: str) -> web.StreamResponse:
    asked = {"since": SHADOW_SINCE, **_query(request, "since", "until")}
    since, until = _instant(state, asked, "since"), _instant(state, asked, "until")
    return answer(await report_shadow(state.ledger, since=since, until=until))


async def _estimate(state: AdminState, request: web.Request, _: str) -> web.StreamResponse:
    """Changes nothing: who may read may ask."""
    whole = request.clone(client_max_size=estimates.BODY_BYTES_MAX)
    wanted = await said(whole, estimates.Wanted)
    return answer(await estimates.explain(state.desk, wanted, clock.now()))


# -- prices -----------------------------------------------------------------------------------------------------------


async def _pricing(state: AdminState, request: web.Request, _: str) -> web.StreamResponse:
    """Of one model, of all of a provider's, or of none: then every provider. A day is one of UTC, as prices' dates are."""
    asked = _query(request, "model", "provider", "at")
    try:
        at = instant_of(asked.get("at", "now"), now=clock.now(), timezone="UTC")
    except ValueError as error:
        raise Problem(400, "invalid_request", f"at: {error}") from error
    provider = state.price_provider(asked["provider"]) if "provider" in asked else None
    if provider is not None and not prices.known_provider(state.prices, provider):
        raise Problem(404, "unknown_provider", "no provider of that name has prices")
    if "model" in asked:
        found = prices.find(state.prices, asked["model"], at, provider=provider)
        if found:
            return answer({"prices": found})
        near = prices.suggest(state.prices, asked["model"], provider=provider)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise Problem(404, "unknown_model", f"no price is known for that model{hint}")
    if provider is not None:
        return answer({"models": prices.listed(state.prices, provider, at)})
    return answer({"providers": prices.providers(state.prices, at)})


async def _rerate(state: AdminState, request: web.Request, actor: str) -> web.StreamResponse:
    """One batch. What is on its way to the ledger is looked at too."""
    wanted = await said(request, rerate.Wanted)
    if wanted.after is None:
        await state.shipper.flush()
    rating = rerate.Rerating(
        state.ledger,
        Rater(state.desk.config, state.prices),
        state.signer(actor),
        state.desk.holds,
        state.policy,
    )
    return answer(await rating.batch(wanted, clock.now()))


# -- the command line's -----------------------------------------------------------------------------------------------


async def _flush(state: AdminState, _: web.Request, __: str) -> web.StreamResponse:
    """Until every call that has ended is in the ledger, so that a reader beside this process sees it."""
    flushed = await state.shipper.flush()
    return answer({"flushed": flushed, "backlog": state.shipper.backlog})


async def _reload(state: AdminState, _: web.Request, actor: str) -> web.StreamResponse:
    """Read the edited files now, not once they have rested."""
    done = await state.reloads.now(actor)
    refused = [edited.problem for _, edited in done.values() if edited.problem is not None]
    if refused:
        raise Problem(422, "configuration_error", "\n".join(map(str, refused)))
    if any(result == MOVING for result, _ in done.values()):
        raise Problem(409, "file_changing", "a file changed while it was read: it is read once it rests")
    return answer({name: {"result": result, **edited.details()} for name, (result, edited) in done.items()})


# -- what a request says --------------------------------------------------------------------------------------------


def _query(request: web.Request, *names: str) -> Mapping[str, str]:
    """Raises Problem for names that mean nothing here: a filter with a typing error must not show everything."""
    unknown = sorted(set(request.query) - set(names))
    if unknown:
        known = ", ".join(names) or "none"
        raise Problem(400, "invalid_request", f"unknown parameter {unknown[0][:40]!r}; known: {known}")
    return {name: request.query[name] for name in request.query}


def _instant(state: AdminState, asked: Mapping[str, str], name: str) -> datetime | None:
    if name not in asked:
        return None
    try:
        return instant_of(asked[name], now=clock.now(), timezone=state.policy().timezone)
    except ValueError as error:
        raise Problem(400, "invalid_request", f"{name}: {error}") from error


def _limit(text: str) -> int:
    limit = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
    if not 1 <= limit <= PAGE_ROWS_MAX:
        raise Problem(400, "invalid_request", f"limit: a number from 1 to {PAGE_ROWS_MAX}")
    return limit
