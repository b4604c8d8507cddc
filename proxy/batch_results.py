"""What a batch cost, read from its results: each answer is metered like that of a call, and all are added up exactly."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass

from pricing.batch import Tally, at_batch, batch_tier, has_batch_price
from pricing.charge import Basis, Charge
from pricing.money import Nanos
from pricing.price import Price
from pricing.tokens import Counter
from pricing.usage import Usage
from proxy.asking import Asking, NotTold, line_blocks
from proxy.dialects import Api, BatchApi, BatchEnd, Metered
from proxy.ledger.deferred import Waiting
from proxy.meter import parsed
from proxy.work import counted, standing

RESULT_BYTES_MAX = 2 << 30
READ_SECONDS_MAX = 600.0
LINES_AT_ONCE = 32
GONE = "result_gone"  # a flag

PriceOf = Callable[[str], tuple[Price, bool]]
"""Of a served model, and whether it stands in for an unknown one."""


async def charge_of(
    waiting: Waiting,
    end: BatchEnd,
    *,
    api: BatchApi,
    line_api: Api | None,
    asking: Asking,
    price_of: PriceOf,
    counter: Counter,
) -> Charge | None:
    """None: the results are not to be had now, and will be asked for again."""
    told = None if line_api is None else _of_usage(waiting, end, price_of)
    if told is not None and end.is_whole:
        return told
    bill = Bill(waiting, api, line_api, price_of, counter)
    is_cut = not all(end.files)
    try:
        async with asyncio.timeout(READ_SECONDS_MAX):
            for path in filter(None, end.files):
                is_cut = await _read(waiting, path, bill, asking) or is_cut
    except (NotTold, TimeoutError):
        return None
    return bill.charge(end, is_cut=is_cut, told=told)


async def _read(waiting: Waiting, path: str, bill: "Bill", asking: Asking) -> bool:
    """True: not all of it is there. Raises NotTold where that may change."""
    pieces = asking.pieces(
        waiting.provider, path, waiting.work.query, headers=bill.api.headers, bytes_max=RESULT_BYTES_MAX
    )
    try:
        async with aclosing(pieces):
            async for block in line_blocks(pieces):
                for number, line in enumerate(block):
                    bill.read(line)
                    if number % LINES_AT_ONCE == 0:
                        await asyncio.sleep(0)  # others go on while a long file is read
    except NotTold as problem:
        if not (problem.is_gone or problem.too_large):
            raise
        return True
    return False


def _of_usage(waiting: Waiting, end: BatchEnd, price_of: PriceOf) -> Charge | None:
    """By the one usage that the batch tells. None where its price cannot be told by that: of several models, or where the
    length of each request matters."""
    if end.usage is None or waiting.work.several or waiting.work.unpriced:
        return None
    if end.answered and not end.usage.input_tokens:
        return None
    price = at_batch(price_of(end.served_model)[0])
    if price.standard.tiers or price.standard.rates.request:
        return None
    return Charge(price.cost(end.usage).nanos, Basis.REPORTED, end.usage, price.version)


@dataclass(frozen=True, slots=True)
class _Priced:
    price: Price
    is_stand_in: bool
    is_of_batches: bool


class Bill:
    """The answers of one batch, read line by line."""

    def __init__(
        self, waiting: Waiting, api: BatchApi, line_api: Api | None, price_of: PriceOf, counter: Counter
    ) -> None:
        self.api = api
        self._waiting = waiting
        self._line_api = line_api
        self._price_of = price_of
        self._counter = counter
        self._prices: dict[tuple[str, str], _Priced] = {}
        self._tally = Tally()
        self._answered = self._failed = self._unread = 0
        self._is_observed = self._is_suspect = False
        row = waiting.row
        requests = max(1, row.batch_size)
        self._mean = Usage(
            input_tokens=-(-row.estimate_input_tokens // requests),
            output_tokens=-(-row.estimate_output_tokens // requests),
        )

    def read(self, line: bytes) -> None:
        data = parsed(line)
        if data is None or self._line_api is None:
            self._unread += 1
            return
        answer = self.api.answer(data)
        if answer is None:
            self._failed += 1
            return
        self._answered += 1
        told = self._line_api.meter_whole(answer)
        price = self._priced(told.served_model, told.service_tier).price
        self._tally.add(self._usage_of(told, price), price)

    def _usage_of(self, told: Metered, price: Price) -> Usage:
        """What an answer without a usage to believe was seen to be, or more."""
        if told.usage is not None and not told.suspect:
            return told.usage
        self._is_observed, self._is_suspect = True, self._is_suspect or told.suspect
        output = counted(told.output_text, self._waiting.row.model, self._counter)
        seen = Usage(self._mean.input_tokens, output_tokens=output or self._mean.output_tokens)
        usage = told.usage or Usage()
        return usage if price.cost(usage).nanos > price.cost(seen).nanos else seen

    def _priced(self, served: str, tier: str) -> _Priced:
        key = served, batch_tier(tier)
        known = self._prices.get(key)
        if known is None:
            price, is_stand_in = self._price_of(served)
            known = _Priced(at_batch(price, tier), is_stand_in, has_batch_price(price, tier))
            self._prices[key] = known
        return known

    def charge(self, end: BatchEnd, *, is_cut: bool, told: Charge | None) -> Charge:
        missing = self._missing(end, is_cut=is_cut)
        if missing and not self._answered:
            return _without_results(self._waiting, told)
        flags = self._flags()
        basis = Basis.OBSERVED if self._is_observed else Basis.REPORTED
        reason = "" if self._answered else "no request of the batch was answered"
        nanos = self._tally.nanos
        if self._is_observed:
            reason = "some answers tell no usage to believe: charged by what was seen of them"
        if missing:
            flags.append("results_missing")
            basis = Basis.ESTIMATED
            reason = f"{missing} answers could not be read: charged as estimated"
            row = self._waiting.row
            share = -(-row.estimate_expected_nanos * missing // max(1, row.batch_size))
            nanos = Nanos(nanos + share)
        version = next(iter(self._tally.versions)) if len(self._tally.versions) == 1 else ""
        return Charge(
            nanos,
            basis,
            self._tally.usage,
            version or self._waiting.row.price_version,
            tuple(flags),
            reason,
        )

    def _missing(self, end: BatchEnd, *, is_cut: bool) -> int:
        """Answers that are billed and were not read."""
        if end.answered is not None:
            return max(0, end.answered - self._answered)
        seen = self._answered + self._failed + self._unread
        cut = max(not seen, self._waiting.row.batch_size - seen) if is_cut or not end.files else 0
        return self._unread + cut

    def _flags(self) -> list[str]:
        flags: list[str] = []
        used = self._prices.values()
        if any(each.is_stand_in for each in used):
            flags.append("unknown_price")
        if not all(each.is_of_batches for each in used):
            flags.append("no_batch_price")
        if self._is_suspect:
            flags.append("usage_suspect")
        if self._tally.unpriced:
            flags.append("unpriced_class")
        return flags


def _without_results(waiting: Waiting, told: Charge | None) -> Charge:
    if told is not None:
        return told
    return standing(waiting, GONE, "the results are gone: charged as estimated")
