"""Work that goes on after its answer: its end is seen in an answer that passes, or asked for; then its charge is corrected."""

import asyncio
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from pricing.charge import Charge, Outcome, Seen, charge_for
from pricing.estimate import Estimate
from pricing.money import Nanos, usd
from pricing.overrides import OverriddenBook
from pricing.price import Price
from pricing.tokens import Counter, Prompt
from proxy import clock, log
from proxy.dialects import BadBody, Dialect, Metered
from proxy.dialects.body import decoded
from proxy.dialects.openai_responses import Responses
from proxy.holds import Moved
from proxy.holds.local import LocalHolds
from proxy.ledger import Ledger, deferred, write
from proxy.ledger.deferred import Waiting
from proxy.ledger.ship import Shipper
from proxy.meter import parsed
from proxy.routing import target
from proxy.settings import Config
from proxy.upstream import UpstreamFailure
from rules.alert import Alert, Level, crossings
from rules.call import Call, CallId, Operation
from rules.policy import Policy
from rules.scope import Scope, ScopeKind

ASKED_AT_ONCE_MAX = 100
ASK_AGAIN_MIN, ASK_AGAIN_MAX = timedelta(seconds=10), timedelta(minutes=5)
GIVE_UP_AFTER = timedelta(hours=24)
LOOK_SECONDS = 1.0
ASK_SECONDS_MAX = 30.0
ANSWER_BYTES_MAX = 16 << 20
SEEN_MAX = 1_000  # ends that passed and wait to be written down; beyond that the provider is asked for them
COUNTED_CHARS_MAX = 65_536

_ENDED = ("completed", "incomplete", "failed", "cancelled")
_ID = re.compile(r"[A-Za-z0-9_-]{1,200}")
_ASKED = re.compile(r"(?:/v1)?/responses/([A-Za-z0-9_-]{1,200})/?")
_CANCELLED = re.compile(r"(?:/v1)?/responses/([A-Za-z0-9_-]{1,200})/cancel/?")


def is_object_id(text: str) -> bool:
    """Can it stand in a path as it is?"""
    return _ID.fullmatch(text) is not None


def asked_id(dialect: str, method: str, path: str) -> str:
    """The id of the work that a call asks after, or stops; empty where it does neither."""
    if dialect != "openai" or method not in ("GET", "POST"):
        return ""
    found = (_ASKED if method == "GET" else _CANCELLED).fullmatch(path)
    return "" if found is None else found.group(1)


def end_in(object_id: str, body: bytes, coding: str = "") -> Metered | None:
    """How a work ended, by an answer that tells of it. None: not yet, or not told."""
    try:
        plain = decoded(body, coding.lower(), limit_bytes=ANSWER_BYTES_MAX)
    except BadBody:
        return None
    answer = None if plain is None else parsed(plain)
    if answer is None or answer.get("id") != object_id or answer.get("status") not in _ENDED:
        return None
    return Responses().meter_whole(answer)


def next_look(at: datetime, now: datetime) -> datetime:
    """Twice as long after the start as now, in bounds: 10, 20, 40 seconds, and so on up to every five minutes."""
    return now + min(max(now - at, ASK_AGAIN_MIN), ASK_AGAIN_MAX)


def final_charge(
    waiting: Waiting, told: Metered | None, *, price: Price, counter: Counter, unpriced: bool = False
) -> Charge:
    """What the work cost as the provider tells; as estimated where it never told."""
    row = waiting.row
    estimate = Estimate(
        Nanos(row.estimate_expected_nanos),
        Nanos(row.estimate_ceiling_nanos),
        0.0,
        "",
        row.estimate_input_tokens,
        row.estimate_input_tokens,
        row.estimate_output_tokens,
        row.estimate_output_tokens,
    )
    outcome = Outcome.LOST
    if told is not None:
        outcome = Outcome.FAILED if told.usage is None else Outcome.ANSWERED
    charge = charge_for(
        outcome,
        price=price,
        estimate=estimate,
        usage=None if told is None else told.usage,
        suspect=told is not None and told.suspect,
        seen=Seen() if told is None else Seen(output_tokens=_counted(told.output_text, row.model, counter)),
        service_tier="" if told is None else told.service_tier,
        asked_tier=waiting.work.asked_tier,
        unpriced=unpriced,
    )
    assert charge is not None, "work that was begun is charged"
    if told is None:
        return replace(charge, reason="the provider did not tell how the work ended")
    return replace(charge, reason="the work ended without a usage") if told.usage is None else charge


def _counted(text: str, model: str, counter: Counter) -> int:
    if not text:
        return 0
    sample = text[:COUNTED_CHARS_MAX]
    return -(-counter.count(Prompt(texts=(sample,)), model).tokens * len(text) // len(sample))


class Deferrals:
    """Of one node. The ledger knows what waits, so that a restart, or another node, goes on with it."""

    def __init__(
        self,
        *,
        config: Config,
        dialects: Mapping[str, Dialect],
        upstreams: Mapping[str, Any],
        ledger: Ledger,
        shipper: Shipper,
        holds: LocalHolds,
        book: OverriddenBook,
        counter: Counter,
        policy: Callable[[], Policy],
    ) -> None:
        self._config = config
        self._dialects = dialects
        self._upstreams = upstreams
        self._ledger = ledger
        self._shipper = shipper
        self._holds = holds
        self._book = book
        self._counter = counter
        self._policy = policy
        self._seen: dict[tuple[str, str], Metered] = {}
        self._arrived = asyncio.Event()

    def note(self, provider: str, object_id: str, body: bytes, coding: str) -> None:
        """An answer passed that tells of a work. Only remembered here: the caller waits for nothing."""
        if len(self._seen) >= SEEN_MAX:
            return
        told = end_in(object_id, body, coding)
        if told is not None:
            self._seen[provider, object_id] = told
            self._arrived.set()

    async def run(self) -> None:
        """Never ends."""
        await asyncio.gather(self._settle_forever(), self._ask_forever())

    async def _settle_forever(self) -> None:
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            try:
                await self.settle_seen()
            except Exception as error:  # noqa: BLE001 - the provider will be asked for what is lost here
                log.get().error("deferred_failed", detail=repr(error)[:300])

    async def _ask_forever(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self.ask_due()
            except Exception as error:  # noqa: BLE001 - a ledger that is away comes back
                log.get().error("deferred_failed", detail=repr(error)[:300])

    async def settle_seen(self) -> None:
        seen, self._seen = self._seen, {}
        if not seen:
            return
        await self._shipper.flush()  # a work may end before the record of its beginning is in the ledger
        for provider in {name for name, _ in seen}:
            ids = [object_id for name, object_id in seen if name == provider]
            async with self._ledger.connect() as connection:
                waiting = await deferred.named(connection, provider, ids)
            for each in waiting:
                await self._settle(each, seen[provider, each.work.object_id])

    async def ask_due(self) -> None:
        """Ask the providers for every work whose time has come."""
        async with self._ledger.connect() as connection:
            waiting = await deferred.due(connection, clock.now(), limit=ASKED_AT_ONCE_MAX)
        results = await asyncio.gather(*(self._ask(each) for each in waiting), return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                log.get().error("deferred_failed", detail=repr(result)[:300])

    async def _ask(self, waiting: Waiting) -> None:
        told = await self._told(waiting)
        now = clock.now()
        if told is not None or now - waiting.row.at >= GIVE_UP_AFTER:
            await self._settle(waiting, told)
            return
        async with self._ledger.connect() as connection:
            await deferred.postpone(connection, waiting, next_look(waiting.row.at, now))

    async def _told(self, waiting: Waiting) -> Metered | None:
        """What the provider says of it now, asked with our own credential."""
        provider = self._config.providers.get(waiting.provider)
        if provider is None or not provider.configured:
            return None
        secret = "" if provider.api_key is None else provider.api_key.get_secret_value()
        headers = [("Accept", "application/json"), ("Accept-Encoding", "identity"), *provider.default_headers]
        headers += self._dialects[waiting.provider].credential(secret) if secret else ()
        path = target(provider.base_url, f"{waiting.work.path}/{waiting.work.object_id}", "")
        answer = None
        try:
            async with asyncio.timeout(ASK_SECONDS_MAX):
                answer = await self._upstreams[waiting.provider].send(
                    "GET", path, headers, None, on_sent=lambda: None
                )
                if answer.status != 200:
                    return None
                body = bytearray()
                async for piece in answer.pieces():
                    body += piece
                    if len(body) > ANSWER_BYTES_MAX:
                        return None
                return end_in(waiting.work.object_id, bytes(body))
        except (UpstreamFailure, TimeoutError):
            return None
        finally:
            if answer is not None:
                answer.close()

    async def _settle(self, waiting: Waiting, told: Metered | None) -> None:
        """Once, whoever else saw the end: the ledger decides."""
        charge = self._charge(waiting, told)
        row = waiting.row
        async with self._holds.past:
            async with self._ledger.connect() as connection:
                state = "lost" if told is None else "settled"
                change = await deferred.correct(connection, waiting, charge, state=state)
            if change is None:
                return
            moved = self._holds.correct(write.scopes_of(row), row.at, Nanos(change))
        log.get().info(
            "deferred_settled",
            request_id=row.call_id,
            provider=row.provider,
            cost_usd=usd(charge.nanos),
            basis=charge.basis.value,
            flags=list(charge.flags),
        )
        alerts = [*self._crossed(waiting, moved), *_exceeded(waiting, charge)]
        if alerts:
            async with self._ledger.connect() as connection:
                await write.raise_alerts(connection, alerts)

    def _charge(self, waiting: Waiting, told: Metered | None) -> Charge:
        row = waiting.row
        known = row.provider in self._config.providers
        seller = self._config.price_provider(row.provider) if known else row.provider
        asked = None if waiting.work.unpriced else self._book.find(seller, row.model, row.at)
        price = asked or self._book.dearest(seller, row.at)
        served = "" if told is None else told.served_model
        found = self._book.find_named(seller, served, row.at) if served and served != row.model else None
        return final_charge(
            waiting,
            told,
            price=found or price,
            counter=self._counter,
            unpriced=waiting.work.unpriced and found is None,
        )

    def _crossed(self, waiting: Waiting, moved: tuple[Moved, ...]) -> list[Alert]:
        """Thresholds of the file's budgets that the correction passed."""
        row = waiting.row
        call = Call(
            CallId(row.call_id),
            row.at,
            Operation.LLM,
            row.provider,
            row.model,
            row.team,
            row.key_id,
            user=row.user,
        )
        policy = self._policy()
        budgets = {budget.id: budget for budget in policy.budgets_of(call)}
        return [
            alert
            for limit in policy.limits(call)
            for move in moved
            if move.counter == limit.counter and limit.owner in budgets
            for alert in crossings(budgets[limit.owner], move.counter, move.before, move.after, clock.now())
        ]


def _exceeded(waiting: Waiting, charge: Charge) -> list[Alert]:
    row = waiting.row
    if charge.nanos <= row.estimate_ceiling_nanos:
        return []
    message = f"cost ${usd(charge.nanos)}, more than the ${usd(Nanos(row.estimate_ceiling_nanos))} it could cost at most"
    facts = {"call_id": row.call_id, "model": row.model, "provider": row.provider}
    scope = Scope(ScopeKind.TEAM, row.team)
    key = f"hold_exceeded:{row.call_id}"
    return [Alert(key, "hold_exceeded", Level.CRITICAL, clock.now(), scope, message, facts)]
