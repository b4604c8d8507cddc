"""Work that goes on after its answer: its end is seen in an answer that passes, or asked for; then its charge is corrected."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import unquote

from pricing.charge import Charge
from pricing.money import Nanos, usd
from pricing.overrides import NamedPrices
from pricing.price import Price
from pricing.tokens import Counter
from proxy import batch_results, clock, log
from proxy.asking import Asking, NotTold
from proxy.corrections import crossed, exceeded, lost
from proxy.dialects import BatchApi, Dialect, Metered
from proxy.holds.local import LocalHolds
from proxy.ledger import Ledger, deferred, write
from proxy.ledger.deferred import Waiting
from proxy.ledger.ship import Shipper
from proxy.settings import Config
from proxy.work import (
    ANSWER_BYTES_MAX,
    batch_api,
    end_of,
    final_charge,
    is_end_of_batch,
    next_look,
    standing,
    told_in,
)
from rules.policy import Policy

ASKED_AT_ONCE_MAX = 100
ROUNDS_MAX = 4  # of asking, at the same time: a long file must not keep the others waiting
RESULTS_AT_ONCE_MAX = 4
GIVE_UP_AFTER = timedelta(hours=24)
GIVE_UP_BATCH_AFTER = timedelta(days=8)  # some providers give a batch a week
LOOK_SECONDS = 1.0
ASK_SECONDS_MAX = 30.0
SEEN_MAX = 1_000  # ends that passed and wait to be written down; beyond that the provider is asked for them


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
        book: NamedPrices,
        counter: Counter,
        policy: Callable[[], Policy],
    ) -> None:
        self._config = config
        self._dialects = dialects
        self._asking = Asking(config, dialects, upstreams)
        self._ledger = ledger
        self._shipper = shipper
        self._holds = holds
        self._book = book
        self._counter = counter
        self._policy = policy
        self._seen: dict[tuple[str, str], Metered | None] = {}
        self._arrived = asyncio.Event()
        self._asked: set[str] = set()  # calls whose provider is being asked
        self._results = asyncio.Semaphore(RESULTS_AT_ONCE_MAX)

    def note(self, provider: str, object_id: str, body: bytes, coding: str) -> None:
        """An answer passed that tells of a work. Only remembered here: the caller waits for nothing."""
        answer = told_in(object_id, body, coding) if len(self._seen) < SEEN_MAX else None
        if answer is None:
            return
        told = end_of(answer)
        if told is not None or is_end_of_batch(answer):
            self._seen[provider, object_id] = told
            self._arrived.set()

    async def run(self) -> None:
        """Never ends. When it is stopped, each of its rounds has ended too: none is left on a ledger that is closed."""
        async with asyncio.TaskGroup() as rounds:
            rounds.create_task(self._settle_forever())
            for _ in range(ROUNDS_MAX):
                rounds.create_task(self._ask_forever())

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
                await self._settle_or_hurry(each, seen[provider, each.work.object_id])

    async def _settle_or_hurry(self, waiting: Waiting, told: Metered | None) -> None:
        """What a batch cost stands in its results: whoever asks next reads them."""
        if self._batch_api(waiting) is not None:
            async with self._ledger.connect() as connection:
                await deferred.postpone(connection, waiting, clock.now())
        elif told is not None:
            await self._settle(waiting, self._charge(waiting, told), state="settled")

    async def ask_due(self) -> None:
        """Ask the providers for every work whose time has come."""
        async with self._ledger.connect() as connection:
            waiting = await deferred.due(
                connection, clock.now(), limit=ASKED_AT_ONCE_MAX, but=tuple(self._asked)
            )
        results = await asyncio.gather(*(self._ask_once(each) for each in waiting), return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                log.get().error("deferred_failed", detail=repr(result)[:300])

    async def _ask_once(self, waiting: Waiting) -> None:
        call_id = waiting.row.call_id
        if call_id in self._asked:
            return
        self._asked.add(call_id)
        try:
            await self._ask(waiting)
        finally:
            self._asked.discard(call_id)

    async def _ask(self, waiting: Waiting) -> None:
        api = self._batch_api(waiting)
        answer = await self._told(waiting, () if api is None else api.headers)
        charge = None
        if answer is not None and api is not None:
            charge = await self._charge_batch(waiting, answer, api)
        elif answer is not None:
            told = end_of(answer)
            charge = None if told is None else self._charge(waiting, told)
        now = clock.now()
        if charge is not None:
            is_gone = batch_results.GONE in charge.flags
            await self._settle(waiting, charge, state="lost" if is_gone else "settled")
        elif now - waiting.row.at >= (GIVE_UP_AFTER if api is None else GIVE_UP_BATCH_AFTER):
            charge = standing(waiting, "lost", "the provider did not tell how the work ended")
            await self._settle(waiting, charge, state="lost")
        else:
            async with self._ledger.connect() as connection:
                await deferred.postpone(connection, waiting, next_look(waiting.row.at, now))

    async def _told(self, waiting: Waiting, headers: tuple[tuple[str, str], ...]) -> Mapping[str, Any] | None:
        """What the provider says of it now, asked with our own credential."""
        work = waiting.work
        try:
            async with asyncio.timeout(ASK_SECONDS_MAX):
                body = await self._asking.body(
                    waiting.provider,
                    f"{work.path}/{work.object_id}",
                    work.query,
                    headers=(("Accept", "application/json"), *headers),
                    bytes_max=ANSWER_BYTES_MAX,
                )
        except (NotTold, TimeoutError):
            return None
        return told_in(work.object_id, body)

    async def _charge_batch(
        self, waiting: Waiting, answer: Mapping[str, Any], api: BatchApi
    ) -> Charge | None:
        end = api.end(answer, waiting.work.path)
        if end is None:
            return None
        dialect = self._dialects[waiting.provider]
        async with self._results:
            return await batch_results.charge_of(
                waiting,
                end,
                api=api,
                line_api=dialect.surface("POST", unquote(waiting.work.endpoint)).api,
                asking=self._asking,
                price_of=lambda served: self._price_of(waiting, served),
                counter=self._counter,
            )

    def _batch_api(self, waiting: Waiting) -> BatchApi | None:
        return batch_api(self._dialects.get(waiting.provider), waiting.work)

    async def _settle(self, waiting: Waiting, charge: Charge, *, state: str) -> None:
        """Once, whoever else saw the end: the ledger decides."""
        row = waiting.row
        async with self._holds.past:
            async with self._ledger.connect() as connection:
                change = await deferred.correct(connection, waiting, charge, state=state)
            if change is None:
                return
            moved = self._holds.correct(write.scopes_of(row), row.at, Nanos(change))
        log.get().info(
            "deferred_settled",
            request_id=row.call_id,
            provider=row.provider,
            state=state,
            cost_usd=usd(charge.nanos),
            basis=charge.basis.value,
            flags=list(charge.flags),
        )
        alerts = [*crossed(self._policy(), row, moved), *exceeded(waiting, charge)]
        if state == "lost":
            alerts.append(lost(waiting, charge))
        if alerts:
            async with self._ledger.connect() as connection:
                await write.raise_alerts(connection, alerts)

    def _price_of(self, waiting: Waiting, served: str) -> tuple[Price, bool]:
        """Of the served model where it is known; and whether it stands in for an unknown one."""
        row = waiting.row
        known = row.provider in self._config.providers
        seller = self._config.price_provider(row.provider) if known else row.provider
        found = self._book.find_named(seller, served, row.at) if served and served != row.model else None
        if found is not None:
            return found, False
        asked = None if waiting.work.unpriced else self._book.find(seller, row.model, row.at)
        return asked or self._book.dearest(seller, row.at), waiting.work.unpriced

    def _charge(self, waiting: Waiting, told: Metered) -> Charge:
        price, unpriced = self._price_of(waiting, told.served_model)
        return final_charge(
            waiting,
            told,
            price=price,
            counter=self._counter,
            unpriced=unpriced,
            is_own_cost=waiting.row.provider in self._config.own_cost_providers,
        )
