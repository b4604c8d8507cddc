"""One call, from the client's request to the settled hold. Read `Gateway.handle` first."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import unquote

from aiohttp import web

from pricing.charge import Outcome
from proxy import about, answers, clock, gate, log, metrics
from proxy.about import About
from proxy.admit import Admission
from proxy.auth import BadKey, Key, Keyring, Kind
from proxy.batches import Batches
from proxy.callrow import CallRow, kept
from proxy.categorise import Categoriser
from proxy.dialects import BadBody, Dialect, Surface, check_of
from proxy.dialects import read_body as read_of
from proxy.dialects.codings import decoded_request
from proxy.errors import BadCall, ProxyError, Refused, Unavailable, bad_key
from proxy.opencall import Ending, OpenCall
from proxy.passage import Guards
from proxy.relay import Relay
from proxy.routing import Route, route
from proxy.server import Response, Slow, TooLarge, read_body
from proxy.settings import SAMPLE, Config
from proxy.shutdown import Switch
from proxy.till import Till
from rules.call import Call, CallId
from rules.policy import Policy

TRACE_HEADER = "X-Trace-ID"
REQUEST_HEADER = "X-Request-ID"
BODY_IDLE_SECONDS = 30.0

# Of those that a provider may read a body in, the ones in which its JSON is the JSON that is metered.
_ASCII_CHARSET = re.compile(
    r'[^;,]*(;(?!\s*charset)[^;,]*)*;\s*charset="?(utf-?8|(us-)?ascii|iso-8859-\d+|latin-?1|windows-125\d)"?\s*'
)

OwnPage = Callable[[web.BaseRequest], web.StreamResponse | None]


@dataclass(frozen=True, slots=True)
class Gateway:
    """The data plane. Each step returns to `handle`; no step calls the next."""

    config: Config
    keyring: Keyring
    dialects: Mapping[str, Dialect]  # by provider
    policy: Callable[[], Policy]
    admission: Admission
    till: Till
    relay: Relay
    own_page: OwnPage  # health pages: keyless, ours
    about: About
    batches: Batches
    categoriser: Categoriser
    node: str
    switch: Switch  # the emergency shutdown
    guards: Guards

    async def handle(self, request: web.BaseRequest) -> Response:
        arrived, started = clock.now(), clock.monotonic()
        call_id = CallId(clock.new_call_id(arrived))
        call: OpenCall | None = None
        dialect = self.dialects[self.config.default_provider]
        try:
            self._pass_gate(request)
            page = self.own_page(request)
            if page is not None:
                page.headers[REQUEST_HEADER] = call_id
                return page
            if request.raw_path.startswith(about.PREFIX):
                return await self.about.answer(request, self._authenticate(request, arrived), call_id)
            way = self._route(request)
            dialect = self.dialects[way.provider]
            self._pass_dialect(request, way, dialect)
            key = self._authenticate(request, arrived)
            call = self._begin(request, call_id, way, key, arrived=arrived, started=started)
            self.switch.check()
            self._pass_test_key(call, way, dialect)
            await self._read(request, call)
            await self._admit(request, call)
            self._check_again(call)
            return await self.relay.run(request, call)
        except ProxyError as problem:
            if call is not None and not call.ended:
                call.row.refusal = dict(problem.extra)
                self.till.refuse(
                    call,
                    status=problem.status,
                    code=problem.code,
                    reason=problem.message,
                    at=clock.monotonic(),
                )
            metrics.REFUSALS.labels(problem.code).inc()
            trace = "" if call is None else call.row.trace_id
            return answers.problem(request, problem, dialect, call_id=call_id, trace_id=trace)
        finally:
            if call is not None and not call.ended and not call.handed_over:
                self._leave(call)

    def _pass_gate(self, request: web.BaseRequest) -> None:
        problem = gate.check_request(request, body_bytes_max=self.config.limits.body_bytes)
        if problem is not None:
            raise BadCall(problem.status, problem.code, problem.message, close=problem.close)

    def _route(self, request: web.BaseRequest) -> Route:
        way = route(request.raw_path, providers=self.config.providers, default=self.config.default_provider)
        if way is None:
            names = ", ".join(f"/{name}/..." for name in sorted(self.config.providers))
            raise BadCall(
                404,
                "unknown_path",
                f"no provider answers here: use /v1/... for the default provider, or {names}",
            )
        return way

    def _pass_dialect(self, request: web.BaseRequest, way: Route, dialect: Dialect) -> None:
        """Before the key is asked for: one that came in the query is told so, not called wrong."""
        check = check_of(dialect)
        if check is None:
            return
        try:
            check(unquote(way.path), way.query, request.headers)
        except BadBody as bad:
            raise BadCall(400, bad.code, bad.message, param=bad.param) from bad

    def _authenticate(self, request: web.BaseRequest, now: datetime) -> Key:
        try:
            return self.keyring.authenticate(request.headers, now)
        except BadKey as bad:
            log.get().warning(
                "authentication_failed", reason=bad.reason, key_id=bad.key_id, path=_path(request), status=401
            )
            raise bad_key() from bad

    def _begin(
        self,
        request: web.BaseRequest,
        call_id: CallId,
        way: Route,
        key: Key,
        *,
        arrived: datetime,
        started: float,
    ) -> OpenCall:
        if key.kind is Kind.TEST:
            way = Route(SAMPLE, way.path, way.query, chosen=True)
        dialect = self.dialects[way.provider]
        # Unescaped, as providers read it: an escaped letter must not hide a metered path.
        surface = dialect.surface(request.method, unquote(way.path))
        row = CallRow(
            call_id=call_id,
            at=arrived,
            node=self.node,
            team=key.team,
            key_id=key.id,
            trace_id=kept(request.headers.get(TRACE_HEADER, "")),
            operation=surface.operation.value,
            method=request.method,
            path=_path(request),
            dialect=dialect.name,
            provider=way.provider,
        )
        call = Call(call_id, arrived, surface.operation, way.provider, "", key.team, key.id)
        policy = self.policy()
        row.policy_version = policy.version
        metrics.IN_FLIGHT.inc()
        return OpenCall(row, started, way, key, policy, dialect, surface, call)

    def _pass_test_key(self, call: OpenCall, way: Route, dialect: Dialect) -> None:
        """The sample provider speaks one wire API: in that of another provider nobody would understand its answers."""
        if (
            call.key.kind is Kind.TEST
            and call.dialect.name != dialect.name
            and call.surface.kind != "metered"
        ):
            raise BadCall(
                400,
                "test_key_unsupported",
                f"a test key is answered by the built-in sample provider, which speaks {call.dialect.name} only, and "
                f'provider "{way.provider}" speaks {dialect.name}: use a live key here, or /{SAMPLE}/v1/... with the '
                f"API of {call.dialect.name}",
            )

    async def _read(self, request: web.BaseRequest, call: OpenCall) -> None:
        """The body into memory, and what can be peeked from it into the call. The bytes themselves are kept."""
        self.categoriser.read_headers(request.headers, call)
        try:
            call.body = await read_body(
                request, limit_bytes=self.config.limits.body_bytes, idle_seconds=BODY_IDLE_SECONDS
            )
        except TooLarge as large:
            raise BadCall(
                413,
                "body_too_large",
                f"the request body is larger than {self.config.limits.body_mb} MiB: raise limits.body_mb",
                close=True,
            ) from large
        except Slow as slow:
            raise BadCall(408, "body_too_slow", "the request body stopped arriving", close=True) from slow
        call.row.request_bytes = len(call.body)
        if call.surface.kind == "free":
            self._read_free(request, call)
            return
        if call.surface.kind != "metered":
            return
        assert call.surface.api is not None, "a metered surface has an API"
        text = self._decode(request, call.body)
        call.coded = text is not call.body
        strict = self.admission.must_be_strict(call)
        try:
            call.reading = read_of(call.surface.api, text, _content_type(request), strict=strict)
        except BadBody as bad:
            raise BadCall(400, bad.code, bad.message, param=bad.param) from bad
        self._note_reading(call)
        await self.categoriser.name(call)

    def _read_free(self, request: web.BaseRequest, call: OpenCall) -> None:
        """What costs nothing is written down as far as it can be read, and refused by nobody but its provider."""
        if call.surface.api is None:
            return
        try:
            text = self._decode(request, call.body)
            reading = read_of(call.surface.api, text, _content_type(request), strict=False)
        except (BadBody, BadCall):
            return
        call.reading = reading
        call.row.model, call.row.batch_size = kept(reading.model), reading.batch_size
        self.admission.count_free(call)

    def _decode(self, request: web.BaseRequest, body: bytes) -> bytes:
        coding = ", ".join(request.headers.getall("Content-Encoding", ())).strip().lower()
        try:
            text = decoded_request(body, coding, limit_bytes=self.config.limits.body_bytes)
        except BadBody as bad:
            raise BadCall(413, bad.code, bad.message) from bad
        if text is None:
            raise BadCall(
                415,
                "content_encoding_unsupported",
                f'a body coded as "{coding[:40]}" cannot be metered: send it plain, or as gzip or deflate',
            )
        kind = ", ".join(request.headers.getall("Content-Type", ())).lower()
        if "charset" in kind and not _ASCII_CHARSET.fullmatch(kind):
            raise BadCall(
                415, "charset_unsupported", "a body in that charset cannot be metered: send it in UTF-8"
            )
        return text

    def _note_reading(self, call: OpenCall) -> None:
        reading = call.reading
        assert reading is not None, "nothing was read"
        row = call.row
        row.model, row.user = kept(reading.model), kept(reading.user)
        row.stream, row.batch_size = reading.stream, reading.batch_size
        provider = self._provider_for(call)
        row.provider = provider
        call.call = Call(
            CallId(row.call_id),
            row.at,
            call.surface.operation,
            provider,
            row.model,
            row.team,
            row.key_id,
            user=row.user,
            stream=row.stream,
        )

    def _provider_for(self, call: OpenCall) -> str:
        """Model routes move calls of `/v1/*` to another provider of the same wire API. A batch stays where its file is."""
        if call.route.chosen or call.reading is None or call.reading.batch is not None:
            return call.route.provider
        named = call.policy.route(call.reading.model)
        if named is None or named == call.route.provider:
            return call.route.provider
        if named not in self.config.providers:
            raise BadCall(
                400, "route_unsupported", f'the route for this model names "{named}", which is not a provider'
            )
        dialect = self.dialects[named]
        surface = dialect.surface(call.row.method, unquote(call.route.path))
        if surface.kind != "metered" or surface.api is None or not self._serves(named, surface):
            raise BadCall(
                400,
                "route_unsupported",
                f'model "{call.reading.model[:80]}" is routed to provider "{named}", which has no {call.route.path}: '
                f"use /{named}/... with its own API",
            )
        call.dialect, call.surface = dialect, surface
        call.route = Route(named, call.route.path, call.route.query, chosen=True)
        return named

    def _serves(self, provider: str, surface: Surface) -> bool:
        apis = self.config.providers[provider].apis
        return not apis or (surface.api is not None and surface.api.name in apis)

    async def _admit(self, request: web.BaseRequest, call: OpenCall) -> None:
        provider = self.config.providers[call.route.provider]
        if not provider.configured:
            raise Unavailable(
                503,
                "provider_not_configured",
                f'provider "{call.route.provider}" has no api_key: set providers.{call.route.provider}.api_key',
                kind="api_error",
            )
        if call.key.kind is Kind.TEST:
            return
        if call.surface.kind != "metered":
            self._admit_unmetered(call)
            return
        self.guards.check(call.route.provider, metered=True)
        if call.reading is not None and call.reading.batch is not None:
            await self.batches.measure(call)
        self.categoriser.count(call)
        await self.admission.admit(call, request.headers)

    def _check_again(self, call: OpenCall) -> None:
        """Calls that waited for a budget do not slip past a shutdown, nor to a provider that went down meanwhile: they give
        back what they hold."""
        try:
            self.switch.check()
            metered = call.surface.kind == "metered"
            call.passage = self.guards.enter(call.route.provider, metered=metered)
        except Unavailable as problem:
            if call.hold is not None:
                ending = Ending(Outcome.NOT_SENT, problem.status, problem.code, at=clock.monotonic())
                self.till.finish(call, ending)
            raise

    def _admit_unmetered(self, call: OpenCall) -> None:
        """Under a hard budget only paths known to be free or metered pass; elsewhere they are recorded."""
        call.limits = call.policy.limits(call.call, call.key.budgets)
        if call.surface.kind == "free":
            return
        hard = [limit for limit in call.limits if limit.hold.hard and limit.nanos is not None]
        reads = call.row.method in ("GET", "HEAD", "OPTIONS")
        if hard and not (reads and call.surface.kind == "unknown"):
            owner = hard[0].owner
            raise Refused(
                403,
                "surface_not_metered",
                f"{call.row.method} {call.route.path} is not metered, and {owner} is a hard budget: "
                "use a metered path, or a key without a hard budget.",
                kind="permission_error",
                extra={"rule_id": owner},
            )
        if not reads:
            call.row.flags.append("unmetered")
            metrics.FLAGS.labels("unmetered").inc()

    def _leave(self, call: OpenCall) -> None:
        """The client went away, or the server stopped, before anything was sent: nothing to pay."""
        if call.passage is not None:
            call.passage.ended()
        self.till.refuse(
            call,
            status=499,
            code="client_left",
            reason="the client left before the call was sent",
            at=clock.monotonic(),
        )


def _content_type(request: web.BaseRequest) -> str:
    """Raises BadBody where there are two: which of them a provider reads is its own affair."""
    given = request.headers.getall("Content-Type", [])
    if len(given) > 1:
        raise BadBody("the header Content-Type stands twice", code="invalid_form")
    return given[0] if given else ""


def _path(request: web.BaseRequest) -> str:
    return request.raw_path.partition("?")[0][:512]
