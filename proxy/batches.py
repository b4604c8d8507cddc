"""A batch at its submission: every request in it is read, counted and estimated at batch prices, before any of it goes."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import TypeVar
from urllib.parse import unquote

from pricing.batch import TIER, at_batch, batch_tier, has_batch_price
from pricing.estimate import Ask, estimate
from pricing.overrides import Prices
from pricing.price import Price
from pricing.tokens import Counter, TokenCount
from proxy.asking import Asking, NotTold, line_blocks
from proxy.batch_sum import Request, Sum, Unread
from proxy.callrow import kept
from proxy.dialects import BadBody, Batch, BatchApi, Dialect, Reading
from proxy.errors import BadCall, Refused
from proxy.estimating import estimate_of, habit_of, note_estimate, price_of
from proxy.learned import Learned
from proxy.opencall import OpenCall
from proxy.settings import Config
from proxy.work import kept_query
from rules.call import Call
from rules.counter import Limit

INPUT_BYTES_MAX = 256 << 20  # OpenAI takes 200 MB
READ_SECONDS_MAX = 120.0
READ_AT_ONCE_MAX = 4
INLINE_LINES = 64  # of requests in a body: read in one go
MODELS_MAX = 50

T = TypeVar("T")

_NOTHING_READ = TokenCount(0, 0, exact=False, basis="nothing could be read")


@dataclass(slots=True)
class Batches:
    """Makes a batch that was read into a call that can be held."""

    config: Config
    book: Prices
    counter: Counter
    pool: ThreadPoolExecutor
    learned: Learned
    asking: Asking
    _slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(READ_AT_ONCE_MAX))

    async def measure(self, call: OpenCall) -> None:
        """Raises BadCall for a body that is none, and Refused where what a budget or an allow list needs to know of the
        batch cannot be read."""
        strict = call.policy.is_strict_for(call.call, call.key.budgets)
        found = await self._sum(call, strict=strict)
        if found.problem and strict:
            raise _unreadable(found)
        if found.problem:
            call.row.flags.append("batch_unread")
        self._note(call, found)

    async def _sum(self, call: OpenCall, *, strict: bool) -> Sum:
        found = Sum()
        try:
            async with (
                asyncio.timeout(READ_SECONDS_MAX),
                self._slots,
                aclosing(self._blocks(call, strict=strict)) as blocks,
            ):
                async for block in blocks:
                    await self._add(call, block, found, strict=strict)
        except NotTold as problem:
            found.miss(str(problem), left_bytes=problem.bytes_left)
        except TimeoutError:
            found.miss(f"its requests could not be read within {READ_SECONDS_MAX:g} seconds")
        if not found.requests and not found.problem:
            found.miss("it holds no request")
        return found

    async def _blocks(self, call: OpenCall, *, strict: bool) -> AsyncGenerator[list[bytes], None]:
        api, batch = _api(call), _batch(call)
        try:
            lines = await self._beside(lambda: api.inline(batch.body, strict=strict))
        except BadBody as bad:
            raise BadCall(400, bad.code, bad.message, param=bad.param) from bad
        for start in range(0, len(lines), INLINE_LINES):
            yield lines[start : start + INLINE_LINES]
        if lines:
            return
        path = api.input_path(call.route.path.rstrip("/"), batch.file_id)
        if not path:
            raise NotTold("the input is no file of this provider's")
        query = kept_query(call.route.query)
        pieces = self.asking.pieces(
            call.route.provider, path, query, headers=api.headers, bytes_max=INPUT_BYTES_MAX
        )
        async with aclosing(pieces):
            async for block in line_blocks(pieces):
                yield block

    async def _add(self, call: OpenCall, block: Sequence[bytes], found: Sum, *, strict: bool) -> None:
        api, dialect, endpoint = _api(call), call.dialect, _batch(call).endpoint
        lines = await self._beside(
            lambda: [_read(line, api, dialect, self.counter, endpoint, strict=strict) for line in block]
        )
        for line in lines:
            if isinstance(line, Unread):
                place = f"request {found.requests + 1}: {line.problem}"
                found.missed += 1
                found.miss(place, left_bytes=line.size_bytes, param=line.param)
            else:
                self._price(call, line, found)

    async def _beside(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self.pool, work)

    def _price(self, call: OpenCall, request: Request, found: Sum) -> None:
        """Raises Refused for a model without a price where that may not be."""
        model, surface = kept(request.reading.model), request.surface
        if model not in found.calls:
            if len(found.calls) >= MODELS_MAX:
                found.missed += 1
                found.miss(f"it asks for more than {MODELS_MAX} models", left_bytes=request.size_bytes)
                return
            found.calls[model] = replace(call.call, model=model, operation=surface.operation)
        if len(found.users) < 2:
            found.users.add(kept(request.reading.user))
        if surface.kind == "free":
            found.add(request.size_bytes, None)
            return
        reading, asked = request.reading, found.calls[model]
        key = model, batch_tier(reading.service_tier)
        if key not in found.prices:
            found.prices[key] = self._batch_price(call, asked, reading, found)
        price, made = found.prices[key], None
        if price is not None:
            plain = replace(reading, service_tier="")  # the price has no other tier
            made = estimate_of(plain, request.count, price, habit_of(self.learned, asked, reading))
        found.add(request.size_bytes, made)

    def _batch_price(self, call: OpenCall, asked: Call, reading: Reading, found: Sum) -> Price | None:
        limits = call.policy.limits(asked, call.key.budgets)
        price, is_own = price_of(self.config, self.book, asked, reading, limits)
        if price is None:
            return None
        tier = reading.service_tier
        found.unpriced = found.unpriced or not is_own
        found.without_batch_price = found.without_batch_price or not has_batch_price(price, tier)
        return at_batch(price, tier)

    def _note(self, call: OpenCall, found: Sum) -> None:
        """The batch goes by its dearest model: that is what answers of a model without a price are charged at."""
        row = call.row
        row.flags.append("batch")
        priced = {key: price for key, price in found.prices.items() if price is not None}
        if not found.requests:
            self._stand_in(call, max(1, found.missed))
        elif priced:
            (model, _), call.price = max(priced.items(), key=lambda each: _rank(each[1]))
            call.call, call.unpriced = found.calls[model], found.unpriced
            call.estimate = found.estimate()
            row.price_version = call.price.version
        else:
            call.call = next(iter(found.calls.values()))
            if found.prices:
                row.flags.append("unmetered")
        if found.without_batch_price:
            row.flags.append("no_batch_price")
        elif priced:
            row.service_tier = TIER
        call.models = tuple(found.calls)
        if len(found.users) == 1:
            [row.user] = found.users
            call.call = replace(call.call, user=row.user)
        row.model, row.operation = call.call.model, call.call.operation.value
        row.batch_size = max(1, found.requests)
        _refuse_apart(call, found)
        note_estimate(call)

    def _stand_in(self, call: OpenCall, requests: int) -> None:
        """Nothing of it could be read: so many requests to the dearest model, until its end is told."""
        price = at_batch(self.book.dearest(self.config.price_provider(call.call.provider), call.row.at))
        call.price, call.unpriced = price, True
        call.estimate = estimate(_NOTHING_READ, price, Ask(choices=requests))
        call.row.price_version = price.version


def _read(
    line: bytes, api: BatchApi, dialect: Dialect, counter: Counter, endpoint: str, *, strict: bool
) -> Request | Unread:
    """In a thread: a line is parsed and counted like the body of a call."""
    try:
        path, body = api.request(line, endpoint, strict=strict)
        surface = dialect.surface("POST", unquote(path))
        if surface.api is None or isinstance(surface.api, BatchApi):
            raise BadBody(f'"{path[:80]}" is not metered in batches', param="url", code="surface_not_metered")
        reading = surface.api.read(body, strict=strict)
        return Request(surface, reading, counter.count(reading.prompt, reading.model), len(line))
    except BadBody as bad:
        return Unread(bad.message, bad.param, len(line))


def _api(call: OpenCall) -> BatchApi:
    api = call.surface.api
    assert isinstance(api, BatchApi), "only batches are measured"
    return api


def _batch(call: OpenCall) -> Batch:
    assert call.reading is not None, "an unread call is no batch"
    assert call.reading.batch is not None, "only batches are measured"
    return call.reading.batch


def _rank(price: Price) -> tuple[int, str]:
    rates = price.standard.rates
    return rates.output + rates.input, price.version


def _unreadable(found: Sum) -> Refused:
    return Refused(
        403,
        "batch_not_readable",
        f"a hard budget or an allow list covers this batch, and not all of it can be read: {found.problem}. Hand in a "
        "file of this provider's, of plain requests to paths that are metered, or use a key without them.",
        kind="permission_error",
        param=found.param,
    )


def _refuse_apart(call: OpenCall, found: Sum) -> None:
    """A batch is charged as one call, so to the counters of one model."""

    def bounds(asked: Call) -> set[Limit]:
        limits = call.policy.limits(asked, call.key.budgets)
        return {limit for limit in limits if limit.nanos is not None}

    if len({frozenset(bounds(asked)) for asked in found.calls.values()}) > 1:
        raise Refused(
            403,
            "batch_of_several_models",
            "the requests of this batch are for models with different budgets: hand in one batch for each model.",
            kind="permission_error",
            param="model",
        )
