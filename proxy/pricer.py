"""Price and estimate of a read call. Text is counted on the spot, or in a thread where it is long."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from pricing.estimate import FREE, Estimate
from pricing.overrides import Prices
from pricing.tokens import Counter, Prompt, TokenCount, text_bytes
from proxy import log
from proxy.estimating import affordable_tokens, estimate_of, habit_of, note_estimate, price_of
from proxy.estimators import Estimators
from proxy.learned import Learned
from proxy.opencall import OpenCall
from proxy.settings import Config

INLINE_BYTES_MAX = 8_192  # of text: counted on the spot, 18 us a kB
COUNTS_QUEUED_MAX = 64  # beyond that the byte bound is held instead

IsAmple = Callable[[OpenCall, Estimate], bool]
"""Would the call get the same verdict, with room to spare, at its estimate and at this lower one?"""


@dataclass(slots=True)
class Pricer:
    config: Config
    book: Prices
    counter: Counter
    estimators: Estimators
    pool: ThreadPoolExecutor
    learned: Learned
    _queued: int = field(default=0)

    async def price(self, call: OpenCall, is_ample: IsAmple) -> None:
        """Raises Refused for a model without a price, where none may stand in. Waits only for a long count."""
        assert call.reading is not None, "an unread call cannot be priced"
        self._find_price(call)
        prompt, model = call.reading.prompt, call.call.model
        if text_bytes(prompt) > INLINE_BYTES_MAX:
            await self._count_long(call, is_ample)
        elif self.estimators.is_outside(model):
            self._take(call, await self._count_outside(prompt, model))
        else:
            self._take(call, self.counter.count(prompt, model))

    def count_free(self, call: OpenCall) -> None:
        """For the row alone; by bytes where that is a long text."""
        assert call.reading is not None, "an unread call cannot be counted"
        prompt, model = call.reading.prompt, call.reading.model
        counts = self.counter.count if text_bytes(prompt) <= INLINE_BYTES_MAX else self.counter.bound
        count = counts(prompt, model)
        call.estimate = replace(FREE, input_tokens=count.tokens, input_tokens_max=count.tokens_max)

    def shorten(self, call: OpenCall, cap: int) -> None:
        """The estimate of a call whose output is capped."""
        self._take(call, _count_again(call), cap=cap)

    def affordable_tokens(self, call: OpenCall, headroom: int) -> int | None:
        """The most output tokens a choice whose ceiling fits; None where too few would."""
        count = _count_again(call)
        return affordable_tokens(lambda cap: self._estimate(call, count, cap=cap), call.estimate, headroom)

    def _find_price(self, call: OpenCall) -> None:
        call.price, known = price_of(self.config, self.book, call.call, call.reading, call.limits)
        if call.price is None:
            call.row.flags.append("unmetered")
            return
        call.unpriced = not known
        call.row.price_version = call.price.version

    def _take(self, call: OpenCall, count: TokenCount, *, cap: int | None = None) -> None:
        call.estimate = self._estimate(call, count, cap=cap)
        note_estimate(call)

    def _estimate(self, call: OpenCall, count: TokenCount, *, cap: int | None = None) -> Estimate:
        if call.price is None:
            return call.estimate
        reading = call.reading
        assert reading is not None, "an unread call cannot be estimated"
        return estimate_of(reading, count, call.price, habit_of(self.learned, call.call, reading), cap=cap)

    async def _count_outside(self, prompt: Prompt, model: str) -> TokenCount:
        """By a plug-in, which may block: never on the loop. By ours where too many wait for it."""
        if self._queued >= COUNTS_QUEUED_MAX:
            return self.counter.count(prompt, model)
        return await asyncio.shield(self._queue(prompt, model))

    def _queue(self, prompt: Prompt, model: str) -> "asyncio.Future[TokenCount]":
        self._queued += 1
        loop = asyncio.get_running_loop()
        counting = loop.run_in_executor(self.pool, self.estimators.count, prompt, model)
        counting.add_done_callback(self._counted)
        return counting

    async def _count_long(self, call: OpenCall, is_ample: IsAmple) -> None:
        """Long text: where the byte bound decides already, the call goes at once and the count runs beside it."""
        assert call.reading is not None, "an unread call cannot be counted"
        prompt, model = call.reading.prompt, call.call.model
        bound = self.counter.bound(prompt, model)
        self._take(call, bound)
        if self._queued >= COUNTS_QUEUED_MAX:
            return
        counting = self._queue(prompt, model)
        if is_ample(call, self._estimate(call, TokenCount(0, 0, exact=False, basis="none"))):
            counting.add_done_callback(lambda done: self._note_beside(call, done))
            return
        self._take(call, await asyncio.shield(counting))

    def _counted(self, counting: "asyncio.Future[TokenCount]") -> None:
        self._queued -= 1
        if not counting.cancelled() and counting.exception() is not None:
            log.get().error("count_failed", detail=str(counting.exception())[:200])

    def _note_beside(self, call: OpenCall, counting: "asyncio.Future[TokenCount]") -> None:
        """The row shows tiktoken's figure although the byte bound was held."""
        if call.ended or counting.cancelled() or counting.exception() is not None:
            return
        exact = self._estimate(call, counting.result())
        call.row.estimate_input_tokens = exact.input_tokens
        call.row.estimate_expected_nanos = exact.expected
        call.row.estimate_basis = f"{exact.basis}; held at the byte bound"


def _count_again(call: OpenCall) -> TokenCount:
    counted, _, _ = call.estimate.basis.partition(", ")  # what is told after it is told again
    return TokenCount(call.estimate.input_tokens, call.estimate.input_tokens_max, exact=False, basis=counted)
