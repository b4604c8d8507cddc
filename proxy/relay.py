"""One call at the provider: sent, passed on unedited, metered on a side branch, its books ended whichever way it goes."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from aiohttp import web

from pricing.charge import Charge, Outcome
from pricing.money import Nanos
from proxy import clock, jobs, metrics
from proxy.answers import Headers, added_headers
from proxy.config import Config
from proxy.deferred import Deferrals
from proxy.dialects import MediaApi, Meter, Metered
from proxy.dialects.codings import ANSWER_CODINGS, offered
from proxy.dialects.media import MediaMeter
from proxy.drain import Drains
from proxy.errors import UpstreamFailed
from proxy.gate import forwardable, returnable
from proxy.holds import Holds
from proxy.meter import WholeMeter
from proxy.opencall import Ending, OpenCall
from proxy.routing import target
from proxy.server import Reply, Response, Stream, reply
from proxy.till import Till
from proxy.upstream import UpstreamFailure
from proxy.work import asked_id

BUFFER_BYTES_MAX = 4 << 20  # an answer up to here is held until its cost is known, and carries it in headers
OVERLOADED = 529  # Anthropic's word for "come again later": no work was done, as with 429
CLIENT_LEFT = 499  # what a row shows for an answer that nobody waited for


class Answer(Protocol):
    """A provider's answer, its headers read. `pieces` goes on where a cancelled iteration stopped."""

    status: int
    reason: str
    headers: list[tuple[str, str]]
    close_delimited: bool
    retries: int  # tries to connect that had failed before

    def pieces(self) -> AsyncIterator[bytes]: ...
    def close(self) -> None: ...


class Upstream(Protocol):
    """One endpoint of a provider. `on_sent` is called once the first byte was handed to the socket."""

    async def send(
        self,
        method: str,
        raw_target: str,
        headers: Headers,
        body: bytes | None,
        *,
        on_sent: Callable[[], None],
    ) -> Answer: ...


@dataclass(frozen=True, slots=True)
class Relay:
    """What every exchange needs."""

    config: Config
    upstreams: Mapping[str, Upstream]
    holds: Holds
    till: Till
    drains: Drains
    deferrals: Deferrals | None = None

    async def run(self, request: web.BaseRequest, call: OpenCall) -> Response:
        """Raises UpstreamFailed where nothing of an answer came. However it ends, the call is finished once."""
        return await Exchange(self, request, call).run()


class Exchange:
    """Used once. When `run` has returned or raised, the call has ended, or a drain has taken it over."""

    def __init__(self, relay: Relay, request: web.BaseRequest, call: OpenCall) -> None:
        self._relay_parts = relay
        self._request = request
        self._call = call
        self._provider = relay.config.providers[call.route.provider]
        self._withhold = False
        self._answer: Answer | None = None
        self._meter: Meter | None = None
        self._body = bytearray()
        self._is_whole = False  # the whole body is in `_body`
        self._passed = 0  # bytes given to the client
        self._asked_id = asked_id(call.dialect.name, call.row.method, call.route.path)  # of work that goes on
        self._is_told = False  # the client has the status of the answer
        assert call.passage is not None, "a call that goes was let through"
        self._passage = call.passage

    async def run(self) -> Response:
        fetching: asyncio.Task[None] | None = None
        try:
            if self._drains_when_left():
                # In a task of its own, which may outlive the client.
                fetching = jobs.run(self._fetch(), name="fetch", expects=(UpstreamFailure,))
                await asyncio.shield(fetching)
            else:
                await self._fetch()
            return self._reply() if self._is_whole else await self._pass_on()
        except UpstreamFailure as failure:
            raise self._failed(failure) from failure
        except (asyncio.CancelledError, ConnectionError):
            self._client_left(fetching)
            raise

    # -- the request ------------------------------------------------------------------------------------------

    async def _fetch(self) -> None:
        """Send, and read the answer: wholly where it is to be held for its cost, else only its headers."""
        call, parts = self._call, self._relay_parts
        answer = self._answer = await parts.upstreams[call.route.provider].send(
            call.row.method,
            target(self._provider.base_url, call.route.path, call.route.query),
            self._headers(),
            self._request_body(),
            on_sent=self._note_sent,
        )
        call.row.upstream_status = answer.status
        self._note_status(answer)
        streams = _is_sse(answer.headers) or (
            call.reading is not None and call.reading.json_stream and answer.status < 300
        )
        if call.reading is not None:
            self._meter = self._meter_for(streams, _coding(answer.headers))
        if streams or (call.reading is None and not self._asked_id):
            return
        if call.reading is not None and call.reading.media is not None and _is_sound(answer.headers):
            return  # it is listened to as it comes
        async for piece in answer.pieces():
            self._note_first_byte()
            self._body += piece
            if len(self._body) > BUFFER_BYTES_MAX:
                return
        self._is_whole = True

    def _headers(self) -> Headers:
        """The client's own, its credential swapped for the provider's; and what the provider's settings add to them."""
        call = self._call
        headers = forwardable(self._request)
        if self._provider.headers:
            sent = {name.lower() for name, _ in headers}
            headers += [each for each in self._provider.default_headers if each[0].lower() not in sent]
        if call.reading is not None or self._asked_id:
            headers = _metered_codings(headers, stream=call.row.stream)
        key = self._provider.api_key
        secret = "" if key is None else key.get_secret_value()
        return [*headers, *call.dialect.credential(secret)] if secret else headers

    def _request_body(self) -> bytes | None:
        """The client's bytes; on streamed calls with `include_usage` forced, so that the provider tells the cost."""
        call = self._call
        if call.reading is None or call.surface.api is None:
            return call.body or None
        edits = self._relay_parts.config.transparent != "exact" and self._provider.include_usage
        if not (call.row.stream and edits) or call.coded:
            return call.body
        body = call.surface.api.forward(call.body, call.reading)
        self._withhold = body is not call.body
        return body

    def _note_sent(self) -> None:
        call = self._call
        call.sent_at = clock.monotonic()
        self._passage.sent(streams=call.row.stream)
        metrics.OVERHEAD.observe(call.sent_at - call.started - call.row.waited_us / 1e6)

    def _note_status(self, answer: Answer) -> None:
        if answer.retries:
            self._flag_retried()
        if answer.status in (429, OVERLOADED):
            metrics.UPSTREAM_429.labels(self._call.route.provider).inc()
            self._passage.throttled(answer.headers)
        elif answer.status >= 500:
            self._passage.failed(str(answer.status))

    def _flag_retried(self) -> None:
        self._call.row.flags.append("connect_retried")
        metrics.FLAGS.labels("connect_retried").inc()

    def _note_first_byte(self) -> None:
        if self._call.first_byte_at is None:
            self._call.first_byte_at = clock.monotonic()
            self._passage.answered()

    # -- the answer -------------------------------------------------------------------------------------------

    def _meter_for(self, streams: bool, coding: str) -> Meter:
        api, reading = self._call.surface.api, self._call.reading
        assert api is not None, "only a metered call has an API"
        assert reading is not None, "an unread call is not metered"
        if streams and coding in ("", "identity"):
            return api.meter(reading, withhold_usage=self._withhold)
        if reading.media is not None:
            assert isinstance(api, MediaApi), "only a media API reads a call for media"
            return MediaMeter(api, reading, coding=coding, streams=streams)
        return WholeMeter(api, reading, coding=coding, streams=streams)

    def _reply(self) -> Reply:
        """A whole answer: its cost is known before its first byte goes to the client."""
        answer = self._answer
        assert answer is not None, "no answer to pass on"
        body = bytes(self._body)
        self._passed = len(body)
        self._meter_held()
        if self._meter is not None:
            self._meter.end()
        charge = self._finish(self._outcome_of_status(), answer.status)
        headers = [*returnable(answer.headers), *added_headers(self._call, self._relay_parts.holds, charge)]
        if self._asked_id and self._relay_parts.deferrals is not None and answer.status == 200:
            coding = _coding(answer.headers)
            self._relay_parts.deferrals.note(self._call.route.provider, self._asked_id, body, coding)
        return reply(self._request, answer.status, answer.reason, headers, body)

    async def _pass_on(self) -> Stream:
        """Piece by piece, as it comes. An answer that breaks off breaks off for the client too."""
        answer, meter = self._answer, self._meter
        assert answer is not None, "no answer to pass on"
        headers = [*returnable(answer.headers), *added_headers(self._call, self._relay_parts.holds)]
        if self._withhold:
            headers = [(name, value) for name, value in headers if name.lower() != "content-length"]
        client = await Stream.open(self._request, answer.status, answer.reason, headers)
        self._is_told = True
        try:
            await self._write(client, self._meter_held())
            async for piece in answer.pieces():
                self._note_first_byte()
                await self._write(client, self._metered(piece))
            if meter is not None:
                await self._write(client, meter.end())
        except UpstreamFailure as failure:
            self._passage.broke(failure)
            self._finish(self._outcome_of_break(), answer.status, failure.code)
            client.break_off()
            return client
        if self._was_cut():
            self._passage.failed("upstream_reset")
            self._finish(Outcome.BROKEN, answer.status, "upstream_reset")
            client.break_off()
            return client
        self._finish(self._outcome_of_status(), answer.status)
        await client.end()
        return client

    def _metered(self, piece: bytes) -> bytes:
        return piece if self._meter is None or not piece else self._meter.feed(piece)

    def _meter_held(self) -> bytes:
        """Meter what was held back so far, once; what may be passed on of it."""
        held = bytes(self._body)
        self._body.clear()
        return self._metered(held)

    async def _write(self, client: Stream, piece: bytes) -> None:
        if piece:
            await client.write(piece)
            self._passed += len(piece)

    def _was_cut(self) -> bool:
        """A body that ends with its connection looks complete even when it was cut: only the meter can tell."""
        answer, meter = self._answer, self._meter
        assert answer is not None, "no answer to judge"
        return (
            answer.close_delimited
            and answer.status < 300
            and meter is not None
            and not meter.result().complete
            and self._shows_its_end()
        )

    def _shows_its_end(self) -> bool:
        """In a coding that nobody here reads, a whole answer looks like one that was cut."""
        answer = self._answer
        assert answer is not None, "no answer to judge"
        return _coding(answer.headers).lower() in ANSWER_CODINGS

    # -- the books --------------------------------------------------------------------------------------------

    def _finish(self, outcome: Outcome, status: int, error_type: str = "") -> Charge | None:
        self._passage.ended(answered=self._answer is not None)
        ending = Ending(
            outcome,
            status,
            error_type,
            metered=self._result(),
            response_bytes=self._passed,
            at=clock.monotonic(),
        )
        return self._relay_parts.till.finish(self._call, ending)

    def _result(self) -> Metered | None:
        return None if self._meter is None else self._meter.result()

    def _outcome_of_status(self) -> Outcome:
        answer = self._answer
        assert answer is not None, "no answer to judge"
        if answer.status >= 500 and answer.status != OVERLOADED:
            return Outcome.FAILED
        if answer.status >= 300:
            return Outcome.PROVIDER_REFUSED
        result = self._result()
        whole = result is None or result.complete or not self._shows_its_end()
        return Outcome.ANSWERED if whole else Outcome.BROKEN

    def _outcome_of_break(self) -> Outcome:
        """Of an answer whose body broke off: what its status says, but never complete."""
        outcome = self._outcome_of_status()
        return Outcome.BROKEN if outcome is Outcome.ANSWERED else outcome

    def _failed(self, failure: UpstreamFailure) -> UpstreamFailed:
        """No answer reached the client: 504 for a silent provider, else 502."""
        self._passage.broke(failure)
        if failure.retries:
            self._flag_retried()
        if not failure.sent:
            outcome = Outcome.NOT_SENT
        elif not failure.proven:
            outcome = Outcome.UNPROVEN
        elif self._answer is not None:
            outcome = self._outcome_of_break()
        else:
            outcome = Outcome.FAILED
        status = 504 if failure.code == "upstream_timeout" else 502
        self._meter_held()
        self._finish(outcome, status, failure.code)
        name = self._call.route.provider
        return UpstreamFailed(
            status, failure.code, f'provider "{name}" could not be used: {failure.detail}', kind="api_error"
        )

    def _client_left(self, fetching: "asyncio.Task[None] | None") -> None:
        """Cancel the upstream, or read its answer to the end for the provider's own figure: as configured."""
        if self._call.ended:
            return
        held = Nanos(self._call.row.held_nanos)
        if self._drains_when_left() and self._relay_parts.drains.start(
            self._drain(fetching), held=held, give_up=self._give_up
        ):
            self._call.handed_over = True
            return
        if fetching is not None:
            fetching.cancel()
        self._give_up()

    def _drains_when_left(self) -> bool:
        policy = self._relay_parts.config.on_disconnect
        return self._call.billable and (policy.stream if self._call.row.stream else policy.unary) == "drain"

    async def _drain(self, fetching: "asyncio.Task[None] | None") -> None:
        """Read on without a client, until the provider has said what the call cost."""
        try:
            if fetching is not None:
                await fetching
            answer, meter = self._answer, self._meter
            assert answer is not None, "fetched without an answer"
            self._meter_held()
            if not self._is_whole:
                async for piece in answer.pieces():
                    self._note_first_byte()
                    if meter is not None:
                        meter.feed(piece)
            if meter is not None:
                meter.end()
            self._finish(self._outcome_of_status(), self._status_shown(), "client_left")
        except UpstreamFailure as failure:
            self._failed(failure)

    def _give_up(self) -> None:
        """Stop the provider's work and settle at what was seen. Does nothing for a call that has ended."""
        if self._answer is not None:
            self._answer.close()
        if self._call.ended:
            return
        if self._has_whole_answer():
            # SDKs hang up at the last event of a stream, a moment before the provider ends it.
            self._finish(Outcome.ANSWERED, self._status_shown())
            return
        outcome = Outcome.NOT_SENT if self._call.sent_at is None else Outcome.CLIENT_LEFT
        if self._answer is not None and self._answer.status >= 300:
            outcome = self._outcome_of_status()
        self._finish(outcome, self._status_shown(), "client_left")

    def _has_whole_answer(self) -> bool:
        """Did all that the answer has to say go to the client?"""
        result = self._result()
        return (
            self._is_told
            and result is not None
            and result.complete
            and self._outcome_of_status() is Outcome.ANSWERED
        )

    def _status_shown(self) -> int:
        return self._answer.status if self._answer is not None and self._is_told else CLIENT_LEFT


def _is_sse(headers: Headers) -> bool:
    return _value(headers, "content-type").lower().startswith("text/event-stream")


def _is_sound(headers: Headers) -> bool:
    kind = _value(headers, "content-type").lower()
    return kind.startswith(("audio/", "application/octet-stream"))


def _value(headers: Headers, name: str) -> str:
    return next((value.strip() for key, value in headers if key.lower() == name), "")


def _coding(headers: Headers) -> str:
    """All of them, in their order, over however many lines."""
    return ", ".join(value.strip() for key, value in headers if key.lower() == "content-encoding")


def _metered_codings(headers: Headers, *, stream: bool) -> Headers:
    return [
        (name, offered(value, stream=stream) if name.lower() == "accept-encoding" else value)
        for name, value in headers
    ]
